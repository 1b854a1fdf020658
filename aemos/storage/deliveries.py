"""What is to be told by which channel, when, and what became of it: the SQL of `delivery`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aemos.model import Instant
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

WAITING, SENDING, SENT, FAILED, CANCELLED = "waiting", "sending", "sent", "failed", "cancelled"


def find(tx: Transaction, delivery_id: int) -> Row | None:
    return tx.one("SELECT * FROM delivery WHERE id = %s", (delivery_id,))


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
    return listing_of(tx, "delivery", condition, listing, ("detail",))


def put(tx: Transaction, values: Mapping[str, Any], due_at: Instant) -> int:
    """@param values: `organization_id`, `channel_id`, `alarm_id`, `purpose` and `content`.

    @return: the id of the new delivery.
    """
    return tx.insert(
        "delivery",
        {**values, "state": WAITING, "attempts": 0, "due_at": due_at, "created_at": tx.now},
    )


def claim(tx: Transaction, lease: int) -> Row | None:
    """Take what has been due for longest; for `lease` milliseconds nobody else does.

    @return: the delivery, its `attempts` including this one.
    """
    row = tx.one(
        "SELECT * FROM delivery WHERE state IN (%s, %s) AND due_at <= %s"
        f" ORDER BY due_at, id LIMIT 1{tx.dialect.for_update}",
        (WAITING, SENDING, tx.now),
    )
    if row is None:
        return None
    changes = {
        "state": SENDING,
        "attempts": row["attempts"] + 1,
        "due_at": Instant(tx.now + lease),
    }
    tx.update("delivery", row["id"], changes)
    return {**row, **changes}


def sent(tx: Transaction, delivery_id: int, detail: str) -> None:
    """It has arrived."""
    changes = {"state": SENT, "sent_at": tx.now, "detail": detail[:500]}
    tx.update("delivery", delivery_id, changes)


def failed(tx: Transaction, delivery_id: int, detail: str) -> None:
    """It will not be tried again."""
    tx.update("delivery", delivery_id, {"state": FAILED, "detail": detail[:500]})


def postpone(tx: Transaction, delivery_id: int, pause: int, detail: str) -> None:
    """Try it again in so many milliseconds."""
    changes = {"state": WAITING, "due_at": Instant(tx.now + pause), "detail": detail[:500]}
    tx.update("delivery", delivery_id, changes)


def cancel(tx: Transaction, alarm_id: int) -> None:
    """What is not on its way yet about an alarm is of no use any more."""
    tx.execute(
        "UPDATE delivery SET state = %s WHERE alarm_id = %s AND state = %s",
        (CANCELLED, alarm_id, WAITING),
    )


def told(tx: Transaction, alarm_id: int) -> list[int]:
    """@return: the channels that have heard of an alarm, or are about to."""
    rows = tx.all(
        "SELECT DISTINCT channel_id FROM delivery WHERE alarm_id = %s AND state IN (%s, %s)"
        " ORDER BY channel_id",
        (alarm_id, SENT, SENDING),
    )
    return [row["channel_id"] for row in rows]


def prune(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget deliveries that were made before. @return: how many."""
    rows = tx.all("SELECT id FROM delivery WHERE created_at < %s LIMIT %s", (before, limit))
    ids = tuple(row["id"] for row in rows)
    return tx.execute(f"DELETE FROM delivery WHERE id IN ({marks(ids)})", ids) if ids else 0
