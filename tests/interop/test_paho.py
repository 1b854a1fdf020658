"""paho-mqtt, the client of most Python devices, in each way to the server."""

from __future__ import annotations

import json

import pytest

from tests.integration.conftest import device
from tests.integration.server import until

__all__ = ["device"]


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_readings_go_in_and_come_back(server, device, transport, encrypted):
    sensor = server.add_sensor()
    client = device(sensor, transport=transport, encrypted=encrypted)
    assert client.subscribe(sensor.datastream, 2) == 2
    for qos in (0, 1, 2):
        message = {"value": qos, "variableName": "temperature", "messageId": f"paho-{qos}"}
        client.publish(sensor.datastream, message, qos)
    until(lambda: len(server.stored(sensor)) == 3, "all are stored")
    heard = [client.hear() for _ in range(6)]  # each as it was sent, and its announcement
    raw = [each for each in heard if "messageId" in json.loads(each.payload)]
    assert [each.qos for each in raw] == [0, 1, 2]
    big = b"x" * 500_000
    client.subscribe("free/big", 1)
    client.publish("free/big", big)
    assert client.hear().payload == big
