"""`/devices` (spec/http-api.md section 4.4)."""

from __future__ import annotations

import pytest

from tests.farm import NORTH, PUMPS, SOUTH, TOKENS, UUIDS, Farm

FREE_UUID = "33333333-3333-4333-8333-333333333333"

# What the dashboard's form sends (spec/http-api.md section 6, row 27).
FORM = {
    "name": "valve",
    "description": "",
    "status": "active",
    "organizationId": NORTH,
    "deviceType": "actuator",
    "communicationProtocol": "mqtt",
    "isCritical": True,
    "areaId": "1",
    "controlModes": "",
    "capabilities": {"flow": {"stateName": "flow"}},
}


async def add_area(farm: Farm, number: int, organization: int) -> None:
    await farm.run(
        "INSERT INTO Area (id, name, organizationId) VALUES (%s, %s, %s)",
        number, f"area {number}", organization,
    )  # fmt: skip


async def values_of(farm: Farm, device_id: int) -> list[tuple[str, str, bool, str]]:
    """Every value that the states of a device had: state, value, still open, by whom."""
    rows = await farm.rows(
        "SELECT s.stateName, i.value, i.toTimestamp, i.initiatedBy FROM DeviceStateInstance i"
        " JOIN DeviceState s ON s.id = i.deviceStateId WHERE s.deviceId = %s ORDER BY i.id",
        device_id,
    )
    return [
        (row["stateName"], row["value"], row["toTimestamp"] is None, row["initiatedBy"])
        for row in rows
    ]


@pytest.mark.parametrize("path", ["/devices/test", "/devices/token-test"])
async def test_the_test_routes_are_open(farm: Farm, path: str) -> None:
    reply = await farm.call("GET", path)
    assert (reply.status, reply.body["status"]) == (200, "success")


async def test_a_list_shows_devices_of_every_status_with_place_and_states(farm: Farm) -> None:
    await farm.run("UPDATE Device SET status = 'inactive' WHERE id = 1")
    reply = await farm.call("GET", "/devices?organizationId=1", "north-viewer")
    assert (reply.status, reply.body["results"]) == (200, 1)
    (device,) = reply.data["devices"]
    assert (device["id"], device["uuid"], device["status"]) == (1, PUMPS[NORTH], "inactive")
    assert (device["areaId"], device["organizationId"]) == (1, NORTH)
    (state,) = device["states"]
    assert state["stateName"] == "power"
    assert state["allowedValues"] == '["on","off"]'
    (instance,) = state["instances"]
    assert (instance["value"], instance["toTimestamp"]) == ("off", None)
    assert instance["fromTimestamp"].endswith("Z")


async def test_a_list_can_be_narrowed_to_an_area_of_the_organization(farm: Farm) -> None:
    await add_area(farm, 7, NORTH)
    for area, found in ((1, [1]), (7, []), (2, [])):
        reply = await farm.call("GET", f"/devices?organizationId=1&areaId={area}", "north-viewer")
        assert [device["id"] for device in reply.data["devices"]] == found


REACHED = [
    ("GET", "/devices", "north-viewer", 400),
    ("GET", "/devices?organizationId=1&state=active", "north-viewer", 400),
    ("GET", "/devices?organizationId=2", "north-admin", 403),
    ("GET", "/devices?organizationId=2", "root", 200),
    ("GET", "/devices/1", "north-viewer", 400),
    ("GET", "/devices/1?organizationId=2", "south-admin", 403),
    ("GET", "/devices/99?organizationId=1", "north-viewer", 404),
    ("GET", "/devices/99?organizationId=1", "root", 404),
    ("GET", "/devices/x?organizationId=1", "north-viewer", 404),
    ("DELETE", "/devices/1?organizationId=1", "north-viewer", 403),
    ("DELETE", "/devices/99?organizationId=1", "north-admin", 404),
]


async def test_devices_are_reached_in_their_organization_with_the_right(farm: Farm) -> None:
    for method, path, who, status in REACHED:
        reply = await farm.call(method, path, who)
        assert reply.status == status, (method, path, who)


async def test_a_device_is_shown_with_its_states(farm: Farm) -> None:
    await farm.run("UPDATE DeviceState SET status = 'inactive' WHERE id = 1")
    await farm.run("INSERT INTO DeviceState (deviceId, stateName) VALUES (%s, %s)", NORTH, "speed")
    reply = await farm.call("GET", "/devices/1?organizationId=1", "north-viewer")
    device = reply.data["device"]
    assert device["metadata"] is None
    assert device["isCritical"] is False
    shown = [(state["stateName"], len(state["instances"])) for state in device["states"]]
    assert shown == [("power", 1), ("speed", 0)]


async def test_the_form_of_the_dashboard_makes_a_device_in_its_area(farm: Farm) -> None:
    reply = await farm.call("POST", "/devices", "north-admin", FORM)
    assert reply.status == 201
    device = reply.data["device"]
    assert isinstance(device["id"], int)
    assert (device["areaId"], device["controlModes"], device["isCritical"]) == (1, "", True)
    assert device["capabilities"] == FORM["capabilities"]
    assert len(device["uuid"]) == 36
    assert farm.changed() == [device["uuid"]]
    shown = await farm.call("GET", f"/devices/{device['id']}?organizationId=1", "north-viewer")
    assert shown.data["device"]["states"] == []


async def test_a_device_needs_only_a_name_and_an_organization(farm: Farm) -> None:
    body = {"name": "x", "organizationId": "1", "controlType": "binary", "minValue": 0}
    reply = await farm.call("POST", "/devices", "north-admin", body)
    device = reply.data["device"]
    assert (reply.status, device["status"], device["deviceType"]) == (201, "pending", "actuator")
    assert device["organizationId"] is None
    path = f"/devices/{device['id']}?organizationId=1"
    assert (await farm.call("GET", path, "north-admin")).status == 403
    assert (await farm.call("GET", path, "root")).status == 200


UNFIT: list[tuple[dict[str, object], int, str]] = [
    ({"name": ""}, 400, '"name" is not allowed to be empty'),
    ({"name": "x" * 51}, 400, '"name" length must be less than or equal to 50'),
    ({"deviceType": "other"}, 400, '"deviceType" must be one of'),
    ({"communicationProtocol": "other"}, 400, '"communicationProtocol" must be one of'),
    ({"capabilities": []}, 400, '"capabilities"'),
    ({"colour": "red"}, 400, '"colour" is not allowed'),
    ({"uuid": "nonsense"}, 400, '"uuid" must be a valid GUID'),
    ({"areaId": 2}, 403, "another organization"),
    ({"areaId": 99}, 404, "Area with ID 99 not found"),
    ({"organizationId": 2, "areaId": 2}, 403, "Insufficient permissions"),
]


async def test_a_device_is_not_made_of_what_does_not_fit(farm: Farm) -> None:
    for changes, status, says in UNFIT:
        reply = await farm.call("POST", "/devices", "north-admin", {**FORM, **changes})
        assert (reply.status, says in reply.body["message"]) == (status, True), reply.body
    assert len(await farm.rows("SELECT id FROM Device")) == 2


async def test_even_a_system_admin_makes_no_device_across_organizations(farm: Farm) -> None:
    body = {**FORM, "areaId": SOUTH}
    assert (await farm.call("POST", "/devices", "root", body)).status == 403
    body = {**FORM, "organizationId": 99}
    assert (await farm.call("POST", "/devices", "root", body)).status == 404


@pytest.mark.parametrize("given", [FREE_UUID, UUIDS[NORTH]])
async def test_a_free_uuid_is_kept_also_that_of_a_sensor_beside_it(farm: Farm, given: str) -> None:
    reply = await farm.call("POST", "/devices", "north-admin", {**FORM, "uuid": given})
    assert reply.data["device"]["uuid"] == given


@pytest.mark.parametrize("taken", [PUMPS[NORTH], PUMPS[SOUTH].upper(), UUIDS[SOUTH]])
async def test_a_uuid_of_something_else_is_replaced_and_on_change_refused(
    farm: Farm, taken: str
) -> None:
    reply = await farm.call("POST", "/devices", "north-admin", {**FORM, "uuid": taken})
    device = reply.data["device"]
    assert reply.status == 201
    assert device["uuid"].lower() not in {*PUMPS.values(), *UUIDS.values()}
    body = {"organizationId": NORTH, "uuid": taken}
    refused = await farm.call("PATCH", f"/devices/{device['id']}", "north-admin", body)
    assert (refused.status, "uuid" in refused.body["message"]) == (400, True)


async def test_no_device_outside_an_area_may_share_the_uuid_of_a_sensor(farm: Farm) -> None:
    body = {"name": "x", "organizationId": NORTH, "uuid": UUIDS[NORTH]}
    reply = await farm.call("POST", "/devices", "north-admin", body)
    assert reply.data["device"]["uuid"] != UUIDS[NORTH]


@pytest.mark.parametrize(("kind", "default"), [("actuator", "false"), ("gateway", "")])
async def test_a_default_state_is_made_with_a_value(farm: Farm, kind: str, default: str) -> None:
    body = {**FORM, "deviceType": kind, "defaultState": "open"}
    reply = await farm.call("POST", "/devices", "north-admin", body)
    device_id = reply.data["device"]["id"]
    assert await values_of(farm, device_id) == [("open", default, True, "system")]


async def test_a_change_keeps_what_is_not_sent(farm: Farm) -> None:
    body = {
        "organizationId": NORTH,
        "capabilities": {"a": 1},
        "uuid": "",
        "areaId": None,
        "controlModes": "manual,remote",
    }
    reply = await farm.call("PATCH", "/devices/1", "north-admin", body)
    device = reply.data["device"]
    assert reply.status == 200
    assert (device["name"], device["uuid"], device["areaId"]) == ("north pump", PUMPS[NORTH], 1)
    assert (device["capabilities"], device["controlModes"]) == ({"a": 1}, "manual,remote")
    assert "states" not in device


async def test_a_default_state_of_a_change_goes_to_its_default_and_nobody_is_told(
    farm: Farm,
) -> None:
    await farm.run("UPDATE DeviceState SET defaultValue = 'on' WHERE id = 1")
    body = {"organizationId": NORTH, "defaultState": "power"}
    assert (await farm.call("PATCH", "/devices/1", "north-admin", body)).status == 200
    assert await values_of(farm, NORTH) == [
        ("power", "off", False, "system"),
        ("power", "on", True, "system"),
    ]
    assert farm.changed() == [PUMPS[NORTH]]


async def test_a_device_moves_within_its_organization_and_by_a_system_admin_beyond(
    farm: Farm,
) -> None:
    await add_area(farm, 7, NORTH)
    for who, area, status in (
        ("north-admin", 7, 200),
        ("north-admin", SOUTH, 403),
        ("north-admin", 99, 404),
        ("root", SOUTH, 200),
    ):
        body = {"organizationId": NORTH, "areaId": area}
        reply = await farm.call("PATCH", "/devices/1", who, body)
        assert reply.status == status
        if status == 200:
            assert reply.data["device"]["areaId"] == area
    assert len(await farm.rows("SELECT areaId FROM AreaDevice WHERE deviceId = 1")) == 1


async def test_a_device_with_the_uuid_of_a_sensor_stays_in_their_organization(farm: Farm) -> None:
    body = {"organizationId": NORTH, "uuid": UUIDS[NORTH]}
    assert (await farm.call("PATCH", "/devices/1", "north-admin", body)).status == 200
    body = {"organizationId": NORTH, "areaId": SOUTH}
    assert (await farm.call("PATCH", "/devices/1", "root", body)).status == 400


async def test_a_retired_device_stays_and_may_be_retired_again(farm: Farm) -> None:
    for _ in range(2):
        reply = await farm.call("DELETE", "/devices/1?organizationId=1", "north-admin")
        assert (reply.status, reply.body) == (204, None)
        assert farm.changed() == [PUMPS[NORTH]]
    (row,) = await farm.rows("SELECT status FROM Device WHERE id = 1")
    assert row["status"] == "inactive"


async def test_a_token_made_here_signs_its_sensor_in(farm: Farm) -> None:
    reply = await farm.call("POST", "/devices/token", "north-admin", {"sensorId": 1, "x": 1})
    assert (reply.status, reply.data["sensorId"]) == (201, 1)
    assert set(reply.data) == {"token", "sensorId"}
    verified = await farm.call("GET", "/device-tokens/verify", reply.data["token"])
    assert verified.data["sensorId"] == 1
    missing = await farm.call("POST", "/devices/token", "north-admin", {})
    assert missing.status == 400
    assert missing.body == {"status": "error", "message": "sensorId is required"}
    assert (await farm.call("POST", "/devices/token", TOKENS[NORTH], {})).status == 401
