"""Ways to tell people something: the SQL of `notification_channel`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks


def find(tx: Transaction, channel_id: int) -> Row | None:
    return tx.one("SELECT * FROM notification_channel WHERE id = %s", (channel_id,))


def listed(tx: Transaction, organizations: Sequence[int] | None, listing: Listing) -> Listed:
    """@param organizations: None = of all."""
    condition = Condition()
    if organizations is not None:
        condition.one_of("organization_id", organizations)
    return listing_of(tx, "notification_channel", condition, listing, ("name", "kind"))


def create(tx: Transaction, values: Mapping[str, Any]) -> int:
    """@return: the id of the new channel."""
    stamps = {"created_at": tx.now, "updated_at": tx.now}
    return tx.insert("notification_channel", {**values, **stamps})


def change(tx: Transaction, channel_id: int, changes: Mapping[str, Any]) -> None:
    tx.update("notification_channel", channel_id, {**changes, "updated_at": tx.now})


def delete(tx: Transaction, channel_id: int) -> None:
    tx.delete("notification_channel", {"id": channel_id})


def of_organization(
    tx: Transaction, organization_id: int, channel_ids: Collection[int]
) -> set[int]:
    """@return: those of these channels that belong to the organization."""
    if not channel_ids:
        return set()
    rows = tx.all(
        "SELECT id FROM notification_channel WHERE organization_id = %s"
        f" AND id IN ({marks(channel_ids)})",
        (organization_id, *channel_ids),
    )
    return {row["id"] for row in rows}


def for_system(tx: Transaction, organization_id: int) -> list[int]:
    """@return: the channels that want to hear of alarms without a definition."""
    rows = tx.all(
        "SELECT id FROM notification_channel WHERE organization_id = %s AND system_alarms = 1",
        (organization_id,),
    )
    return [row["id"] for row in rows]
