"""Rule chains: what they say, and what follows from it (spec/rule-engine.md)."""
