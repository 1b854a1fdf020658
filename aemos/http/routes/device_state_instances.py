"""`/device-state-instances`: what states are and were at (spec/http-api.md section 4.6)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from aemos.http.render import Answer, success
from aemos.http.routing import Call, route
from aemos.http.schemas import Body, FreeQuery, Guid, Name
from aemos.services.command_form import Limit
from aemos.services.state_changes import StateChanges


class NewInstance(Body):
    """Body of `POST /device-state-instances`.

    After `maxOn` seconds the state has to be at `off`, or at its default value.
    """

    deviceUuid: Guid
    stateName: Name
    value: Annotated[str, Meta(min_length=1, max_length=100)]
    initiatedBy: Literal["user", "device", "system", "rule"] = "user"
    maxOn: float | None = None
    off: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class Newest(FreeQuery):
    """`?limit=`: how many instances."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 10


class DeviceStateInstanceRoutes:
    """Values of the states of devices that the caller may see."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/device-state-instances",)

    def __init__(self, changes: StateChanges) -> None:
        self._changes = changes

    @route(
        "POST",
        "",
        permission="device.update",
        permission_first=True,
        status=201,
        data="DeviceStateInstance",
        failures=(404,),
    )
    async def create(self, call: Call, body: NewInstance) -> Answer:
        """Give a state of a device a new value."""
        row = await self._changes.set_by_name(
            call.principal,
            body.deviceUuid,
            body.stateName,
            body.value,
            body.initiatedBy,
            Limit.of(body.maxOn, body.off),
        )
        return success(data=row)

    @route("GET", "/current/<state_id>", permission="device.view", data="DeviceStateInstance")
    async def current(self, call: Call, state_id: int) -> Answer:
        """Show the value that a state has now; null if it never had one."""
        return success(data=await self._changes.current(call.principal, state_id))

    @route("GET", "/history/<state_id>", permission="device.view", data=["DeviceStateInstance"])
    async def history(self, call: Call, state_id: int, query: Newest) -> Answer:
        """List the values that a state had, newest first."""
        return success(data=await self._changes.history(call.principal, state_id, query.limit))
