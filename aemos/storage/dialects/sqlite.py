"""SQLite: one file, one writer, readers beside it (WAL)."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from aemos.errors import StartError
from aemos.storage.dialects.base import Connection, Cursor, Trouble

_OLDEST = (3, 38, 0)  # STRICT tables, unixepoch()

_PATIENCE = 60.0  # seconds that a migration waits for another process
_RETRY = 0.01  # seconds until the next attempt where SQLite itself does not wait
_HURRY = 0.1  # seconds that a transaction waits after another one has waited in vain

_DUPLICATE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_REFUSED = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}

_CONSTRAINT = re.compile(r"constraint failed: (.*)$")
# Somebody has changed the schema by hand: what is written has to wait until that is mended.
_ALTERED = re.compile(r"no such (table|column)|has no column named")


class FileMoved(Exception):
    """What is at the path is no longer the file that was opened."""


class SQLiteConnection(sqlite3.Connection):
    """The module's connection and what the pool asks of it."""

    _path = ""
    _file: tuple[int, int] | None = None
    _busy_timeout = 0.0
    _hurried = False

    def opened(self, path: str, busy_timeout: float) -> None:
        """Remember which file it has opened, and for how long it may wait (seconds)."""
        self._path, self._file, self._busy_timeout = path, _file_at(path), busy_timeout

    def use_wal(self) -> None:
        """Switch to write-ahead logging, which stays with the file."""
        # Of two that open a new file at once one is told that it is locked, without any waiting.
        ends = time.monotonic() + self._busy_timeout
        while True:
            try:
                self.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > ends:
                    raise
                time.sleep(_RETRY)
            else:
                return

    def begin(self) -> None:
        # SQLite writes into a file that was deleted or moved without a word, and with the process
        # all of that would be gone.
        if not self.alive():
            raise FileMoved(f"{self._path} was moved or deleted")
        # Not plain BEGIN: a transaction that reads first could not become a writing one later.
        try:
            self.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            if not self._hurried:  # those behind this one have waited as long by now
                self._wait_for_others(_HURRY)
                self._hurried = True
            raise
        if self._hurried:
            self._wait_for_others(self._busy_timeout)
            self._hurried = False

    def _wait_for_others(self, seconds: float) -> None:
        self.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def commit_with(self, sql: str, params: Sequence[Any]) -> None:
        self.execute(sql, params)
        self.commit()

    def alive(self) -> bool:
        return _file_at(self._path) == self._file  # there is no server that could hang up

    def abandon(self) -> None:
        self.interrupt()

    def require_version(self) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            needed = ".".join(map(str, _OLDEST))
            raise StartError(
                f"SQLite {sqlite3.sqlite_version} is too old: {needed} or later is needed"
            )


class SQLite:
    """A database file.

    Times are INTEGER milliseconds, JSON is TEXT. `synchronous` is FULL: with WAL, anything less
    loses commits when the power fails.
    """

    name = "sqlite"
    single_writer = True
    for_update = ""

    def __init__(self, path: str, *, busy_timeout: float = 5.0) -> None:
        """@param busy_timeout: how long to wait for another process that writes (seconds)."""
        self.path = path
        self._busy_timeout = busy_timeout
        self._found = False

    def connect(self, *, writing: bool, patient: bool = False) -> Connection:
        if not os.path.exists(self.path):
            if self._found:  # a new file in place of one that was lost would have no tables
                raise FileMoved(f"{self.path} is not there")
            folder = os.path.dirname(self.path)
            if folder:
                os.makedirs(folder, exist_ok=True)
            # It holds tokens in clear (DeviceToken.token): nobody else's business.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        timeout = _PATIENCE if patient else self._busy_timeout
        connection = sqlite3.connect(
            self.path,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,  # adbapi closes what its threads opened
            factory=SQLiteConnection,
        )
        connection.opened(self.path, timeout)
        self._found = True
        try:
            connection.use_wal()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if not writing:
                connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def exclusively(self, connection: Connection) -> Iterator[None]:
        """One transaction: SQLite rolls back DDL as well."""
        connection.begin()
        try:
            yield
        except BaseException:
            connection.rollback()
            raise
        connection.commit()

    def set_aside(self, connection: Connection, label: str) -> None:
        """Copy the last committed state to a file beside it, named after it and `label`."""
        target = f"{self.path}.{label}"
        part = f"{target}.part"
        os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600))
        with (
            contextlib.closing(sqlite3.connect(self.path)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
        os.replace(part, target)

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def statement(sql: str) -> str:
        return sql.replace("%s", "?").replace("%%", "%")

    def row_marks(self, rows: int, columns: int) -> str:
        return "VALUES " + ", ".join([f"({', '.join(['%s'] * columns)})"] * rows)

    def on_conflict(self, key: Sequence[str], changed: Sequence[str]) -> str:
        if not changed:
            return f"ON CONFLICT ({', '.join(key)}) DO NOTHING"
        assignments = ", ".join(f"{column} = excluded.{column}" for column in changed)
        return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments}"

    def insert_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> Sequence[int]:
        values = ", ".join("?" * len(columns))
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows)
        cursor.execute("SELECT last_insert_rowid()")
        # One connection writes at a time, and an AUTOINCREMENT id is one more than the last.
        last = cursor.fetchall()[0][0]
        return range(last - len(rows) + 1, last + 1)

    def classify(self, error: Exception) -> Trouble | None:
        if isinstance(error, (OverflowError, UnicodeEncodeError)):
            return Trouble.REFUSED  # an int beyond 64 bits, a lone surrogate
        if isinstance(error, (FileMoved, OSError)):
            return Trouble.LOST
        if not isinstance(error, sqlite3.Error):
            return None
        extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
        code = extended & 0xFF
        if extended in _DUPLICATE:
            return Trouble.DUPLICATE
        if extended == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return Trouble.MISSING_REFERENCE
        if code in _REFUSED:
            return Trouble.REFUSED
        if code == sqlite3.SQLITE_ERROR and _ALTERED.search(str(error)):
            return Trouble.AWAY
        if code in (sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_RANGE):
            return Trouble.REFUSED if isinstance(error, sqlite3.DataError) else None
        # FULL, READONLY, IOERR, CANTOPEN, CORRUPT ..., and BUSY: another process has been writing
        # for longer than the busy timeout.
        return Trouble.AWAY

    def explain(self, error: Exception) -> str:
        found = _CONSTRAINT.search(str(error))
        if found is None:
            return "a value does not fit its column"
        text = found.group(1)
        return f"{text.rpartition('.')[2]} is missing" if "NOT NULL" in str(error) else text

    def index_of(self, error: Exception) -> str:
        # "UNIQUE constraint failed: User.email"
        found = _CONSTRAINT.search(str(error))
        if found is None:
            return ""
        return ", ".join(part.rpartition(".")[2] for part in found.group(1).split(", "))


def _file_at(path: str) -> tuple[int, int] | None:
    """@return: what tells the file at the path from all others; None = there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
