"""From a reading to an actuator, with the clients of the field at both ends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import device
from tests.integration.device import Device
from tests.integration.server import Sensor, Server, until

__all__ = ["device"]

_READINGS = 15


@pytest.fixture
def own_server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server that may be killed, on either kind of database."""
    server = Server(tmp_path, database_url)
    try:
        yield server.start()
    finally:
        server.close()


class Farm:
    """A greenhouse, set up over REST as its operator would."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sensor: Sensor = server.add_sensor("temperature", "moisture", "note")
        self.web = server.sign_in()
        lies: dict[str, int] = server.sql(
            lambda tx: tx.one(
                "SELECT x.areaId AS areaId, a.organizationId AS organizationId"
                " FROM AreaSensor x JOIN Area a ON a.id = x.areaId WHERE x.sensorId = %s",
                (self.sensor.id,),
            )
        )
        self.organization = lies["organizationId"]
        self.pump = self.post("/devices", {"name": "pump", "deviceType": "actuator", **lies})[
            "device"
        ]
        state = {"stateName": "power", "dataType": "string", "allowedValues": ["on", "off"]}
        self.state = self.post(
            f"/device-states/device/{self.pump['id']}", {**state, "defaultValue": "off"}
        )["id"]
        token = self.post("/device-tokens", {"deviceId": self.pump["id"]})
        self.pump_token: str = token["token"]

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: object) -> Any:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        mark = "&" if "?" in path else "?"
        path = f"/api/v1{path}{mark}organizationId={self.organization}"
        status, answer = self.server.request(method, path, body, self.web)
        assert status in (200, 201), (method, path, status, answer)
        return answer["data"]

    def leaf(self, key: str, operator: str, value: object) -> dict[str, Any]:
        source = {"sourceType": "sensor", "UUID": self.sensor.uuid, "key": key}
        return {**source, "operator": operator, "value": value}

    def add_chain(self, condition: Mapping[str, Any]) -> int:
        """A chain that turns the pump on, made node by node as the rule editor does."""
        chain: int = self.post("/rule-chains", {"name": "dry and hot"})["id"]
        command = {"deviceUuid": self.pump["uuid"], "stateName": "power", "value": "on"}
        nodes = []
        for kind, config in (
            ("filter", condition),
            ("action", {"type": "DEVICE_COMMAND", "command": command}),
        ):
            node = {"ruleChainId": chain, "type": kind, "name": kind, "config": json.dumps(config)}
            nodes.append(self.post("/rule-chains/nodes", {**node, "nextNodeId": None})["id"])
        change = {"nextNodeId": nodes[1]}
        path = f"/rule-chains/nodes/{nodes[0]}"
        assert self._ask("PATCH", path, change)["nextNodeId"] == nodes[1]
        return chain

    def pump_client(self, **options: Any) -> Device:
        """The pump, signed in with its own token and listening for its state."""
        pump = Device(self.server, self.pump["uuid"], self.pump_token, **options)
        assert pump.connect() == 0
        assert pump.subscribe(f"devices/{self.pump['uuid']}/state") == 1
        return pump

    def instances(self) -> list[dict[str, Any]]:
        """All values that the power of the pump has had, in order."""
        return self.server.sql(
            lambda tx: tx.all(
                "SELECT * FROM DeviceStateInstance WHERE deviceStateId = %s ORDER BY id",
                (self.state,),
            )
        )


@contextlib.contextmanager
def events(server: Server, token: str, room: str) -> Iterator[HTTPResponse]:
    """A stream of Server-Sent Events that has begun."""
    connection = HTTPConnection("127.0.0.1", server.ports["http"], timeout=15)
    with contextlib.closing(connection):
        query = f"rooms={room}&events=device-state-change"
        headers = {"Authorization": f"Bearer {token}"}
        connection.request("GET", f"/api/v1/events?{query}", headers=headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert event(response)["type"] == "subscribed"
        yield response


def event(response: HTTPResponse) -> dict[str, Any]:
    """@return: the data of the next event."""
    while not (line := response.readline()).startswith(b"data: "):
        assert line, "the stream has ended"
    data: dict[str, Any] = json.loads(line[6:])
    return data


def test_a_hot_reading_turns_the_pump_on_and_everybody_hears_of_it(server, device):
    farm = Farm(server)
    chain = farm.add_chain(
        {
            "type": "AND",
            "expressions": [
                farm.leaf("temperature", ">", 40),
                {"type": "OR", "expressions": [farm.leaf("moisture", "<", 20)]},
            ],
        }
    )
    sensor, pump = device(farm.sensor), farm.pump_client()
    with events(server, farm.web, f"device-uuid-{farm.pump['uuid']}") as stream:
        for name, value in (("moisture", 15), ("temperature", 25), ("temperature", 41)):
            sensor.publish(farm.sensor.datastream, {"value": value, "variableName": name})
        heard = pump.hear_json()
        assert (heard["stateName"], heard["newValue"], heard["initiatedBy"]) == (
            "power",
            "on",
            "rule_chain",
        )
        told = event(stream)
        assert told["event"] == "device-state-change"
        assert told["data"]["metadata"]["newValue"] == "on"
    current = farm.get(f"/device-state-instances/current/{farm.state}")
    assert (current["value"], current["initiatedBy"]) == ("on", "rule_chain")
    runs = farm.get(f"/rule-chains/{chain}/runs")
    assert [node.get("passed") for node in runs[0]["path"]] == [True, None]
    assert runs[0]["trigger"]["value"] == "41"
    assert pump.silent()
    pump.leave()


def test_a_kill_between_commit_and_action_loses_no_action_and_doubles_none(own_server):
    server, farm = own_server, Farm(own_server)
    # Expressions that take as long as they may: what is acknowledged is far ahead of the rules.
    slow = [farm.leaf("note", "matches", "(a|aa)+$")] * 4
    farm.add_chain({"type": "OR", "expressions": [*slow, farm.leaf("temperature", ">", 40)]})
    pump = farm.pump_client(client_id="pump", clean=False)
    pump.leave()
    sensor = Device.of(server, farm.sensor)
    topic = farm.sensor.datastream
    server.sql(lambda tx: tx.execute("UPDATE TelemetryData SET datatype = 'string'"))
    note = {"value": "a" * 49 + "!", "variableName": "note"}
    sensor.publish(topic, {**note, "skipRuleChainTrigger": True})
    for number in range(_READINGS):
        sensor.publish(topic, {"value": 41 + number, "variableName": "temperature"})
    server.kill()
    sensor.wait_until_lost()
    assert len(server.stored(farm.sensor)) == 1 + _READINGS
    assert len(farm.instances()) < _READINGS
    server.start()
    until(lambda: _waiting(server) == 0, "all triggers are done with", 30)
    instances = farm.instances()
    assert len(instances) == _READINGS
    assert [each["toTimestamp"] is None for each in instances].count(True) == 1
    # The pump was away; what it missed waits for it.
    again = farm.pump_client(client_id="pump", clean=False)
    heard = [again.hear_json()["newValue"] for _ in range(_READINGS)]
    assert set(heard) == {"on"}
    again.leave()


def _waiting(server: Server) -> int:
    count: int = server.sql(lambda tx: tx.value("SELECT COUNT(*) FROM rule_trigger"))
    return count
