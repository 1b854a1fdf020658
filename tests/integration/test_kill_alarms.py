"""`kill -9` at any moment: alarms are those of the stored readings, and everybody is told."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from aemos.storage.transaction import Row, Transaction
from tests.integration.device import Device, acknowledged
from tests.integration.server import Sensor, Server, until

# Whenever its loop starts again, paho drops the two sockets that woke the last one.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

API = "/api/v1"
_SENSORS = 4
_HOT, _COLD = "35", "15"


class Receiver(ThreadingHTTPServer):
    """Takes webhooks: `told` is how often each delivery came, `changes` what they said."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Webhook)
        self.told: Counter[int] = Counter()
        self.changes: Counter[str] = Counter()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Webhook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told[int(self.headers["X-Aemos-Delivery"])] += 1
        self.server.changes[body["change"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, on either kind of database."""
    server = Server(tmp_path, database_url, alarms={"webhook_networks": ["127.0.0.0/8"]})
    try:
        yield server.start()
    finally:
        server.close()


def watched(server: Server, receiver: Receiver, **definition: Any) -> list[Sensor]:
    """@return: sensors of which the receiver is told when they are too hot, and not any more."""
    sensors = [server.add_sensor() for _ in range(_SENSORS)]
    token = server.sign_in()

    def made(path: str, body: dict[str, Any]) -> int:
        organization = {"organizationId": sensors[0].organization}
        status, answer = server.post(API + path, {**organization, **body}, token)
        assert status == 201, answer
        [row] = answer["data"].values()
        return int(row["id"])

    url = f"http://127.0.0.1:{receiver.server_port}/"
    target = {"type": "webhook", "url": url}
    channel = made("/notification-channels", {"name": "duty", "target": target})
    steps = [{"channels": [channel]}, {"channels": [channel], "afterMinutes": 60}]
    condition = {"type": "threshold", "direction": "above", "level": 30, "clearLevel": 20}
    made(
        "/alarm-definitions",
        {
            "name": "too hot",
            "severity": "critical",
            "variableName": "temperature",
            "condition": condition,
            "steps": steps,
            "tellClear": True,
            **definition,
        },
    )
    return sensors


def rows(server: Server, sql: str) -> list[Row]:
    def read(tx: Transaction) -> list[Row]:
        return tx.all(sql)

    return server.sql(read)


def open_alarms(server: Server) -> list[int]:
    """@return: the sensors of the open alarms."""
    found = rows(server, "SELECT sensor_id FROM alarm WHERE open_key IS NOT NULL")
    return sorted(row["sensor_id"] for row in found)


def too_hot(server: Server, sensors: list[Sensor]) -> list[int]:
    """@return: the sensors whose newest stored reading is hot."""
    return sorted(each.id for each in sensors if server.stored(each)[-1]["value"] == _HOT)


def lapse(server: Server, state: str) -> None:
    """Let the time of deliveries in this state have come.

    Of one that is `sending` only while the server is dead: a living one is still at it.
    """
    server.sql(
        lambda tx: tx.execute("UPDATE delivery SET due_at = %s WHERE state = %s", (tx.now, state))
    )


def test_alarms_are_those_of_the_stored_readings_and_each_is_told(server, receiver):
    sensors = watched(server, receiver)
    devices = [Device.of(server, sensor) for sensor in sensors]
    sent = []
    enough = random.randrange(20, 120)
    while sum(acknowledged(info) for info in sent) < enough:
        for sensor, device in zip(sensors, devices, strict=True):
            message = {"value": random.choice([_HOT, _COLD]), "variableName": "temperature"}
            sent.append(device.client.publish(sensor.datastream, json.dumps(message), 1))
    server.kill()
    for device in devices:
        device.wait_until_lost()
        device.leave()
    under_way = {
        row["id"] for row in rows(server, "SELECT id FROM delivery WHERE state = 'sending'")
    }
    assert sum(len(server.stored(each)) for each in sensors) >= sum(map(acknowledged, sent))
    lapse(server, "sending")
    server.start()
    until(lambda: open_alarms(server) == too_hot(server, sensors), "alarms are as readings are")

    for sensor in sensors:
        device = Device.of(server, sensor)
        device.publish(sensor.datastream, {"value": _COLD, "variableName": "temperature"})
        device.leave()
    until(lambda: open_alarms(server) == [], "all alarms are over")
    lapse(server, "waiting")
    left = "SELECT id FROM delivery WHERE state NOT IN ('sent', 'cancelled')"
    until(lambda: not rows(server, left), "everything is told")
    told = {row["id"] for row in rows(server, "SELECT id FROM delivery WHERE state = 'sent'")}
    assert told <= set(receiver.told)
    assert {one for one, times in receiver.told.items() if times > 1} <= under_way
    steps = Counter(
        (row["alarm_id"], row["kind"]) for row in rows(server, "SELECT * FROM alarm_event")
    )
    alarms = [row["id"] for row in rows(server, "SELECT id FROM alarm")]
    assert alarms
    for kind in ("raised", "cleared"):
        assert {alarm: steps[alarm, kind] for alarm in alarms} == dict.fromkeys(alarms, 1)


def test_an_escalation_whose_time_comes_while_the_server_is_dead_is_told(server, receiver):
    [sensor, *_] = watched(server, receiver)
    device = Device.of(server, sensor)
    device.publish(sensor.datastream, {"value": _HOT, "variableName": "temperature"})
    begun = "SELECT id FROM delivery WHERE state = 'sent'"
    until(lambda: rows(server, begun), "the beginning is told")
    server.kill()
    device.leave()
    lapse(server, "sending")
    lapse(server, "waiting")
    server.start()
    until(lambda: receiver.changes["escalated"], "the next step is told")
    assert receiver.changes == {"raised": 1, "escalated": 1}
    assert open_alarms(server) == [sensor.id]
