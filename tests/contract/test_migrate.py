"""Migrations run once, in order, from nothing, and never onto what they do not know."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults

from aemos.errors import DuplicateRow, StartError
from aemos.model import Instant
from aemos.storage import seed
from aemos.storage.database import Database, open_database
from aemos.storage.migrate import Migration, available, migrate
from aemos.storage.tables import TABLES, Kind
from aemos.storage.transaction import Transaction
from tests.conftest import settings_for

_NEXT = Migration(
    9999, "9999_next", "CREATE TABLE extra (id INTEGER);\nINSERT INTO extra VALUES (7);"
)


def run(database: Database, migrations: list[Migration]) -> list[str]:
    """Migrate as a start does, in this thread."""
    with contextlib.closing(database.dialect.connect(writing=True)) as connection:
        return migrate(connection, database.dialect, Instant(0), migrations)


async def test_a_second_start_changes_nothing(empty_database_url: str) -> None:
    for start in (1, 2):
        database = open_database(reactor, settings_for(empty_database_url))
        names = [migration.name for migration in available(database.dialect)]
        assert await database.start() == (names if start == 1 else [])
        await database.stop()


async def test_every_declared_table_has_exactly_its_columns(database: Database) -> None:
    for table in TABLES.values():
        columns = await database.read(columns_of, table.name)
        assert columns == list(table.columns), table.name


def columns_of(tx: Transaction, table: str) -> list[str]:
    """@return: the names of the columns that the database itself tells."""
    if tx.dialect.name == "sqlite":
        return [row["name"] for row in tx.all(f"PRAGMA table_info({table})")]
    return [
        row["name"]
        for row in tx.all(
            "SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS"
            " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
            (table,),
        )
    ]


def test_a_column_name_means_the_same_in_every_table_or_decodes_by_its_value() -> None:
    kinds: dict[str, set[Kind]] = {}
    for table in TABLES.values():
        for column, kind in table.columns.items():
            kinds.setdefault(column, set()).add(kind)
    decoded = {Kind.BOOL, Kind.INSTANT, Kind.JSON, Kind.JSON_TEXT}
    mixed = {column for column, found in kinds.items() if len(found) > 1 and found & decoded}
    assert mixed == {"status"}


async def test_roles_and_permissions_are_there_from_the_start(database: Database) -> None:
    rows = await database.read(
        lambda tx: tx.all(
            "SELECT Role.name AS role, Permission.name AS permission FROM RolePermission"
            " JOIN Role ON Role.id = roleId JOIN Permission ON Permission.id = permissionId"
        )
    )
    granted = {(row["role"], row["permission"]) for row in rows}
    assert granted == {(role, name) for role, names in seed.ROLES.items() for name in names}
    assert len(seed.PERMISSIONS) == 23
    # spec/data-model.md section 4: what tests of the original require or forbid.
    for role, permission, expected in [
        ("Org Admin", "organization.update", True),
        ("Org Admin", "organization.create", False),
        ("Org Admin", "permission.manage", False),
        ("Supervisor", "sensor.create", False),
        ("Supervisor", "organization.view", True),
        ("Viewer", "device.view", True),
        ("Viewer", "organization.view", False),
        ("Viewer", "role.view", False),
        ("System Admin", "permission.manage", True),
    ]:
        assert ((role, permission) in granted) is expected


async def test_what_an_operator_took_away_stays_away(empty_database_url: str) -> None:
    database = open_database(reactor, settings_for(empty_database_url))
    await database.start()
    await database.transact(lambda tx: tx.execute("DELETE FROM RolePermission"))
    await database.transact(lambda tx: tx.execute("DELETE FROM Role WHERE name = 'Viewer'"))
    await database.stop()
    database = open_database(reactor, settings_for(empty_database_url))
    await database.start()
    count = "SELECT COUNT(*) FROM Role"
    assert await database.read(lambda tx: tx.value(count)) == 3
    assert await database.read(lambda tx: tx.value("SELECT COUNT(*) FROM RolePermission")) == 0
    await database.stop()


async def test_a_later_migration_is_applied_once(database: Database) -> None:
    known = [*available(database.dialect), _NEXT]
    assert run(database, known) == ["9999_next"]
    assert run(database, known) == []
    assert await database.read(lambda tx: tx.value("SELECT id FROM extra")) == 7


async def test_a_changed_migration_is_refused(database: Database) -> None:
    first, *rest = available(database.dialect)
    changed = attrs.evolve(first, sql=first.sql + "\nSELECT 1;\n")
    with pytest.raises(StartError, match=r"0001_initial .* checksum has changed"):
        run(database, [changed, *rest])


def test_line_ends_do_not_change_a_checksum() -> None:
    assert Migration(1, "a", "x;\r\ny;\r\n").checksum == Migration(1, "a", "x;\ny;\n").checksum


async def test_a_database_of_a_newer_aemos_is_refused(database: Database) -> None:
    known = available(database.dialect)
    run(database, [*known, _NEXT])
    with pytest.raises(StartError, match=r"9999_next, which this aemos does not know"):
        run(database, known)


async def test_a_migration_that_fails_is_not_remembered(database: Database) -> None:
    known = available(database.dialect)
    bad = Migration(9999, "9999_next", "INSERT INTO Role (name) VALUES ('Viewer');")
    with pytest.raises(StartError, match=r"cannot be brought up to date"):
        run(database, [*known, bad])
    assert run(database, [*known, _NEXT]) == ["9999_next"]


async def test_two_servers_that_start_at_once_share_the_work(empty_database_url: str) -> None:
    both = [open_database(reactor, settings_for(empty_database_url)) for _ in range(2)]
    applied = await gatherResults([ensureDeferred(database.start()) for database in both])
    assert sorted(applied) == [[], [known.name for known in available(both[0].dialect)]]
    assert await both[0].read(lambda tx: tx.value("SELECT COUNT(*) FROM Permission")) == 23
    for database in both:
        await database.stop()


async def test_a_sqlite_file_is_copied_before_it_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "aemos.sqlite"
    database = open_database(reactor, settings_for(f"sqlite:///{path}"))
    await database.start()
    assert [file.name for file in tmp_path.glob("*before*")] == []
    await database.transact(lambda tx: tx.insert("Sensor", {"name": "kept"}))
    run(database, [*available(database.dialect), _NEXT])
    await database.stop()
    copy = tmp_path / "aemos.sqlite.before-9999"
    with contextlib.closing(sqlite3.connect(copy)) as old:
        assert old.execute("SELECT name FROM Sensor").fetchall() == [("kept",)]
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            old.execute("SELECT * FROM extra")
    assert copy.stat().st_mode & 0o077 == 0
    assert path.stat().st_mode & 0o077 == 0


async def test_a_unique_rule_holds_on_both_databases(database: Database) -> None:
    for table, column in (
        ("User", "email"),
        ("Sensor", "uuid"),
        ("Device", "uuid"),
        ("Role", "name"),
    ):
        await database.transact(lambda tx, t=table, c=column: tx.insert(t, {c: "Same"}))
        with pytest.raises(DuplicateRow) as raised:
            await database.transact(lambda tx, t=table, c=column: tx.insert(t, {c: "sAME"}))
        assert raised.value.index == column


@pytest.mark.parametrize("interim", [False, True])
async def test_chains_keep_their_mode_when_it_learns_to_be_off(
    empty_database_url: str, interim: bool
) -> None:
    database = open_database(reactor, settings_for(empty_database_url))
    known = available(database.dialect)
    with contextlib.closing(database.dialect.connect(writing=True, patient=True)) as connection:
        migrate(connection, database.dialect, Instant(0), known[:14])
    await database.start()
    kept = await database.transact(
        lambda tx: tx.insert("RuleChain", {"name": "kept", "mode": "shadow"})
    )
    if interim:  # the text of 0008 that was there for a time
        checksum = {
            "mysql": "ad7a8e5ad2bc7ac2e954cdfd7a4a35ec59420733c3f7e7785bb61eb3f4958592",
            "sqlite": "ee2e5a1770a59b021b5517b2e8c68928e62c698f708d10b2bae8cb375891962e",
        }[database.dialect.name]
        await database.transact(
            lambda tx: tx.execute(
                "UPDATE schema_migration SET checksum = %s WHERE version = 8", (checksum,)
            )
        )
        await database.transact(
            lambda tx: tx.execute("DELETE FROM schema_migration WHERE version = 15")
        )
        assert run(database, known) == ["0015_rule_mode_off"]
    await database.transact(lambda tx: tx.insert("RuleChain", {"name": "new", "mode": "off"}))
    rows = await database.read(lambda tx: tx.all("SELECT id, mode FROM RuleChain ORDER BY id"))
    assert [row["mode"] for row in rows] == ["shadow", "off"]
    assert rows[0]["id"] == kept
    await database.stop()
