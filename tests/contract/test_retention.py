"""Old readings are rolled up before they go, and nothing of what they came to is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from aemos.config import schema
from aemos.errors import RowRefused
from aemos.model import SERVER, Instant
from aemos.services.buckets import DAY, HOUR, Buckets
from aemos.services.catalogue import Catalogue
from aemos.services.events import Events
from aemos.services.queries import Queries
from aemos.services.retention import Retention
from aemos.services.upkeep import Upkeep
from aemos.storage import retention, rollups
from aemos.storage.database import Database, open_database
from aemos.storage.transaction import Row, Transaction
from tests.conftest import settings_for
from tests.rows import plant, reading, store, until

BEGIN = Instant.parse("2026-01-01T00:00:00Z")
ALL = ("avg", "min", "max", "sum", "count", "first", "last")
COLUMNS = ("value", "telemetryDataId", "recievedAt")


def keeping(database: Database, days: float, max_size: int = 0) -> tuple[Retention, Clock]:
    """@return: the work as it is so many days after `BEGIN`, and its clock."""
    clock = Clock()
    clock.advance(BEGIN / 1000 + days * 86400)
    return Retention(database, schema.Database(max_size=max_size), clock), clock


async def finished(work: Any, clock: Clock) -> None:
    """Wait for work that rests by this clock."""
    ended: list[object] = []
    done = ensureDeferred(work).addBoth(ended.append)

    def step() -> bool:
        if not ended:
            clock.advance(1)
        return bool(ended)

    await until(step)
    await done
    assert ended == [None]


async def variable_with(database: Database, rows: Sequence[tuple[int, str]]) -> int:
    """Store (milliseconds after BEGIN, value) pairs. @return: the id of their variable."""

    def write(tx: Transaction) -> int:
        variable = plant(tx)
        stored = [(value, variable, Instant(BEGIN + at)) for at, value in rows]
        tx.insert_rows("DataStream", COLUMNS, stored)
        return variable

    return await database.transact(write)


async def keep(database: Database, variable: int, raw: int, **more: int) -> None:
    values = {"telemetry_id": variable, "raw_days": raw, **more}
    await database.transact(retention.create, values)


async def summed(
    database: Database, variable: int, bucket: str = "1h", zone: str = "UTC", **span: Any
) -> list[Row]:
    start, end = span.get("start"), span.get("end")
    buckets = Buckets.parse(bucket, zone)
    return await Queries(database).aggregate(SERVER, variable, start, end, buckets, ALL)


async def count(database: Database, table: str = "DataStream") -> int:
    return await database.read(lambda tx: tx.value(f"SELECT COUNT(*) FROM {table}"))


def close(rows: list[Row]) -> list[Row]:
    """@return: the same with sums that do not depend on the order of adding."""
    return [
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]


async def test_sums_stay_the_same_when_readings_go(database: Database) -> None:
    chance = random.Random(7)
    values = ["1.5", "-3", "off", "", "12 C", "2e1", " 7 ", ".5", "0x10", "1e999"]
    rows = [(chance.randrange(10 * DAY), chance.choice(values)) for _ in range(3000)]
    variable = await variable_with(database, rows)
    await keep(database, variable, 4)
    asked = [("1h", "UTC"), ("1d", "UTC"), ("1d", "Europe/Berlin"), ("1w", "Asia/Tokyo")]
    before = [await summed(database, variable, *one) for one in asked]
    work, clock = keeping(database, 10)
    await finished(work.apply(), clock)
    left = sum(at >= 6 * DAY for at, _ in rows)
    assert 0 < left == await count(database)
    for one, expected in zip(asked, before, strict=True):
        assert close(await summed(database, variable, *one)) == close(expected)
    stretch = {"start": Instant(BEGIN + 5 * DAY), "end": Instant(BEGIN + 7 * DAY)}
    counted = sum(row["count"] for row in await summed(database, variable, **stretch))
    assert counted == sum(5 * DAY <= at < 7 * DAY for at, _ in rows)


async def test_a_reading_that_comes_late_is_added_to_what_is_left(database: Database) -> None:
    variable = await variable_with(database, [(HOUR, "2"), (HOUR + 1, "4")])
    await keep(database, variable, 1)
    work, clock = keeping(database, 5)
    await finished(work.apply(), clock)
    for value, at in (("9", BEGIN + HOUR - 1 + HOUR), ("1", BEGIN + HOUR)):
        await store(database, reading(variable, value, at))
    expected = {"from": BEGIN + HOUR, "avg": 4, "min": 1, "max": 9, "sum": 16, "count": 4}
    (found,) = await summed(database, variable)
    assert found == {**expected, "first": found["first"], "last": "9"}
    await finished(work.apply(), clock)
    assert await count(database) == 0
    (found,) = await summed(database, variable)
    assert found == {**expected, "first": found["first"], "last": "9"}


async def test_days_remain_when_hours_go_and_then_nothing(database: Database) -> None:
    rows = [(day * DAY + hour * HOUR, "1") for day in range(10) for hour in range(24)]
    variable = await variable_with(database, rows)
    await keep(database, variable, 1, hourly_days=3, daily_days=6)
    work, clock = keeping(database, 10)
    await finished(work.apply(), clock)
    found = await summed(database, variable)
    counts = {(row["from"] - BEGIN) / DAY: row["count"] for row in found}
    assert [counts.get(day) for day in range(10)] == [None] * 4 + [24] * 3 + [1] * 3
    assert sum(counts.values()) == 6 * 24
    # An hour that comes late for a day without hours does not hide the day.
    await store(database, reading(variable, "5", BEGIN + 4 * DAY + HOUR))
    await database.transact(rollups.fold_before, variable, Instant(BEGIN + 9 * DAY), 10)
    (day,) = [row for row in await summed(database, variable, "1d") if row["count"] == 25]
    assert (day["from"], day["max"]) == (BEGIN + 4 * DAY, 5)
    # Nor does a range that ends within a day count its hours as the whole.
    within = {"start": Instant(BEGIN + 8 * DAY), "end": Instant(BEGIN + 8 * DAY + 90 * 60_000)}
    assert [row["count"] for row in await summed(database, variable, **within)] == [1, 1]


async def test_the_policy_of_a_variable_goes_before_that_of_its_organization(
    database: Database,
) -> None:
    old = [(0, "1"), (8 * DAY, "1")]
    kept, common, foreign = [await variable_with(database, old) for _ in range(3)]

    def place(tx: Transaction) -> None:
        for organization, area in ((1, 1), (2, 2)):
            tx.insert("Organization", {"id": organization, "name": "x"})
            tx.insert("Area", {"id": area, "organizationId": organization, "name": "x"})
        for variable, areas in ((kept, (1,)), (common, (1,)), (foreign, (2, 3))):
            if 3 in areas:  # lies in both: the first area owns it
                tx.insert("Area", {"id": 3, "organizationId": 1, "name": "x"})
            sql = "SELECT sensorId FROM TelemetryData WHERE id = %s"
            for area in areas:
                sensor = tx.value(sql, (variable,))
                tx.insert("AreaSensor", {"areaId": area, "sensorId": sensor})
        retention.create(tx, {"organization_id": 1, "raw_days": 3})
        retention.create(tx, {"telemetry_id": kept, "raw_days": 30})

    await database.transact(place)
    work, clock = keeping(database, 10)
    await finished(work.apply(), clock)
    rows = await database.read(lambda tx: tx.all("SELECT * FROM DataStream ORDER BY id"))
    assert [row["telemetryDataId"] for row in rows] == [kept, kept, common, foreign, foreign]


async def test_the_work_comes_in_small_transactions_between_which_others_are_served(
    database: Database,
) -> None:
    variable = await variable_with(database, [(at * 1000, "1") for at in range(3500)])
    await keep(database, variable, 1)
    work, clock = keeping(database, 10)
    steps: list[int] = []
    transact = database.transact

    def counted(function: Callable[..., int], *args: Any) -> Deferred[int]:
        def note(done: int) -> int:
            steps.append(done)
            return done

        return transact(function, *args).addCallback(note)

    database.transact = counted  # type: ignore[assignment,method-assign]
    stored: list[RowRefused | None] = []
    try:
        running = ensureDeferred(work.apply())
        await until(lambda: steps)
        # It rests, for its clock stands still: a message does not wait for it.
        stored.append(await store(database, reading(variable, "2")))
        assert steps == [1000]
        work.stop()
        await running
    finally:
        database.transact = transact  # type: ignore[method-assign]
    assert (steps, stored) == ([1000], [None])
    assert await count(database) == 2501
    again, clock = keeping(database, 10)
    await finished(again.apply(), clock)
    assert await count(database) == 0


async def test_the_work_comes_round_until_upkeep_is_stopped(database: Database) -> None:
    variable = await variable_with(database, [(at * 1000, "1") for at in range(10)])
    await keep(database, variable, 1)
    _, clock = keeping(database, 10)
    settings = schema.Settings()
    catalogue = Catalogue(database, Events(), settings.ingest, clock)
    upkeep = Upkeep(database, catalogue, settings, clock)
    upkeep.start()
    began = clock.seconds()
    while await count(database):
        clock.advance(60)
    assert clock.seconds() - began >= settings.database.retention_interval
    upkeep.stop()
    await store(database, reading(variable, "2"))
    clock.advance(3600)
    assert await count(database) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_sqlite_file_stays_within_its_size(database: Database) -> None:
    rows = [(at * 1000, "12345.678") for at in range(20_000)]
    await variable_with(database, rows)
    used = await database.read(retention.used_bytes)
    limit = used - 400_000
    work, clock = keeping(database, 0.1, max_size=limit)
    await finished(work.apply(), clock)
    assert limit - 100_000 < await database.read(retention.used_bytes) <= limit
    left = await count(database)
    assert 5000 < left < 20_000
    oldest = await database.read(lambda tx: tx.value("SELECT MIN(id) FROM DataStream"))
    assert oldest == 20_000 - left + 1
    sums = await database.read(
        lambda tx: tx.value("SELECT SUM(readings) FROM reading_rollup WHERE hours = 1")
    )
    assert sums + left == 20_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_size_that_cannot_be_kept_ends_the_work(database: Database) -> None:
    await variable_with(database, [(0, "1")])
    work, clock = keeping(database, 0, max_size=1)
    await finished(work.apply(), clock)
    assert await count(database) == 0


@pytest.mark.parametrize("database_url", ["mysql"], indirect=True)
async def test_what_two_places_roll_up_at_once_is_counted_once(database_url: str) -> None:
    """Another server on the same database does the same work."""
    servers = [open_database(reactor, settings_for(database_url)) for _ in range(2)]
    for server in servers:
        await server.start()
    try:
        variable = await variable_with(servers[0], [(at * 1000, "1") for at in range(3000)])
        await keep(servers[0], variable, 1)
        works = [keeping(server, 10) for server in servers]
        running = [ensureDeferred(work.apply()) for work, _ in works]
        await until(
            lambda: [clock.advance(1) for _, clock in works] and all(one.called for one in running)
        )
        for one in running:
            await one
        total = await servers[0].read(
            lambda tx: tx.value(
                "SELECT SUM(readings) FROM reading_rollup WHERE hours = %s", (rollups.DAILY,)
            )
        )
        assert (total, await count(servers[0])) == (3000, 0)
    finally:
        for server in servers:
            await server.stop()
