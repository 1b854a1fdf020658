"""Stored readings: read, corrected and deleted one by one (spec/http-api.md section 4.8).

New readings do not come in here: every door hands them to `aemos.messages.router`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import attrs

from aemos.errors import BadRequest, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.events import Events, ReadingChanged, ReadingDeleted
from aemos.services.variables import sensor_for, variable_for
from aemos.storage import history, sensors, variables
from aemos.storage.database import Database
from aemos.storage.readings import Reading
from aemos.storage.transaction import Row, Transaction

MAX_PAGE = 10_000
"""The largest limit that a door may ask for: so many readings are held in memory at once."""

_PART = 2000  # readings of a whole history that are held in memory at once


@attrs.define
class History:
    """Rights are those on the sensor: sensor.view to read, sensor.update to edit."""

    _database: Database
    _events: Events

    async def page(self, by: Principal, limit: int, offset: int) -> tuple[list[Row], int]:
        """Read what the organizations have where `by` may see sensors.

        @return: readings in order of id, each with its `TelemetryData`; and how many there are.
        """
        organizations = access.scope(by, "sensor.view")

        def read(tx: Transaction) -> tuple[list[Row], int]:
            rows, total = history.page(tx, organizations, limit, offset)
            return _with_variables(tx, rows), total

        return await self._database.read(read)

    async def all(
        self, by: Principal, encode: Callable[[Sequence[Row]], bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Read all that `page` would give, part by part; the next is read when it is asked for.

        @param encode: turns a part into bytes, in the thread that read it.
        """
        organizations = access.scope(by, "sensor.view")

        def read(tx: Transaction, after: int) -> tuple[bytes, int]:
            rows, last = history.after(tx, organizations, after, _PART)
            return encode(_with_variables(tx, rows)), last

        # Readings go on coming in: a client that is slower than that must not get them for ever.
        last, newest = 0, await self._database.read(history.newest_id)
        while last < newest:
            part, last = await self._database.read(read, last)
            yield part

    async def get(self, by: Principal, reading_id: int) -> Row:
        """@return: the reading with its `TelemetryData`.

        @raise NotFound: no such reading. @raise Forbidden: no sensor.view in its organization.
        """

        def read(tx: Transaction) -> Row:
            row, variable, _ = _reading_for(tx, by, "sensor.view", reading_id)
            return {**row, "TelemetryData": variable}

        return await self._database.read(read)

    async def change(
        self, by: Principal, reading_id: int, changes: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Correct a reading; another `telemetryDataId` needs sensor.update for both sensors.

        @raise NotFound: no such reading or variable. @raise Forbidden: no sensor.update there.
        """

        def write(tx: Transaction) -> ReadingChanged:
            _, variable, organization_id = _reading_for(tx, by, "sensor.update", reading_id)
            if "telemetryDataId" in changes:
                variable, sensor = variable_for(tx, by, "sensor.update", changes["telemetryDataId"])
                organization_id = None if sensor is None else sensors.owner(tx, sensor["id"])
            history.change(tx, reading_id, changes)
            return ReadingChanged(
                _existing(tx, reading_id), organization_id, _sensor_uuid(tx, variable)
            )

        event = await self._database.transact(write)
        self._events.publish(event)
        return event.row

    async def delete(self, by: Principal, reading_id: int) -> None:
        """@raise NotFound: no such reading. @raise Forbidden: no sensor.update for its sensor."""

        def write(tx: Transaction) -> ReadingDeleted:
            row, variable, organization_id = _reading_for(tx, by, "sensor.update", reading_id)
            history.delete(tx, reading_id)
            return ReadingDeleted(
                reading_id, row["telemetryDataId"], organization_id, _sensor_uuid(tx, variable)
            )

        self._events.publish(await self._database.transact(write))

    async def target(
        self, by: Principal, variable_id: int | None, sensor_id: int | None, name: str | None
    ) -> tuple[str, int]:
        """Find the variable that a user sends a reading for, by id or by sensor and name.

        @return: the uuid of its sensor and its id.
        @raise BadRequest: neither is given. @raise NotFound: no such variable or sensor.
        @raise Forbidden: no sensor.update in its organization.
        """

        def read(tx: Transaction) -> tuple[str, int]:
            if variable_id is not None:
                variable, sensor = variable_for(tx, by, "sensor.update", variable_id)
                if sensor is None:
                    raise NotFound("Sensor not found")
                return sensor["uuid"], variable["id"]
            if sensor_id is None or name is None:
                raise BadRequest(
                    'Invalid request body: "telemetryDataId", or "variableName" and "sensorId",'
                    " is required"
                )
            sensor = sensor_for(tx, by, "sensor.update", sensor_id)
            found = variables.find_by_name(tx, sensor_id, name)
            if found is None:
                raise NotFound(f"Telemetry data not found for variableName '{name}'")
            return sensor["uuid"], found["id"]

        return await self._database.read(read)

    async def rows_of(self, readings: list[Reading]) -> list[Row]:
        """@return: the readings as rows; of a repeat the row of its original, if it is found."""
        if any(reading.duplicate for reading in readings):
            return await self._database.read(_rows, readings)
        return [_row(reading) for reading in readings]


def _with_variables(tx: Transaction, rows: Sequence[Row]) -> list[Row]:
    owners = history.variables_of(tx, rows)
    return [{**row, "TelemetryData": owners.get(row["telemetryDataId"])} for row in rows]


def _rows(tx: Transaction, readings: list[Reading]) -> list[Row]:
    return [
        (
            reading.duplicate
            and history.find_same(tx, reading.telemetry_id, reading.at, reading.value)
        )
        or _row(reading)
        for reading in readings
    ]


def _row(reading: Reading) -> Row:
    return {
        "id": reading.id,
        "value": reading.value,
        "telemetryDataId": reading.telemetry_id,
        "recievedAt": reading.at,
    }


def _existing(tx: Transaction, reading_id: int) -> Row:
    row = history.find(tx, reading_id)
    if row is None:
        raise NotFound(f"Data stream with ID {reading_id} not found")
    return row


def _sensor_uuid(tx: Transaction, variable: Row | None) -> str | None:
    sensor = None if variable is None else sensors.find(tx, variable["sensorId"] or 0)
    return None if sensor is None else sensor["uuid"]


def _reading_for(
    tx: Transaction, by: Principal, permission: str, reading_id: int
) -> tuple[Row, Row | None, int | None]:
    """@return: the reading, its variable and the organization that owns it."""
    row = _existing(tx, reading_id)
    variable_id: int | None = row["telemetryDataId"]
    variable = None if variable_id is None else variables.find(tx, variable_id)
    sensor_id: int | None = None if variable is None else variable["sensorId"]
    organization_id = None if sensor_id is None else sensors.owner(tx, sensor_id)
    access.require(by, permission, organization_id)
    return row, variable, organization_id
