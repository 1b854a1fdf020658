"""A MySQL database that the original system made is taken over with every row (issue: storage)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import globalLogPublisher

from aemos.errors import DuplicateRow
from aemos.model import Instant
from aemos.storage.database import Database, open_database
from aemos.storage.tables import TABLES
from tests.conftest import settings_for
from tests.contract.test_migrate import columns_of
from tests.mariadb import MariaDB
from tests.rows import reading, store

_ROWS = """
INSERT INTO Organization (id, name, status, createdAt, updatedAt)
  VALUES (1, 'Farm', 'active', '2024-05-01 10:00:00', '2024-05-01 10:00:00');
INSERT INTO User (id, userName, email, status, createdAt, updatedAt, termsAndConditions) VALUES
  (1, 'a', 'twice@x.example', 1, '2024-05-01 10:00:00', '2024-05-01 10:00:00', '1'),
  (2, 'b', 'Twice@x.example', 0, '2024-05-01 10:00:00', '2024-05-01 10:00:00', '1'),
  (3, 'c', 'once@x.example', 1, '2024-05-01 10:00:00', '2024-05-01 10:00:00', '1');
INSERT INTO Role (id, name) VALUES (5, 'Viewer'), (6, 'Gardener');
INSERT INTO Permission (id, name) VALUES (9, 'area.view');
INSERT INTO RolePermission (roleId, permissionId) VALUES (5, 9);
INSERT INTO Area (id, name, organizationId, uuid) VALUES (1, 'House', 1, 'area-1');
INSERT INTO Sensor (id, name, uuid, createdAt, updatedAt) VALUES
  (1, 's', 'sensor-1', '2024-05-01 10:00:00', '2024-05-01 10:00:00'),
  (2, 't', 'sensor-1', '2024-05-01 10:00:00', '2024-05-01 10:00:00'),
  (3, 'u', NULL, '2024-05-01 10:00:00', '2024-05-01 10:00:00'),
  (4, 'v', NULL, '2024-05-01 10:00:00', '2024-05-01 10:00:00');
INSERT INTO Device (id, name, uuid, metadata, createdAt, updatedAt) VALUES
  (1, 'pump', 'device-1', '{"model": "P1"}', '2024-05-01 10:00:00', '2024-05-01 10:00:00');
INSERT INTO DeviceState (id, deviceId, stateName, allowedValues)
  VALUES (1, 1, 'power', '"[\\\\"on\\\\",\\\\"off\\\\"]"');
INSERT INTO TelemetryData (id, variableName, datatype, sensorId) VALUES (1, 'temp', 'float', 1);
INSERT INTO DataStream (id, value, telemetryDataId, recievedAt)
  VALUES (77, '21.5', 1, '2024-05-01 10:00:00');
INSERT INTO DeviceToken (id, token, sensorId, createdAt, updatedAt)
  VALUES (1, REPEAT('a', 64), 1, '2024-05-01 10:00:00', '2024-05-01 10:00:00');
INSERT INTO RuleChain (id, name) VALUES (1, 'chain');
INSERT INTO RuleChainNode (id, name, ruleChainId, type, config)
  VALUES (1, 'node', 1, 'filter', '{"key": "temp"}');
"""


def _run(server: MariaDB, name: str, script: str) -> None:
    for statement in re.split(r";\s*$", re.sub(r"^--.*$", "", script, flags=re.M), flags=re.M):
        if statement.strip():
            server.execute(statement, database=name)


def _dump(server: MariaDB, name: str) -> dict[str, Any]:
    tables = [row[0] for row in server.execute("SHOW TABLES", database=name)]
    return {table: server.execute(f"SELECT * FROM {table}", database=name) for table in tables}


@pytest.fixture
def original(mariadb: MariaDB) -> Iterator[str]:
    """The name of a database with the original's schema and some rows, not all of them tidy."""
    name = mariadb.new_database()
    _run(mariadb, name, Path(__file__).with_name("original_schema.sql").read_text())
    _run(mariadb, name, _ROWS)
    yield name
    mariadb.drop(name)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning."""
    seen: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_level") and event["log_level"].name == "warn":
            seen.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


@pytest_twisted.async_yield_fixture
async def adopted(mariadb: MariaDB, original: str, warnings: list[str]) -> AsyncIterator[Database]:
    database = open_database(reactor, settings_for(mariadb.url(original)))
    await database.start()
    yield database
    await database.stop()


async def test_no_row_is_lost_or_changed(mariadb: MariaDB, original: str) -> None:
    before = _dump(mariadb, original)
    database = open_database(reactor, settings_for(mariadb.url(original)))
    await database.start()
    await database.stop()
    after = _dump(mariadb, original)
    assert len(before) == 21
    for table, rows in before.items():
        width = len(rows[0]) if rows else 0
        if table in ("Area", "RuleChain"):  # their new column stands last
            assert [row[:width] for row in after[table]] == list(rows)
        else:
            assert set(rows) <= set(after[table]), table
    for table in ("User", "Sensor", "Device", "DataStream", "DeviceToken"):
        assert after[table] == before[table]


async def test_every_column_is_there_afterwards(adopted: Database) -> None:
    for table in TABLES.values():
        assert set(await adopted.read(columns_of, table.name)) == set(table.columns)


async def test_old_rows_read_as_their_kinds(adopted: Database) -> None:
    device = await adopted.read(lambda tx: tx.one("SELECT * FROM Device"))
    state = await adopted.read(lambda tx: tx.one("SELECT * FROM DeviceState"))
    node = await adopted.read(lambda tx: tx.one("SELECT * FROM RuleChainNode"))
    user = await adopted.read(lambda tx: tx.one("SELECT * FROM User WHERE id = 2"))
    assert device is not None
    assert state is not None
    assert node is not None
    assert user is not None
    assert device["metadata"] == {"model": "P1"}
    assert device["createdAt"] == Instant.parse("2024-05-01T10:00:00Z")
    assert state["allowedValues"] == '["on","off"]'
    assert node["config"] == {"key": "temp"}
    assert user["status"] is False


async def test_rows_that_break_a_unique_rule_are_named_and_kept(
    adopted: Database, warnings: list[str]
) -> None:
    assert [text for text in warnings if "User.email" in text and "rows 1,2" in text]
    assert [text for text in warnings if "Sensor.uuid" in text and "rows 1,2" in text]
    assert len(warnings) == 2  # NULLs are no duplicates, and Device is tidy
    with pytest.raises(DuplicateRow):
        await adopted.transact(lambda tx: tx.insert("Device", {"uuid": "device-1"}))
    await adopted.transact(lambda tx: tx.insert("Sensor", {"uuid": "sensor-1"}))


async def test_queries_find_their_indexes(
    adopted: Database, mariadb: MariaDB, original: str
) -> None:
    for table, columns in (
        ("DataStream", ("telemetryDataId", "recievedAt")),
        ("User", ("email",)),
        ("Sensor", ("uuid",)),
        ("Device", ("uuid",)),
    ):
        rows = mariadb.execute(f"SHOW INDEX FROM {table}", database=original)
        indexes: dict[str, list[str]] = {}
        for row in rows:
            indexes.setdefault(row[2], []).append(row[4])
        assert list(columns) in indexes.values(), table


async def test_a_role_that_has_permissions_keeps_exactly_those(adopted: Database) -> None:
    count = "SELECT COUNT(*) FROM RolePermission JOIN Role ON Role.id = roleId WHERE Role.name = %s"
    counts = {
        role: await adopted.read(lambda tx, role=role: tx.value(count, (role,)))
        for role in ("Viewer", "Gardener", "Supervisor", "System Admin")
    }
    assert counts == {"Viewer": 1, "Gardener": 0, "Supervisor": 5, "System Admin": 23}


async def test_new_readings_go_into_old_columns_with_whole_seconds(adopted: Database) -> None:
    item = reading(1, "22", Instant.parse("2026-01-01T00:00:00.999Z"))
    assert await store(adopted, item) is None
    assert item.id == 78
    row = await adopted.read(lambda tx: tx.one("SELECT * FROM DataStream WHERE id = 78"))
    assert row is not None
    assert row["recievedAt"].iso() == "2026-01-01T00:00:00.000Z"  # cut, as the original did


async def test_adopting_twice_changes_nothing(
    mariadb: MariaDB, original: str, adopted: Database
) -> None:
    before = _dump(mariadb, original)
    again = open_database(reactor, settings_for(mariadb.url(original)))
    assert await again.start() == []
    await again.stop()
    assert _dump(mariadb, original) == before
