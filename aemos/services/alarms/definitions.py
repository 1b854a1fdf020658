"""Alarm definitions: who may see, make, change and delete them (docs/alarms.rst)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aemos.errors import BadRequest, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.alarms import forms
from aemos.services.alarms.shown import shown
from aemos.services.alarms.watch import Watch
from aemos.storage import (
    alarm_definitions,
    areas,
    notification_channels,
    organizations,
    sensors,
    variables,
)
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing
from aemos.storage.transaction import Row, Transaction


@attrs.define
class AlarmDefinitions:
    """To see one needs rule.view in its organization, and rule.create and so on for the rest.

    Every change is in force when the method is done.
    """

    _database: Database
    _watch: Watch

    async def listed(self, by: Principal, organization_id: int | None, listing: Listing) -> Listed:
        """@param organization_id: None = those of all that `by` may see."""
        if organization_id is None:
            scope = access.scope(by, "rule.view")
        else:
            access.require(by, "rule.view", organization_id)
            scope = [organization_id]
        found: Listed = await self._database.read(alarm_definitions.listed, scope, listing)
        return found.map(lambda rows: [shown("alarm_definition", row) for row in rows])

    async def get(self, by: Principal, definition_id: int) -> Row:
        """@raise NotFound: there is none. @raise Forbidden: no rule.view in its organization."""
        row = await self._database.read(_definition_for, by, "rule.view", definition_id)
        return shown("alarm_definition", row)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """@param values: columns of `alarm_definition`, the JSON ones as structs of `forms`.

        @raise BadRequest: it makes no sense, or names things of another organization.
        @raise NotFound: no such organization. @raise Forbidden: no rule.create there.
        """
        access.require(by, "rule.create", values["organization_id"])

        def write(tx: Transaction) -> Row:
            if organizations.find(tx, values["organization_id"]) is None:
                raise NotFound(f"Organization with ID {values['organization_id']} not found")
            _check(tx, values)
            return _existing(tx, alarm_definitions.create(tx, values))

        return await self._taken_over(write)

    async def change(self, by: Principal, definition_id: int, changes: Mapping[str, Any]) -> Row:
        """@raise NotFound, Forbidden, BadRequest: as `get` and `create`."""

        def write(tx: Transaction) -> Row:
            row = _definition_for(tx, by, "rule.update", definition_id)
            if changes:
                _check(tx, {**_as_forms(row), **changes})
                alarm_definitions.change(tx, definition_id, changes)
            return _existing(tx, definition_id)

        return await self._taken_over(write)

    async def delete(self, by: Principal, definition_id: int) -> None:
        """Delete a definition; its alarms stay, those that are open are cleared.

        @raise NotFound: there is none. @raise Forbidden: no rule.delete in its organization.
        """

        def write(tx: Transaction) -> Row:
            row = _definition_for(tx, by, "rule.delete", definition_id)
            alarm_definitions.delete(tx, definition_id)
            return row

        await self._taken_over(write)

    async def _taken_over(self, write: Callable[[Transaction], Row]) -> Row:
        row = await self._database.transact(write)
        await self._watch.reload(row["id"])
        return shown("alarm_definition", row)


def _definition_for(tx: Transaction, by: Principal, permission: str, definition_id: int) -> Row:
    row = _existing(tx, definition_id)
    access.require(by, permission, row["organization_id"])
    return row


def _existing(tx: Transaction, definition_id: int) -> Row:
    row = alarm_definitions.find(tx, definition_id)
    if row is None:
        raise NotFound(f"Alarm definition with ID {definition_id} not found")
    return row


def _as_forms(row: Row) -> Row:
    return {
        **row,
        "condition_tree": forms.condition_of(row["condition_tree"]),
        "quiet_hours": forms.quiet_hours_of(row["quiet_hours"]),
        "steps": forms.steps_of(row["steps"]),
    }


def _check(tx: Transaction, values: Mapping[str, Any]) -> None:
    """@param values: the whole definition, its JSON columns as structs."""
    name = values.get("variable_name") or ""
    if values.get("telemetry_id") is not None:
        if name or values.get("sensor_id") is not None or values.get("area_id") is not None:
            raise BadRequest(
                'Invalid request body: "telemetryDataId" says the sensor and variable already'
            )
        name = _variable(tx, values)
    forms.check_condition(values["condition_tree"], name)
    forms.check_message(values["message"])
    if values.get("quiet_hours") is not None:
        forms.check_quiet_hours(values["quiet_hours"])
    owner = values["organization_id"]
    named = {channel for step in values["steps"] for channel in step.channels}
    unknown = sorted(named - notification_channels.of_organization(tx, owner, named))
    if unknown:
        raise BadRequest(
            f'Invalid request body: "steps" names {unknown[0]}, no channel of the organization'
        )
    sensor_id, area_id = values.get("sensor_id"), values.get("area_id")
    if sensor_id is not None and sensors.owner(tx, sensor_id) != owner:
        raise BadRequest('Invalid request body: "sensorId" is no sensor of the organization')
    if area_id is not None:
        area = areas.find(tx, area_id)
        if area is None or area["organizationId"] != owner:
            raise BadRequest('Invalid request body: "areaId" is no area of the organization')


def _variable(tx: Transaction, values: Mapping[str, Any]) -> str:
    """@return: the name of the variable that the definition is about."""
    variable = variables.find(tx, values["telemetry_id"])
    sensor_id = None if variable is None else variable["sensorId"]
    if (
        variable is None
        or sensor_id is None
        or sensors.owner(tx, sensor_id) != values["organization_id"]
    ):
        raise BadRequest(
            'Invalid request body: "telemetryDataId" is no variable of the organization'
        )
    return str(variable["variableName"])
