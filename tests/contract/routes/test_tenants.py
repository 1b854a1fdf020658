"""Organizations never see each other: every route against callers from outside (promise P5)."""

from __future__ import annotations

import pytest

from aemos.http.routing import Auth, table
from aemos.model import Instant
from tests.farm import NORTH, PUMPS, TOKENS, Farm

NEW = "99999999-9999-4999-8999-999999999999"

# Every route that reaches something of one organization, asked for things of NORTH.
REQUESTS: list[tuple[str, str, str, object]] = [
    ("AreaRoutes.create", "POST", "/areas", {"name": "x", "organizationId": 1}),
    ("AreaRoutes.list_of_organization", "GET", "/areas/organization/1", None),
    ("AreaRoutes.get", "GET", "/areas/1?organizationId={org}", None),
    ("AreaRoutes.change", "PATCH", "/areas/1", {"organizationId": "{org}", "name": "x"}),
    ("AreaRoutes.archive", "DELETE", "/areas/1?organizationId={org}", None),
    ("SensorRoutes.list_all", "GET", "/sensors?organizationId=1", None),
    ("SensorRoutes.create", "POST", "/sensors", {"name": "x", "areaId": 1, "uuid": NEW}),
    ("SensorRoutes.list_of_organization", "GET", "/sensors/organization/1", None),
    ("SensorRoutes.get", "GET", "/sensors/1?organizationId={org}", None),
    ("SensorRoutes.change", "PATCH", "/sensors/1?organizationId={org}", {"name": "x"}),
    ("SensorRoutes.retire", "DELETE", "/sensors/1?organizationId={org}", None),
    ("TelemetryRoutes.create", "POST", "/telemetry",
     {"variableName": "x", "datatype": "int", "sensorId": 1}),
    ("TelemetryRoutes.list_of_sensor", "GET", "/telemetry/sensor/1", None),
    ("TelemetryRoutes.get", "GET", "/telemetry/1", None),
    ("TelemetryRoutes.change", "PATCH", "/telemetry/1", {"variableName": "x"}),
    ("TelemetryRoutes.delete", "DELETE", "/telemetry/1", None),
    ("DeviceTokenRoutes.list_by_query", "GET", "/device-tokens?sensorId=1", None),
    ("DeviceTokenRoutes.create", "POST", "/device-tokens", {"sensorId": 1}),
    ("DeviceTokenRoutes.create", "POST", "/device-tokens", {"deviceId": 1}),
    ("DeviceTokenRoutes.list_by_query", "GET", "/device-tokens?deviceId=1", None),
    ("DeviceTokenRoutes.rotate", "POST", "/device-tokens/1/rotate", {"overlap": 0}),
    ("DeviceTokenRoutes.list_of_sensor", "GET", "/device-tokens/sensor/1", None),
    ("DeviceTokenRoutes.get", "GET", "/device-tokens/1", None),
    ("DeviceTokenRoutes.revoke", "PATCH", "/device-tokens/1", None),
    ("DeviceTokenRoutes.delete", "DELETE", "/device-tokens/1", None),
    ("DataStreamRoutes.create", "POST", "/datastreams", {"value": "1", "telemetryDataId": 1}),
    ("HistoryRoutes.list_of_variable", "GET", "/datastreams/telemetry/1", None),
    ("HistoryRoutes.aggregate", "GET", "/datastreams/telemetry/1/aggregate", None),
    ("HistoryRoutes.export", "GET", "/datastreams/telemetry/1/export?format=ndjson", None),
    ("LatestRoutes.latest", "GET", "/telemetry/latest?sensorId=1", None),
    ("RetentionRoutes.create", "POST", "/retention", {"telemetryDataId": 1, "rawDays": 1}),
    ("RetentionRoutes.get", "GET", "/retention/1", None),
    ("RetentionRoutes.change", "PATCH", "/retention/1", {"rawDays": 1}),
    ("RetentionRoutes.delete", "DELETE", "/retention/1", None),
    ("DataStreamRoutes.get", "GET", "/datastreams/1", None),
    ("DataStreamRoutes.change", "PATCH", "/datastreams/1", {"value": "2"}),
    ("DataStreamRoutes.delete", "DELETE", "/datastreams/1", None),
    ("DeviceRoutes.list_all", "GET", "/devices?organizationId=1", None),
    ("DeviceRoutes.create", "POST", "/devices", {"name": "x", "organizationId": 1}),
    ("DeviceRoutes.create_token", "POST", "/devices/token", {"sensorId": 1}),
    ("DeviceRoutes.get", "GET", "/devices/1?organizationId={org}", None),
    ("DeviceRoutes.change", "PATCH", "/devices/1", {"organizationId": "{org}", "name": "x"}),
    ("DeviceRoutes.retire", "DELETE", "/devices/1?organizationId={org}", None),
    ("DeviceRoutes.set_state", "PATCH", "/devices/1/states/1",
     {"value": "on", "organizationId": "{org}"}),
    ("CommandRoutes.give", "POST", "/devices/1/commands", {"command": "on"}),
    ("CommandRoutes.list_all", "GET", f"/devices/{PUMPS[NORTH]}/commands", None),
    ("CommandRoutes.get", "GET", "/devices/1/commands/x", None),
    ("CommandRoutes.cancel", "DELETE", "/devices/1/commands/x", None),
    ("BroadcastRoutes.send", "POST", "/organizations/1/broadcast", {"message": "x"}),
    ("DeviceStateRoutes.list_of_device", "GET", "/device-states/device/1", None),
    ("DeviceStateRoutes.create", "POST", "/device-states/device/1",
     {"stateName": "x", "dataType": "string"}),
    ("DeviceStateRoutes.get", "GET", "/device-states/1", None),
    ("DeviceStateRoutes.change", "PATCH", "/device-states/1", {"stateName": "x"}),
    ("DeviceStateRoutes.retire", "DELETE", "/device-states/1", None),
    ("DeviceStateInstanceRoutes.create", "POST", "/device-state-instances",
     {"deviceUuid": PUMPS[NORTH], "stateName": "power", "value": "on"}),
    ("DeviceStateInstanceRoutes.current", "GET", "/device-state-instances/current/1", None),
    ("DeviceStateInstanceRoutes.history", "GET", "/device-state-instances/history/1", None),
]  # fmt: skip

# What answers each caller for the own organizations; tested in the files of their routes.
OWN_LISTS = {
    "AreaRoutes.list_all",
    "TelemetryRoutes.list_all",
    "DataStreamRoutes.list_all",
    "HistoryRoutes.take_many",
    "MqttRoutes.list_clients",
    "MqttRoutes.show_client",
    "MqttRoutes.disconnect",
    "MqttRoutes.stats",
    "MqttRoutes.retained",
    "MqttRoutes.list_bans",
    "MqttRoutes.lift_ban",
    "RetentionRoutes.list_all",
}

TABLES = (
    "Area",
    "Sensor",
    "AreaSensor",
    "TelemetryData",
    "DeviceToken",
    "device_credential",
    "DataStream",
    "retention_policy",
    "Device",
    "AreaDevice",
    "DeviceState",
    "DeviceStateInstance",
)


async def snapshot(farm: Farm) -> dict[str, object]:
    return {table: await farm.rows(f"SELECT * FROM {table}") for table in TABLES}


def stating(organization: int, path: str, body: object) -> tuple[str, object]:
    if isinstance(body, dict):
        body = {key: organization if value == "{org}" else value for key, value in body.items()}
    return path.replace("{org}", str(organization)), body


async def plant(farm: Farm) -> None:
    """Add a reading and a command of NORTH."""
    await farm.run("INSERT INTO DataStream (id, value, telemetryDataId) VALUES (1, '1', 1)")
    await farm.run(
        "INSERT INTO command (command_id, device_uuid, organization_id, payload, qos, status,"
        " initiated_by, created_at, changed_at) VALUES ('x', %s, 1, %s, 2, 'queued', 'user', %s,"
        " %s)",
        PUMPS[NORTH],
        b"{}",
        Instant(0),
        Instant(0),
    )


async def test_every_route_of_users_is_in_the_list(farm: Farm) -> None:
    names = {
        endpoint.route.name for endpoint in table(farm.groups) if endpoint.route.auth is Auth.USER
    }
    assert names == {request[0] for request in REQUESTS} | OWN_LISTS


@pytest.mark.parametrize("who", ["south-admin", "member", "nobody"])
async def test_an_outsider_sees_and_changes_nothing(farm: Farm, who: str) -> None:
    await plant(farm)
    before = await snapshot(farm)
    for _, method, template, sent in REQUESTS:
        for stated in (1, 2):
            path, body = stating(stated, template, sent)
            reply = await farm.call(method, path, who, body)
            assert reply.status in (403, 404), (method, path, reply)
            assert "data" not in reply.body
    assert await snapshot(farm) == before
    assert farm.happened == []


async def test_rights_elsewhere_open_nothing_beyond_the_view_held_here(farm: Farm) -> None:
    """A viewer in NORTH who administers SOUTH reads NORTH and changes nothing in it."""
    await plant(farm)
    before = await snapshot(farm)
    for _, method, template, sent in REQUESTS:
        path, body = stating(NORTH, template, sent)
        reply = await farm.call(method, path, "mixed", body)
        assert reply.status == (200 if method == "GET" else 403), (method, path, reply)
    assert await snapshot(farm) == before


@pytest.mark.parametrize("who", [None, "forged", TOKENS[NORTH]])
async def test_without_a_users_token_every_route_answers_401(farm: Farm, who: str | None) -> None:
    for _, method, template, sent in REQUESTS:
        path, body = stating(NORTH, template, sent)
        assert (await farm.call(method, path, who, body)).status == 401, (method, path)
