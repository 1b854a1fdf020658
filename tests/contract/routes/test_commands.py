"""`/devices/:device/commands` and `/organizations/:id/broadcast` over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from aemos import json
from tests.farm import NORTH, PUMPS, Farm

PUMP = PUMPS[NORTH]
PATH = f"/devices/{PUMP}/commands"


async def test_a_command_is_given_shown_listed_and_cancelled(farm: Farm) -> None:
    body = {"command": "on", "parameters": {"speed": 3}, "ttl": 60, "qos": 1}
    reply = await farm.call("POST", PATH, "north-admin", body)
    assert reply.status == 201
    command = reply.data["command"]
    assert command | {"commandId": "", "id": 0, "createdAt": "", "changedAt": ""} == {
        "id": 0,
        "commandId": "",
        "deviceUuid": PUMP,
        "organizationId": NORTH,
        "command": "on",
        "parameters": {"speed": 3},
        "qos": 1,
        "status": "queued",
        "attempts": 0,
        "result": None,
        "initiatedBy": "user",
        "initiatorId": 2,
        "maxOn": None,
        "stopAt": None,
        "createdAt": "",
        "changedAt": "",
        "expiresAt": command["expiresAt"],
    }
    one = f"{PATH}/{command['commandId']}"
    reply = await farm.call("GET", one, "north-viewer")
    steps = [{"status": "queued", "at": command["createdAt"], "detail": None}]
    assert reply.data["command"] == {**command, "transitions": steps}
    # A device may also be named by its id.
    by_id = f"/devices/{NORTH}/commands?limit=10&status=queued&sort=-createdAt"
    reply = await farm.call("GET", by_id, "north-viewer")
    assert (reply.body["total"], reply.data["commands"][0]["commandId"]) == (
        1,
        command["commandId"],
    )
    reply = await farm.call("DELETE", one, "north-admin")
    assert (reply.status, reply.data["command"]["status"]) == (200, "cancelled")
    assert (await farm.call("DELETE", one, "north-admin")).status == 409


async def test_a_device_that_does_not_answer_in_time_is_a_504_with_the_state(farm: Farm) -> None:
    reply = await farm.call("POST", f"{PATH}?wait=0.05", "north-admin", {"command": "on"})
    assert reply.status == 504
    assert reply.body["status"] == "error"
    assert reply.data["command"]["status"] == "queued"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": ""},
        {"command": {}},
        {"command": "on", "ttl": 0},
        {"command": "on", "qos": 3},
        {"command": "on", "ttl": 1e10},
        {"command": "blink", "maxOn": 5},
        {"command": "on", "unknown": 1},
    ],
)
async def test_what_makes_no_sense_is_a_400(farm: Farm, body: dict[str, Any]) -> None:
    assert (await farm.call("POST", PATH, "north-admin", body)).status == 400


@pytest.mark.parametrize("wait", ["61", "inf", "nan", "-1"])
async def test_a_request_may_not_wait_for_ever(farm: Farm, wait: str) -> None:
    reply = await farm.call("POST", f"{PATH}?wait={wait}", "north-admin", {"command": "on"})
    assert reply.status == 400
    assert await farm.rows("SELECT id FROM command") == []


async def test_what_is_not_there_is_a_404(farm: Farm) -> None:
    assert (await farm.call("GET", f"{PATH}/x", "north-admin")).status == 404
    assert (await farm.call("GET", "/devices/99/commands", "north-admin")).status == 404
    assert (
        await farm.call("POST", "/organizations/99/broadcast", "root", {"message": "x"})
    ).status == 404


async def test_a_broadcast_reaches_who_listens_to_the_organization(farm: Farm) -> None:
    client = farm.mqtt.client("watcher")
    client.subscribe((f"organizations/{NORTH}/broadcast", 1))
    body = {"message": {"text": "frost tonight"}}
    path = f"/organizations/{NORTH}/broadcast"
    reply = await farm.call("POST", path, "north-admin", body)
    assert reply.status == 201
    (message,) = client.publishes()
    assert message.qos == 1
    assert json.decode(message.payload) == {
        "type": "broadcast",
        "organizationId": NORTH,
        "message": {"text": "frost tonight"},
        "timestamp": reply.data["broadcast"]["timestamp"],
    }
    assert (await farm.call("POST", path, "north-viewer", body)).status == 403
