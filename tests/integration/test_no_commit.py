"""Acknowledged is stored, by every door: while nothing can be committed nobody hears yes (P1)."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.device import Device, acknowledged
from tests.integration.server import Server, until
from tests.mariadb import MariaDB

# Whenever its loop starts again, paho drops the two sockets that woke the last one.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server for one test, on either kind of database. Topics `free/#` are open to all."""
    rules = [{"allow": "both", "topic": "free/#"}]
    http = {"store_timeout": 0.5, "answer_timeout": 3.0}
    server = Server(tmp_path, database_url, mqtt={"acl": {"rules": rules}}, http=http)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def held(
    request: pytest.FixtureRequest, database_url: str
) -> Callable[[], AbstractContextManager[None]]:
    """Keeps everybody from committing while it is entered."""

    @contextlib.contextmanager
    def sqlite() -> Iterator[None]:
        path = database_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    @contextlib.contextmanager
    def mysql() -> Iterator[None]:
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        with contextlib.closing(mariadb.connect()) as other:
            other.cursor().execute("FLUSH TABLES WITH READ LOCK")
            yield
            other.cursor().execute("UNLOCK TABLES")

    return sqlite if database_url.startswith("sqlite") else mysql


def message(value: str) -> bytes:
    return json.dumps({"value": value, "variableName": "temperature", "messageId": value}).encode()


def sleeper(server: Server, sensor: Any) -> Device:
    """@return: a client whose session outlives its connection."""
    return Device.of(server, sensor, client_id="sleeper", clean=False)


def test_nothing_is_acknowledged_while_nothing_can_be_committed(server: Any, held: Any) -> None:
    sensor, other = server.add_sensor(), server.add_sensor()
    absent = sleeper(server, other)
    absent.subscribe("free/queued")
    absent.leave()
    for each in (sensor, other):  # known from now on
        Device.of(server, each).leave()
    status = json.dumps({"status": "online"}).encode()
    publications = [
        (sensor.datastream, message("one"), 1, False),
        (sensor.datastream, message("two"), 2, False),
        (f"devices/{sensor.uuid}/status", status, 1, False),
        ("free/retained", b"kept", 1, True),
        ("free/queued", b"for the sleeper", 1, False),
    ]
    # Each on a connection of its own: acknowledgements keep the order of messages.
    devices = [Device.of(server, sensor) for _ in publications]
    bystander = Device.of(server, sensor)
    with held():
        waiting = [
            device.client.publish(*publication)
            for device, publication in zip(devices, publications, strict=True)
        ]
        # By then those are being written: in one batch with them a reading cannot be taken back.
        until(lambda: server.get("/api/v1/health/readiness")[0] == 503, "readiness tells it")
        reading = server.post(
            "/api/v1/datastreams/token", json.loads(message("three")), sensor.token
        )
        assert reading[0] == 503
        bystander.publish("free/nobody", b"stores nothing, and is acknowledged at once")
        assert [acknowledged(info) for info in waiting] == [False] * len(waiting)
        assert all(device.connected for device in devices)
    until(lambda: all(map(acknowledged, waiting)), "everything is acknowledged")
    stored = [row["value"] for row in server.stored(sensor)]
    # The third may have been in a transaction that had begun, and could not be taken back.
    assert sorted({*stored, "three"}) == ["one", "three", "two"]
    assert len(stored) == len(set(stored))
    server.kill()
    server.start()
    absent = sleeper(server, other)
    assert absent.hear().payload == b"for the sleeper"
    absent.subscribe("free/retained")
    assert absent.hear().payload == b"kept"
    reported = server.sql(lambda tx: tx.all("SELECT uuid FROM device_status"))
    assert [row["uuid"] for row in reported] == [sensor.uuid]
    absent.leave()
    for device in (*devices, bystander):
        device.leave()
