"""Acknowledged is stored: whatever is killed, at whatever moment (promises P1 and P6)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.device import Device
from tests.integration.load import Load
from tests.integration.server import Server, until
from tests.mariadb import MariaDB

_DEVICES = 5


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, on either kind of database."""
    server = Server(tmp_path, database_url)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    """A database server that may be killed."""
    mariadb = MariaDB()
    try:
        mariadb.install()
        mariadb.start()
        yield mariadb
    finally:
        mariadb.stop()


def loaded(server: Server) -> Load:
    return Load(server, [server.add_sensor() for _ in range(_DEVICES)])


@pytest.mark.parametrize("round_", range(3))
def test_kill_9_under_load_loses_nothing_acknowledged(server, round_):
    load = loaded(server)
    try:
        # A random moment, but one in which much is on its way.
        load.run_until(random.randrange(500, 3000))
        server.kill()
        load.stop()
        for device in load.devices:
            device.wait_until_lost()
        assert load.count >= 500
        assert load.missing(server) == set()
        server.start()
        load.send_again(server)
        assert load.missing(server) == set()
    finally:
        load.close()


def test_sigterm_under_load_ends_in_time_with_everything_acknowledged_stored(server):
    load = loaded(server)
    try:
        load.run_until(1000)
        began = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - began < 10
        load.stop()
        assert load.missing(server) == set()
        assert "Traceback" not in server.log
    finally:
        load.close()


def test_a_killed_database_stops_no_connection_and_loses_nothing(own_mariadb, tmp_path):
    server = Server(tmp_path, own_mariadb.url(own_mariadb.new_database()))
    try:
        server.start()
        bystander = server.add_sensor()
        load = loaded(server)
        # Its keep-alive ends within the outage, so it lives only if its pings are answered.
        idle = Device.of(server, bystander, keepalive=1)
        load.run_until(1000)
        own_mariadb.kill()
        until(
            lambda: server.get("/api/v1/health/readiness")[0] == 503, "readiness tells the outage"
        )
        stalled = _when_still(load)
        again = Device.of(server, bystander)  # known devices sign in during the outage
        again.leave()
        assert (
            server.post(
                "/api/v1/datastreams/token",
                {"value": "1", "variableName": "temperature"},
                bystander.token,
            )[0]
            == 503
        )
        until_past = time.monotonic() + 3
        until(lambda: time.monotonic() > until_past, "several keep-alives are over")
        assert idle.connected
        assert all(device.connected for device in load.devices)
        assert load.count == stalled
        own_mariadb.start()
        until(lambda: load.count > stalled, "it resumes by itself", 30)
        until(lambda: server.get("/api/v1/health/readiness")[0] == 200, "it is ready again")
        load.stop()
        load.settle()
        assert load.missing(server) == set()
        assert all(device.connected for device in [*load.devices, idle])
        idle.leave()
    finally:
        load.close()
        server.close()


def _when_still(load: Load) -> int:
    """@return: how many are acknowledged, once that does not change for a while."""
    seen, since = -1, time.monotonic()

    def still() -> bool:
        nonlocal seen, since
        if (count := load.count) != seen:
            seen, since = count, time.monotonic()
        return time.monotonic() - since > 0.5

    until(still, "nothing more is acknowledged")
    return seen
