"""Brings the schema up to date: numbered SQL files per dialect, each applied once and remembered.

A file that was applied never changes again: its checksum is kept in `schema_migration`. MySQL
commits every DDL statement by itself, so a file that failed half-way runs again from its start and
must bear that (`IF NOT EXISTS`); SQLite applies a file as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from importlib import resources

import attrs
from twisted.logger import Logger

from aemos.errors import StartError
from aemos.model import Instant
from aemos.storage import adoption, seed
from aemos.storage.dialects.base import Connection, Dialect, translated
from aemos.storage.transaction import Transaction

_log = Logger()

_NAME = re.compile(r"(\d{4})_\w+\.sql")

_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_migration (version INTEGER NOT NULL PRIMARY KEY,"
    " name VARCHAR(100) NOT NULL, checksum CHAR(64) NOT NULL, applied_at {instant} NOT NULL)"
)


@attrs.frozen
class Migration:
    """One numbered file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, whatever the line ends are."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements: each ends with a semicolon at the end of a line."""
        text = "\n".join(line for line in self.sql.splitlines() if not line.startswith("--"))
        return [part.strip() for part in re.split(r";\s*$", text, flags=re.M) if part.strip()]


# For a time the mode "off" was in 0008 itself; 0015 brings both kinds of databases together.
_SAME_IN_EFFECT = {
    8: (
        "ad7a8e5ad2bc7ac2e954cdfd7a4a35ec59420733c3f7e7785bb61eb3f4958592",  # mysql
        "ee2e5a1770a59b021b5517b2e8c68928e62c698f708d10b2bae8cb375891962e",  # sqlite
    ),
}

# What belongs to a version beside its SQL, and has to look at what is there.
_STEPS: dict[int, Sequence[Callable[[Transaction, Migration], None]]] = {
    1: (adoption.complete, seed.permissions_and_roles),
    5: (adoption.complete,),
    8: (adoption.complete,),
}


def available(dialect: Dialect) -> list[Migration]:
    """@return: the migrations of this dialect that come with this aemos, in order."""
    folder = resources.files("aemos.storage") / "migrations" / dialect.name
    return sorted(
        (
            Migration(int(found[1]), file.name.removesuffix(".sql"), file.read_text("utf-8"))
            for file in folder.iterdir()
            if (found := _NAME.fullmatch(file.name))
        ),
        key=lambda migration: migration.version,
    )


def migrate(
    connection: Connection,
    dialect: Dialect,
    now: Instant,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Apply what is missing. Of several servers that start at once, one does and the others wait.

    @param migrations: other ones than those that come with aemos (tests).
    @return: the names of what was applied.
    @raise StartError: the database is newer than this aemos, or a migration changed after it was
        applied, or one failed.
    """
    known = available(dialect) if migrations is None else migrations
    try:
        with (
            dialect.exclusively(connection),
            contextlib.closing(connection.cursor()) as cursor,
        ):
            return _apply(Transaction(cursor, dialect, now), dialect, connection, known)
    except Exception as error:
        problem = translated(error, dialect)
        if problem is error:
            raise
        raise StartError(f"the database cannot be brought up to date: {problem}") from error


def _apply(
    tx: Transaction, dialect: Dialect, connection: Connection, known: Sequence[Migration]
) -> list[str]:
    tx.execute(_TABLE.format(instant="DATETIME(3)" if dialect.name == "mysql" else "INTEGER"))
    applied = {
        row["version"]: row
        for row in tx.all("SELECT version, name, checksum FROM schema_migration")
    }
    _check(applied, known)
    missing = [migration for migration in known if migration.version not in applied]
    if missing and applied:
        dialect.set_aside(connection, f"before-{missing[0].version:04d}")
    for migration in missing:
        _log.info("applying migration {name}", name=migration.name)
        for statement in migration.statements:
            tx.execute(statement.replace("%", "%%"))
        for step in _STEPS.get(migration.version, ()):
            step(tx, migration)
        tx.execute(
            "INSERT INTO schema_migration (version, name, checksum, applied_at)"
            " VALUES (%s, %s, %s, %s)",
            (migration.version, migration.name, migration.checksum, tx.now),
        )
    return [migration.name for migration in missing]


def _check(applied: dict[int, dict[str, str]], known: Sequence[Migration]) -> None:
    by_version = {migration.version: migration for migration in known}
    for version, row in sorted(applied.items()):
        migration = by_version.get(version)
        if migration is None:
            newest = known[-1].name if known else "none"
            raise StartError(
                f"the database has migration {row['name']}, which this aemos does not know (its"
                f" newest is {newest}): it was used with a newer aemos, run that one"
            )
        if row["checksum"] not in (migration.checksum, *_SAME_IN_EFFECT.get(version, ())):
            raise StartError(
                f"migration {row['name']} is not the one that was applied to the database: its"
                " checksum has changed"
            )
