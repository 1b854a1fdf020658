"""A database that hangs: nobody waits for ever, nothing is lost, and the server can be stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.device import Device, acknowledged
from tests.integration.server import Server, until
from tests.mariadb import MariaDB


@pytest.fixture
def server(mariadb: MariaDB, tmp_path: Path) -> Iterator[Server]:
    """A server that is impatient, so that the test need not be patient."""
    server = Server(
        tmp_path, mariadb.url(mariadb.new_database()), http={"answer_timeout": 2.0}, stop_grace=2.0
    )
    try:
        yield server.start()
    finally:
        os.kill(mariadb.pid, signal.SIGCONT)
        server.close()


def test_everybody_is_answered_and_all_goes_on_afterwards(server: Any, mariadb: MariaDB) -> None:
    sensor, bystander = server.add_sensor(), server.add_sensor()
    token = server.sign_in()
    Device.of(server, bystander).leave()
    device = Device.of(server, sensor, keepalive=1)
    device.publish(sensor.datastream, {"value": 0, "variableName": "temperature"})
    os.kill(mariadb.pid, signal.SIGSTOP)
    waiting = device.client.publish(
        sensor.datastream, b'{"value": 1, "variableName": "temperature"}', 1
    )
    began = time.monotonic()
    with ThreadPoolExecutor(8) as clients:  # more than there are connections to the database
        asked = [clients.submit(server.get, "/api/v1/organizations", token) for _ in range(8)]
        assert {answer.result()[0] for answer in asked} == {503}
    assert server.get("/api/v1/health/readiness")[0] == 503
    assert server.get("/api/v1/health/liveness")[0] == 200
    assert time.monotonic() - began < 8
    Device.of(server, bystander).leave()  # known devices sign in
    assert device.connected  # its keep-alive has been over several times
    assert not acknowledged(waiting)
    os.kill(mariadb.pid, signal.SIGCONT)
    until(lambda: acknowledged(waiting), "what waited is acknowledged")
    until(lambda: server.get("/api/v1/health/readiness")[0] == 200, "it is ready again")
    assert server.get("/api/v1/organizations", token)[0] == 200
    assert [row["value"] for row in server.stored(sensor)] == ["0", "1"]
    device.leave()


def test_it_stops_in_time_although_the_database_hangs(server: Any, mariadb: MariaDB) -> None:
    sensor = server.add_sensor()
    token = server.sign_in()
    device = Device.of(server, sensor)
    os.kill(mariadb.pid, signal.SIGSTOP)
    waiting = device.client.publish(
        sensor.datastream, b'{"value": 1, "variableName": "temperature"}', 1
    )
    asking = threading.Thread(target=server.get, args=("/api/v1/organizations", token))
    asking.start()
    until(lambda: server.get("/api/v1/health/readiness")[0] == 503, "readiness tells the hang")
    began = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - began < 10
    asking.join()
    device.wait_until_lost()
    assert not acknowledged(waiting)
    assert "Traceback" not in server.log
    device.cut()
