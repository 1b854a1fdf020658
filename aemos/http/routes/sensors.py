"""`/sensors`: parse, ask the service, render (spec/http-api.md section 4.3)."""

from __future__ import annotations

from typing import ClassVar, Literal

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import (
    UNSET,
    BlankOrGuid,
    Body,
    FreeQuery,
    Id,
    Name,
    Stated,
    UnsetType,
    given,
)
from aemos.services.sensors import Sensors

Status = Literal["active", "inactive", "pending", "calibrating", "error", "disconnected", "retired"]


class SensorList(ListQuery):
    """Which sensors of an organization a list shows."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "name", "status", "createdAt", "updatedAt")

    status: Status | Literal[""] = ""


class OfOrganizationAndArea(SensorList, forbid_unknown_fields=True):
    """`?organizationId=&areaId=`, and which of them."""

    organizationId: Id | None = None
    areaId: Id | None = None


class MaybeOfOrganization(FreeQuery):
    """`?organizationId=`: which organization the caller says owns the sensor."""

    organizationId: Id | None = None


class NewSensor(Body):
    """Body of `POST /sensors`."""

    name: Name
    description: str | None = None
    status: Status | UnsetType = UNSET
    uuid: BlankOrGuid | None = None
    areaId: Id | None = None


class SensorChange(Body):
    """Body of `PATCH /sensors/:id`; an empty or null uuid and a null area count as not sent."""

    name: Name | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    uuid: BlankOrGuid | UnsetType | None = UNSET
    areaId: Id | UnsetType | None = UNSET


class SensorRoutes:
    """Sensors of one organization."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/sensors",)

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors

    @route("GET", "/test", auth=Auth.OPEN)
    async def test(self, call: Call) -> Answer:
        """Tell that the routes are there."""
        return success(message="Sensor routes are working")

    @route("GET", "", permission="sensor.view", data={"sensors": ["Sensor"]})
    async def list_all(self, call: Call, query: OfOrganizationAndArea) -> Answer:
        """List the sensors of an organization, or of one of its areas."""
        found = await self._sensors.listed(
            call.principal, query.organizationId, query.areaId, query.listing()
        )
        return listed("sensors", found)

    @route("POST", "", permission="sensor.create", status=201, data={"sensor": "Sensor"})
    async def create(self, call: Call, body: NewSensor) -> Answer:
        """Make a sensor."""
        return success(data={"sensor": await self._sensors.create(call.principal, given(body))})

    @route(
        "GET",
        "/organization/<organization_id>",
        permission="sensor.view",
        data={"sensors": ["Sensor"]},
    )
    async def list_of_organization(
        self, call: Call, organization_id: int, query: SensorList
    ) -> Answer:
        """List the sensors of an organization."""
        found = await self._sensors.of_organization(
            call.principal, organization_id, query.listing()
        )
        return listed("sensors", found)

    @route("GET", "/<sensor_id>", permission="sensor.view", data={"sensor": "Sensor"})
    async def get(self, call: Call, sensor_id: int, query: MaybeOfOrganization) -> Answer:
        """Show a sensor with its variables."""
        row = await self._sensors.get(call.principal, sensor_id, query.organizationId)
        return success(data={"sensor": row})

    @route("PATCH", "/<sensor_id>", permission="sensor.update", data={"sensor": "Sensor"})
    async def change(
        self, call: Call, sensor_id: int, query: MaybeOfOrganization, body: SensorChange
    ) -> Answer:
        """Change a sensor."""
        row = await self._sensors.change(
            call.principal, sensor_id, query.organizationId, given(body)
        )
        return success(data={"sensor": row})

    @route("DELETE", "/<sensor_id>", permission="sensor.delete", status=204)
    async def retire(
        self, call: Call, sensor_id: int, query: MaybeOfOrganization, body: Stated
    ) -> Answer:
        """Set a sensor inactive."""
        stated = body.organizationId or query.organizationId
        await self._sensors.retire(call.principal, sensor_id, stated)
        return Answer()
