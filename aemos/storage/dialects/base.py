"""What a dialect is: everything in which MySQL/MariaDB and SQLite differ, declared."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from aemos.errors import DuplicateRow, MissingReference, RowRefused, StorageUnavailable


class Cursor(Protocol):
    """The part of a DB-API cursor that is used."""

    @property
    def description(self) -> Any: ...

    @property
    def rowcount(self) -> int: ...

    @property
    def lastrowid(self) -> int | None: ...

    def execute(self, sql: str, params: Any = ..., /) -> Any: ...

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Any: ...

    def fetchall(self) -> Sequence[Any]: ...

    def close(self) -> None: ...


class Connection(Protocol):
    """A DB-API connection in autocommit mode, with explicit transactions."""

    def cursor(self) -> Cursor: ...

    def begin(self) -> None:
        """Start a write transaction."""
        ...

    def commit(self) -> None: ...

    def commit_with(self, sql: str, params: Sequence[Any]) -> None:
        """Execute one last statement and commit; in one exchange with the server if that can be."""
        ...

    def rollback(self) -> None:
        """End the transaction if one is open."""
        ...

    def alive(self) -> bool:
        """Ask the server, cheaply; never raises."""
        ...

    def abandon(self) -> None:
        """Called from another thread: make what waits for the database fail now."""
        ...

    def require_version(self) -> None:
        """@raise StartError: the server or library is too old; one line that names the version."""
        ...

    def close(self) -> None: ...


class Trouble(enum.Enum):
    """What an error of the driver means to whoever wrote the statement."""

    LOST = "lost"  # the connection is gone; another one may work
    BUSY = "busy"  # deadlock, lock time-out: the same again may work
    AWAY = "away"  # the database is there but cannot do it now (disk full, read-only, no table)
    DUPLICATE = "duplicate"
    MISSING_REFERENCE = "missing reference"
    REFUSED = "refused"  # these values will never be taken


class Dialect(Protocol):
    """One kind of database at one address."""

    name: str
    """"mysql" (MariaDB too) or "sqlite"; also the folder of its migrations."""

    single_writer: bool
    """Whether every write must run on the writer's thread."""

    for_update: str
    """Appended to a SELECT that must see what other transactions are about to commit."""

    def connect(self, *, writing: bool, patient: bool = False) -> Connection:
        """Open a connection, ready to use.

        @param writing: False = it must not be able to change anything where that can be had.
        @param patient: no limit on how long a statement takes (migrations).
        """
        ...

    def exclusively(self, connection: Connection) -> AbstractContextManager[None]:
        """While inside, no other server migrates this database; waits for one that does."""
        ...

    def set_aside(self, connection: Connection, label: str) -> None:
        """Keep a copy of the database as it is, where that is ours to do."""
        ...

    def statement(self, sql: str) -> str:
        """Turn `%s` placeholders into what the driver takes."""
        ...

    def row_marks(self, rows: int, columns: int) -> str:
        """@return: placeholders for the rows of `(a, b) IN (...)`."""
        ...

    def on_conflict(self, key: Sequence[str], changed: Sequence[str]) -> str:
        """The end of an INSERT that changes these columns of the row that is there already."""
        ...

    def insert_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> Sequence[int]:
        """Insert all rows. @return: their ids, in order."""
        ...

    def classify(self, error: Exception) -> Trouble | None:
        """@return: None if this is no error of the driver."""
        ...

    def explain(self, error: Exception) -> str:
        """Say it to the person who sent the values: names the column, holds no SQL and no value."""
        ...

    def index_of(self, error: Exception) -> str:
        """@return: the index or columns that a DUPLICATE is about, "" if unknown."""
        ...


def translated(error: Exception, dialect: Dialect) -> Exception:
    """Say it in the words of `aemos.errors`; what is no error of the driver stays as it is."""
    trouble = dialect.classify(error)
    if trouble is None:
        return error
    if trouble is Trouble.DUPLICATE:
        index = dialect.index_of(error)
        return DuplicateRow(f"{index or 'a value'} is in use already", index)
    if trouble is Trouble.MISSING_REFERENCE:
        return MissingReference("refers to a row that does not exist, or is still referred to")
    if trouble is Trouble.REFUSED:
        return RowRefused(dialect.explain(error))
    return StorageUnavailable(f"the database is not available: {error}")
