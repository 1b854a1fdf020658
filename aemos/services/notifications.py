"""What a user is notified of, and the tickets that come of it (docs/alarms.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aemos.errors import BadRequest, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.storage import notifications, users
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing
from aemos.storage.transaction import Row, Transaction

VIEW, HANDLE = "sensor.view", "sensor.update"
"""As for alarms, of which notifications tell."""


@attrs.define
class Notifications:
    """Notifications of the organizations in which the user holds sensor.view."""

    _database: Database

    async def listed(self, by: Principal, listing: Listing, *, unread: bool) -> Listed:
        """@param unread: only what `by` has not read. @return: rows with `readAt` for `by`."""
        scope = access.scope(by, VIEW)

        def read(tx: Transaction) -> Listed:
            return notifications.listed(tx, scope, by.id, listing, unread=unread)

        return await self._database.read(read)

    async def mark_read(self, by: Principal, notification_id: int) -> None:
        """@raise NotFound: there is none. @raise Forbidden: no sensor.view in its organization."""

        def write(tx: Transaction) -> None:
            _notification_for(tx, by, VIEW, notification_id)
            notifications.mark_read(tx, notification_id, by.id)

        await self._database.transact(write)

    async def mark_all_read(self, by: Principal) -> int:
        """@return: how many were new to `by`."""
        scope = access.scope(by, VIEW)
        return await self._database.transact(notifications.mark_all_read, scope, by.id)


@attrs.define
class Tickets:
    """Who sees to a notification; a ticket belongs to the organization of that.

    The methods raise `NotFound` for what is not there, `Forbidden` where the permission is lacking
    in its organization, and `BadRequest` for an assignee who is no member of that.
    """

    _database: Database

    async def listed(self, by: Principal, equal: Mapping[str, int], listing: Listing) -> Listed:
        """@param equal: values that columns of `Ticket` must have."""
        scope = access.scope(by, VIEW)
        return await self._database.read(notifications.tickets, scope, equal, listing)

    async def get(self, by: Principal, ticket_id: int) -> Row:
        """@return: the ticket."""
        return await self._database.read(_ticket_for, by, VIEW, ticket_id)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """@param values: columns of `Ticket`; `notificationId` must be there."""

        def write(tx: Transaction) -> Row:
            notification = _notification_for(tx, by, HANDLE, values["notificationId"])
            row = {**values, **_assigned(tx, values, notification["organizationId"])}
            return _ticket(tx, notifications.create_ticket(tx, row))

        return await self._database.transact(write)

    async def change(
        self, by: Principal, ticket_id: int, changes: Mapping[str, Any], *, acknowledge: bool
    ) -> Row:
        """@param acknowledge: note when it was acknowledged, if it was not yet."""

        def write(tx: Transaction) -> Row:
            before = _ticket_for(tx, by, HANDLE, ticket_id)
            row = {**changes, **_assigned(tx, changes, _owner(tx, before))}
            if acknowledge and before["acknowledgedAt"] is None:
                row["acknowledgedAt"] = tx.now
            notifications.change_ticket(tx, ticket_id, row)
            return _ticket(tx, ticket_id)

        return await self._database.transact(write)

    async def delete(self, by: Principal, ticket_id: int) -> None:
        """Delete a ticket; its notification stays."""

        def write(tx: Transaction) -> None:
            _ticket_for(tx, by, HANDLE, ticket_id)
            notifications.delete_ticket(tx, ticket_id)

        await self._database.transact(write)


def _notification_for(tx: Transaction, by: Principal, permission: str, notification_id: int) -> Row:
    row = notifications.find(tx, notification_id)
    if row is None:
        raise NotFound(f"Notification with ID {notification_id} not found")
    access.require(by, permission, row["organizationId"])
    return row


def _ticket(tx: Transaction, ticket_id: int) -> Row:
    row = notifications.find_ticket(tx, ticket_id)
    if row is None:
        raise NotFound(f"Ticket with ID {ticket_id} not found")
    return row


def _ticket_for(tx: Transaction, by: Principal, permission: str, ticket_id: int) -> Row:
    row = _ticket(tx, ticket_id)
    access.require(by, permission, _owner(tx, row))
    return row


def _owner(tx: Transaction, ticket: Row) -> int | None:
    number = ticket["notificationId"]
    notification = None if number is None else notifications.find(tx, number)
    return None if notification is None else notification["organizationId"]


def _assigned(tx: Transaction, values: Mapping[str, Any], owner: int | None) -> Row:
    """@return: the time of the assignment, if the values make one."""
    if "assignedTo" not in values:
        return {}
    user_id = values["assignedTo"]
    if user_id is None:
        return {"assignedAt": None}
    if owner is None or users.membership(tx, user_id, owner) is None:
        raise BadRequest('Invalid request body: "assignedTo" is no member of the organization')
    return {"assignedAt": tx.now}
