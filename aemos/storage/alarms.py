"""Alarms and what happened to them: the SQL of `alarm` and `alarm_event`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aemos.model import Instant
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

ACTIVE, ACKNOWLEDGED, CLEARED = "active", "acknowledged", "cleared"


def find(tx: Transaction, alarm_id: int) -> Row | None:
    return tx.one("SELECT * FROM alarm WHERE id = %s", (alarm_id,))


def find_open(tx: Transaction, key: str) -> Row | None:
    """@return: the alarm of this key that is not cleared; there is one at most."""
    return tx.one(
        f"SELECT * FROM alarm WHERE open_key = %s{tx.dialect.for_update}",
        (key,),
    )


def listed(
    tx: Transaction,
    organizations: Sequence[int] | None,
    equal: Mapping[str, int | str],
    listing: Listing,
) -> Listed:
    """@param organizations: None = of all. @param equal: values that columns must have."""
    condition = Condition()
    if organizations is not None:
        condition.one_of("organization_id", organizations)
    for column, value in equal.items():
        condition.add(f"{column} = %s", value)
    return listing_of(tx, "alarm", condition, listing, ("name", "message", "uuid"))


def events(tx: Transaction, alarm_id: int) -> list[Row]:
    """@return: what happened to an alarm, the oldest first."""
    return tx.all("SELECT * FROM alarm_event WHERE alarm_id = %s ORDER BY id", (alarm_id,))


def create(tx: Transaction, key: str, values: Mapping[str, Any]) -> Row:
    """@return: the new alarm, which is active. @raise DuplicateRow: one of this key is open."""
    row = {**values, "alarm_key": key, "open_key": key, "state": ACTIVE}
    return _found(tx, tx.insert("alarm", row))


def change(tx: Transaction, alarm_id: int, changes: Mapping[str, Any]) -> Row:
    """@return: the alarm as it is then."""
    tx.update("alarm", alarm_id, changes)
    return _found(tx, alarm_id)


def note(
    tx: Transaction,
    alarm_id: int,
    kind: str,
    at: Instant,
    comment: str = "",
    user: tuple[int, str] | None = None,
) -> None:
    """Add to the history of an alarm. @param user: id and name of who did it; None = the server."""
    user_id, user_name = user or (None, None)
    tx.insert(
        "alarm_event",
        {
            "alarm_id": alarm_id,
            "at": at,
            "kind": kind,
            "user_id": user_id,
            "user_name": user_name,
            "comment": comment or None,
        },
    )


def open_of(tx: Transaction, definition_ids: Collection[int], uuids: Collection[str]) -> list[Row]:
    """@return: the open alarms of these definitions, and those at the sensors of these uuids."""
    condition = Condition()
    if definition_ids:
        condition.add(f"definition_id IN ({marks(definition_ids)})", *definition_ids)
    if uuids:
        condition.add(f"uuid IN ({marks(uuids)})", *uuids)
    if not condition.parts:
        return []
    return tx.all(
        "SELECT * FROM alarm WHERE open_key IS NOT NULL AND definition_id IS NOT NULL"
        f" AND ({' OR '.join(condition.parts)})",
        condition.params,
    )


def dismissed(
    tx: Transaction, definition_ids: Collection[int], since: Instant
) -> dict[str, Instant]:
    """@return: key -> when a user last cleared an alarm of it, for these definitions."""
    if not definition_ids:
        return {}
    rows = tx.all(
        "SELECT alarm_key, MAX(cleared_at) AS cleared_at FROM alarm WHERE cleared_at >= %s"
        f" AND cleared_by IS NOT NULL AND definition_id IN ({marks(definition_ids)})"
        " GROUP BY alarm_key",
        (since, *definition_ids),
    )
    return {row["alarm_key"]: row["cleared_at"] for row in rows}


def prune(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget alarms that were cleared before, with their history. @return: how many."""
    rows = tx.all("SELECT id FROM alarm WHERE cleared_at < %s LIMIT %s", (before, limit))
    ids = tuple(row["id"] for row in rows)
    return tx.execute(f"DELETE FROM alarm WHERE id IN ({marks(ids)})", ids) if ids else 0


def _found(tx: Transaction, alarm_id: int) -> Row:
    row = find(tx, alarm_id)
    if row is None:
        raise LookupError(f"alarm {alarm_id} is gone")
    return row
