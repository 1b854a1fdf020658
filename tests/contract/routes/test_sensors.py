"""`/sensors` (spec/http-api.md section 4.3)."""

from __future__ import annotations

import pytest

from tests.farm import NORTH, SOUTH, UUIDS, Farm

FREE_UUID = "33333333-3333-4333-8333-333333333333"


async def add_area(farm: Farm, number: int, organization: int) -> None:
    await farm.run(
        "INSERT INTO Area (id, name, organizationId) VALUES (%s, %s, %s)",
        number, f"area {number}", organization,
    )  # fmt: skip


async def test_the_test_route_is_open(farm: Farm) -> None:
    reply = await farm.call("GET", "/sensors/test")
    assert (reply.status, reply.body["status"]) == (200, "success")


@pytest.mark.parametrize("path", ["/sensors?organizationId=1", "/sensors/organization/1"])
async def test_a_list_shows_sensors_of_every_status_with_their_place(farm: Farm, path: str) -> None:
    await farm.run("UPDATE Sensor SET status = 'inactive' WHERE id = 1")
    reply = await farm.call("GET", path, "north-viewer")
    assert (reply.status, reply.body["results"]) == (200, 1)
    (sensor,) = reply.data["sensors"]
    assert (sensor["id"], sensor["uuid"], sensor["status"]) == (1, UUIDS[NORTH], "inactive")
    assert sensor["areaId"] == 1
    assert sensor["area"] == {"id": 1, "name": "north field"}
    assert sensor["organizationId"] == NORTH
    assert sensor["organization"] == {"id": NORTH, "name": "north"}
    assert sensor["createdAt"].endswith("Z")


async def test_a_list_can_be_narrowed_to_an_area_of_the_organization(farm: Farm) -> None:
    await add_area(farm, 7, NORTH)
    for area, found in ((1, [1]), (7, []), (2, [])):
        reply = await farm.call("GET", f"/sensors?organizationId=1&areaId={area}", "north-viewer")
        assert [sensor["id"] for sensor in reply.data["sensors"]] == found


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/sensors?organizationId=2", "north-admin", 403),
        ("/sensors", "north-admin", 403),
        ("/sensors?organizationId=1", "member", 403),
        ("/sensors?organizationId=1&state=active", "north-viewer", 400),
        ("/sensors/organization/2", "north-admin", 403),
        ("/sensors?organizationId=2", "root", 200),
    ],
)
async def test_a_list_is_for_members_with_the_right(
    farm: Farm, path: str, who: str, status: int
) -> None:
    assert (await farm.call("GET", path, who)).status == status


async def test_a_system_admin_who_names_no_organization_gets_an_empty_list(farm: Farm) -> None:
    reply = await farm.call("GET", "/sensors", "root")
    assert (reply.status, reply.body["results"], reply.data) == (200, 0, {"sensors": []})


async def test_a_sensor_is_shown_with_its_variables_and_its_place(farm: Farm) -> None:
    reply = await farm.call("GET", "/sensors/1?organizationId=1", "north-viewer")
    sensor = reply.data["sensor"]
    assert sensor["TelemetryData"] == [
        {"id": 1, "variableName": "temperature", "datatype": "float", "sensorId": 1}
    ]
    assert (sensor["areaId"], sensor["area"]["name"]) == (1, "north field")


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/sensors/1", "north-viewer", 400),
        ("/sensors/1", "root", 400),
        ("/sensors/1?organizationId=2", "south-admin", 403),
        ("/sensors/1?organizationId=1", "south-admin", 403),
        ("/sensors/99?organizationId=1", "north-viewer", 404),
        ("/sensors/99?organizationId=1", "root", 404),
        ("/sensors/x?organizationId=1", "north-viewer", 404),
    ],
)
async def test_a_sensor_is_shown_only_in_its_organization(
    farm: Farm, path: str, who: str, status: int
) -> None:
    assert (await farm.call("GET", path, who)).status == status


async def test_a_new_sensor_lies_in_its_area(farm: Farm) -> None:
    body = {"name": "ph", "areaId": "1", "description": "", "uuid": ""}
    reply = await farm.call("POST", "/sensors?organizationId=2", "north-admin", body)
    assert reply.status == 201
    sensor = reply.data["sensor"]
    assert (sensor["status"], sensor["areaId"], sensor["description"]) == ("pending", 1, "")
    assert len(sensor["uuid"]) == 36
    assert farm.changed() == [sensor["uuid"]]
    shown = await farm.call("GET", f"/sensors/{sensor['id']}?organizationId=1", "north-viewer")
    assert shown.status == 200


async def test_a_sensor_without_an_area_is_made_but_only_a_system_admin_reaches_it(
    farm: Farm,
) -> None:
    reply = await farm.call("POST", "/sensors", "north-admin", {"name": "x", "uuid": FREE_UUID})
    assert (reply.status, reply.data["sensor"]["uuid"]) == (201, FREE_UUID)
    for field in ("areaId", "area", "organizationId", "organization"):
        assert reply.data["sensor"][field] is None
    path = f"/sensors/{reply.data['sensor']['id']}?organizationId=1"
    assert (await farm.call("GET", path, "north-admin")).status == 403
    placed = await farm.call("PATCH", path, "root", {"areaId": 1})
    assert placed.data["sensor"]["areaId"] == 1
    assert (await farm.call("GET", path, "north-admin")).status == 200


@pytest.mark.parametrize(
    ("who", "body", "status", "text"),
    [
        ("north-admin", {}, 400, '"name" is required'),
        ("north-admin", {"name": "x", "organizationId": 1}, 400, '"organizationId" is not allowed'),
        ("north-admin", {"name": "x", "status": "broken"}, 400, '"status" must be one of'),
        ("north-admin", {"name": "x", "uuid": UUIDS[1]}, 400, "unique constraint"),
        ("north-admin", {"name": "x", "uuid": UUIDS[2]}, 400, "unique constraint"),
        ("north-admin", {"name": "x", "areaId": 99}, 404, "99"),
        ("north-admin", {"name": "x", "areaId": 2}, 403, "Insufficient permissions"),
        ("mixed", {"name": "x", "areaId": 1}, 403, "Insufficient permissions"),
        ("north-viewer", {"name": "x"}, 403, "Insufficient permissions"),
    ],
)
async def test_a_new_sensor_is_refused_with_the_reason(
    farm: Farm, who: str, body: dict[str, object], status: int, text: str
) -> None:
    reply = await farm.call("POST", "/sensors", who, body)
    assert (reply.status, text in reply.body["message"]) == (status, True), reply.body
    assert len(await farm.rows("SELECT id FROM Sensor")) == 2
    assert farm.changed() == []


async def test_a_sensor_cannot_speak_for_a_device_of_another_organization(farm: Farm) -> None:
    """Their uuids share the topics of MQTT."""
    pump = {"id": 5, "name": "pump", "uuid": FREE_UUID}
    await farm.database.transact(lambda tx: tx.insert("Device", pump))
    place = {"areaId": 2, "deviceId": 5}
    await farm.database.transact(lambda tx: tx.insert("AreaDevice", place))
    body = {"name": "thief", "uuid": FREE_UUID}
    for areas in ({}, {"areaId": 1}):
        reply = await farm.call("POST", "/sensors", "north-admin", {**body, **areas})
        assert reply.status == 400
    reply = await farm.call("POST", "/sensors", "south-admin", {**body, "areaId": 2})
    assert reply.status == 201
    path = f"/sensors/{reply.data['sensor']['id']}?organizationId=2"
    moved = await farm.call("PATCH", path, "root", {"areaId": 1})
    assert (moved.status, "unique constraint" in moved.body["message"]) == (400, True)
    shown = await farm.call("GET", path, "south-admin")
    assert shown.data["sensor"]["organizationId"] == SOUTH


async def test_a_change_keeps_what_is_not_given_and_tells_both_uuids(farm: Farm) -> None:
    path = "/sensors/1?organizationId=1"
    reply = await farm.call("PATCH", path, "north-admin", {"description": "old", "uuid": ""})
    assert reply.status == 200
    sensor = reply.data["sensor"]
    assert (sensor["name"], sensor["description"]) == ("north sensor", "old")
    assert sensor["uuid"] == UUIDS[NORTH]
    assert farm.changed() == [UUIDS[NORTH]]
    await farm.call("PATCH", path, "north-admin", {"uuid": FREE_UUID})
    assert farm.changed() == [UUIDS[NORTH], FREE_UUID]
    assert (await farm.call("PATCH", path, "north-admin", {})).status == 200


async def test_a_change_must_not_name_the_organization_in_its_body(farm: Farm) -> None:
    reply = await farm.call("PATCH", "/sensors/1", "north-admin", {"organizationId": 1})
    assert reply.status == 400
    reply = await farm.call("PATCH", "/sensors/1", "north-admin", {"name": "x"})
    assert (reply.status, reply.body["message"]) == (400, "Organization ID is required")


async def test_a_sensor_moves_within_its_organization_only(farm: Farm) -> None:
    await add_area(farm, 7, NORTH)
    path = "/sensors/1?organizationId=1"
    reply = await farm.call("PATCH", path, "north-admin", {"areaId": 7})
    assert (reply.data["sensor"]["areaId"], reply.data["sensor"]["area"]["name"]) == (7, "area 7")
    places = await farm.rows("SELECT areaId FROM AreaSensor WHERE sensorId = 1")
    assert places == [{"areaId": 7}]
    kept = await farm.call("PATCH", path, "north-admin", {"areaId": None, "name": "moved"})
    assert kept.data["sensor"]["areaId"] == 7
    assert (await farm.call("PATCH", path, "north-admin", {"areaId": 2})).status == 403
    assert (await farm.call("PATCH", path, "north-admin", {"areaId": 99})).status == 404
    reply = await farm.call("PATCH", path, "root", {"areaId": 2})
    assert reply.data["sensor"]["organizationId"] == SOUTH
    assert (await farm.call("GET", path, "north-admin")).status == 403


async def test_a_refused_change_changes_nothing(farm: Farm) -> None:
    body = {"name": "half", "areaId": 2}
    reply = await farm.call("PATCH", "/sensors/1?organizationId=1", "north-admin", body)
    assert reply.status == 403
    (row,) = await farm.rows("SELECT name FROM Sensor WHERE id = 1")
    assert row["name"] == "north sensor"


async def test_a_deleted_sensor_is_inactive_and_deleting_it_again_is_no_error(farm: Farm) -> None:
    # The organization is stated in the query or in the body.
    for path, body in (
        ("/sensors/1?organizationId=1", None),
        ("/sensors/1", {"organizationId": 1}),
    ):
        reply = await farm.call("DELETE", path, "north-admin", body)
        assert (reply.status, reply.body) == (204, None)
    shown = await farm.call("GET", "/sensors/1?organizationId=1", "north-viewer")
    assert shown.data["sensor"]["status"] == "inactive"
    assert farm.changed() == [UUIDS[NORTH]] * 2


async def test_a_viewer_changes_nothing(farm: Farm) -> None:
    path = "/sensors/1?organizationId=1"
    assert (await farm.call("PATCH", path, "north-viewer", {"name": "x"})).status == 403
    assert (await farm.call("DELETE", path, "north-viewer")).status == 403
