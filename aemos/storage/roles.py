"""`Role` and `Permission` rows."""

from __future__ import annotations

from aemos.storage.transaction import Transaction


def id_of(tx: Transaction, name: str) -> int | None:
    """@return: the id of the role of exactly this name."""
    rows = tx.all("SELECT id, name FROM Role WHERE name = %s", (name,))
    return next((row["id"] for row in rows if row["name"] == name), None)


def permission_names(tx: Transaction) -> list[str]:
    """@return: the names of all permissions there are, in alphabetical order."""
    return [row["name"] for row in tx.all("SELECT name FROM Permission ORDER BY name")]
