"""How letters get out of the house."""
