"""The writer commits in groups, in order, and lets no unit spoil another (P1, P3, P7)."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults

from aemos.errors import DuplicateRow, MissingReference, RowRefused
from aemos.storage.database import Database, open_database
from aemos.storage.ledger import LEDGER, LedgerEntry
from aemos.storage.readings import READINGS
from aemos.storage.transaction import Transaction
from aemos.storage.writer import Unit
from tests.conftest import settings_for
from tests.rows import NOON, plant, reading, store, until, values


@pytest_twisted.async_yield_fixture
async def small(database_url: str) -> AsyncIterator[Database]:
    """A database whose writer takes 10 rows at once and is full beyond 20."""
    database = open_database(reactor, settings_for(database_url, max_batch=10, max_queue=20))
    await database.start()
    yield database
    await database.stop()


class Gate:
    """Holds the writer in the middle of a transaction until it is opened."""

    def __init__(self) -> None:
        self._reached, self._opened = threading.Event(), threading.Event()
        self._passed: Deferred[RowRefused | None] = Deferred()

    def store(self, tx: Transaction, items: object) -> None:
        self._reached.set()
        assert self._opened.wait(30)

    async def hold(self, database: Database) -> None:
        database.writer.submit(Unit([(self, [None])], self._passed.callback))
        await until(self._reached.is_set)

    async def open(self) -> None:
        self._opened.set()
        await self._passed


async def test_what_queues_during_a_commit_goes_with_the_next(database: Database) -> None:
    variable = await database.transact(plant)
    before = database.writer.batches
    gate = Gate()
    await gate.hold(database)
    answers = [store(database, reading(variable, value)) for value in range(300)]
    await gate.open()
    await gatherResults(answers)
    assert database.writer.batches - before == 2
    assert await values(database) == [str(value) for value in range(300)]


async def test_answers_come_in_order_of_submission_after_the_commit(small: Database) -> None:
    variable = await small.transact(plant)
    answers: list[tuple[int, RowRefused | None]] = []
    for number in range(95):
        value = "x" * 51 if number % 30 == 7 else number
        store(small, reading(variable, value)).addCallback(
            lambda error, number=number: answers.append((number, error))
        )
    await until(lambda: len(answers) == 95)
    assert [number for number, _ in answers] == list(range(95))
    assert [number for number, error in answers if error] == [7, 37, 67]
    assert await values(small) == [str(n) for n in range(95) if n not in (7, 37, 67)]


async def test_a_batch_holds_no_more_rows_than_it_may(small: Database) -> None:
    variable = await small.transact(plant)
    before = small.writer.batches
    await gatherResults([store(small, reading(variable, value)) for value in range(100)])
    assert small.writer.batches - before >= 10


async def test_a_unit_larger_than_a_batch_is_committed_as_a_whole(small: Database) -> None:
    variable = await small.transact(plant)
    before = small.writer.batches
    assert await store(small, *[reading(variable, value) for value in range(25)]) is None
    assert small.writer.batches - before == 1
    assert len(await values(small)) == 25


@pytest.mark.parametrize("culprit", [0, 1, 4, 8])
async def test_one_refused_unit_spoils_no_other(database: Database, culprit: int) -> None:
    variable = await database.transact(plant)
    answers = await gatherResults(
        [
            store(
                database,
                reading(variable, number),
                reading(variable, "x" * 51 if number == culprit else number),
            )
            for number in range(9)
        ]
    )
    assert [error is None for error in answers] == [number != culprit for number in range(9)]
    assert type(answers[culprit]) is RowRefused
    assert str(answers[culprit]) == "value is too long"
    # Not half a unit: the good reading of the culprit is not stored either.
    assert await values(database) == [str(n) for n in range(9) if n != culprit for _ in "ab"]
    assert database.writer.refused == 1


async def test_a_unit_that_refers_to_nothing_is_refused(database: Database) -> None:
    variable = await database.transact(plant)
    good, bad = store(database, reading(variable)), store(database, reading(variable + 99))
    assert await good is None
    assert type(await bad) is MissingReference


@pytest.mark.parametrize(
    "value", ["\ud800", "a\0b\\'\"\n%s%", "\U0001f600" * 50], ids=["surrogate", "quoted", "wide"]
)
async def test_every_text_is_stored_as_it_is_or_refused(database: Database, value: str) -> None:
    variable = await database.transact(plant)
    error = await store(database, reading(variable, value))
    assert await values(database) == ([] if error else [value])
    assert (error is None) == (value != "\ud800")


async def test_a_time_that_no_calendar_has_is_refused(database: Database) -> None:
    variable = await database.transact(plant)
    good, bad = store(database, reading(variable)), store(database, reading(variable, at=10**17))
    assert await good is None
    assert type(await bad) is RowRefused


async def test_parts_of_a_unit_are_stored_together_or_not_at_all(database: Database) -> None:
    entry = LedgerEntry("u", NOON, "X")
    answer: Deferred[RowRefused | None] = Deferred()
    parts = [(LEDGER, [entry]), (READINGS, [reading(12345)])]
    database.writer.submit(Unit(parts, answer.callback))
    assert type(await answer) is MissingReference
    assert await database.read(lambda tx: tx.value("SELECT COUNT(*) FROM ledger")) == 0


async def test_a_fault_of_ours_refuses_its_unit_alone(
    database: Database, hygiene: list[str]
) -> None:
    class Faulty:
        def store(self, tx: Transaction, items: object) -> None:
            raise ZeroDivisionError

    variable = await database.transact(plant)
    answer: Deferred[RowRefused | None] = Deferred()
    good = store(database, reading(variable))
    database.writer.submit(Unit([(Faulty(), [1])], answer.callback))
    assert (await good, str(await answer)) == (None, "could not be stored")
    assert "ZeroDivisionError" in hygiene[0]
    hygiene.clear()


async def test_a_failing_answer_stops_no_other(database: Database, hygiene: list[str]) -> None:
    def fail(error: RowRefused | None) -> None:
        raise ZeroDivisionError

    variable = await database.transact(plant)
    database.writer.submit(Unit([(READINGS, [reading(variable)])], fail))
    assert await store(database, reading(variable)) is None
    assert "ZeroDivisionError" in hygiene[0]
    hygiene.clear()


async def test_a_waiting_unit_can_be_withdrawn(small: Database) -> None:
    variable = await small.transact(plant)
    answered: list[object] = []
    gate = Gate()
    await gate.hold(small)
    unit = Unit([(READINGS, [reading(variable, "withdrawn")])], answered.append)
    small.writer.submit(unit)
    assert unit.withdraw()
    assert not unit.withdraw()
    await gate.open()
    assert await store(small, reading(variable, "kept")) is None
    assert (answered, await values(small), small.writer.queued) == ([], ["kept"], 0)


async def test_a_unit_that_is_stored_cannot_be_withdrawn(database: Database) -> None:
    variable = await database.transact(plant)
    answer: Deferred[RowRefused | None] = Deferred()
    unit = Unit([(READINGS, [reading(variable)])], answer.callback)
    database.writer.submit(unit)
    await answer
    assert not unit.withdraw()


async def test_a_full_writer_says_so_and_calls_back_when_there_is_room(small: Database) -> None:
    variable = await small.transact(plant)
    calls: list[bool] = []
    small.writer.when_room(lambda: calls.append(small.writer.full))
    assert calls == [False]
    gate = Gate()
    await gate.hold(small)
    answers = [store(small, reading(variable, value)) for value in range(40)]
    assert small.writer.full
    small.writer.when_room(lambda: calls.append(small.writer.full))
    await gate.open()
    assert calls == [False]
    await gatherResults(answers)
    assert (calls, small.writer.queued) == ([False, False], 0)


async def test_stopping_commits_what_is_queued(database_url: str) -> None:
    database = open_database(reactor, settings_for(database_url, max_batch=10))
    await database.start()
    variable = await database.transact(plant)
    gate = Gate()
    await gate.hold(database)
    answers = [store(database, reading(variable, value)) for value in range(100)]
    stopped = ensureDeferred(database.stop())
    await gate.open()
    assert await gatherResults(answers) == [None] * 100
    await stopped


async def test_interactions_and_units_keep_their_order(database: Database) -> None:
    if not database.dialect.single_writer:
        pytest.skip("ordinary transactions do not go through the writer here")
    variable = await database.transact(plant)

    def count(tx: Transaction) -> int:
        return int(tx.value("SELECT COUNT(*) FROM DataStream"))

    counts = []
    for _ in range(5):
        store(database, reading(variable))
        counts.append(database.transact(count))
    assert await gatherResults(counts) == [1, 2, 3, 4, 5]


async def test_a_reading_key_stored_by_another_process_meanwhile_is_a_repeat(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking the key up and inserting it, another node stores the same reading."""
    variable = await database.transact(plant)
    key = b"k" * 16
    await store(database, reading(variable, "1", key=key))
    blind = [True]

    class Race:
        """Sees no key the first time, as if the other node had not committed yet."""

        def store(self, tx: Transaction, items: list[object]) -> None:
            if blind.pop() if blind else False:
                tx.insert_rows(
                    "reading_key",
                    ("telemetry_id", "digest", "received_at"),
                    [(variable, key, NOON)],
                )
            READINGS.store(tx, items)  # type: ignore[arg-type]

    repeat = reading(variable, "2", key=key)
    answer: Deferred[RowRefused | None] = Deferred()
    database.writer.submit(Unit([(Race(), [repeat])], answer.callback))
    assert (await answer, repeat.duplicate) == (None, True)


async def test_a_duplicate_that_stays_one_is_refused(database: Database) -> None:
    class Sensors:
        def store(self, tx: Transaction, items: list[str]) -> None:
            tx.insert_rows(
                "Sensor", ("uuid", "createdAt", "updatedAt"), [(u, NOON, NOON) for u in items]
            )

    sensors = Sensors()
    answers: list[Deferred[RowRefused | None]] = []
    for uuid in ("a", "b", "a"):
        answers.append(Deferred())
        database.writer.submit(Unit([(sensors, [uuid])], answers[-1].callback))
    one, two, three = await gatherResults(answers)
    assert (one, two, type(three)) == (None, None, DuplicateRow)
    assert three.index == "uuid"
