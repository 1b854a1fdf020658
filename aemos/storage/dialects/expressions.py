"""SQL expressions over readings that the two dialects write differently."""

from __future__ import annotations

from aemos.storage.dialects.base import Dialect

# No backslash: MySQL would read it as an escape of the text before it gets to the pattern. The
# exponent is short, so that a sum of many stays within a double.
_NUMBER = "^[[:space:]]*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?[[:space:]]*$"


def number(dialect: Dialect, column: str) -> str:
    """A text column as a double, NULL where the text is no decimal number (`on`, `12 C`, empty)."""
    if dialect.name == "mysql":
        return f"CASE WHEN {column} REGEXP '{_NUMBER}' THEN {column} + 0e0 END"
    # SQLite has no regular expressions. Compared with a NUMERIC, text counts as a number only if
    # all of it is one; the limits keep infinity out.
    return (
        f"CASE WHEN {column} = CAST({column} AS NUMERIC)"
        f" AND CAST({column} AS REAL) BETWEEN -1e100 AND 1e100 THEN CAST({column} AS REAL) END"
    )
