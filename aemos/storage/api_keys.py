"""Keys of programs: the SQL of `api_key`. Only the digest of a key is stored, and never given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.model import Instant
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction


def find(tx: Transaction, key_id: int) -> Row | None:
    """@return: the row without the digest."""
    row = tx.one("SELECT * FROM api_key WHERE id = %s", (key_id,))
    return None if row is None else _shown(row)


def find_by_digest(tx: Transaction, digest: str) -> Row | None:
    """@return: the row of an active key, expired or not, without the digest."""
    row = tx.one("SELECT * FROM api_key WHERE digest = %s AND status = 'active'", (digest,))
    return None if row is None else _shown(row)


def listed(tx: Transaction, organizations: Sequence[int] | None, listing: Listing) -> Listed:
    """@param organizations: of these only; None = of all."""
    condition = Condition()
    if organizations is not None:
        condition.one_of("organization_id", organizations)
    found = listing_of(tx, "api_key", condition, listing, ("label", "prefix"))
    return found.map(lambda rows: [_shown(row) for row in rows])


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new key, which is active from now on."""
    return tx.insert("api_key", {**values, "status": "active", "created_at": tx.now})


def change(tx: Transaction, key_id: int, changes: Mapping[str, Any]) -> None:
    """Change columns; with none given, nothing."""
    if changes:
        tx.update("api_key", key_id, changes)


def revoke(tx: Transaction, key_id: int) -> None:
    tx.update("api_key", key_id, {"status": "revoked"})


def end(tx: Transaction, key_id: int, at: Instant) -> None:
    """Let a key expire at this time."""
    tx.update("api_key", key_id, {"expires_at": at})


def _shown(row: Row) -> Row:
    del row["digest"]
    return row
