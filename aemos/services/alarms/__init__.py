"""Alarms: what is watched, what is going on, and who is told (docs/alarms.rst)."""
