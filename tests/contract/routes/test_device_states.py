"""`/device-states` and `/device-state-instances` (spec/http-api.md sections 4.5 and 4.6)."""

from __future__ import annotations

import json

from twisted.internet.defer import ensureDeferred, gatherResults

from aemos.services.events import DeviceStateChanged
from tests.farm import NORTH, PUMPS, SOUTH, Farm, Reply

STATE = {"stateName": "speed", "dataType": "number", "defaultValue": "0", "allowedValues": ["0"]}


def told(farm: Farm) -> list[tuple[str | None, str, str]]:
    """The changes of states that were published: old value, new value, priority."""
    return [
        (event.old, event.new, event.priority)
        for event in farm.happened
        if isinstance(event, DeviceStateChanged)
    ]


async def put(farm: Farm, value: object, **fields: object) -> Reply:
    body = {"deviceUuid": PUMPS[NORTH], "stateName": "power", "value": value, **fields}
    return await farm.call("POST", "/device-state-instances", "north-admin", body)


async def test_the_test_route_is_open(farm: Farm) -> None:
    assert (await farm.call("GET", "/device-states/test")).status == 200


async def test_the_states_of_a_device_have_their_allowed_values_as_json_text(farm: Farm) -> None:
    path = "/device-states/device/1?organizationId=1"
    reply = await farm.call("GET", path, "north-viewer")
    (state,) = reply.data
    assert json.loads(state["allowedValues"]) == ["on", "off"]
    assert state["device"] == {"name": "north pump", "uuid": PUMPS[NORTH]}
    assert state["createdAt"].endswith("Z")
    assert "results" not in reply.body
    assert (await farm.call("GET", "/device-states/1", "north-viewer")).data == state


REFUSED: list[tuple[str, str, object, int, str]] = [
    ("GET", "/device-states/99", None, 404, "Device state not found"),
    ("PATCH", "/device-states/99", {}, 404, "Device state not found"),
    ("DELETE", "/device-states/99", None, 404, "Device state not found"),
    ("POST", "/device-states/device/99", STATE, 404, "Device not found"),
    ("PATCH", "/device-states/x", {}, 400, 'Invalid parameters: "id" must be a number'),
    ("POST", "/device-states/device/x", STATE, 400, '"deviceId" must be a number'),
    ("POST", "/device-states/device/1", {**STATE, "stateName": "power"}, 409,
     "State 'power' already exists for this device"),
    ("POST", "/device-states/device/1", {**STATE, "stateName": ""}, 400, '"stateName"'),
    ("POST", "/device-states/device/1", {"stateName": "x"}, 400, '"dataType" is required'),
    ("POST", "/device-states/device/1", {**STATE, "x": 1}, 400, '"x" is not allowed'),
    ("POST", "/device-states/device/1", {**STATE, "allowedValues": [1]}, 400, "allowedValues"),
    ("PATCH", "/device-states/1", {"status": "archived"}, 400, '"status" must be one of'),
    ("GET", "/device-state-instances/current/99", None, 404, "Device state not found"),
    ("GET", "/device-state-instances/history/1?limit=0", None, 400, '"limit"'),
    ("GET", "/device-state-instances/history/1?limit=1001", None, 400, '"limit"'),
    ("GET", "/device-state-instances/history/1?limit=x", None, 400, '"limit"'),
]  # fmt: skip


async def test_what_does_not_fit_is_refused(farm: Farm) -> None:
    for method, path, body, status, says in REFUSED:
        reply = await farm.call(method, path, "north-admin", body)
        assert (reply.status, says in reply.body["message"]) == (status, True), (path, reply.body)


async def test_a_device_that_does_not_exist_has_no_states(farm: Farm) -> None:
    reply = await farm.call("GET", "/device-states/device/99", "north-viewer")
    assert (reply.status, reply.data) == (200, [])


async def test_a_new_state_is_answered_whole(farm: Farm) -> None:
    reply = await farm.call("POST", "/device-states/device/1", "north-admin", STATE)
    assert reply.status == 201
    state = reply.data
    assert (state["deviceId"], state["status"], state["allowedValues"]) == (1, "active", '["0"]')
    assert state["createdAt"].endswith("Z")
    current = await farm.call(
        "GET", f"/device-state-instances/current/{state['id']}", "north-viewer"
    )
    assert (current.status, current.data) == (200, None)


async def test_a_state_changes_and_null_leaves_its_allowed_values(farm: Farm) -> None:
    body = {"stateName": "mode", "allowedValues": None, "defaultValue": "", "status": "suspended"}
    reply = await farm.call("PATCH", "/device-states/1", "north-admin", body)
    assert (reply.status, reply.data["stateName"], reply.data["status"]) == (
        200,
        "mode",
        "suspended",
    )
    assert (reply.data["allowedValues"], reply.data["defaultValue"]) == ('["on","off"]', "")
    reply = await farm.call("PATCH", "/device-states/1", "north-admin", {"allowedValues": []})
    assert reply.data["allowedValues"] == "[]"
    await farm.call("POST", "/device-states/device/1", "north-admin", STATE)
    reply = await farm.call("PATCH", "/device-states/1", "north-admin", {"stateName": "speed"})
    assert reply.status == 409


async def test_a_deleted_state_stays_inactive_and_still_takes_values(farm: Farm) -> None:
    for _ in range(2):
        reply = await farm.call("DELETE", "/device-states/1", "north-admin")
        assert (reply.status, reply.body) == (
            200,
            {"status": "success", "message": "Device state deleted successfully"},
        )
    shown = await farm.call("GET", "/device-states/1", "north-viewer")
    assert shown.data["status"] == "inactive"
    assert (await put(farm, "on")).status == 201


async def test_a_new_value_closes_the_one_before_and_is_told(farm: Farm) -> None:
    reply = await put(farm, "on")
    assert reply.status == 201
    assert reply.data["id"] > 0
    assert (reply.data["deviceStateId"], reply.data["value"]) == (1, "on")
    assert (reply.data["initiatedBy"], reply.data["initiatorId"]) == ("user", 2)
    assert reply.data["toTimestamp"] is None
    (event,) = farm.happened
    assert isinstance(event, DeviceStateChanged)
    assert (event.device_uuid, event.device_name) == (PUMPS[NORTH], "north pump")
    assert (event.organization_id, event.state, event.old, event.new) == (1, "power", "off", "on")
    path = "/device-state-instances/{}/1"
    current = (await farm.call("GET", path.format("current"), "north-viewer")).data
    assert current["value"] == "on"
    assert current["state"]["device"] == {"name": "north pump", "uuid": PUMPS[NORTH]}
    history = (await farm.call("GET", path.format("history"), "north-viewer")).data
    assert [row["value"] for row in history] == ["on", "off"]
    assert history[1]["toTimestamp"] == history[0]["fromTimestamp"]
    limited = await farm.call("GET", path.format("history") + "?limit=1", "north-viewer")
    assert [row["value"] for row in limited.data] == ["on"]


UNFIT: list[tuple[dict[str, object], int, str]] = [
    (
        {"value": "half"},
        400,
        "Value 'half' is not allowed for this state. Allowed values: on, off",
    ),
    ({"value": ""}, 400, '"value" is not allowed to be empty'),
    ({"value": 1}, 400, '"value" must be a string'),
    ({"value": "x" * 101}, 400, '"value" length'),
    ({"stateName": "speed"}, 404, "State 'speed' not found for this device"),
    ({"deviceUuid": "99999999-9999-4999-8999-999999999999"}, 404, "Device not found"),
    ({"deviceUuid": "pump"}, 400, '"deviceUuid" must be a valid GUID'),
    ({"deviceUuid": PUMPS[SOUTH]}, 403, "Insufficient permissions"),
    ({"initiatedBy": "somebody"}, 400, '"initiatedBy" must be one of'),
]


async def test_a_value_that_does_not_fit_changes_nothing(farm: Farm) -> None:
    for fields, status, says in UNFIT:
        reply = await put(farm, **{"value": "on", **fields})
        assert (reply.status, says in reply.body["message"]) == (status, True), reply.body
    assert len(await farm.rows("SELECT id FROM DeviceStateInstance")) == 2
    assert farm.happened == []


async def test_the_right_is_asked_for_before_the_body_is_looked_at(farm: Farm) -> None:
    for method, path in (("POST", "/device-state-instances"), ("PATCH", "/device-states/1")):
        for who, status in (("north-viewer", 403), ("north-admin", 400)):
            assert (await farm.call(method, path, who, {"x": 1})).status == status


async def test_any_value_goes_where_no_values_are_listed(farm: Farm) -> None:
    await farm.run("UPDATE DeviceState SET allowedValues = NULL WHERE id = 1")
    assert (await put(farm, "half", initiatedBy="rule")).data["initiatedBy"] == "rule"


async def test_a_state_can_be_set_below_its_device(farm: Farm) -> None:
    body = {"value": "on", "organizationId": 1}
    reply = await farm.call("PATCH", "/devices/1/states/1", "north-admin", body)
    assert (reply.status, reply.data["value"]) == (200, "on")
    assert told(farm) == [("off", "on", "high")]
    wrong = await farm.call("PATCH", "/devices/1/states/2", "root", body)
    assert (wrong.status, wrong.body["message"]) == (404, "Device state not found")


async def test_values_given_at_once_leave_one_open(farm: Farm) -> None:
    replies = await gatherResults(
        [ensureDeferred(put(farm, "on" if turn % 2 else "off")) for turn in range(8)]
    )
    assert {reply.status for reply in replies} == {201}
    rows = await farm.rows("SELECT * FROM DeviceStateInstance WHERE deviceStateId = 1")
    rows.sort(key=lambda row: row["id"])
    assert [row["toTimestamp"] is None for row in rows] == [False] * 8 + [True]
    spans = [(row["fromTimestamp"], row["toTimestamp"]) for row in rows[:-1]]
    assert all(start <= end for start, end in spans)
    # Each was told what it replaced, if not in that order: several connections commit.
    steps = list(
        zip([row["value"] for row in rows], [row["value"] for row in rows[1:]], strict=False)
    )
    assert sorted((old, new) for old, new, _ in told(farm)) == sorted(steps)
