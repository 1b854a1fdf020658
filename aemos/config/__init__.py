"""Settings: declared once in `schema`, loaded by `load` (defaults < YAML < environment)."""
