"""`/audit-log`: who changed what, when and from where (docs/access.rst)."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import reactor

from aemos.errors import BadRequest, Unauthenticated
from aemos.model import Instant
from aemos.services.events import Events
from aemos.services.users import Users
from aemos.storage import audit_log
from aemos.storage.audit import Actor, acting
from aemos.storage.transaction import Transaction
from tests.farm import NORTH, SOUTH, TOKENS
from tests.whole import Whole, email

LOG = "/api/v1/audit-log"


async def entries(whole: Whole, query: str = "", who: str = "System Admin") -> list[dict[str, Any]]:
    """@return: oldest first, without the sign-ins unless these are asked for."""
    reply = await whole.call("GET", f"{LOG}{query}", (await whole.sign_in(who))[0])
    assert reply.status == 200, reply.body
    found = list(reversed(reply.data["entries"]))
    return [row for row in found if row["action"] != "sign-in" or "action=sign-in" in query]


async def test_a_change_is_recorded_with_who_what_and_from_where(whole: Whole) -> None:
    token, _ = await whole.sign_in("Org Admin")
    body = {"organizationId": NORTH, "name": "renamed"}
    reply = await whole.call("PATCH", f"/api/v1/areas/{NORTH}", token, body)
    assert reply.status == 200, reply.body
    (entry,) = await entries(whole)
    assert (entry["action"], entry["resource"], entry["resourceId"]) == ("update", "Area", NORTH)
    assert entry["changes"] == {"name": ["north field", "renamed"]}
    assert (entry["actorKind"], entry["actorName"]) == ("user", email("Org Admin"))
    assert (entry["address"], entry["organizationId"]) == ("127.0.0.1", NORTH)
    assert entry["requestId"] == reply.headers["x-request-id"]
    assert Instant.parse(entry["at"]) > Instant.parse("2026-01-01")


async def test_all_that_one_request_changes_is_counted_to_the_organization(whole: Whole) -> None:
    """A sensor is nobody's until it lies in an area: both are made in one transaction."""
    token, _ = await whole.sign_in("Org Admin")
    body = {"areaId": NORTH, "name": "new", "status": "active"}
    made = await whole.call("POST", "/api/v1/sensors", token, body)
    assert made.status == 201, made.body
    found = await entries(whole)
    assert [(row["action"], row["resource"]) for row in found] == [
        ("create", "Sensor"),
        ("create", "AreaSensor"),
    ]
    sensor_id = made.data["sensor"]["id"]
    assert {(row["organizationId"], row["resourceId"]) for row in found} == {(NORTH, sensor_id)}
    assert found[0]["changes"]["name"] == [None, "new"]


async def test_secrets_are_left_out(whole: Whole) -> None:
    root, _ = await whole.sign_in("System Admin")
    made = await whole.call("POST", "/api/v1/device-tokens", root, {"sensorId": NORTH})
    body = {"organizationId": NORTH, "label": "k", "permissions": []}
    key = await whole.call("POST", "/api/v1/api-keys", root, body)
    user = {"userName": "new", "email": "n@x.example", "password": "A long secret 1"}
    signup = {**user, "termsAndConditions": True}
    reply = await whole.call("POST", "/api/v1/auth/signup", None, signup)
    assert reply.status == 201, reply.body
    found = await entries(whole)
    assert [row["resource"] for row in found] == ["DeviceToken", "api_key", "User"]
    assert found[0]["changes"]["token"] == [None, "***"]
    for secret in (made.data["token"], key.data["apiKey"]["key"], "long secret", "$2b$"):
        assert secret not in str(found)


async def test_a_role_that_is_given_and_taken_is_recorded(whole: Whole) -> None:
    token, _ = await whole.sign_in("Org Admin")
    user, role = await whole.services.database.read(
        lambda tx: (
            tx.value("SELECT id FROM User WHERE email = %s", (email("nobody"),)),
            tx.value("SELECT id FROM Role WHERE name = 'Viewer'"),
        )
    )
    path = f"/api/v1/user-roles/{user}"
    await whole.call("POST", path, token, {"roleId": role, "organizationId": NORTH})
    await whole.call("DELETE", f"{path}/organization/{NORTH}", token)
    given, taken = await entries(whole, "?resource=OrganizationUser")
    assert (given["action"], taken["action"]) == ("create", "delete")
    assert given["changes"]["role"] == [None, role]
    assert (taken["changes"]["userId"], taken["organizationId"]) == ([user, None], NORTH)


async def test_a_key_is_named_as_who_did_it(whole: Whole) -> None:
    key = await whole.key("Org Admin", NORTH, ["sensor.update"])
    await whole.call("DELETE", f"/api/v1/device-tokens/{NORTH}", key)
    (entry,) = await entries(whole, "?kind=api_key")
    assert (entry["action"], entry["resource"]) == ("delete", "DeviceToken")
    assert entry["actorName"] == key[:12]
    maker = await whole.services.database.read(
        lambda tx: tx.value("SELECT id FROM User WHERE email = %s", (email("Org Admin"),))
    )
    assert entry["actorId"] == maker


async def test_what_fails_or_changes_nothing_leaves_no_entry(whole: Whole) -> None:
    token, _ = await whole.sign_in("Org Admin")
    same = {"organizationId": NORTH, "name": "north field"}
    assert (await whole.call("PATCH", f"/api/v1/areas/{NORTH}", token, same)).status == 200
    foreign = {"organizationId": SOUTH, "name": "mine"}
    assert (await whole.call("PATCH", f"/api/v1/areas/{SOUTH}", token, foreign)).status == 403
    assert await entries(whole) == []


async def test_readings_are_recorded_only_when_a_person_changes_them(whole: Whole) -> None:
    reading = {"telemetryDataId": NORTH, "value": "1"}
    made = await whole.call("POST", "/api/v1/datastreams/token", TOKENS[NORTH], reading)
    assert made.status == 201, made.body
    assert await entries(whole) == []
    token, _ = await whole.sign_in("Org Admin")
    stored = await whole.services.database.read(lambda tx: tx.value("SELECT id FROM DataStream"))
    await whole.call("PATCH", f"/api/v1/datastreams/{stored}", token, {"value": "2"})
    await whole.call("DELETE", f"/api/v1/datastreams/{stored}", token)
    changed, deleted = await entries(whole)
    assert changed["changes"] == {"value": ["1", "2"]}
    assert (deleted["action"], deleted["changes"]["value"]) == ("delete", ["2", None])
    assert (changed["organizationId"], deleted["organizationId"]) == (NORTH, NORTH)


async def test_signing_in_and_out_is_recorded_and_so_is_failing_to(whole: Whole) -> None:
    login = "/api/v1/auth/login"
    good = {"email": email("Viewer"), "password": "correct horse"}
    session = await whole.call("POST", login, None, good)
    await whole.call("POST", "/api/v1/auth/logout", session.data["token"])
    await whole.call("POST", login, None, {**good, "password": "wrong horse"})
    await whole.call("POST", login, None, {**good, "email": "ghost@x.example"})
    viewer = await whole.services.database.read(
        lambda tx: tx.value("SELECT id FROM User WHERE email = %s", (email("Viewer"),))
    )
    (signed_in,) = await entries(whole, f"?action=sign-in&user={viewer}")
    assert (signed_in["address"], signed_in["actorName"]) == ("127.0.0.1", email("Viewer"))
    assert signed_in["resourceId"] == viewer
    (signed_out,) = await entries(whole, "?action=sign-out")
    assert (signed_out["actorId"], signed_out["actorKind"]) == (viewer, "user")
    failed: list[dict[str, Any]] = []
    deadline = reactor.seconds() + 10
    while len(failed) < 2:  # nobody waits for these to be written
        assert reactor.seconds() < deadline
        failed = await entries(whole, "?action=sign-in-failed")
    assert [(row["actorName"], row["resourceId"]) for row in failed] == [
        (email("Viewer"), viewer),
        ("ghost@x.example", None),
    ]
    assert {(row["actorKind"], row["address"]) for row in failed} == {("anonymous", "127.0.0.1")}
    assert "horse" not in str(failed)


@pytest.mark.parametrize(
    ("who", "seen"),
    [("System Admin", {NORTH, SOUTH}), ("Org Admin", {NORTH}), ("stranger", {SOUTH})],
)
async def test_an_administrator_reads_about_the_own_organization(
    whole: Whole, who: str, seen: set[int]
) -> None:
    root, _ = await whole.sign_in("System Admin")
    for organization in (NORTH, SOUTH):
        body = {"organizationId": organization, "name": "renamed"}
        await whole.call("PATCH", f"/api/v1/areas/{organization}", root, body)
    found = await entries(whole, who=who)
    assert {row["organizationId"] for row in found} == seen
    token, _ = await whole.sign_in(who)
    for organization in (NORTH, SOUTH):
        reply = await whole.call("GET", f"{LOG}?organizationId={organization}", token)
        assert reply.status == (200 if organization in seen else 403)
    viewer, _ = await whole.sign_in("Viewer")
    assert (await whole.call("GET", LOG, viewer)).status == 403


async def test_entries_are_found_by_time_resource_and_page(whole: Whole) -> None:
    token, _ = await whole.sign_in("Org Admin")
    for name in ("one", "two", "three"):
        body = {"organizationId": NORTH, "name": name}
        await whole.call("PATCH", f"/api/v1/areas/{NORTH}", token, body)
    found = await entries(whole, f"?resource=Area&resourceId={NORTH}&action=update")
    assert [row["changes"]["name"][1] for row in found] == ["one", "two", "three"]
    second = found[1]["at"]
    late = await entries(whole, f"?from={second}&resource=Area")
    early = await entries(whole, f"?to={second}&resource=Area")
    assert len(late) + len(early) == 3
    assert found[0] in early
    assert found[2] in late
    page = await whole.call("GET", f"{LOG}?resource=Area&limit=1&offset=1", token)
    assert (page.body["total"], page.data["entries"]) == (3, [found[1]])
    for query in ("?from=soon", "?action=dance", "?sort=changes"):
        assert (await whole.call("GET", f"{LOG}{query}", token)).status == 400


async def test_entries_go_when_they_are_old(whole: Whole) -> None:
    token, _ = await whole.sign_in("Org Admin")
    body = {"organizationId": NORTH, "name": "renamed"}
    await whole.call("PATCH", f"/api/v1/areas/{NORTH}", token, body)
    database = whole.services.database
    (entry,) = await entries(whole)
    at = Instant.parse(entry["at"])
    assert await database.transact(audit_log.prune, Instant(at - 60_000), 10) == 0
    assert await database.transact(audit_log.prune, Instant(at + 1), 1) == 1
    assert await database.transact(audit_log.prune, Instant(at + 1), 10) == 1
    assert await entries(whole) == []


async def test_a_transaction_that_is_rolled_back_takes_its_entries_along(whole: Whole) -> None:
    def write(tx: Transaction) -> None:
        tx.insert("Organization", {"name": "never"})
        raise BadRequest("no")

    with acting(Actor("cli")), pytest.raises(BadRequest):
        await whole.services.database.transact(write)
    assert await entries(whole) == []


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("Organization", {"name": "x"}),
        ("Area", {"name": "x"}),
        ("Sensor", {"name": "x"}),
        ("TelemetryData", {"variableName": "x"}),
        ("DeviceToken", {"status": "revoked"}),
        ("Device", {"name": "x"}),
        ("DeviceState", {"stateName": "x"}),
        ("retention_policy", {"raw_days": 2}),
    ],
)
async def test_each_kind_of_thing_is_counted_to_its_organization(
    whole: Whole, table: str, changes: dict[str, Any]
) -> None:
    with acting(Actor("cli")):
        await whole.services.database.transact(lambda tx: tx.update(table, SOUTH, changes))
    (entry,) = await entries(whole)
    assert (entry["resource"], entry["organizationId"]) == (table, SOUTH)


async def test_a_long_value_is_cut(whole: Whole) -> None:
    with acting(Actor("cli", name="x" * 300)):
        await whole.services.database.transact(
            lambda tx: tx.insert("Organization", {"name": "long", "detail": "d" * 5000})
        )
    (entry,) = await entries(whole)
    assert entry["changes"]["detail"] == [None, "d" * 1000 + "…"]
    assert entry["actorName"] == "x" * 256


async def test_what_nobody_does_is_not_recorded(whole: Whole) -> None:
    await whole.services.database.transact(
        lambda tx: tx.insert("Organization", {"name": "by itself"})
    )
    assert await entries(whole) == []


async def test_the_first_administrator_is_recorded_too(whole: Whole) -> None:
    users = Users(whole.services.database, Events(), whole.services.passwords)
    await users.create_admin("first@x.example", "correct horse")
    found = await entries(whole, "?kind=server")
    assert [(row["action"], row["resource"]) for row in found] == [
        ("create", "User"),
        ("create", "OrganizationUser"),
    ]
    (organization,) = {row["organizationId"] for row in found}
    assert organization is not None


async def test_a_failed_sign_in_over_mqtt_is_recorded(whole: Whole) -> None:
    with pytest.raises(Unauthenticated):
        await whole.services.authentication.principal_for_password(email("Viewer"), "wrong horse")
    deadline = reactor.seconds() + 10
    while not (found := await entries(whole, "?action=sign-in-failed")):
        assert reactor.seconds() < deadline
    assert (found[0]["actorName"], found[0]["address"]) == (email("Viewer"), "")
