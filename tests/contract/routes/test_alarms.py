"""`/alarm-definitions` and `/alarms`: shapes, rights and filters (docs/alarms.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.farm import NORTH, SOUTH, TOKENS, UUIDS, Reply
from tests.rows import until
from tests.whole import Whole

API = "/api/v1"
HOT: dict[str, Any] = {
    "organizationId": NORTH,
    "name": "Hot",
    "severity": "critical",
    "variableName": "temperature",
    "condition": {"type": "threshold", "direction": "above", "level": 30, "clearLevel": 28},
    "quietHours": {"from": "22:00", "to": "06:00", "timeZone": "Europe/Berlin"},
}


async def token(whole: Whole, name: str = "Org Admin") -> str:
    return (await whole.sign_in(name))[0]


async def define(whole: Whole, user: str, **values: Any) -> Reply:
    return await whole.call("POST", f"{API}/alarm-definitions", user, {**HOT, **values})


async def say(whole: Whole, value: float) -> None:
    """A reading of the sensor of `NORTH`, and what follows from it."""
    reading = {"value": str(value), "telemetryDataId": NORTH}
    reply = await whole.call("POST", f"{API}/data-streams/token", TOKENS[NORTH], reading)
    assert reply.status == 201, reply.body
    await until(lambda: whole.services.alarms.watch.waiting == 0)
    await whole.services.alarms.recorder.flush()


async def test_a_definition_is_made_shown_changed_and_deleted(whole: Whole) -> None:
    user = await token(whole)
    made = await define(whole, user)
    assert made.status == 201, made.body
    definition = made.data["alarmDefinition"]
    assert definition["condition"] == HOT["condition"] | {"variable": ""}
    assert definition["quietHours"] == HOT["quietHours"]
    assert (definition["enabled"], definition["holdSeconds"], definition["steps"]) == (True, 0, [])
    path = f"{API}/alarm-definitions/{definition['id']}"
    assert (await whole.call("GET", path, user)).data["alarmDefinition"] == definition
    changed = await whole.call("PATCH", path, user, {"holdSeconds": 60, "quietHours": None})
    assert changed.data["alarmDefinition"] | {"updatedAt": ""} == definition | {
        "holdSeconds": 60, "quietHours": None, "updatedAt": "",
    }  # fmt: skip
    listed = await whole.call("GET", f"{API}/alarm-definitions?limit=1", user)
    assert (listed.body["total"], len(listed.data["alarmDefinitions"])) == (1, 1)
    for status in (204, 404):
        assert (await whole.call("DELETE", path, user)).status == status
    trail = await whole.call("GET", f"{API}/audit-log?resource=alarm_definition", user)
    assert [entry["action"] for entry in trail.data["entries"]] == ["delete", "update", "create"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"condition": {"type": "threshold", "direction": "up", "level": 1}}, "condition"),
        ({"condition": {"type": "guess"}}, "condition"),
        ({"condition": {**HOT["condition"], "clearLevel": 40}}, "condition"),
        ({"condition": {"type": "any", "of": []}}, "condition.of"),
        ({"variableName": None}, "variableName"),
        ({"message": "{{nonsense}}"}, "message"),
        ({"quietHours": {"from": "25:00", "to": "06:00"}}, "quietHours"),
        ({"telemetryDataId": SOUTH, "variableName": None}, "telemetryDataId"),
        ({"holdSeconds": -1}, "holdSeconds"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_definition_that_makes_no_sense_is_refused(
    whole: Whole, values: Mapping[str, Any], says: str
) -> None:
    reply = await define(whole, await token(whole), **values)
    assert (reply.status, f'"{says}' in reply.body["message"]) == (400, True), reply.body


async def test_an_alarm_goes_from_the_reading_to_its_end(whole: Whole) -> None:
    user, viewer = await token(whole), await token(whole, "Viewer")
    await define(whole, user)
    await say(whole, 31)
    reply = await whole.call("GET", f"{API}/alarms?state=active&severity=critical", viewer)
    (alarm,) = reply.data["alarms"]
    assert alarm | {"raisedAt": "", "id": 0, "definitionId": 0} == {
        "id": 0, "definitionId": 0, "organizationId": NORTH, "sensorId": NORTH, "areaId": NORTH,
        "uuid": UUIDS[NORTH], "name": "Hot", "severity": "critical", "state": "active",
        "message": "Hot: temperature of north sensor is 31",
        "value": "31", "assigneeId": None, "raisedAt": "", "acknowledgedAt": None,
        "acknowledgedBy": None, "clearedAt": None, "clearedBy": None,
    }  # fmt: skip
    path = f"{API}/alarms/{alarm['id']}"
    for step in ("acknowledge", "comment", "assign", "clear"):
        body = {"assign": {"userId": None}}.get(step, {"comment": step})
        assert (await whole.call("POST", f"{path}/{step}", viewer, body)).status == 403
        assert (await whole.call("POST", f"{path}/{step}", user, body)).status == 200
    assert (await whole.call("POST", f"{path}/clear", user, {})).status == 409
    shown = (await whole.call("GET", path, viewer)).data["alarm"]
    assert [event["kind"] for event in shown["events"]] == [
        "raised", "acknowledged", "commented", "assigned", "cleared",
    ]  # fmt: skip
    assert shown["clearedBy"] == shown["acknowledgedBy"] is not None
    for query, count in (
        ("state=active", 0),
        ("state=cleared", 1),
        ("severity=info", 0),
        (f"sensorId={NORTH}&areaId={NORTH}", 1),
        (f"sensorId={SOUTH}", 0),
        (f"organizationId={NORTH}&sort=-raisedAt&limit=5", 1),
    ):
        reply = await whole.call("GET", f"{API}/alarms?{query}", viewer)
        assert len(reply.data["alarms"]) == count, query
    stranger = await token(whole, "stranger")
    assert (await whole.call("GET", path, stranger)).status == 403
    assert (await whole.call("GET", f"{API}/alarms", stranger)).data["alarms"] == []


async def test_a_member_can_be_assigned(whole: Whole) -> None:
    user = await token(whole)
    await define(whole, user)
    await say(whole, 31)
    (alarm,) = (await whole.call("GET", f"{API}/alarms", user)).data["alarms"]
    members = await whole.services.database.read(
        lambda tx: tx.all("SELECT userId, organizationId FROM OrganizationUser ORDER BY userId")
    )
    for member in members:
        reply = await whole.call(
            "POST", f"{API}/alarms/{alarm['id']}/assign", user, {"userId": member["userId"]}
        )
        assert reply.status == (200 if member["organizationId"] == NORTH else 400)
