"""`/device-states`: what states devices have (spec/http-api.md section 4.5)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from aemos.errors import BadRequest, NotFound
from aemos.http.render import Answer, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import UNSET, Body, Name, UnsetType, given, row_id
from aemos.services.device_states import DeviceStates

Status = Literal["active", "inactive", "suspended"]
Value = Annotated[str, Meta(max_length=100)]


class NewState(Body):
    """Body of `POST /device-states/device/:deviceId`."""

    stateName: Name
    dataType: Name
    defaultValue: Value | None = None
    allowedValues: list[Value] | None = None


class StateChange(Body):
    """Body of `PATCH /device-states/:id`; null leaves the allowed values as they are (Compat)."""

    stateName: Name | UnsetType = UNSET
    dataType: Name | UnsetType = UNSET
    defaultValue: Value | UnsetType | None = UNSET
    allowedValues: list[Value] | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """@return: columns to change."""
        changes = given(self)
        if changes.get("allowedValues", ()) is None:
            del changes["allowedValues"]
        return changes


class DeviceStateRoutes:
    """States of the devices that the caller may see; `allowedValues` is JSON text everywhere."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/device-states",)

    def __init__(self, states: DeviceStates) -> None:
        self._states = states

    @route("GET", "/test", auth=Auth.OPEN)
    async def test(self, call: Call) -> Answer:
        """Tell that the routes are there."""
        return success(message="Device state routes are working")

    @route("GET", "/device/<device_id>", permission="device.view", data=["DeviceState"])
    async def list_of_device(self, call: Call, device_id: int) -> Answer:
        """List the states of a device."""
        return success(data=await self._states.of_device(call.principal, device_id))

    @route(
        "POST",
        "/device/<device_id>",
        permission="device.update",
        status=201,
        data="DeviceState",
        failures=(409,),
    )
    async def create(self, call: Call, device_id: str, body: NewState) -> Answer:
        """Make a state of a device."""
        number = _number("deviceId", device_id)
        return success(data=await self._states.create(call.principal, number, given(body)))

    @route("GET", "/<state_id>", permission="device.view", data="DeviceState")
    async def get(self, call: Call, state_id: int) -> Answer:
        """Show a state."""
        return success(data=await self._states.get(call.principal, state_id))

    @route(
        "PATCH",
        "/<state_id>",
        permission="device.update",
        permission_first=True,
        data="DeviceState",
        failures=(409,),
    )
    async def change(self, call: Call, state_id: str, body: StateChange) -> Answer:
        """Change a state."""
        number = _number("id", state_id)
        return success(data=await self._states.change(call.principal, number, body.changes()))

    @route("DELETE", "/<state_id>", permission="device.update")
    async def retire(self, call: Call, state_id: int) -> Answer:
        """Set a state inactive."""
        await self._states.retire(call.principal, state_id)
        return success(message="Device state deleted successfully")


def _number(name: str, text: str) -> int:
    """@raise BadRequest: not an id; these two routes say so, others do not find it."""
    try:
        return row_id(text)
    except NotFound:
        raise BadRequest(f'Invalid parameters: "{name}" must be a number') from None
