"""Notification channels and the log of what they have told (docs/alarms.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aemos.errors import NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.alarms.deliveries import Deliveries
from aemos.services.alarms.shown import shown
from aemos.services.alarms.targets import Target, check, shown_target, stored
from aemos.storage import deliveries, notification_channels, organizations
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing
from aemos.storage.transaction import Row, Transaction

VIEW, MANAGE = "organization.view", "organization.update"
"""Permissions to see the channels of an organization, and to change them."""


@attrs.define
class Channels:
    """Lists, makes, changes, deletes and tries channels. Their secrets are never shown.

    The methods raise `NotFound` for what is not there and `Forbidden` where the permission is
    lacking in its organization.
    """

    _database: Database
    _deliveries: Deliveries

    async def listed(self, by: Principal, organization_id: int | None, listing: Listing) -> Listed:
        """@param organization_id: None = those of all that `by` may see."""
        scope = _scope(by, organization_id)
        found: Listed = await self._database.read(notification_channels.listed, scope, listing)
        return found.map(lambda rows: [_shown(row) for row in rows])

    async def get(self, by: Principal, channel_id: int) -> Row:
        """@return: the channel."""
        return _shown(await self._database.read(_channel_for, by, VIEW, channel_id))

    async def create(self, by: Principal, values: Mapping[str, Any], target: Target) -> Row:
        """@param values: columns of `notification_channel`.

        @raise BadRequest: the target makes no sense.
        """
        access.require(by, MANAGE, values["organization_id"])
        check(target)

        def write(tx: Transaction) -> Row:
            if organizations.find(tx, values["organization_id"]) is None:
                raise NotFound(f"Organization with ID {values['organization_id']} not found")
            number = notification_channels.create(tx, {**values, **stored(target)})
            return _existing(tx, number)

        return _shown(await self._database.transact(write))

    async def change(
        self, by: Principal, channel_id: int, changes: Mapping[str, Any], target: Target | None
    ) -> Row:
        """@param target: a new one; None = the old one stays. @raise BadRequest: as `create`."""
        if target is not None:
            check(target)

        def write(tx: Transaction) -> Row:
            row = _channel_for(tx, by, MANAGE, channel_id)
            new = {**changes, **({} if target is None else stored(target, row))}
            if new:
                notification_channels.change(tx, channel_id, new)
            return _existing(tx, channel_id)

        return _shown(await self._database.transact(write))

    async def delete(self, by: Principal, channel_id: int) -> None:
        """Delete a channel with its log; steps of definitions that name it tell nobody then."""

        def write(tx: Transaction) -> None:
            _channel_for(tx, by, MANAGE, channel_id)
            notification_channels.delete(tx, channel_id)

        await self._database.transact(write)

    async def test(self, by: Principal, channel_id: int) -> Row:
        """Send something for trial. @return: the delivery; its log tells what becomes of it."""

        def write(tx: Transaction) -> Row:
            channel = _channel_for(tx, by, MANAGE, channel_id)
            owner = channel["organization_id"]
            content = {
                "type": "notification",
                "change": "test",
                "subject": f"[TEST] {channel['name']}",
                "text": f"[TEST] {channel['name']}: if you read this, the channel works",
                "organizationId": owner,
                "alarm": None,
                "timestamp": tx.now.iso(),
            }
            values = {
                "organization_id": owner,
                "channel_id": channel_id,
                "purpose": "test",
                "content": content,
            }
            number = deliveries.put(tx, values, tx.now)
            return {**(deliveries.find(tx, number) or {})}

        row = await self._database.transact(write)
        self._deliveries.soon()
        return shown("delivery", row)

    async def log(
        self,
        by: Principal,
        organization_id: int | None,
        equal: Mapping[str, int | str],
        listing: Listing,
    ) -> Listed:
        """@param equal: values that columns of `delivery` must have. @return: deliveries."""
        scope = _scope(by, organization_id)
        found: Listed = await self._database.read(deliveries.listed, scope, equal, listing)
        return found.map(lambda rows: [shown("delivery", row) for row in rows])


def _scope(by: Principal, organization_id: int | None) -> list[int] | None:
    if organization_id is None:
        access.require_somewhere(by, VIEW)
        return access.scope(by, VIEW)
    access.require(by, VIEW, organization_id)
    return [organization_id]


def _shown(row: Row) -> Row:
    shown_row = shown("notification_channel", row)
    del shown_row["config"]
    return {**shown_row, "target": shown_target(row)}


def _existing(tx: Transaction, channel_id: int) -> Row:
    row = notification_channels.find(tx, channel_id)
    if row is None:
        raise NotFound(f"Notification channel with ID {channel_id} not found")
    return row


def _channel_for(tx: Transaction, by: Principal, permission: str, channel_id: int) -> Row:
    row = _existing(tx, channel_id)
    access.require(by, permission, row["organization_id"])
    return row
