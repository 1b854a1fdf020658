"""`/device-tokens` (spec/http-api.md section 4.9)."""

from __future__ import annotations

import re

import pytest

from aemos.model import Instant
from tests.farm import NORTH, TOKENS, UUIDS, Farm

FUTURE = "2099-01-01T00:00:00.000Z"
PAST = "2020-01-01T00:00:00.000Z"


async def test_a_new_token_is_shown_once_and_signs_in_at_once(farm: Farm) -> None:
    made = await farm.call("POST", "/device-tokens", "north-admin", {"sensorId": "1", "name": "x"})
    assert made.status == 200
    assert set(made.data) == {"id", "token", "sensorId", "deviceUuid", "expiresAt", "createdAt"}
    assert re.fullmatch(r"[0-9a-f]{64}", made.data["token"])
    assert (made.data["sensorId"], made.data["deviceUuid"]) == (1, UUIDS[NORTH])
    assert made.data["expiresAt"] is None
    assert farm.changed() == [UUIDS[NORTH]]
    verified = await farm.call("GET", "/device-tokens/verify", made.data["token"])
    assert verified.body == {
        "status": "success",
        "message": "Token is valid",
        "data": {"sensorId": 1, "sensor": {"id": 1, "name": "north sensor"}},
    }
    for path in (f"/device-tokens/{made.data['id']}", "/device-tokens/sensor/1"):
        shown = await farm.call("GET", path, "north-admin")
        assert made.data["token"] not in str(shown.body)
        assert '"token":' not in str(shown.body)


@pytest.mark.parametrize("token", [None, "c3" * 32, "nonsense"])
async def test_only_a_known_token_verifies(farm: Farm, token: str | None) -> None:
    reply = await farm.call("GET", "/device-tokens/verify", token)
    text = "No token provided" if token is None else "Invalid or expired token"
    assert (reply.status, reply.body) == (401, {"status": "error", "message": text})


@pytest.mark.parametrize(
    ("method", "text"), [("PATCH", "Token revoked"), ("DELETE", "Token deleted")]
)
async def test_a_token_ends_at_once(farm: Farm, method: str, text: str) -> None:
    verify = ("GET", "/device-tokens/verify", TOKENS[NORTH])
    assert (await farm.call(*verify)).status == 200
    reply = await farm.call(method, "/device-tokens/1", "north-admin")
    assert reply.body == {"status": "success", "message": f"{text} successfully"}
    assert (await farm.call(*verify)).status == 401
    assert farm.changed() == [UUIDS[NORTH]]
    left = await farm.rows("SELECT status FROM DeviceToken WHERE id = 1")
    assert left == ([{"status": "revoked"}] if method == "PATCH" else [])


async def test_an_expired_token_is_refused_to_the_millisecond(farm: Farm) -> None:
    await farm.run("UPDATE DeviceToken SET expiresAt = %s WHERE id = 1", Instant.parse(PAST))
    reply = await farm.call("GET", "/device-tokens/verify", TOKENS[NORTH])
    assert reply.status == 401


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 404, "Sensor not found"),
        ({"sensorId": 99}, 404, "Sensor not found"),
        ({"sensorId": 1, "expiresAt": PAST}, 400, '"expiresAt" must be in the future'),
        ({"sensorId": 1, "expiresAt": 1}, 400, '"expiresAt" must be in the future'),
        ({"sensorId": 1, "expiresAt": "soon"}, 400, '"expiresAt" must be a valid date'),
        ({"sensorId": 2}, 403, "Forbidden"),
    ],
)
async def test_a_new_token_is_refused_with_the_reason(
    farm: Farm, body: dict[str, object], status: int, text: str
) -> None:
    reply = await farm.call("POST", "/device-tokens", "north-admin", body)
    assert reply.status == status
    assert reply.body["status"] == "error"
    assert text in reply.body["message"]
    assert len(await farm.rows("SELECT id FROM DeviceToken")) == 2


async def test_a_token_keeps_its_end(farm: Farm) -> None:
    body = {"sensorId": 1, "expiresAt": FUTURE}
    made = await farm.call("POST", "/device-tokens", "north-admin", body)
    assert made.data["expiresAt"] == FUTURE
    millis = int(Instant.parse(FUTURE))
    made = await farm.call(
        "POST", "/device-tokens", "north-admin", {"sensorId": 1, "expiresAt": millis}
    )
    assert made.data["expiresAt"] == FUTURE


@pytest.mark.parametrize("path", ["/device-tokens/sensor/1", "/device-tokens?sensorId=1"])
async def test_the_tokens_of_a_sensor_come_newest_first(farm: Farm, path: str) -> None:
    made = await farm.call("POST", "/device-tokens", "north-admin", {"sensorId": 1})
    reply = await farm.call("GET", path, "north-viewer")
    assert (reply.status, reply.body["results"]) == (200, 2)
    assert [row["id"] for row in reply.data] == [made.data["id"], 1]
    assert set(reply.data[0]) == {"id", "sensorId", "expiresAt", "lastUsed", "status", "createdAt"}


async def test_a_token_is_shown_with_its_sensor(farm: Farm) -> None:
    reply = await farm.call("GET", "/device-tokens/1", "north-viewer")
    assert reply.data["sensor"] == {"id": 1, "name": "north sensor"}
    assert (reply.data["status"], reply.data["lastUsed"]) == ("active", None)
    missing = await farm.call("GET", "/device-tokens/99", "north-viewer")
    assert (missing.status, missing.body["message"]) == (404, "Token not found")


async def test_a_viewer_makes_and_ends_no_token(farm: Farm) -> None:
    for method, path, body in (
        ("POST", "/device-tokens", {"sensorId": 1}),
        ("PATCH", "/device-tokens/1", None),
        ("DELETE", "/device-tokens/1", None),
    ):
        assert (await farm.call(method, path, "north-viewer", body)).status == 403
    assert (await farm.call("GET", "/device-tokens/verify", TOKENS[NORTH])).status == 200


@pytest.mark.parametrize("prefix", ["/devicetokens", "/devicetoken", "/Device-Tokens"])
async def test_old_spellings_of_the_path_work(farm: Farm, prefix: str) -> None:
    assert (await farm.call("GET", f"{prefix}/test")).status == 200
    assert (await farm.call("GET", f"{prefix}/sensor/1", "north-viewer")).status == 200


async def test_the_route_without_database_gives_the_body_back(farm: Farm) -> None:
    reply = await farm.call("POST", "/device-tokens/test-no-db", None, {"a": [1]})
    assert (reply.status, reply.body["receivedData"]) == (201, {"a": [1]})
    assert (await farm.call("POST", "/device-tokens/test-no-db")).body["receivedData"] == {}


async def test_the_use_of_a_token_is_written_down(farm: Farm) -> None:
    await farm.call("GET", "/device-tokens/verify", TOKENS[NORTH])
    await farm.token_use.stop()
    reply = await farm.call("GET", "/device-tokens/1", "north-viewer")
    assert reply.data["lastUsed"] is not None
