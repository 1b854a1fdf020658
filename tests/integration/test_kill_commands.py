"""A command that was accepted arrives, and an actuator is stopped, whatever is killed between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.pump import Pump
from tests.integration.server import Server


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, on either kind of database."""
    server = Server(tmp_path, database_url)
    try:
        yield server.start()
    finally:
        server.close()


def test_a_command_that_was_stored_and_not_sent_is_sent_after_kill_9(server):
    pump = Pump.of(server)
    command = pump.order({"command": "on"})
    server.kill()
    server.start()
    device = pump.connect()
    message = device.hear_json()
    assert (message["commandId"], message["command"]) == (command["commandId"], {"command": "on"})
    device.publish(f"{pump.topic}/ack", {"commandId": command["commandId"]})
    steps = pump.reaches(command["commandId"], "confirmed")
    assert steps == ["queued", "sent", "received", "confirmed"]
    device.leave()


def test_a_pump_is_stopped_in_time_although_the_server_was_killed_meanwhile(server):
    pump = Pump.of(server)
    device = pump.connect(clean=False)
    command = pump.order({"command": "on", "maxOn": 3})
    ordered = time.monotonic()
    assert device.hear_json()["maxOn"] == 3
    server.kill()
    device.wait_until_lost()
    device.leave()
    server.start()
    device = pump.connect(clean=False, listen=False)
    stop = device.hear_json()
    while stop["commandId"] == command["commandId"]:  # with DUP, if its end was not written
        stop = device.hear_json()
    assert stop["command"] == {"command": "off"}
    assert time.monotonic() - ordered >= 2.9
    device.publish(f"{pump.topic}/ack", {"commandId": stop["commandId"]})
    pump.reaches(stop["commandId"], "confirmed")
    device.leave()
