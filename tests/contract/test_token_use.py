"""When tokens were last used: noted in memory, written together (aemos.services.token_use)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from aemos.errors import StorageUnavailable
from aemos.model import Instant, PrincipalKind
from aemos.services.catalogue import Credential, Identity
from aemos.services.token_use import TokenUse
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

NOW = 1_800_000_000
SENSOR = Identity(PrincipalKind.SENSOR, 1, "uuid-1", "", None, {}, {}, {}, 0.0)
DEVICE = Identity(PrincipalKind.DEVICE, 1, "uuid-2", "", None, {}, {}, {}, 0.0)


def credential(number: int) -> Credential:
    return Credential(number, f"digest {number}", None)


def sow(tx: Transaction) -> None:
    tx.insert("Sensor", {"id": 1, "uuid": "uuid-1"})
    tx.insert("Device", {"id": 1, "uuid": "uuid-2"})
    for number in (1, 2):
        tx.insert("DeviceToken", {"id": number, "token": str(number), "sensorId": 1})
    of_device = {"id": 1, "digest": "d" * 64, "device_id": 1, "created_at": Instant(0)}
    tx.insert("device_credential", of_device)


def uses(tx: Transaction) -> list[Instant | None]:
    """@return: the last use of both sensor tokens and of the device's."""
    rows = tx.all("SELECT lastUsed FROM DeviceToken ORDER BY id")
    rows += tx.all("SELECT last_used_at AS lastUsed FROM device_credential")
    return [row["lastUsed"] for row in rows]


async def read_until(database: Database, expected: list[Instant | None]) -> None:
    deadline = reactor.seconds() + 10
    while (found := await database.read(uses)) != expected:
        assert reactor.seconds() < deadline, found


class Away:
    """A database that cannot be reached while `away`."""

    def __init__(self) -> None:
        self.away = True
        self.asked: list[Any] = []

    def transact(self, function: Callable[..., None], used: dict[Any, Instant]) -> Deferred[None]:
        self.asked.append(dict(used))
        return fail(StorageUnavailable("away")) if self.away else succeed(None)


async def test_uses_of_a_second_are_written_together(database: Database) -> None:
    await database.transact(sow)
    clock = Clock()
    clock.advance(NOW)
    use = TokenUse(database, clock)
    use.used(SENSOR, credential(1))
    clock.advance(0.5)
    use.used(SENSOR, credential(2))
    use.used(DEVICE, credential(1))
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(0.5)
    first, later = Instant(NOW * 1000), Instant(NOW * 1000 + 500)
    await read_until(database, [first, later, later])
    assert (await database.read(lambda tx: tx.value("SELECT updatedAt FROM DeviceToken"))) != first
    await use.stop()


async def test_a_token_in_constant_use_is_written_once_a_minute() -> None:
    clock, database = Clock(), Away()
    database.away = False
    use = TokenUse(database, clock)  # type: ignore[arg-type]
    for _ in range(600):
        use.used(SENSOR, credential(1))
        clock.advance(0.2)
    clock.pump([1, 1])
    assert [list(batch.values()) for batch in database.asked] == [[0], [Instant(60_000)]]
    assert clock.getDelayedCalls() == []


async def test_an_outage_delays_the_writing_and_loses_no_use() -> None:
    clock, database = Clock(), Away()
    use = TokenUse(database, clock)  # type: ignore[arg-type]
    use.used(SENSOR, credential(1))
    clock.advance(1)
    database.away = False
    clock.advance(59)
    assert len(database.asked) == 1
    clock.advance(1)
    assert database.asked[1] == database.asked[0]
    assert clock.getDelayedCalls() == []


async def test_stopping_writes_what_is_noted(database: Database) -> None:
    await database.transact(sow)
    clock = Clock()
    clock.advance(NOW)
    use = TokenUse(database, clock)
    use.used(SENSOR, credential(1))
    await use.stop()
    assert (await database.read(uses))[0] == Instant(NOW * 1000)
    assert clock.getDelayedCalls() == []


async def test_stopping_during_an_outage_ends_all_the_same() -> None:
    clock, database = Clock(), Away()
    use = TokenUse(database, clock)  # type: ignore[arg-type]
    use.used(SENSOR, credential(1))
    await use.stop()
    assert len(database.asked) == 1
    assert clock.getDelayedCalls() == []


async def test_an_older_use_never_replaces_a_newer_one(database: Database) -> None:
    """Another server on the same database may have written in between."""
    await database.transact(sow)
    newer = Instant(NOW * 1000 + 5)
    await database.transact(lambda tx: tx.update("DeviceToken", 1, {"lastUsed": newer}))
    clock = Clock()
    clock.advance(NOW)
    use = TokenUse(database, clock)
    use.used(SENSOR, credential(1))
    await use.stop()
    assert (await database.read(uses))[0] == newer


def test_only_so_many_tokens_are_remembered() -> None:
    clock, database = Clock(), Away()
    use = TokenUse(database, clock, limit=2)  # type: ignore[arg-type]
    for number in (1, 2, 3):
        use.used(SENSOR, credential(number))
    clock.advance(1)
    assert [number for _, number in database.asked[0]] == [2, 3]
    clock.getDelayedCalls()[0].cancel()
