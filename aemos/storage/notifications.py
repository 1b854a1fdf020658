"""Notifications, who has read them, and tickets: the SQL of `Notification` and `Ticket`.

Source: spec/data-model.md section 2. When and by what a notification was made is beside it, in
`notification_origin`; those of an adopted database have no such row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.model import Instant
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 500  # values in one IN (...)


def find(tx: Transaction, notification_id: int) -> Row | None:
    return tx.one("SELECT * FROM Notification WHERE id = %s", (notification_id,))


def put(tx: Transaction, values: Mapping[str, Any], alarm_id: int) -> None:
    """Make a notification. @param values: columns of `Notification`."""
    notification_id = tx.insert("Notification", values)
    origin = {"notification_id": notification_id, "alarm_id": alarm_id, "created_at": tx.now}
    tx.insert("notification_origin", origin)


def listed(
    tx: Transaction,
    organizations: Sequence[int] | None,
    user_id: int,
    listing: Listing,
    *,
    unread: bool,
) -> Listed:
    """@param organizations: None = of all. @param unread: only what this user has not read.

    @return: rows with `alarmId`, `createdAt` and `readAt`, null where that is not known.
    """
    condition = _of_organizations(organizations)
    if unread:
        condition.add(
            "id NOT IN (SELECT notification_id FROM notification_read WHERE user_id = %s)", user_id
        )
    found = listing_of(tx, "Notification", condition, listing, ("title", "insight"))
    return found.map(lambda rows: _with_marks(tx, rows, user_id))


def _with_marks(tx: Transaction, rows: Sequence[Row], user_id: int) -> list[Row]:
    ids = [row["id"] for row in rows]
    origins: dict[int, Row] = {}
    read: dict[int, Instant] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        for row in tx.all(
            f"SELECT * FROM notification_origin WHERE notification_id IN ({marks(part)})", part
        ):
            origins[row["notification_id"]] = row
        for row in tx.all(
            "SELECT notification_id, read_at FROM notification_read WHERE user_id = %s"
            f" AND notification_id IN ({marks(part)})",
            (user_id, *part),
        ):
            read[row["notification_id"]] = row["read_at"]
    return [
        {
            **row,
            "alarmId": origins.get(row["id"], {}).get("alarm_id"),
            "createdAt": origins.get(row["id"], {}).get("created_at"),
            "readAt": read.get(row["id"]),
        }
        for row in rows
    ]


def mark_read(tx: Transaction, notification_id: int, user_id: int) -> None:
    """This user has read it; the first time counts."""
    found = tx.value(
        "SELECT user_id FROM notification_read WHERE notification_id = %s AND user_id = %s",
        (notification_id, user_id),
    )
    if found is None:
        values = {"notification_id": notification_id, "user_id": user_id, "read_at": tx.now}
        tx.insert("notification_read", values)


def mark_all_read(tx: Transaction, organizations: Sequence[int] | None, user_id: int) -> int:
    """@param organizations: None = of all. @return: how many were new to the user."""
    condition = _of_organizations(organizations)
    return tx.execute(
        "INSERT INTO notification_read (notification_id, user_id, read_at)"
        f" SELECT id, %s, %s FROM Notification WHERE {condition.sql} AND id NOT IN"
        " (SELECT notification_id FROM notification_read WHERE user_id = %s)",
        (user_id, tx.now, *condition.params, user_id),
    )


def prune(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget notifications that alarms made before, with their tickets. @return: how many."""
    rows = tx.all(
        "SELECT notification_id FROM notification_origin WHERE created_at < %s LIMIT %s",
        (before, limit),
    )
    ids = tuple(row["notification_id"] for row in rows)
    return tx.execute(f"DELETE FROM Notification WHERE id IN ({marks(ids)})", ids) if ids else 0


def find_ticket(tx: Transaction, ticket_id: int) -> Row | None:
    return tx.one("SELECT * FROM Ticket WHERE id = %s", (ticket_id,))


def tickets(
    tx: Transaction,
    organizations: Sequence[int] | None,
    equal: Mapping[str, int],
    listing: Listing,
) -> Listed:
    """@param organizations: None = of all. @param equal: values that columns must have."""
    condition = Condition()
    if organizations is not None:
        owned = _of_organizations(organizations)
        condition.add(
            f"notificationId IN (SELECT id FROM Notification WHERE {owned.sql})", *owned.params
        )
    for column, value in equal.items():
        condition.add(f"{column} = %s", value)
    return listing_of(tx, "Ticket", condition, listing, ("comment",))


def create_ticket(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new ticket."""
    return tx.insert("Ticket", {**values, "createdAt": tx.now})


def change_ticket(tx: Transaction, ticket_id: int, changes: Mapping[str, Any]) -> None:
    if changes:
        tx.update("Ticket", ticket_id, changes)


def delete_ticket(tx: Transaction, ticket_id: int) -> None:
    tx.delete("Ticket", {"id": ticket_id})


def _of_organizations(organizations: Sequence[int] | None) -> Condition:
    condition = Condition()
    if organizations is not None:
        condition.one_of("organizationId", organizations)
    return condition
