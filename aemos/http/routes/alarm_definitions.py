"""`/alarm-definitions`: what alarms watch for (docs/alarms.rst)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from aemos.http.lists import ListQuery
from aemos.http.render import Answer, listed, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import UNSET, Body, Id, UnsetType, given
from aemos.services.alarms.definitions import AlarmDefinitions
from aemos.services.alarms.forms import (
    AllOf,
    AnyOf,
    Missing,
    QuietHours,
    Rate,
    Severity,
    Step,
    Stuck,
    Threshold,
)
from aemos.services.alarms.shown import columns

Condition = Threshold | Rate | Missing | Stuck | AnyOf | AllOf
Label = Annotated[str, Meta(min_length=1, max_length=100)]
Seconds = Annotated[float, Meta(ge=0, le=604_800)]
Template = Annotated[str, Meta(min_length=1, max_length=500)]
Variable = Annotated[str, Meta(max_length=50)]
Steps = Annotated[list[Step], Meta(max_length=10)]


class NewDefinition(Body):
    """Body of `POST /alarm-definitions`.

    What is watched: one variable (`telemetryDataId`), or the variable `variableName` of one sensor,
    of the sensors of an area, or of all of the organization. Hold times are seconds.
    """

    organizationId: Id
    name: Label
    condition: Condition
    enabled: bool = True
    severity: Severity = "warning"
    telemetryDataId: Id | None = None
    sensorId: Id | None = None
    areaId: Id | None = None
    variableName: Variable | None = None
    holdSeconds: Seconds = 0.0
    clearHoldSeconds: Seconds = 0.0
    message: Template = "{{name}}: {{variable}} of {{sensor}} is {{value}}"
    steps: Steps = msgspec.field(default_factory=list)
    tellClear: bool = True
    quietHours: QuietHours | None = None


class DefinitionChange(Body):
    """Body of `PATCH /alarm-definitions/:id`."""

    name: Label | UnsetType = UNSET
    condition: Condition | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    telemetryDataId: Id | UnsetType | None = UNSET
    sensorId: Id | UnsetType | None = UNSET
    areaId: Id | UnsetType | None = UNSET
    variableName: Variable | UnsetType | None = UNSET
    holdSeconds: Seconds | UnsetType = UNSET
    clearHoldSeconds: Seconds | UnsetType = UNSET
    message: Template | UnsetType = UNSET
    steps: Steps | UnsetType = UNSET
    tellClear: bool | UnsetType = UNSET
    quietHours: QuietHours | UnsetType | None = UNSET


class DefinitionQuery(ListQuery, forbid_unknown_fields=True, kw_only=True):
    """`?organizationId=`, and which of them."""

    sortable: ClassVar[tuple[str, ...]] = ("id", "name", "severity")

    organizationId: Id | None = None


class AlarmDefinitionRoutes:
    """Definitions of the caller's organizations."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/alarm-definitions",)

    def __init__(self, definitions: AlarmDefinitions) -> None:
        self._definitions = definitions

    @route("GET", "", permission="rule.view", data={"alarmDefinitions": [{}]})
    async def list_all(self, call: Call, query: DefinitionQuery) -> Answer:
        """List alarm definitions."""
        found = await self._definitions.listed(
            call.principal, query.organizationId, query.listing()
        )
        return listed("alarmDefinitions", found)

    @route("POST", "", permission="rule.create", status=201, data={"alarmDefinition": {}})
    async def create(self, call: Call, body: NewDefinition) -> Answer:
        """Make an alarm definition; it is in force at once."""
        return _answer(await self._definitions.create(call.principal, _columns(body)))

    @route("GET", "/<definition_id>", permission="rule.view", data={"alarmDefinition": {}})
    async def get(self, call: Call, definition_id: int) -> Answer:
        """Show an alarm definition."""
        return _answer(await self._definitions.get(call.principal, definition_id))

    @route("PATCH", "/<definition_id>", permission="rule.update", data={"alarmDefinition": {}})
    async def change(self, call: Call, definition_id: int, body: DefinitionChange) -> Answer:
        """Change an alarm definition; it is in force at once."""
        row = await self._definitions.change(call.principal, definition_id, _columns(body))
        return _answer(row)

    @route("DELETE", "/<definition_id>", permission="rule.delete", status=204)
    async def delete(self, call: Call, definition_id: int) -> Answer:
        """Delete an alarm definition and clear its open alarms."""
        await self._definitions.delete(call.principal, definition_id)
        return Answer()


def _answer(row: dict[str, Any]) -> Answer:
    return success(data={"alarmDefinition": row})


def _columns(body: msgspec.Struct) -> dict[str, Any]:
    return columns("alarm_definition", given(body))
