"""`/telemetry`, the variables of sensors (spec/http-api.md section 4.7)."""

from __future__ import annotations

import pytest

from aemos.model import Instant
from tests.farm import NORTH, SOUTH, UUIDS, Farm

ROW = {"id": 1, "variableName": "temperature", "datatype": "float", "sensorId": 1}


async def test_a_list_shows_the_variables_of_the_callers_organizations(farm: Farm) -> None:
    for who, seen in (
        ("root", [1, 2]),
        ("mixed", [1, 2]),
        ("north-viewer", [1]),
        ("south-admin", [2]),
        ("member", []),
        ("nobody", []),
    ):
        reply = await farm.call("GET", "/telemetry", who)
        assert (reply.status, reply.body["results"]) == (200, len(seen))
        assert [row["id"] for row in reply.data["telemetryData"]] == seen
    assert reply.data == {"telemetryData": []}


async def test_a_variable_is_shown_with_its_sensor(farm: Farm) -> None:
    reply = await farm.call("GET", "/telemetry/1", "north-viewer")
    row = reply.data["telemetryData"]
    assert {**row, "Sensor": row["Sensor"]["uuid"]} == {**ROW, "Sensor": UUIDS[NORTH]}
    listed = await farm.call("GET", "/telemetry", "north-viewer")
    assert listed.data["telemetryData"] == [row]


async def test_the_variables_of_a_sensor_come_as_bare_rows(farm: Farm) -> None:
    reply = await farm.call("GET", "/telemetry/sensor/1", "north-viewer")
    assert reply.body == {"status": "success", "results": 1, "data": {"telemetryData": [ROW]}}


async def test_a_variable_is_made_changed_and_deleted_and_the_sensor_told(farm: Farm) -> None:
    body = {"variableName": "ph", "datatype": "float", "sensorId": "1"}
    made = await farm.call("POST", "/telemetry", "north-admin", body)
    assert made.status == 201
    row = made.data["telemetryData"]
    assert row == {"id": row["id"], "variableName": "ph", "datatype": "float", "sensorId": 1}
    path = f"/telemetry/{row['id']}"
    changed = await farm.call("PATCH", path, "north-admin", {"datatype": "int"})
    assert changed.data["telemetryData"] == {**row, "datatype": "int"}
    assert (await farm.call("DELETE", path, "north-admin")).status == 204
    assert (await farm.call("DELETE", path, "north-admin")).status == 404
    assert farm.changed() == [UUIDS[NORTH]] * 3


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "", {"variableName": "x", "datatype": "int", "sensorId": 99}, 404,
         "Sensor not found"),
        ("POST", "", {"variableName": "x", "datatype": "int", "sensorId": 2}, 403, "Forbidden"),
        ("POST", "", {"datatype": "int", "sensorId": 1}, 400, '"variableName" is required'),
        ("POST", "", {"variableName": "x" * 51, "datatype": "int", "sensorId": 1}, 400, "50"),
        ("POST", "", {"variableName": "x", "datatype": "", "sensorId": 1}, 400, '"datatype"'),
        ("PATCH", "/1", {"sensorId": 2}, 403, "Forbidden"),
        ("PATCH", "/1", {"sensorId": 99}, 404, "Sensor not found"),
        ("PATCH", "/1", {"unit": "C"}, 400, '"unit" is not allowed'),
        ("PATCH", "/99", {}, 404, "Telemetry data with ID 99 not found"),
        ("GET", "/99", None, 404, "Telemetry data with ID 99 not found"),
        ("GET", "/sensor/99", None, 404, "Sensor not found"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_with_the_reason(
    farm: Farm, method: str, path: str, body: object, status: int, text: str
) -> None:
    reply = await farm.call(method, f"/telemetry{path}", "north-admin", body)
    assert (reply.status, text in reply.body["message"]) == (status, True), reply.body
    assert await farm.rows("SELECT * FROM TelemetryData WHERE id = 1") == [ROW]


async def test_a_variable_moves_to_a_sensor_that_the_caller_may_change_as_well(farm: Farm) -> None:
    reply = await farm.call("PATCH", "/telemetry/1", "root", {"sensorId": 2})
    assert reply.data["telemetryData"]["sensorId"] == 2
    assert farm.changed() == [UUIDS[NORTH], UUIDS[SOUTH]]


async def test_a_variable_with_readings_is_not_deleted(farm: Farm) -> None:
    await farm.run(
        "INSERT INTO DataStream (value, telemetryDataId, recievedAt) VALUES ('1', 1, %s)",
        Instant(1_700_000_000_000),
    )
    reply = await farm.call("DELETE", "/telemetry/1", "north-admin")
    assert reply.status == 409
    assert len(await farm.rows("SELECT id FROM DataStream")) == 1
