"""MQTT.js, over TCP and WebSocket, plain and over TLS, as a device uses it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server import ROOT, Server, until
from tests.parts import missing, need

_PACKAGES = ROOT / "aemos" / "web" / "node_modules"


@pytest.fixture
def mqttjs(server: Server) -> Callable[..., dict[str, Any]]:
    node = need("node")
    if not (_PACKAGES / "mqtt").is_dir():
        missing("the npm packages of aemos/web are not installed (make web)")

    def run(**task: Any) -> dict[str, Any]:
        done = subprocess.run(
            [node, Path(__file__).with_name("mqttjs.js"), json.dumps(task)],
            env={"NODE_PATH": str(_PACKAGES)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return run


def where(server: Server, transport: str) -> dict[str, str]:
    """@return: the part of a task that says where to connect to."""
    scheme, port = {
        "tcp": ("mqtt", "mqtt"),
        "websocket": ("ws", "mqtt_websocket"),
        "tls": ("mqtts", "mqtt_tls"),
        "websocket-tls": ("wss", "mqtt_websocket_tls"),
    }[transport]
    assert server.authority is not None
    url = f"{scheme}://127.0.0.1:{server.ports[port]}"
    return {"url": url, "ca": server.authority.path} if "tls" in transport else {"url": url}


@pytest.mark.parametrize(
    ("transport", "qos"),
    [
        ("tcp", 0),
        ("tcp", 1),
        ("tcp", 2),
        ("websocket", 0),
        ("websocket", 1),
        ("websocket", 2),
        ("tls", 2),
        ("websocket-tls", 2),
    ],
)
def test_publishes_are_stored_and_come_back(server, mqttjs, transport, qos):
    sensor, other = server.add_sensor(), server.add_sensor()
    result = mqttjs(
        **where(server, transport),
        username=sensor.uuid,
        password=sensor.token,
        topic=sensor.datastream,
        foreign=other.datastream,
        qos=qos,
        count=20,
        comesBack=40,  # each as it was sent, and its announcement
    )
    assert (result["granted"], result["acknowledged"]) == (qos, 20)
    assert result["refused"]
    assert len(result["received"]) == 40
    until(lambda: len(server.stored(sensor)) == 20, "all are stored")
    assert [row["value"] for row in server.stored(sensor)] == [str(n) for n in range(20)]
    raw = [each for each in result["received"] if "messageId" in each["payload"]]
    assert [each["qos"] for each in raw] == [qos] * 20


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_a_wrong_token_is_connack_5(server, mqttjs, transport):
    sensor = server.add_sensor()
    result = mqttjs(
        **where(server, transport),
        username=sensor.uuid,
        password="0" * 64,
        topic=sensor.datastream,
        foreign="#",
        qos=1,
        count=1,
        comesBack=1,
    )
    assert result["connack"] == 5
    assert server.stored(sensor) == []
