"""`/datastreams` (spec/http-api.md section 4.8)."""

from __future__ import annotations

import pytest

from aemos.model import Instant
from aemos.services.events import ReadingChanged, ReadingDeleted, ReadingsStored
from tests.farm import NORTH, SOUTH, TOKENS, UUIDS, Farm

AT = "2026-01-02T03:04:05.678Z"
TOKEN = TOKENS[NORTH]


async def store(farm: Farm, count: int, variable: int = 1) -> None:
    """Store readings "0", "1" ... of a variable; ids count from the variable's."""
    for number in range(count):
        at = Instant(1_700_000_000_000 + number)
        row = {
            "id": variable + number,
            "value": str(number),
            "telemetryDataId": variable,
            "recievedAt": at,
        }
        await farm.database.transact(lambda tx, row=row: tx.insert("DataStream", row))


async def test_a_device_stores_a_reading_and_gets_its_row(farm: Farm) -> None:
    body = {"value": "25.6", "variableName": "temperature", "recievedAt": AT}
    reply = await farm.call("POST", "/datastreams/token", TOKEN, body)
    assert reply.status == 201
    (row,) = await farm.rows("SELECT * FROM DataStream")
    wire = {"id": row["id"], "value": "25.6", "telemetryDataId": 1, "recievedAt": AT}
    assert reply.body == {"status": "success", "data": wire}
    assert row == {**wire, "recievedAt": Instant.parse(AT)}
    (event,) = [event for event in farm.happened if isinstance(event, ReadingsStored)]
    assert (event.sensor_uuid, event.organization_id, event.door) == (UUIDS[NORTH], NORTH, "http")
    assert [reading.id for reading in event.readings] == [row["id"]]


@pytest.mark.parametrize(
    ("value", "text"), [(25, "25"), (25.0, "25"), (0, "0"), (False, "false"), ("0", "0")]
)
async def test_numbers_and_booleans_are_stored_as_javascript_writes_them(
    farm: Farm, value: object, text: str
) -> None:
    body = {"value": value, "telemetryDataId": 1}
    reply = await farm.call("POST", "/datastreams/token", TOKEN, body)
    assert reply.data["value"] == text
    assert reply.data["recievedAt"].endswith("Z")


async def test_a_form_holds_everything_as_text(farm: Farm) -> None:
    body = (
        b"value=21.5&telemetryDataId=1&urgent=true&recievedAt=1767323045678"
        b"&thresholds[min]=1&thresholds[max]=9"
    )
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await farm.call("POST", "/datastreams/token", TOKEN, body, **form)
    assert reply.status == 201, reply.body
    assert (reply.data["value"], reply.data["recievedAt"]) == ("21.5", "2026-01-02T03:04:05.678Z")
    (event,) = [event for event in farm.happened if isinstance(event, ReadingsStored)]
    assert event.readings[0].urgent


@pytest.mark.parametrize("given", [86_400_000, "1970-01-02T00:00:00Z", "1970-01-02", "19700102"])
async def test_a_time_is_iso_text_or_milliseconds(farm: Farm, given: object) -> None:
    for field in ("recievedAt", "timestamp"):
        body = {"value": "1", "variableName": "temperature", field: given}
        reply = await farm.call("POST", "/datastreams/token", TOKEN, body)
        assert reply.data["recievedAt"] == "1970-01-02T00:00:00.000Z"


@pytest.mark.parametrize("path", ["/data-streams/token", "/api/datastreams/token"])
async def test_old_paths_of_device_scripts_work(farm: Farm, path: str) -> None:
    body = {"value": "1", "variableName": "temperature"}
    assert (await farm.call("POST", path, TOKEN, body)).status == 201


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"variableName": "temperature"}, '"value" is required'),
        ({"value": "", "variableName": "temperature"}, '"value"'),
        ({"value": None, "variableName": "temperature"},
         '"value" must be a boolean or a number or a string'),
        ({"value": [1], "variableName": "temperature"}, '"value"'),
        ({"value": "x" * 51, "variableName": "temperature"}, '"value"'),
        ({"value": "1"}, '"telemetryDataId" or "variableName"'),
        ({"value": "1", "telemetryDataId": 1, "recievedAt": "noon"}, '"recievedAt"'),
        ({"value": "1", "telemetryDataId": 1, "urgent": "very"}, '"urgent"'),
        ({"value": "1", "telemetryDataId": 1, "thresholds": {"low": 1}}, '"thresholds'),
        ({"value": "1", "telemetryDataId": 1, "skipRuleChainTrigger": True},
         '"skipRuleChainTrigger" is not allowed'),
        (b'{"value":', "JSON"),
    ],
)  # fmt: skip
async def test_a_wrong_reading_is_refused_with_the_reason(
    farm: Farm, body: object, text: str
) -> None:
    reply = await farm.call("POST", "/datastreams/token", TOKEN, body)
    assert (reply.status, text in reply.body["message"]) == (400, True), reply.body
    assert reply.body["statusCode"] == 400
    assert await farm.rows("SELECT id FROM DataStream") == []


@pytest.mark.parametrize("which", [{"telemetryDataId": 2}, {"variableName": "ph"}])
async def test_a_variable_of_another_sensor_is_not_found(
    farm: Farm, which: dict[str, object]
) -> None:
    reply = await farm.call("POST", "/datastreams/token", TOKEN, {"value": "1", **which})
    assert (reply.status, set(reply.body)) == (404, {"status", "message"})
    assert "does not belong to" in reply.body["message"]


async def test_an_unknown_id_falls_back_to_the_name(farm: Farm) -> None:
    body = {"value": "1", "telemetryDataId": 2, "variableName": "temperature"}
    reply = await farm.call("POST", "/datastreams/token", TOKEN, body)
    assert (reply.status, reply.data["telemetryDataId"]) == (201, 1)


@pytest.mark.parametrize("path", ["/datastreams/token", "/datastreams/batch"])
@pytest.mark.parametrize("who", [None, "c3" * 32, "north-admin"])
async def test_devices_need_a_valid_token(farm: Farm, path: str, who: str | None) -> None:
    reply = await farm.call("POST", path, who, {"value": "1", "variableName": "temperature"})
    text = "Authentication required" if who is None else "Invalid or expired token"
    assert (reply.status, reply.body) == (401, {"status": "error", "message": text})


async def test_a_repeat_is_answered_with_the_original(farm: Farm) -> None:
    body = {"value": "1", "variableName": "temperature", "recievedAt": AT}
    first = await farm.call("POST", "/datastreams/token", TOKEN, body)
    again = await farm.call("POST", "/datastreams/token", TOKEN, body)
    assert (again.status, again.body) == (201, first.body)
    assert len(await farm.rows("SELECT id FROM DataStream")) == 1


async def test_a_batch_is_stored_whole_in_its_order(farm: Farm) -> None:
    items = [{"value": number, "variableName": "temperature"} for number in range(3)]
    reply = await farm.call("POST", "/datastreams/batch", TOKEN, {"dataStreams": items})
    assert (reply.status, reply.body["results"]) == (201, 3)
    rows = reply.data["dataStreams"]
    assert [row["value"] for row in rows] == ["0", "1", "2"]
    stored = await farm.rows("SELECT id, value FROM DataStream ORDER BY id")
    assert [{"id": row["id"], "value": row["value"]} for row in rows] == stored


async def test_a_batch_with_repeats_answers_each_item_with_its_row(farm: Farm) -> None:
    old = {"value": "1", "variableName": "temperature", "recievedAt": AT}
    first = await farm.call("POST", "/datastreams/token", TOKEN, old)
    items = [{"value": "2", "variableName": "temperature"}, old]
    reply = await farm.call("POST", "/datastreams/batch", TOKEN, {"dataStreams": items})
    assert reply.status == 201
    assert [row["value"] for row in reply.data["dataStreams"]] == ["2", "1"]
    assert reply.data["dataStreams"][1] == first.data


@pytest.mark.parametrize(
    ("items", "status", "text"),
    [
        ([], 400, '"dataStreams"'),
        ([{"value": "1", "variableName": "temperature"}] * 1001, 400, '"dataStreams"'),
        ([{"value": "1", "variableName": "temperature"}, {"variableName": "temperature"}], 400,
         "value"),
        ([{"value": "1", "variableName": "temperature"}, {"value": "1"}], 400,
         '"dataStreams[1].telemetryDataId"'),
        ([{"value": "1", "variableName": "temperature"}, {"value": "1", "variableName": "ph"}], 404,
         "'ph'"),
    ],
)  # fmt: skip
async def test_a_batch_is_stored_whole_or_not_at_all(
    farm: Farm, items: list[object], status: int, text: str
) -> None:
    reply = await farm.call("POST", "/datastreams/batch", TOKEN, {"dataStreams": items})
    assert (reply.status, text in reply.body["message"]) == (status, True), reply.body
    assert "statusCode" in reply.body
    assert await farm.rows("SELECT id FROM DataStream") == []


@pytest.mark.parametrize(
    "which", [{"telemetryDataId": 1}, {"variableName": "temperature", "sensorId": 1}]
)
async def test_a_user_stores_a_reading_for_a_variable(farm: Farm, which: dict[str, object]) -> None:
    body = {"value": "7", "recievedAt": AT, **which}
    reply = await farm.call("POST", "/datastreams", "north-admin", body)
    (stored,) = await farm.rows("SELECT id FROM DataStream")
    row = {"id": stored["id"], "value": "7", "telemetryDataId": 1, "recievedAt": AT}
    assert (reply.status, reply.data) == (201, {"dataStream": row})
    assert any(isinstance(event, ReadingsStored) for event in farm.happened)


@pytest.mark.parametrize(
    ("who", "which", "status"),
    [
        ("north-admin", {}, 400),
        ("north-admin", {"variableName": "temperature"}, 400),
        ("north-admin", {"variableName": "ph", "sensorId": 1}, 404),
        ("north-admin", {"variableName": "temperature", "sensorId": 99}, 404),
        ("north-admin", {"telemetryDataId": 99}, 404),
        ("north-admin", {"telemetryDataId": 2}, 403),
        ("north-admin", {"variableName": "temperature", "sensorId": 2}, 403),
        ("north-viewer", {"telemetryDataId": 1}, 403),
        ("mixed", {"telemetryDataId": 1}, 403),
        ("nobody", {"telemetryDataId": 1}, 403),
    ],
)
async def test_a_user_stores_only_where_sensors_may_be_changed(
    farm: Farm, who: str, which: dict[str, object], status: int
) -> None:
    reply = await farm.call("POST", "/datastreams", who, {"value": "1", **which})
    assert reply.status == status
    assert await farm.rows("SELECT id FROM DataStream") == []


async def test_a_list_shows_readings_of_the_callers_organizations_with_their_variable(
    farm: Farm,
) -> None:
    await store(farm, 1, NORTH)
    await store(farm, 1, SOUTH)
    for who, seen in (
        ("north-viewer", [1]),
        ("south-admin", [2]),
        ("root", [1, 2]),
        ("nobody", []),
    ):
        reply = await farm.call("GET", "/datastreams", who)
        assert (reply.status, reply.body["results"]) == (200, len(seen))
        assert [row["id"] for row in reply.data["dataStreams"]] == seen
        assert reply.headers["x-total-count"] == str(len(seen))
    shown = (await farm.call("GET", "/datastreams", "north-viewer")).data["dataStreams"][0]
    assert shown["TelemetryData"]["variableName"] == "temperature"


@pytest.mark.parametrize("path", ["/datastreams", "/datastreams/telemetry/1"])
async def test_pages_neither_repeat_nor_skip_and_tell_the_total(farm: Farm, path: str) -> None:
    await store(farm, 5)
    seen = []
    for offset in (0, 2, 4):
        reply = await farm.call("GET", f"{path}?limit=2&offset={offset}", "north-viewer")
        assert reply.headers["x-total-count"] == "5"
        seen += [row["value"] for row in reply.data["dataStreams"]]
    assert seen == ["0", "1", "2", "3", "4"]
    beyond = await farm.call("GET", f"{path}?offset=9", "north-viewer")
    assert (beyond.data["dataStreams"], beyond.headers["x-total-count"]) == ([], "5")


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "offset=-1"])
async def test_a_nonsense_page_is_refused(farm: Farm, query: str) -> None:
    reply = await farm.call("GET", f"/datastreams?{query}", "north-viewer")
    assert reply.status == 400
    assert query.partition("=")[0] in reply.body["message"]


async def test_a_list_of_which_no_part_is_asked_for_is_whole(farm: Farm) -> None:
    await store(farm, 1, SOUTH)
    columns = ("value", "telemetryDataId", "recievedAt")
    # An adopted database may hold some without a time; they come first.
    times = [*(Instant(1_700_000_000_000 - number) for number in range(6000)), *[None] * 4001]
    rows = [(str(number), 1, at) for number, at in enumerate(times)]
    await farm.database.transact(lambda tx: tx.insert_rows("DataStream", columns, rows))
    path = "/datastreams/telemetry/1"
    reply = await farm.call("GET", path, "north-viewer")
    assert (reply.status, reply.body["results"], reply.body["total"]) == (200, 10_001, 10_001)
    values = [int(row["value"]) for row in reply.data["dataStreams"]]
    assert values == [*range(6000, 10_001), *reversed(range(6000))]
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    every = await farm.call("GET", "/datastreams", "north-viewer")
    assert (every.status, every.body["results"], every.body["total"]) == (200, 10_001, 10_001)
    assert reply.headers["x-total-count"] == every.headers["x-total-count"] == "10001"
    assert [int(row["value"]) for row in every.data["dataStreams"]] == [*range(10_001)]
    assert every.data["dataStreams"][-1]["TelemetryData"]["variableName"] == "temperature"
    head = await farm.raw("HEAD", path, "north-viewer")
    assert (head.status, head.body) == (200, b"")
    for query, results in (("limit=10000", 10_000), ("offset=0", 10_000), ("order=asc", 6000)):
        part = await farm.call("GET", f"{path}?{query}", "north-viewer")
        assert part.body["results"] == results, query
        assert part.headers["x-total-count"] == str(part.body["total"])


async def test_the_readings_of_a_variable_come_as_bare_rows(farm: Farm) -> None:
    await store(farm, 1)
    reply = await farm.call("GET", "/datastreams/telemetry/1", "north-viewer")
    assert set(reply.data["dataStreams"][0]) == {"id", "value", "telemetryDataId", "recievedAt"}
    assert (await farm.call("GET", "/datastreams/telemetry/2", "north-viewer")).status == 403
    assert (await farm.call("GET", "/datastreams/telemetry/99", "north-viewer")).status == 404


async def test_a_reading_is_shown_with_its_variable(farm: Farm) -> None:
    await store(farm, 1)
    reply = await farm.call("GET", "/datastreams/1", "north-viewer")
    row = reply.data["dataStream"]
    assert (row["value"], row["recievedAt"]) == ("0", "2023-11-14T22:13:20.000Z")
    assert row["TelemetryData"]["id"] == 1
    missing = await farm.call("GET", "/datastreams/99", "north-viewer")
    assert missing.status == 404
    assert missing.body["message"] == "Data stream with ID 99 not found"


async def test_a_reading_is_corrected_and_the_change_told(farm: Farm) -> None:
    await store(farm, 1)
    body = {"value": 5, "recievedAt": AT, "urgent": True, "thresholds": {"min": 1, "max": 2}}
    reply = await farm.call("PATCH", "/datastreams/1", "north-admin", body)
    row = {"id": 1, "value": "5", "telemetryDataId": 1, "recievedAt": AT}
    assert (reply.status, reply.data) == (200, {"dataStream": row})
    (event,) = farm.happened
    assert isinstance(event, ReadingChanged)
    assert (event.row["value"], event.organization_id) == ("5", NORTH)


@pytest.mark.parametrize(
    ("path", "who", "body", "status"),
    [
        ("/datastreams/1", "north-viewer", {"value": "9"}, 403),
        ("/datastreams/1", "south-admin", {"value": "9"}, 403),
        ("/datastreams/1", "north-admin", {"telemetryDataId": 2}, 403),
        ("/datastreams/1", "north-admin", {"telemetryDataId": 99}, 404),
        ("/datastreams/1", "north-admin", {"value": "x" * 51}, 400),
        ("/datastreams/1", "north-admin", {"recievedAt": "noon"}, 400),
        ("/datastreams/1", "north-admin", {"id": 5}, 400),
        ("/datastreams/99", "north-admin", {"value": "9"}, 404),
    ],
)
async def test_a_correction_is_refused_and_changes_nothing(
    farm: Farm, path: str, who: str, body: dict[str, object], status: int
) -> None:
    await store(farm, 1)
    assert (await farm.call("PATCH", path, who, body)).status == status
    (row,) = await farm.rows("SELECT * FROM DataStream")
    assert (row["value"], row["telemetryDataId"]) == ("0", 1)
    assert farm.happened == []


async def test_a_reading_is_deleted_and_the_deletion_told(farm: Farm) -> None:
    await store(farm, 1)
    assert (await farm.call("DELETE", "/datastreams/1", "north-viewer")).status == 403
    assert (await farm.call("DELETE", "/datastreams/1", "north-admin")).status == 204
    assert (await farm.call("DELETE", "/datastreams/1", "north-admin")).status == 404
    (event,) = farm.happened
    assert isinstance(event, ReadingDeleted)
    assert (event.reading_id, event.telemetry_id, event.organization_id) == (1, 1, NORTH)


async def test_orphans_of_the_original_are_for_the_system_admin(farm: Farm) -> None:
    """The original stored readings of users without a variable."""
    await farm.run("INSERT INTO DataStream (id, value) VALUES (1, '1')")
    assert (await farm.call("GET", "/datastreams/1", "north-admin")).status == 403
    reply = await farm.call("GET", "/datastreams/1", "root")
    assert reply.data["dataStream"]["TelemetryData"] is None
    assert (await farm.call("DELETE", "/datastreams/1", "root")).status == 204
