"""`/api-keys`, and what a program may do with one (docs/access.rst)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aemos.model import Instant
from aemos.services.key_login import KeyLogin
from aemos.storage.seed import PERMISSIONS
from tests.farm import NORTH, SOUTH, UUIDS, Reply
from tests.whole import Whole, email

KEYS = "/api/v1/api-keys"
SENSORS = f"/api/v1/sensors?organizationId={NORTH}"
FUTURE = "2099-01-01T00:00:00.000Z"
PAST = "2020-01-01T00:00:00.000Z"


async def make(whole: Whole, who: str = "Org Admin", **changes: Any) -> Reply:
    body = {"organizationId": NORTH, "label": "script", "permissions": ["sensor.view"], **changes}
    return await whole.call("POST", KEYS, (await whole.sign_in(who))[0], body)


async def as_admin(whole: Whole, method: str, path: str, body: object = None) -> Reply:
    return await whole.call(method, f"{KEYS}{path}", (await whole.sign_in("Org Admin"))[0], body)


async def status(whole: Whole, key: str) -> int:
    """@return: of a list of sensors that is asked for with this key."""
    return (await whole.call("GET", SENSORS, key)).status


async def test_a_new_key_is_shown_once_and_opens_what_it_permits(whole: Whole) -> None:
    made = await make(whole, permissions=["sensor.view", "area.view", "sensor.view"])
    assert made.status == 201, made.body
    key = made.data["apiKey"]
    assert re.fullmatch(r"aemos_[-_0-9A-Za-z]{43}", key["key"])
    assert key["prefix"] == key["key"][:12]
    assert key["permissions"] == ["area.view", "sensor.view"]
    assert (key["organizationId"], key["label"], key["status"]) == (NORTH, "script", "active")
    assert (key["expiresAt"], key["lastUsedAt"]) == (None, None)
    reply = await whole.call("GET", SENSORS, key["key"])
    assert [sensor["uuid"] for sensor in reply.data["sensors"]] == [UUIDS[NORTH]]
    assert (await whole.call("GET", SENSORS, **{"X-API-Key": key["key"]})).status == 200
    devices = f"/api/v1/devices?organizationId={NORTH}"
    assert (await whole.call("GET", devices, key["key"])).status == 403
    for path in ("", f"/{key['id']}"):
        shown = str((await as_admin(whole, "GET", path)).body)
        assert key["prefix"] in shown
        assert key["key"] not in shown
    stored = await whole.services.database.read(lambda tx: tx.one("SELECT * FROM api_key"))
    assert key["key"] not in str(stored)


async def test_a_key_works_in_its_organization_only(whole: Whole) -> None:
    """Also where its maker may do everything everywhere."""
    made = await make(whole, "System Admin", permissions=sorted(PERMISSIONS))
    key = made.data["apiKey"]["key"]
    assert await status(whole, key) == 200
    other = f"/api/v1/sensors?organizationId={SOUTH}"
    assert (await whole.call("GET", other, key)).status == 403
    assert (await whole.call("GET", "/api/v1/mqtt/bans", key)).status == 403
    for parent, expected in ((NORTH, 201), (None, 403), (SOUTH, 403)):
        body = {"name": "new", "status": "active", "parentId": parent}
        if parent is None:
            del body["parentId"]
        reply = await whole.call("POST", "/api/v1/organizations", key, body)
        assert reply.status == expected, (parent, reply.body)


async def test_a_program_stores_readings_with_its_key(whole: Whole) -> None:
    reading = {"telemetryDataId": NORTH, "value": "21.5"}
    for permissions, expected in ((["sensor.update"], 201), (["sensor.view"], 403)):
        key = (await make(whole, permissions=permissions)).data["apiKey"]["key"]
        reply = await whole.call("POST", "/api/v1/datastreams", key, reading)
        assert reply.status == expected, reply.body
    foreign = {**reading, "telemetryDataId": SOUTH}
    key = (await make(whole, permissions=["sensor.update"])).data["apiKey"]["key"]
    assert (await whole.call("POST", "/api/v1/datastreams", key, foreign)).status == 403


@pytest.mark.parametrize("path", ["me", "logout"])
async def test_a_key_is_no_person(whole: Whole, path: str) -> None:
    key = (await make(whole)).data["apiKey"]["key"]
    reply = await whole.call("GET" if path == "me" else "POST", f"/api/v1/auth/{path}", key)
    assert (reply.status, reply.body["message"]) == (403, "Forbidden: an API key cannot do this")


async def test_a_key_makes_no_keys(whole: Whole) -> None:
    made = await make(whole, permissions=["organization.update", "sensor.view"])
    key = made.data["apiKey"]["key"]
    body = {"organizationId": NORTH, "label": "x", "permissions": []}
    assert (await whole.call("POST", KEYS, key, body)).status == 403
    assert (await whole.call("GET", KEYS, key)).status == 403
    assert (await whole.call("DELETE", f"{KEYS}/{made.data['apiKey']['id']}", key)).status == 403
    assert await status(whole, key) == 200


@pytest.mark.parametrize(
    ("who", "changes", "expected", "text"),
    [
        ("Org Admin", {"permissions": ["permission.manage"]}, 403, "you do not hold"),
        ("Org Admin", {"permissions": ["everything"]}, 400, "has no everything"),
        ("Org Admin", {"organizationId": SOUTH}, 403, "Forbidden"),
        ("Viewer", {}, 403, "Forbidden"),
        ("stranger", {}, 403, "Forbidden"),
        ("System Admin", {"organizationId": 99}, 404, "Organization with ID 99 not found"),
        ("Org Admin", {"expiresAt": PAST}, 400, '"expiresAt" must be in the future'),
        ("Org Admin", {"expiresAt": "soon"}, 400, '"expiresAt" must be a valid date'),
        ("Org Admin", {"label": ""}, 400, '"label"'),
    ],
)
async def test_a_new_key_is_refused_with_the_reason(
    whole: Whole, who: str, changes: dict[str, Any], expected: int, text: str
) -> None:
    reply = await make(whole, who, **changes)
    assert (reply.status, text in reply.body["message"]) == (expected, True), reply.body


async def test_a_revoked_key_ends_at_once_and_stays_in_the_list(whole: Whole) -> None:
    key = (await make(whole)).data["apiKey"]
    assert await status(whole, key["key"]) == 200
    for _ in range(2):
        assert (await as_admin(whole, "DELETE", f"/{key['id']}")).status == 204
        assert await status(whole, key["key"]) == 401
    listed = await as_admin(whole, "GET", "?status=revoked")
    assert [row["id"] for row in listed.data["apiKeys"]] == [key["id"]]
    assert (await as_admin(whole, "GET", "?status=active")).data["apiKeys"] == []


async def test_a_key_ends_when_it_is_told_to(whole: Whole) -> None:
    key = (await make(whole, expiresAt=FUTURE)).data["apiKey"]
    assert key["expiresAt"] == FUTURE
    assert await status(whole, key["key"]) == 200
    changed = await as_admin(whole, "PATCH", f"/{key['id']}", {"label": "y", "expiresAt": None})
    assert changed.data["apiKey"]["label"] == "y"
    assert changed.data["apiKey"]["expiresAt"] is None
    assert await status(whole, key["key"]) == 200
    past = Instant.parse(PAST)
    await whole.services.database.transact(
        lambda tx: tx.update("api_key", key["id"], {"expires_at": past})
    )
    (await as_admin(whole, "PATCH", f"/{key['id']}", {"label": "z"}))
    assert await status(whole, key["key"]) == 401


async def test_a_key_is_worth_what_its_maker_is(whole: Whole) -> None:
    """A role that is taken from the maker is taken from the key, and given back with it."""
    key = (await make(whole, permissions=["sensor.view", "sensor.update"])).data["apiKey"]["key"]
    root, _ = await whole.sign_in("System Admin")
    find = "SELECT id FROM User WHERE email = %s"
    maker = await whole.services.database.read(lambda tx: tx.value(find, (email("Org Admin"),)))
    assert await status(whole, key) == 200
    roles = await whole.services.database.read(
        lambda tx: {row["name"]: row["id"] for row in tx.all("SELECT id, name FROM Role")}
    )
    roles_of = f"/api/v1/user-roles/{maker}"
    await whole.call("DELETE", f"{roles_of}/organization/{NORTH}", root)
    assert await status(whole, key) == 401
    for role, expected in (("Viewer", 403), ("Org Admin", 200)):
        body = {"roleId": roles[role], "organizationId": NORTH}
        assert (await whole.call("POST", roles_of, root, body)).status == 200
        assert await status(whole, key) == 200
        reply = await whole.call("POST", "/api/v1/device-tokens", key, {"sensorId": 1})
        assert reply.status == expected


async def test_the_key_of_an_inactive_maker_is_void(whole: Whole) -> None:
    key = (await make(whole)).data["apiKey"]["key"]
    await whole.services.database.transact(
        lambda tx: tx.execute("UPDATE User SET status = 0 WHERE email = %s", (email("Org Admin"),))
    )
    assert await status(whole, key) == 401


async def test_a_rotated_key_goes_on_for_the_overlap_beside_its_successor(whole: Whole) -> None:
    old = (await make(whole)).data["apiKey"]
    reply = await as_admin(whole, "POST", f"/{old['id']}/rotate", {"overlap": 60})
    new = reply.data["apiKey"]
    assert (new["label"], new["permissions"]) == (old["label"], old["permissions"])
    assert new["replaced"]["id"] == old["id"]
    left = Instant.parse(new["replaced"]["expiresAt"]) - Instant.parse(new["createdAt"])
    assert 59_000 < left <= 61_000
    assert await status(whole, old["key"]) == await status(whole, new["key"]) == 200
    await as_admin(whole, "POST", f"/{new['id']}/rotate", {"overlap": 0})
    assert await status(whole, new["key"]) == 401
    again = await as_admin(whole, "POST", f"/{new['id']}/rotate", {"overlap": 0})
    assert again.status == 409


async def test_nobody_takes_more_by_rotating_a_key(whole: Whole) -> None:
    made = await make(whole, "System Admin", permissions=["permission.manage"])
    reply = await as_admin(whole, "POST", f"/{made.data['apiKey']['id']}/rotate", {})
    assert (reply.status, "you do not hold" in reply.body["message"]) == (403, True)


@pytest.mark.parametrize("key", ["aemos_", "aemos_" + "x" * 43, "aemos_" + "x" * 5000])
async def test_what_is_no_key_opens_nothing(whole: Whole, key: str) -> None:
    assert await status(whole, key) == 401


async def test_the_use_of_a_key_is_written_down_without_a_write_for_each(whole: Whole) -> None:
    key = (await make(whole)).data["apiKey"]
    for _ in range(3):
        await status(whole, key["key"])
    await whole.services.token_use.stop()
    reply = await as_admin(whole, "GET", f"/{key['id']}")
    assert reply.data["apiKey"]["lastUsedAt"] is not None


async def test_a_known_key_is_not_looked_up_again(whole: Whole) -> None:
    key = (await make(whole)).data["apiKey"]["key"]
    reads: list[object] = []
    database = whole.services.database

    class Counting:
        def read(self, function: Any, *args: Any) -> Any:
            reads.append(function)
            return database.read(function, *args)

    login = KeyLogin(
        Counting(),  # type: ignore[arg-type]
        whole.services.events,
        whole.services.reactor,
        5.0,
        lambda kind, row_id: None,
    )
    assert await login.principal(key) == await login.principal(key)
    assert len(reads) == 1
