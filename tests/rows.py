"""Rows for tests of the storage, and a way to wait for what the writer says about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from aemos.errors import RowRefused
from aemos.model import Instant
from aemos.storage.database import Database
from aemos.storage.readings import READINGS, Reading
from aemos.storage.transaction import Transaction
from aemos.storage.writer import Unit

NOON = Instant.parse("2026-01-01T12:00:00.123Z")


def plant(tx: Transaction) -> int:
    """@return: the id of a variable of a new sensor."""
    sensor = tx.insert("Sensor", {"name": "s"})
    return tx.insert(
        "TelemetryData", {"variableName": "t", "datatype": "float", "sensorId": sensor}
    )


def reading(
    variable: int, value: object = "1", at: int = NOON, key: bytes | None = None
) -> Reading:
    return Reading(str(value), variable, "t", Instant(at), key)


def store(database: Database, *readings: Reading) -> Deferred[RowRefused | None]:
    """Submit one unit. @return: fires with what `done` is called with."""
    answer: Deferred[RowRefused | None] = Deferred()
    database.writer.submit(Unit([(READINGS, list(readings))], answer.callback))
    return answer


async def values(database: Database) -> Sequence[str]:
    """@return: every stored value, in order of id."""
    rows = await database.read(lambda tx: tx.all("SELECT value FROM DataStream ORDER BY id"))
    return [row["value"] for row in rows]


async def until(condition: Callable[[], object], timeout: float = 30.0) -> None:
    """Wait for a condition that another thread or process brings about; fail after `timeout`."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "has not happened in time"
        await deferLater(reactor, 0.01, lambda: None)
