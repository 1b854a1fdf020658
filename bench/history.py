"""How long questions to a long history take, and by which plan the database answers them.

usage: python bench/history.py [--rows 10000000] [--database sqlite|mysql|both]

Fills a database in a temporary folder (MariaDB: a server of its own with a buffer pool of 64 MB,
far less than the data), half of the rows in one variable, the others in 99 more; asks each question
three times and tells the best. The folder is removed afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, execute

sys.path.insert(0, str(Path(__file__).parents[1]))

from aemos.config import schema
from aemos.model import SERVER, Instant
from aemos.services.buckets import DAY, HOUR, Buckets
from aemos.services.queries import Queries
from aemos.storage import migrate
from aemos.storage.dialects.base import Connection, Cursor, Dialect
from aemos.storage.location import dialect_of
from aemos.storage.queries import Position, Range
from aemos.storage.transaction import Transaction, in_transaction
from tests.mariadb import MariaDB

BEGIN = Instant.parse("2024-01-01T00:00:00Z")
STEP = 10_000  # milliseconds between two readings of the deep variable
OTHERS = 99
AT_ONCE = 20_000
COLUMNS = ("value", "telemetryDataId", "recievedAt")


class Recorded(Transaction):
    """Remembers its statements."""

    def __init__(self, cursor: Cursor, dialect: Dialect, now: Instant) -> None:
        super().__init__(cursor, dialect, now)
        self.statements: dict[str, tuple[Any, ...]] = {}

    def _run(self, sql: str, params: Any) -> Cursor:
        self.statements.setdefault(sql, tuple(params))
        return super()._run(sql, params)


class Here:
    """Reads as `Database` does, in this thread."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.tx = Recorded(connection.cursor(), dialect, BEGIN)

    def read(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return execute(function, self.tx, *args)


def plant(tx: Transaction) -> list[int]:
    """@return: the ids of the deep variable and of the others."""
    tx.insert("Organization", {"id": 1, "name": "bench", "status": "active"})
    tx.insert("Area", {"id": 1, "name": "bench", "organizationId": 1, "status": "active"})
    tx.insert("Sensor", {"id": 1, "name": "bench"})
    tx.insert("AreaSensor", {"areaId": 1, "sensorId": 1})
    return [
        tx.insert("TelemetryData", {"variableName": f"v{n}", "datatype": "float", "sensorId": 1})
        for n in range(1 + OTHERS)
    ]


def rows(count: int, variables: list[int]) -> Iterator[list[tuple[str, int, Instant]]]:
    """As they come in: in order of time, the deep variable between the others."""
    deep, *others = variables
    for start in range(0, count, AT_ONCE):
        yield [
            (
                f"{(n * 7919) % 4000 / 100:.2f}",
                others[n // 2 % OTHERS] if n % 2 else deep,
                Instant(BEGIN + n // 2 * STEP),
            )
            for n in range(start, min(start + AT_ONCE, count))
        ]


def fill(connection: Connection, dialect: Dialect, count: int) -> list[int]:
    cursor = connection.cursor()
    relaxed = ["PRAGMA synchronous = OFF", "PRAGMA cache_size = -200000"]
    if dialect.name == "mysql":
        relaxed = ["SET unique_checks = 0", "SET foreign_key_checks = 0"]
    for statement in relaxed:  # a power failure would cost nothing here
        cursor.execute(statement)
    variables = in_transaction(connection, dialect, BEGIN, plant)
    for part in rows(count, variables):
        in_transaction(
            connection,
            dialect,
            BEGIN,
            lambda tx, part=part: tx.insert_rows("DataStream", COLUMNS, part),
        )
    cursor.execute("ANALYZE" if dialect.name == "sqlite" else "ANALYZE TABLE DataStream")
    cursor.fetchall()
    return variables


def questions(here: Here, deep: int, count: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """@return: what it is -> how it is asked."""
    service = Queries(here)  # type: ignore[arg-type]
    end = Instant(BEGIN + count // 2 * STEP)
    middle = Instant((BEGIN + end) // 2)

    def page(within: Range, limit: int, offset: int = 0, counted: bool = False) -> Any:
        return service.page(SERVER, deep, within, limit=limit, offset=offset, counted=counted)

    def summed(start: int, stop: int, bucket: str, *functions: str) -> Any:
        buckets = Buckets.parse(bucket, "Europe/Berlin")
        return service.aggregate(
            SERVER, deep, Instant(start), Instant(stop), buckets, functions or ("avg", "count")
        )

    return {
        "latest value of 100 variables": lambda: service.latest_of_organization(SERVER, 1),
        "an hour, newest first": lambda: page(Range(Instant(end - HOUR), None, None, True), 1000),
        "a day in the middle": lambda: page(Range(middle, Instant(middle + DAY)), 10_000),
        "10,000 after a cursor in the middle": lambda: page(
            Range(after=Position(middle, count // 2)), 10_000
        ),
        "100 at the offset of the middle": lambda: page(Range(), 100, count // 4),
        "a day in the middle, counted": lambda: page(
            Range(middle, Instant(middle + DAY)), 100, counted=True
        ),
        "a day by 5m": lambda: summed(middle, middle + DAY, "5m"),
        "a day by 1h, first and last": lambda: summed(middle, middle + DAY, "1h", "first", "last"),
        "30 days by 1h": lambda: summed(middle, middle + 30 * DAY, "1h"),
        "everything by 1d": lambda: summed(BEGIN, end, "1d"),
        "everything by 1d, count only": lambda: summed(BEGIN, end, "1d", "count"),
    }


def size(result: Any) -> int:
    return len(getattr(result, "rows", result))


def ask(here: Here, question: Callable[[], Awaitable[Any]]) -> Any:
    """@return: the answer, which is there at once."""
    answers: list[Any] = []
    ensureDeferred(question()).addBoth(answers.append)  # type: ignore[arg-type]
    return answers[0]


def explain(here: Here, sql: str, params: tuple[Any, ...]) -> list[str]:
    """@return: the plan of a statement, a line for each step."""
    head = "EXPLAIN QUERY PLAN " if here.tx.dialect.name == "sqlite" else "EXPLAIN "
    found = Transaction.all(here.tx, head + sql, params)
    if "detail" in (found[0] if found else {}):
        return [row["detail"] for row in found]
    return [
        f"{row['select_type']} {row['table']}: {row['type']}, key {row['key']}, "
        f"{row['rows']} rows, {row['Extra']}"
        for row in found
    ]


def measure(url: str, count: int) -> None:
    dialect = dialect_of(schema.Settings(database=schema.Database(url=url)))
    with contextlib.closing(dialect.connect(writing=True, patient=True)) as connection:
        migrate.migrate(connection, dialect, BEGIN)
        began = time.perf_counter()
        deep = fill(connection, dialect, count)[0]
        took = time.perf_counter() - began
        print(f"{dialect.name}: {count:,} rows in {took:.0f} s ({count / took:,.0f}/s)", flush=True)
    with contextlib.closing(dialect.connect(writing=False, patient=True)) as connection:
        here = Here(connection, dialect)
        shown: set[str] = set()
        for name, question in questions(here, deep, count).items():
            best, answer = float("inf"), None
            for _ in range(3):
                began = time.perf_counter()
                answer = ask(here, question)
                best = min(best, time.perf_counter() - began)
            print(f"{name:38} {best * 1000:10.2f} ms  {size(answer):6} rows", flush=True)
            for sql, params in list(here.tx.statements.items()):
                if "DataStream" in sql and sql not in shown:
                    shown.add(sql)
                    for line in explain(here, sql, params):
                        print(f"    {line}")
            here.tx.statements.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--database", choices=["sqlite", "mysql", "both"], default="sqlite")
    options = parser.parse_args()
    if options.database in ("sqlite", "both"):
        with tempfile.TemporaryDirectory(prefix="aemos-bench-") as folder:
            measure(f"sqlite:///{folder}/history.sqlite", options.rows)
    if options.database in ("mysql", "both"):
        server = MariaDB()
        try:
            server.install()
            server.start()
            measure(server.url(server.new_database()), options.rows)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
