"""`/alarms`: what is going on, and what people do about it (docs/alarms.rst)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import attrs
from msgspec import Meta

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import Body, Id
from aemos.services.alarms.lifecycle import HANDLE, VIEW, Alarms

Comment = Annotated[str, Meta(max_length=1000)]

_FILTERS = {
    "state": "state",
    "severity": "severity",
    "sensorId": "sensor_id",
    "areaId": "area_id",
    "definitionId": "definition_id",
}
"""Keys of the query, and the columns that they name."""
_SORTED = {"raisedAt": "raised_at", "clearedAt": "cleared_at"}


class AlarmQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """Which alarms: `?state=&severity=&sensorId=&areaId=&definitionId=&organizationId=...`."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "severity", "state", *_SORTED)

    organizationId: Id | None = None
    state: Literal["active", "acknowledged", "cleared", ""] = ""
    severity: Literal["info", "warning", "critical", ""] = ""
    sensorId: Id | None = None
    areaId: Id | None = None
    definitionId: Id | None = None
    sort: str = "-id"

    def equal(self) -> dict[str, int | str]:
        """@return: values that columns of `alarm` must have."""
        return {
            column: value
            for name, column in _FILTERS.items()
            if (value := getattr(self, name)) not in (None, "")
        }


class Remark(Body):
    """What may be said with a step."""

    comment: Comment = ""


class NewComment(Body):
    """Body of `POST /alarms/:id/comment`."""

    comment: Annotated[str, Meta(min_length=1, max_length=1000)]


class Assignment(Body):
    """Body of `POST /alarms/:id/assign`; null = nobody."""

    userId: Id | None
    comment: Comment = ""


class AlarmRoutes:
    """Alarms of the caller's organizations."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/alarms",)

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    @route("GET", "", permission=VIEW, data={"alarms": [{}]})
    async def list_all(self, call: Call, query: AlarmQuery) -> Answer:
        """List alarms; without `sort` the newest come first."""
        listing = query.listing()
        listing = attrs.evolve(listing, sort=_SORTED.get(listing.sort, listing.sort))
        found = await self._alarms.listed(
            call.principal, query.organizationId, query.equal(), listing
        )
        return listed("alarms", found)

    @route("GET", "/<alarm_id>", permission=VIEW, data={"alarm": {}})
    async def get(self, call: Call, alarm_id: int) -> Answer:
        """Show an alarm with its history as `events`."""
        return success(data={"alarm": await self._alarms.get(call.principal, alarm_id)})

    @route("POST", "/<alarm_id>/acknowledge", permission=HANDLE, data={"alarm": {}})
    async def acknowledge(self, call: Call, alarm_id: int, body: Remark) -> Answer:
        """Take notice of an alarm, so that nobody further is told."""
        row = await self._alarms.acknowledge(call.principal, alarm_id, body.comment)
        return success(data={"alarm": row})

    @route("POST", "/<alarm_id>/comment", permission=HANDLE, data={"alarm": {}})
    async def comment(self, call: Call, alarm_id: int, body: NewComment) -> Answer:
        """Add to the history of an alarm."""
        row = await self._alarms.comment(call.principal, alarm_id, body.comment)
        return success(data={"alarm": row})

    @route("POST", "/<alarm_id>/assign", permission=HANDLE, data={"alarm": {}})
    async def assign(self, call: Call, alarm_id: int, body: Assignment) -> Answer:
        """Say which member of the organization sees to an alarm."""
        row = await self._alarms.assign(call.principal, alarm_id, body.userId, body.comment)
        return success(data={"alarm": row})

    @route("POST", "/<alarm_id>/clear", permission=HANDLE, data={"alarm": {}})
    async def clear(self, call: Call, alarm_id: int, body: Remark) -> Answer:
        """End an alarm by hand; it comes again when its condition was false in between."""
        row = await self._alarms.clear(call.principal, alarm_id, body.comment)
        return success(data={"alarm": row})
