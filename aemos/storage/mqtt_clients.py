"""`mqtt_client` rows: what is remembered of each MQTT client, connected or gone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from aemos.storage.identities import owned
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction

_TABLE = "mqtt_client"


def digest(principal: str, client_id: str) -> bytes:
    """@return: what names a client among all: 16 bytes of principal key and client id."""
    return hashlib.blake2b(f"{principal}\0{client_id}".encode(), digest_size=16).digest()


def save(tx: Transaction, records: Mapping[bytes, Mapping[str, Any]]) -> None:
    """Write records by their digest, in place of older ones of the same clients."""
    for key, values in records.items():
        tx.upsert(_TABLE, ["digest"], {"digest": key, **values})


def listed(
    tx: Transaction,
    organizations: Sequence[int] | None,
    listing: Listing,
    *,
    connected: bool | None = None,
    name: str = "",
) -> Listed:
    """@param organizations: whose sensors and devices; None = every client there is.

    @param connected: only those that are, or are not; None = both.
    @param name: only clients that signed in as this uuid or e-mail; "" = all.
    """
    condition = _of(organizations)
    if connected is not None:
        condition.add(f"disconnected_at IS {'NULL' if connected else 'NOT NULL'}")
    if name:
        condition.add("name = %s", name)
    return listing_of(tx, _TABLE, condition, listing, ("client_id", "name", "peer"))


def find(tx: Transaction, client: int, organizations: Sequence[int] | None) -> Row | None:
    """@param organizations: as for `listed`."""
    condition = _of(organizations)
    condition.add("id = %s", client)
    return tx.one(f"SELECT * FROM {_TABLE} WHERE {condition.sql}", condition.params)


def close_all(tx: Transaction, reason: str) -> int:
    """Note that all who were connected are gone by now. @return: how many there were."""
    return tx.execute(
        f"UPDATE {_TABLE} SET disconnected_at = %s, disconnect_reason = %s"
        " WHERE disconnected_at IS NULL",
        (tx.now, reason),
    )


def prune(tx: Transaction, keep: int) -> int:
    """Delete the records of those gone longest, beyond `keep` in all. @return: how many."""
    excess = int(tx.value(f"SELECT COUNT(*) FROM {_TABLE}")) - keep
    if excess <= 0:
        return 0
    last = tx.value(
        f"SELECT disconnected_at FROM {_TABLE} WHERE disconnected_at IS NOT NULL"
        " ORDER BY disconnected_at LIMIT 1 OFFSET %s",
        (excess - 1,),
    )
    if last is None:
        return 0
    return tx.execute(f"DELETE FROM {_TABLE} WHERE disconnected_at <= %s", (last,))


def _of(organizations: Sequence[int] | None) -> Condition:
    condition = Condition()
    if organizations is not None:
        # No user is called like a device: e-mail addresses have an @.
        sql, params = owned("name", organizations)
        condition.add(sql, *params)
    return condition
