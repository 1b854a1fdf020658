"""`/devices`: parse, ask the service, render (spec/http-api.md section 4.4)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from aemos.errors import BadRequest
from aemos.http.lists import ListQuery
from aemos.http.render import Answer, Shape, listed, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import (
    UNSET,
    BlankOrGuid,
    Body,
    FreeQuery,
    Id,
    Name,
    OfOrganization,
    Short,
    UnsetType,
    given,
)
from aemos.model import PrincipalKind
from aemos.services.command_form import Limit
from aemos.services.devices import Devices
from aemos.services.state_changes import StateChanges
from aemos.services.tokens import DeviceTokens, Holder

Status = Literal["active", "inactive", "pending", "maintenance", "faulty", "retired"]
DeviceType = Literal["actuator", "controller", "gateway", "sensor_hub", "hybrid"]
Protocol = Literal["wifi", "ble", "lorawan", "zigbee", "modbus", "mqtt", "http", "coap"]
ControlType = Literal["binary", "percentage", "multistate", "custom"]
ControlModes = Annotated[str, Meta(max_length=100)]
StateValue = Annotated[str, Meta(min_length=1, max_length=100)]

_DROPPED = ("controlType", "minValue", "maxValue")  # Compat: accepted, and stored nowhere


class InOrganization(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?organizationId=&areaId=`, and which of them."""

    sortable: ClassVar[tuple[str, ...]] = (
        "id",
        "name",
        "status",
        "deviceType",
        "lastHeartbeat",
        "createdAt",
        "updatedAt",
    )

    organizationId: Id
    status: Status | Literal[""] = ""
    areaId: Id | None = None


class MaybeOfOrganization(FreeQuery):
    """`?organizationId=`: which organization the caller says owns the device."""

    organizationId: Id | None = None


class _Details(Body):
    """What the bodies of `POST` and `PATCH` share."""

    organizationId: Id
    description: str | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    uuid: BlankOrGuid | UnsetType | None = UNSET
    deviceType: DeviceType | UnsetType = UNSET
    controlType: ControlType | UnsetType = UNSET
    minValue: float | UnsetType | None = UNSET
    maxValue: float | UnsetType | None = UNSET
    defaultState: Short | UnsetType | None = UNSET
    communicationProtocol: Protocol | UnsetType | None = UNSET
    isCritical: bool | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    capabilities: dict[str, Any] | UnsetType | None = UNSET
    areaId: Id | UnsetType | None = UNSET
    controlModes: ControlModes | UnsetType | None = UNSET

    def columns(self) -> dict[str, Any]:
        """@return: as the service takes them."""
        return {name: value for name, value in given(self).items() if name not in _DROPPED}


class NewDevice(_Details, kw_only=True):
    """Body of `POST /devices`."""

    name: Name


class DeviceChange(_Details, kw_only=True):
    """Body of `PATCH /devices/:id`; an empty or null uuid and a null area count as not sent."""

    name: Name | UnsetType = UNSET


class NewToken(Struct, kw_only=True):
    """Body of `POST /devices/token`; unknown keys are ignored, as before."""

    sensorId: Id | None = None


class NewValue(Body):
    """Body of `PATCH /devices/:id/states/:stateId`; the device decides which organization.

    After `maxOn` seconds the state has to be at `off`, or at its default value.
    """

    value: StateValue
    organizationId: Id | None = None
    maxOn: float | None = None
    off: StateValue | None = None


class DeviceRoutes:
    """Devices of one organization."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/devices",)

    def __init__(self, devices: Devices, changes: StateChanges, tokens: DeviceTokens) -> None:
        self._devices, self._changes, self._tokens = devices, changes, tokens

    @route("GET", "/test", auth=Auth.OPEN)
    async def test(self, call: Call) -> Answer:
        """Tell that the routes are there."""
        return success(message="Device routes are working")

    @route("GET", "/token-test", auth=Auth.OPEN)
    async def token_test(self, call: Call) -> Answer:
        """Tell that the route for tokens is there."""
        return success(message="Device token route is working")

    @route("GET", "", permission="device.view", data={"devices": ["Device"]})
    async def list_all(self, call: Call, query: InOrganization) -> Answer:
        """List the devices of an organization, or of one of its areas, with their states."""
        found = await self._devices.listed(
            call.principal, query.organizationId, query.areaId, query.listing()
        )
        return listed("devices", found)

    @route("POST", "", permission="device.create", status=201, data={"device": "Device"})
    async def create(self, call: Call, body: NewDevice) -> Answer:
        """Make a device."""
        row = await self._devices.create(call.principal, body.columns())
        return success(data={"device": row})

    @route("POST", "/token", status=201, errors=Shape.E2, data={"token": str, "sensorId": int})
    async def create_token(self, call: Call, body: NewToken) -> Answer:
        """Make a token for a sensor; this answer is the only one that shows it."""
        if body.sensorId is None:
            raise BadRequest("sensorId is required")
        row = await self._tokens.create(call.principal, Holder(PrincipalKind.SENSOR, body.sensorId))
        return success(data={"token": row["token"], "sensorId": row["sensorId"]})

    @route("GET", "/<device_id>", permission="device.view", data={"device": "Device"})
    async def get(self, call: Call, device_id: int, query: OfOrganization) -> Answer:
        """Show a device with its states."""
        row = await self._devices.get(call.principal, device_id, query.organizationId)
        return success(data={"device": row})

    @route("PATCH", "/<device_id>", permission="device.update", data={"device": "Device"})
    async def change(self, call: Call, device_id: int, body: DeviceChange) -> Answer:
        """Change a device."""
        changes = body.columns()
        stated = changes.pop("organizationId")
        row = await self._devices.change(call.principal, device_id, stated, changes)
        return success(data={"device": row})

    @route("DELETE", "/<device_id>", permission="device.delete", status=204)
    async def retire(self, call: Call, device_id: int, query: OfOrganization) -> Answer:
        """Set a device inactive."""
        await self._devices.retire(call.principal, device_id, query.organizationId)
        return Answer()

    @route(
        "PATCH",
        "/<device_id>/states/<state_id>",
        permission="device.update",
        data="DeviceStateInstance",
    )
    async def set_state(self, call: Call, device_id: int, state_id: int, body: NewValue) -> Answer:
        """Give a state of a device a new value."""
        limit = Limit.of(body.maxOn, body.off)
        row = await self._changes.set_by_id(call.principal, device_id, state_id, body.value, limit)
        return success(data=row)
