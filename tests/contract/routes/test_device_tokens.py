"""`/device-tokens` of sensors and of devices (spec/http-api.md section 4.9)."""

from __future__ import annotations

import re

import pytest

from aemos.model import Instant
from tests.farm import NORTH, PUMPS, TOKENS, UUIDS, Farm

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


@pytest.mark.parametrize(
    "path",
    [
        "/device-tokens/sensor/1",
        "/device-tokens/sensor/1?sensorId=2",
        "/device-tokens/sensor/any?sensorId=1",
        "/device-tokens?sensorId=1",
    ],
)
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
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await farm.call("POST", "/device-tokens/test-no-db", None, b"a=1&b[c]=2", **form)
    assert reply.body["receivedData"] == {"a": "1", "b": {"c": "2"}}


async def test_the_use_of_a_token_is_written_down(farm: Farm) -> None:
    await farm.call("GET", "/device-tokens/verify", TOKENS[NORTH])
    await farm.token_use.stop()
    reply = await farm.call("GET", "/device-tokens/1", "north-viewer")
    assert reply.data["lastUsed"] is not None


async def test_a_device_has_a_token_of_its_own(farm: Farm) -> None:
    body = {"deviceId": 1, "label": "first", "expiresAt": FUTURE}
    made = await farm.call("POST", "/device-tokens", "north-admin", body)
    assert made.status == 200
    assert (made.data["deviceId"], made.data["deviceUuid"]) == (1, PUMPS[NORTH])
    assert (made.data["label"], made.data["expiresAt"]) == ("first", FUTURE)
    assert "sensorId" not in made.data
    assert farm.changed() == [PUMPS[NORTH]]
    verified = await farm.call("GET", "/device-tokens/verify", made.data["token"])
    assert verified.data == {"deviceId": 1, "device": {"id": 1, "name": "north pump"}}
    shown = await farm.call("GET", f"/device-tokens/{made.data['id']}", "north-viewer")
    assert shown.data == {
        "id": made.data["id"],
        "deviceId": 1,
        "label": "first",
        "expiresAt": FUTURE,
        "lastUsed": None,
        "status": "active",
        "createdAt": made.data["createdAt"],
        "device": {"id": 1, "name": "north pump"},
    }
    (stored,) = await farm.rows("SELECT * FROM device_credential")
    assert made.data["token"] not in str(stored)


async def test_the_token_of_a_device_is_never_taken_for_that_of_a_sensor(farm: Farm) -> None:
    """The rows of both tables count from 1; the ids that are shown do not."""
    made = await farm.call("POST", "/device-tokens", "north-admin", {"deviceId": 1})
    await farm.call("DELETE", f"/device-tokens/{made.data['id']}", "north-admin")
    assert await farm.rows("SELECT id FROM device_credential") == []
    assert len(await farm.rows("SELECT id FROM DeviceToken")) == 2
    assert (await farm.call("GET", "/device-tokens/verify", made.data["token"])).status == 401


async def test_the_tokens_of_a_device_come_newest_first(farm: Farm) -> None:
    ids = []
    for label in ("one", "two"):
        body = {"deviceId": 1, "label": label}
        ids.append((await farm.call("POST", "/device-tokens", "north-admin", body)).data["id"])
    reply = await farm.call("GET", "/device-tokens?deviceId=1", "north-viewer")
    assert [(row["id"], row["label"]) for row in reply.data] == [(ids[1], "two"), (ids[0], "one")]
    assert (await farm.call("GET", "/device-tokens?sensorId=1", "north-viewer")).data[0]["id"] == 1


async def test_a_label_is_shown_where_one_was_given(farm: Farm) -> None:
    body = {"sensorId": 1, "label": "gateway"}
    made = await farm.call("POST", "/device-tokens", "north-admin", body)
    assert made.data["label"] == "gateway"
    reply = await farm.call("GET", "/device-tokens/sensor/1", "north-viewer")
    assert [row.get("label") for row in reply.data] == ["gateway", None]
    await farm.call("DELETE", f"/device-tokens/{made.data['id']}", "north-admin")
    assert await farm.rows("SELECT * FROM token_label") == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"deviceId": 99}, 404, "Device not found"),
        ({"deviceId": 2}, 403, "Forbidden"),
        ({"deviceId": 1, "sensorId": 1}, 400, "give one of the two ids"),
        ({"deviceId": 1, "expiresAt": PAST}, 400, '"expiresAt" must be in the future'),
        ({"deviceId": 1, "label": ""}, 400, '"label" is not allowed to be empty'),
        ({"deviceId": 1, "label": "x" * 101}, 400, '"label"'),
    ],
)
async def test_a_new_token_of_a_device_is_refused_with_the_reason(
    farm: Farm, body: dict[str, object], status: int, text: str
) -> None:
    reply = await farm.call("POST", "/device-tokens", "north-admin", body)
    assert (reply.status, text in reply.body["message"]) == (status, True), reply.body
    assert await farm.rows("SELECT id FROM device_credential") == []


@pytest.mark.parametrize("holder", ["sensorId", "deviceId"])
async def test_a_rotated_token_goes_on_for_the_overlap_beside_its_successor(
    farm: Farm, holder: str
) -> None:
    body = {holder: 1, "label": "main"}
    old = (await farm.call("POST", "/device-tokens", "north-admin", body)).data
    rotate = f"/device-tokens/{old['id']}/rotate"
    for who, status in (("south-admin", 403), ("north-viewer", 403)):
        assert (await farm.call("POST", rotate, who, {"overlap": 60})).status == status
    farm.changed()
    reply = await farm.call("POST", rotate, "north-admin", {"overlap": 60})
    new = reply.data
    assert (reply.status, new["label"], new["expiresAt"]) == (200, "main", None)
    assert new["replaced"]["id"] == old["id"]
    left = Instant.parse(new["replaced"]["expiresAt"]) - Instant.parse(new["createdAt"])
    assert 59_000 < left <= 61_000
    assert farm.changed() == [new["deviceUuid"]]
    for token in (old["token"], new["token"]):
        assert (await farm.call("GET", "/device-tokens/verify", token)).status == 200


async def test_without_an_overlap_the_old_token_ends_at_once(farm: Farm) -> None:
    reply = await farm.call("POST", "/device-tokens/1/rotate", "north-admin", {"overlap": 0})
    assert (await farm.call("GET", "/device-tokens/verify", TOKENS[NORTH])).status == 401
    assert (await farm.call("GET", "/device-tokens/verify", reply.data["token"])).status == 200
    again = await farm.call("POST", "/device-tokens/1/rotate", "north-admin", {"overlap": 0})
    assert (again.status, again.body["message"]) == (409, "Token has ended already")


async def test_a_rotation_lengthens_no_life(farm: Farm) -> None:
    """The old one ends when it would have; the new one lasts as long as the old one was to."""
    soon = Instant.parse(FUTURE)
    await farm.run("UPDATE DeviceToken SET expiresAt = %s WHERE id = 1", soon)
    (old,) = await farm.rows("SELECT createdAt FROM DeviceToken WHERE id = 1")
    reply = await farm.call("POST", "/device-tokens/1/rotate", "north-admin", {"overlap": 60})
    span = Instant.parse(reply.data["expiresAt"]) - Instant.parse(reply.data["createdAt"])
    assert abs(span - (soon - old["createdAt"])) < 5_000
    near = Instant(Instant.parse(reply.data["createdAt"]) + 30_000)
    await farm.run("UPDATE DeviceToken SET expiresAt = %s WHERE id = 1", near)
    reply = await farm.call(
        "POST", "/device-tokens/1/rotate", "north-admin", {"overlap": 60, "expiresAt": FUTURE}
    )
    assert reply.data["expiresAt"] == FUTURE
    assert reply.data["replaced"]["expiresAt"] == near.iso()
