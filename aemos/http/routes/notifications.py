"""`/notifications` and `/tickets`: what a user is told, and who sees to it (docs/alarms.rst)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import UNSET, Body, Id, UnsetType, given
from aemos.services.notifications import HANDLE, VIEW, Notifications, Tickets

Comment = Annotated[str, Meta(max_length=10_000)]


class NotificationQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?unread=true`, and which of them; without `sort` the newest come first."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "title", "severity")

    unread: bool = False
    sort: str = "-id"


class TicketQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?notificationId=&assignedTo=`; without `sort` the newest come first."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "createdAt", "assignedAt", "acknowledgedAt")

    notificationId: Id | None = None
    assignedTo: Id | None = None
    sort: str = "-id"


class NewTicket(Body):
    """Body of `POST /tickets`."""

    notificationId: Id
    assignedTo: Id | UnsetType | None = UNSET
    comment: Comment | UnsetType | None = UNSET


class TicketChange(Body):
    """Body of `PATCH /tickets/:id`; `acknowledged` notes the time once."""

    assignedTo: Id | UnsetType | None = UNSET
    comment: Comment | UnsetType | None = UNSET
    acknowledged: bool = False


class NotificationRoutes:
    """Notifications of the caller's organizations, and what of them the caller has read."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/notifications",)

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    @route("GET", "", permission=VIEW, data={"notifications": ["Notification"]})
    async def list_all(self, call: Call, query: NotificationQuery) -> Answer:
        """List notifications, each with `readAt` for the caller."""
        found = await self._notifications.listed(
            call.principal, query.listing(), unread=query.unread
        )
        return listed("notifications", found)

    @route("POST", "/read", permission=VIEW, data={"read": int})
    async def mark_all_read(self, call: Call) -> Answer:
        """Note that the caller has read all of them."""
        count = await self._notifications.mark_all_read(call.principal)
        return success(data={"read": count})

    @route("POST", "/<notification_id>/read", permission=VIEW, status=204)
    async def mark_read(self, call: Call, notification_id: int) -> Answer:
        """Note that the caller has read a notification; the first time counts."""
        await self._notifications.mark_read(call.principal, notification_id)
        return Answer()


class TicketRoutes:
    """Tickets of the caller's organizations."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/tickets",)

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    @route("GET", "", permission=VIEW, data={"tickets": ["Ticket"]})
    async def list_all(self, call: Call, query: TicketQuery) -> Answer:
        """List tickets."""
        equal = {
            name: value
            for name in ("notificationId", "assignedTo")
            if (value := getattr(query, name)) is not None
        }
        return listed("tickets", await self._tickets.listed(call.principal, equal, query.listing()))

    @route("POST", "", permission=HANDLE, status=201, data={"ticket": "Ticket"})
    async def create(self, call: Call, body: NewTicket) -> Answer:
        """Make a ticket for a notification."""
        return success(data={"ticket": await self._tickets.create(call.principal, given(body))})

    @route("GET", "/<ticket_id>", permission=VIEW, data={"ticket": "Ticket"})
    async def get(self, call: Call, ticket_id: int) -> Answer:
        """Show a ticket."""
        return success(data={"ticket": await self._tickets.get(call.principal, ticket_id)})

    @route("PATCH", "/<ticket_id>", permission=HANDLE, data={"ticket": "Ticket"})
    async def change(self, call: Call, ticket_id: int, body: TicketChange) -> Answer:
        """Assign a ticket, comment it, or acknowledge it."""
        changes = given(body)
        acknowledge = changes.pop("acknowledged")
        row = await self._tickets.change(
            call.principal, ticket_id, changes, acknowledge=acknowledge
        )
        return success(data={"ticket": row})

    @route("DELETE", "/<ticket_id>", permission=HANDLE, status=204)
    async def delete(self, call: Call, ticket_id: int) -> Answer:
        """Delete a ticket; its notification stays."""
        await self._tickets.delete(call.principal, ticket_id)
        return Answer()
