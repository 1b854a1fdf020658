"""How many rows a second the writer commits, without any protocol in front of it.

usage: python bench/writer.py [--seconds 2] [URL ...]

For each database (default: SQLite in a temporary folder) with batches of 500 rows and of one row;
beside it the same INSERTs bare, in one thread that does nothing else. A URL names an empty
database.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from aemos.config import schema
from aemos.errors import RowRefused
from aemos.model import Instant
from aemos.storage.database import Database, open_database
from aemos.storage.readings import READINGS, Reading
from aemos.storage.transaction import Transaction, in_transaction
from aemos.storage.writer import Unit

IN_FLIGHT = 2000
NOW = Instant(1_764_000_000_000)


class Source:
    """Submits a unit of one reading for each that was committed, as acknowledged devices do."""

    def __init__(self, database: Database, variable: int) -> None:
        self.writer, self.variable = database.writer, variable
        self.stored = 0
        self.open = 0
        self.running = True
        self.drained: Deferred[None] = Deferred()

    def submit(self) -> None:
        self.open += 1
        reading = Reading("25.6", self.variable, "temperature", Instant(NOW + self.stored))
        self.writer.submit(Unit(((READINGS, (reading,)),), self.done))

    def done(self, error: RowRefused | None) -> None:
        self.open -= 1
        self.stored += error is None
        if self.running:
            self.submit()
        elif not self.open:
            self.drained.callback(None)


def variable(tx: Transaction) -> int:
    sensor = tx.insert("Sensor", {"name": "bench"})
    return tx.insert("TelemetryData", {"variableName": "temperature", "sensorId": sensor})


async def writer_rate(url: str, batch: int, seconds: float) -> tuple[float, float]:
    """@return: rows a second, and CPU seconds of this process for a million rows."""
    settings = schema.Settings(database=schema.Database(url=url, max_batch=batch))
    database = open_database(reactor, settings)
    await database.start()
    source = Source(database, await database.transact(variable))
    for _ in range(IN_FLIGHT):
        source.submit()
    await deferLater(reactor, 0.3, lambda: None)
    before, began, cpu = source.stored, time.perf_counter(), time.process_time()
    await deferLater(reactor, seconds, lambda: None)
    rows, took, used = (
        source.stored - before,
        time.perf_counter() - began,
        time.process_time() - cpu,
    )
    source.running = False
    await source.drained
    await database.stop()
    return rows / took, used / rows * 1e6


async def bare_rate(url: str, batch: int, seconds: float) -> float:
    """@return: rows a second of the same INSERT and COMMIT alone."""
    settings = schema.Settings(database=schema.Database(url=url))
    database = open_database(reactor, settings)
    await database.start()
    rows = [("25.6", await database.transact(variable), NOW)] * batch
    await database.stop()
    dialect = database.dialect

    def insert(tx: Transaction) -> None:
        tx.insert_rows("DataStream", ("value", "telemetryDataId", "recievedAt"), rows)

    with contextlib.closing(dialect.connect(writing=True)) as connection:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            in_transaction(connection, dialect, NOW, insert)
            count += batch
        return count / (time.perf_counter() - began)


async def measure(urls: list[str], seconds: float) -> None:
    folder = tempfile.mkdtemp(prefix="aemos-bench-")
    try:
        for url in urls or [f"sqlite:///{folder}/bench.sqlite"]:
            name = url.partition(":")[0]
            for batch in (500, 1):
                bare = await bare_rate(url, batch, seconds)
                rate, cpu = await writer_rate(url, batch, seconds)
                print(
                    f"{name:7} batch {batch:3}: {rate:9,.0f} rows/s, {cpu:.1f} CPU s per million;"
                    f" bare INSERT {bare:9,.0f} rows/s ({rate / bare:.0%})",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder)


def run(work: Coroutine[Any, Any, None]) -> None:
    finished = ensureDeferred(work)
    finished.addErrback(lambda failure: failure.printTraceback())
    finished.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("urls", nargs="*", metavar="URL")
    options = parser.parse_args()
    reactor.callWhenRunning(  # type: ignore[attr-defined]
        partial(run, measure(options.urls, options.seconds))
    )
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
