"""`/presence`: which sensors and devices are there (docs/devices.rst)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import FreeQuery, Id
from aemos.services.presence import Presences
from aemos.storage.listing import MAX_ROWS
from aemos.storage.presence import Wanted


class ThingList(FreeQuery):
    """Which sensors and devices a list shows."""

    presence: Literal["online", "late", "silent", "offline", ""] = ""
    kind: Literal["sensor", "device", ""] = ""
    organizationId: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_ROWS)] | None = None
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


class PresenceRoutes:
    """Presence of what the caller may view: sensors by sensor.view, devices by device.view."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/presence",)

    def __init__(self, presences: Presences) -> None:
        self._presences = presences

    @route("GET", "", data={"organizations": []})
    async def summary(self, call: Call) -> Answer:
        """Count the sensors and devices of each organization by their presence."""
        counts = await self._presences.summary(call.principal)
        return success(results=len(counts), data={"organizations": counts})

    @route("GET", "/things", data={"things": []})
    async def list_things(self, call: Call, query: ThingList) -> Answer:
        """List sensors and devices with their presence."""
        wanted = Wanted(query.presence, query.kind, query.organizationId, query.limit, query.offset)
        return listed("things", await self._presences.listed(call.principal, wanted))
