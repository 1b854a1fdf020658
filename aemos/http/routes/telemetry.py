"""`/telemetry`: the variables of sensors (spec/http-api.md section 4.7)."""

from __future__ import annotations

from typing import ClassVar

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import Call, route
from aemos.http.schemas import UNSET, Body, Id, Name, UnsetType, given
from aemos.services.variables import Variables


class VariableList(ListQuery):
    """Which variables a list shows."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "variableName", "datatype", "sensorId")


class NewVariable(Body):
    """Body of `POST /telemetry`."""

    variableName: Name
    datatype: Name
    sensorId: Id


class VariableChange(Body):
    """Body of `PATCH /telemetry/:id`."""

    variableName: Name | UnsetType = UNSET
    datatype: Name | UnsetType = UNSET
    sensorId: Id | UnsetType = UNSET


class TelemetryRoutes:
    """Variables of the sensors that the caller may see; the service asks for the rights."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/telemetry",)

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    @route("GET", "", data={"telemetryData": ["TelemetryData"]})
    async def list_all(self, call: Call, query: VariableList) -> Answer:
        """List the variables of the caller's organizations."""
        found = await self._variables.listed(call.principal, query.listing())
        return listed("telemetryData", found)

    @route("POST", "", status=201, data={"telemetryData": "TelemetryData"})
    async def create(self, call: Call, body: NewVariable) -> Answer:
        """Make a variable."""
        row = await self._variables.create(call.principal, given(body))
        return success(data={"telemetryData": row})

    @route("GET", "/sensor/<sensor_id>", data={"telemetryData": ["TelemetryData"]})
    async def list_of_sensor(self, call: Call, sensor_id: int, query: VariableList) -> Answer:
        """List the variables of one sensor."""
        found = await self._variables.of_sensor(call.principal, sensor_id, query.listing())
        return listed("telemetryData", found)

    @route("GET", "/<variable_id>", data={"telemetryData": "TelemetryData"})
    async def get(self, call: Call, variable_id: int) -> Answer:
        """Show a variable with its sensor."""
        row = await self._variables.get(call.principal, variable_id)
        return success(data={"telemetryData": row})

    @route("PATCH", "/<variable_id>", data={"telemetryData": "TelemetryData"})
    async def change(self, call: Call, variable_id: int, body: VariableChange) -> Answer:
        """Change a variable."""
        row = await self._variables.change(call.principal, variable_id, given(body))
        return success(data={"telemetryData": row})

    @route("DELETE", "/<variable_id>", status=204, failures=(409,))
    async def delete(self, call: Call, variable_id: int) -> Answer:
        """Delete a variable that has no readings."""
        await self._variables.delete(call.principal, variable_id)
        return Answer()
