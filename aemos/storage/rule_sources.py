"""Reads what rule chains look at: variables of sensors and states of devices, and their values.

Source: spec/data-model.md section 2. Of several things of one uuid, or variables of one name, that
an adopted database may hold, the oldest counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from aemos.model import Instant
from aemos.storage import queries
from aemos.storage.places import DEVICES, SENSORS
from aemos.storage.queries import Range
from aemos.storage.transaction import Row, Transaction, marks

_AT_ONCE = 1000  # SQLite takes a limited number of parameters
_KINDS = {"sensor": ("Sensor", SENSORS), "device": ("Device", DEVICES)}


def things(tx: Transaction, kind: str, uuids: Collection[str]) -> dict[str, Row]:
    """@param kind: sensor or device.

    @return: uuid in lower case -> `id`, `uuid` and the `organizationId` of its owner.
    """
    table, places = _KINDS[kind]
    rows = [
        row
        for part in _parts(uuids)
        for row in tx.all(f"SELECT id, uuid FROM {table} WHERE uuid IN ({marks(part)})", part)
    ]
    rows.sort(key=lambda row: row["id"], reverse=True)
    lie = places.of(tx, [row["id"] for row in rows])
    return {
        row["uuid"].lower(): {**row, "organizationId": lie.get(row["id"], {}).get("organizationId")}
        for row in rows
    }


def variables(tx: Transaction, sensor_ids: Collection[int]) -> dict[tuple[int, str], Row]:
    """@return: (sensor, name) -> `id` and `datatype` of the variable."""
    return {
        (row["sensorId"], row["variableName"]): row
        for part in _parts(sensor_ids)
        for row in tx.all(
            "SELECT id, sensorId, variableName, datatype FROM TelemetryData"
            f" WHERE sensorId IN ({marks(part)}) ORDER BY id DESC",
            part,
        )
    }


def states(tx: Transaction, device_ids: Collection[int]) -> dict[tuple[int, str], Row]:
    """@return: (device, name) -> `id` and `datatype` of the state."""
    return {
        (row["deviceId"], row["stateName"]): row
        for part in _parts(device_ids)
        for row in tx.all(
            "SELECT id, deviceId, stateName, dataType AS datatype FROM DeviceState"
            f" WHERE deviceId IN ({marks(part)}) ORDER BY id DESC",
            part,
        )
    }


def newest_reading(tx: Transaction, variable_id: int, before: Instant | None = None) -> Row | None:
    """@return: `value` and `at` of the newest reading of a variable, of those before a time."""
    until, params = _until("recievedAt", before)
    return tx.one(
        "SELECT value, recievedAt AS at FROM DataStream"
        f" WHERE telemetryDataId = %s{until} ORDER BY recievedAt DESC, id DESC LIMIT 1",
        (variable_id, *params),
    )


def newest_state(tx: Transaction, state_id: int, before: Instant | None = None) -> Row | None:
    """@return: `value` and `at` of the newest instance of a state, of those before a time."""
    until, params = _until("fromTimestamp", before)
    return tx.one(
        "SELECT value, fromTimestamp AS at FROM DeviceStateInstance"
        f" WHERE deviceStateId = %s{until} ORDER BY fromTimestamp DESC, id DESC LIMIT 1",
        (state_id, *params),
    )


def states_page(tx: Transaction, state_id: int, within: Range, limit: int) -> list[Row]:
    """@return: instances of a state in order of (fromTimestamp, id): `id`, `value`, `at`."""
    wheres, params = ["deviceStateId = %s"], [state_id]
    if within.start is not None:
        wheres.append("fromTimestamp >= %s")
        params.append(within.start)
    if within.end is not None:
        wheres.append("fromTimestamp < %s")
        params.append(within.end)
    if within.after is not None:
        wheres.append("fromTimestamp >= %s AND (fromTimestamp > %s OR id > %s)")
        params += within.after.at, within.after.at, within.after.id
    return tx.all(
        "SELECT id, value, fromTimestamp AS at FROM DeviceStateInstance"
        f" WHERE {' AND '.join(wheres)} ORDER BY fromTimestamp, id LIMIT %s",
        (*params, limit),
    )


def readings_page(tx: Transaction, variable_id: int, within: Range, limit: int) -> list[Row]:
    """@return: readings of a variable in order of (recievedAt, id): `id`, `value`, `at`."""
    return [
        {"id": row["id"], "value": row["value"], "at": row["recievedAt"]}
        for row in queries.page(tx, variable_id, within, limit)
    ]


def _until(column: str, before: Instant | None) -> tuple[str, tuple[Instant, ...]]:
    return ("", ()) if before is None else (f" AND {column} < %s", (before,))


def _parts(values: Collection[object]) -> Iterator[tuple[object, ...]]:
    ordered = tuple(values)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]
