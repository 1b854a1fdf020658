"""Writes that may wait: together where that works, apart where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import fail
from twisted.internet.task import Clock

from aemos.errors import StorageUnavailable
from aemos.services.lazy_writes import LazyWrites
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction


def rename(tx: Transaction, names: Mapping[int, str]) -> None:
    for number, name in names.items():
        tx.update("Sensor", number, {"name": name})


async def names(database: Database) -> list[str]:
    rows = await database.read(lambda tx: tx.all("SELECT name FROM Sensor ORDER BY id"))
    return [row["name"] for row in rows]


async def planted(database: Database) -> list[int]:
    """@return: the ids of three sensors."""
    return await database.transact(
        lambda tx: [tx.insert("Sensor", {"name": name}) for name in ("a", "b", "c")]
    )


async def test_a_value_that_is_refused_holds_up_no_other(database: Database) -> None:
    first, second, third = await planted(database)
    writes = LazyWrites("names", database, Clock(), rename)
    for number, name in ((first, "one"), (second, "x" * 999), (third, "three")):
        writes.put(number, name)
    assert await writes.flush()
    assert await names(database) == ["one", "b", "three"]
    assert len(writes) == 0
    await writes.stop()


async def test_what_the_database_cannot_take_now_waits(database: Database) -> None:
    first, *_ = await planted(database)
    writes = LazyWrites("names", database, Clock(), rename)
    writes.put(first, "one")
    transact = database.transact

    def away(*args: Any) -> Any:
        return fail(StorageUnavailable("away"))

    database.transact = away  # type: ignore[method-assign]
    assert not await writes.flush()
    assert len(writes) == 1
    database.transact = transact  # type: ignore[method-assign]
    assert await writes.flush()
    assert await names(database) == ["one", "b", "c"]
    await writes.stop()
