"""The ledger is bounded for each device, and a status report reaches the rows it is about."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from aemos.errors import RowRefused
from aemos.model import Instant
from aemos.storage import ledger, status
from aemos.storage.database import Database
from aemos.storage.ledger import LEDGER, LedgerEntry
from aemos.storage.status import STATUS_REPORTS, StatusReport
from aemos.storage.transaction import Transaction
from aemos.storage.writer import Rows, Unit
from tests.rows import NOON


async def submitted(database: Database, rows: Rows, *items: object) -> None:
    answer: Deferred[RowRefused | None] = Deferred()
    database.writer.submit(Unit([(rows, list(items))], answer.callback))
    assert await answer is None


async def test_entries_are_read_newest_first(database: Database) -> None:
    entries = [LedgerEntry("u", Instant(NOON + n), "X", str(n), "t", "{}") for n in range(3)]
    await submitted(database, LEDGER, *entries, LedgerEntry("other", NOON, "Y"))
    found = await database.read(ledger.newest, 3)
    assert [(row["uuid"], row["reason"], row["at"], row["code"]) for row in found] == [
        ("other", "", NOON, "Y"),
        ("u", "2", NOON + 2, "X"),
        ("u", "1", NOON + 1, "X"),
    ]


async def test_long_texts_are_cut_between_characters(database: Database) -> None:
    await submitted(database, LEDGER, LedgerEntry("u" * 99, NOON, "X", payload="a" + "€" * 600))
    [row] = await database.read(ledger.newest, 9)
    assert row["uuid"] == "u" * 64
    assert row["payload"] == "a" + "€" * 341
    assert len(row["payload"].encode()) == 1024


async def test_pruning_keeps_the_newest_entries_of_each_device(database: Database) -> None:
    for uuid, count in (("a", 5), ("b", 2), ("c", 3)):
        entries = [LedgerEntry(uuid, NOON, "X", str(number)) for number in range(count)]
        await submitted(database, LEDGER, *entries)
    assert await database.transact(ledger.prune, 3) == 2
    kept = await database.read(ledger.newest, 99)
    assert {uuid: [row["reason"] for row in kept if row["uuid"] == uuid] for uuid in "abc"} == {
        "a": ["4", "3", "2"],
        "b": ["1", "0"],
        "c": ["2", "1", "0"],
    }
    assert await database.transact(ledger.prune, 0) == 8
    assert await database.read(ledger.newest, 99) == []


def plant_both(tx: Transaction) -> None:
    """A sensor and a device that share a uuid, and others that must stay as they are."""
    for uuid in ("u", "other"):
        tx.insert("Sensor", {"uuid": uuid, "status": "pending"})
        tx.insert("Device", {"uuid": uuid})


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("online", "active"),
        ("offline", "disconnected"),
        ("calibrating", "calibrating"),
        ("dancing", "pending"),
    ],
)
async def test_a_report_sets_the_status_that_it_means(
    database: Database, reported: str, expected: str
) -> None:
    await database.transact(plant_both)
    report = StatusReport("u", reported, NOON, {"battery": 85})
    await submitted(database, STATUS_REPORTS, report)
    sensors = await database.read(lambda tx: tx.all("SELECT uuid, status FROM Sensor ORDER BY id"))
    assert [row["status"] for row in sensors] == [expected, "pending"]
    devices = await database.read(lambda tx: tx.all("SELECT lastHeartbeat FROM Device ORDER BY id"))
    assert [row["lastHeartbeat"] is None for row in devices] == [False, True]
    row = await database.read(status.find, "u")
    assert row is not None
    assert (row["status"], row["metadata"]) == (reported, {"battery": 85})
    assert (row["reported_at"], row["last_seen_at"]) == (NOON, devices[0]["lastHeartbeat"])


async def test_the_last_of_several_reports_counts(database: Database) -> None:
    await database.transact(plant_both)
    reports = [StatusReport("u", name, NOON) for name in ("online", "error", "offline")]
    await submitted(database, STATUS_REPORTS, *reports)
    assert (await database.read(status.find, "u") or {})["status"] == "offline"
    query = "SELECT status FROM Sensor WHERE uuid = 'u'"
    assert await database.read(lambda tx: tx.value(query)) == "disconnected"


async def test_nobody_has_reported_yet(database: Database) -> None:
    assert await database.read(status.find, "u") is None
