"""Readings are stored in order with their ids, and told apart from their repeats."""

from __future__ import annotations

from aemos.model import Instant
from aemos.storage import readings
from aemos.storage.database import Database
from tests.rows import NOON, plant, reading, store, values


async def test_a_reading_gets_the_id_of_its_row(database: Database) -> None:
    variable = await database.transact(plant)
    batch = [reading(variable, value, NOON + value) for value in range(5)]
    assert await store(database, *batch) is None
    rows = await database.read(lambda tx: tx.all("SELECT * FROM DataStream ORDER BY id"))
    assert rows == [
        {"id": item.id, "value": item.value, "telemetryDataId": variable, "recievedAt": item.at}
        for item in batch
    ]
    assert all(type(row["recievedAt"]) is Instant for row in rows)


async def test_a_repeat_is_marked_and_not_stored_again(database: Database) -> None:
    variable = await database.transact(plant)
    key = bytes(range(16))
    first, other = reading(variable, "1", key=key), reading(variable, "2", key=bytes(16))
    await store(database, first, other)
    repeat, new = reading(variable, "3", key=key), reading(variable, "4")
    assert await store(database, repeat, new) is None
    assert (repeat.id, repeat.duplicate) == (None, True)
    assert (new.duplicate, first.duplicate) == (False, False)
    assert await values(database) == ["1", "2", "4"]


async def test_a_repeat_within_one_batch_is_marked(database: Database) -> None:
    variable = await database.transact(plant)
    key = b"\xff" * 16
    first, second = reading(variable, "1", key=key), reading(variable, "2", key=key)
    await store(database, first, second)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert await values(database) == ["1"]


async def test_the_same_key_of_another_variable_is_no_repeat(database: Database) -> None:
    one, two = await database.transact(plant), await database.transact(plant)
    key = b"k" * 16
    await store(database, reading(one, "1", key=key), reading(two, "2", key=key))
    assert await values(database) == ["1", "2"]


async def test_a_refused_unit_leaves_no_key_behind(database: Database) -> None:
    variable = await database.transact(plant)
    key = b"k" * 16
    assert await store(database, reading(variable, "x" * 51, key=key)) is not None
    again = reading(variable, "x", key=key)
    await store(database, again)
    assert (again.duplicate, await values(database)) == (False, ["x"])


async def test_many_keys_are_looked_up_at_once(database: Database) -> None:
    variable = await database.transact(plant)
    keys = [number.to_bytes(16, "big") for number in range(1200)]
    await store(database, *[reading(variable, key=key) for key in keys])
    repeats = [reading(variable, key=key) for key in keys]
    await store(database, *repeats)
    assert all(item.duplicate for item in repeats)


async def test_keys_are_forgotten_after_a_while(database: Database) -> None:
    variable = await database.transact(plant)
    key = b"k" * 16
    await store(database, reading(variable, "1", key=key))
    assert await database.transact(readings.prune_keys, Instant(0)) == 0
    assert await database.transact(readings.prune_keys, Instant(2**42)) == 1
    await store(database, reading(variable, "2", key=key))
    assert await values(database) == ["1", "2"]
