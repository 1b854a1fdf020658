"""What a storage function gets to work with: SQL in, decoded rows out, inside one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from aemos.model import Instant
from aemos.storage.dialects.base import Connection, Cursor, Dialect
from aemos.storage.tables import TABLES, decoder

T = TypeVar("T")

Row = dict[str, Any]
"""A row by its column names (`SELECT *` gives every column, None for NULL)."""


def marks(values: Collection[object]) -> str:
    """@return: a placeholder for each value, for `IN (...)`; there must be at least one."""
    return ", ".join(["%s"] * len(values))


class Trail(Protocol):
    """Takes down what one transaction changes (`aemos.storage.audit`)."""

    def watches(self, table: str) -> bool:
        """@return: whether changes of this table are of interest."""

    def note(self, tx: Transaction, table: str, before: Row | None, after: Row | None) -> None:
        """Take a change down. @param before: None = the row is new. @param after: None = gone."""


class Transaction:
    """One transaction on one connection, used by one thread.

    SQL is written with `%s` placeholders for both dialects, so a per cent sign itself is `%%`. What
    comes back is decoded by `aemos.storage.tables`: booleans, JSON, times as `Instant`. A time as a
    parameter must be an `Instant`. Errors of the driver pass through here; `Database` and the
    writer translate them.
    """

    def __init__(self, cursor: Cursor, dialect: Dialect, now: Instant) -> None:
        """@param now: the time of this transaction, for `createdAt` and the like."""
        self._cursor = cursor
        self.dialect = dialect
        self.now = now
        self.trail: Trail | None = None

    def all(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        """@return: every row of the result."""
        cursor = self._run(sql, params)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for name in names:
            decode = decoder(name)
            if decode is not None:
                for row in rows:
                    row[name] = decode(row[name])
        return rows

    def one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        """@return: the first row of the result, None if there is none."""
        rows = self.all(sql, params)
        return rows[0] if rows else None

    def value(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """@return: the first column of the first row, None if there is no row."""
        row = self.one(sql, params)
        return None if row is None else next(iter(row.values()))

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """@return: how many rows were inserted, deleted, or matched by an UPDATE."""
        return self._run(sql, params).rowcount

    def insert(self, table: str, values: Mapping[str, Any]) -> int:
        """Insert one row; absent columns get their defaults, `createdAt` and `updatedAt` are `now`.

        @return: the id of the new row (meaningless for a table without `id`).
        @raise ValueError: unknown column.
        """
        declared = TABLES[table]
        if declared.timestamps:
            values = {"createdAt": self.now, "updatedAt": self.now, **values}
        params = declared.encoded(values or {"id": None})  # MySQL and SQLite both count on then
        cursor = self._run(
            f"INSERT INTO {table} ({', '.join(params)}) VALUES ({marks(params)})",
            tuple(params.values()),
        )
        given = values.get("id")
        row_id: int = cursor.lastrowid or 0 if given is None else given
        if self.trail is not None and self.trail.watches(table):
            self.trail.note(self, table, None, {**values, "id": row_id})
        return row_id

    def update(self, table: str, id: int, changes: Mapping[str, Any]) -> int:
        """Change columns of the row with this id; `updatedAt` becomes `now`.

        @return: 1, or 0 if there is no such row.
        @raise ValueError: unknown column, or no column at all.
        """
        if not changes:
            raise ValueError(f"no column of {table} to change")
        declared = TABLES[table]
        if declared.timestamps:
            changes = {"updatedAt": self.now, **changes}
        params = declared.encoded(changes)
        assignments = ", ".join(f"{column} = %s" for column in params)
        trail = self.trail if self.trail is not None and self.trail.watches(table) else None
        before = None if trail is None else self._row(table, id)
        count = self.execute(
            f"UPDATE {table} SET {assignments} WHERE id = %s", (*params.values(), id)
        )
        if trail is not None and before is not None:
            trail.note(self, table, before, self._row(table, id))
        return count

    def delete(self, table: str, key: Mapping[str, Any]) -> int:
        """Delete the rows whose columns have exactly these values; at least one must be named.

        @return: how many there were. @raise ValueError: unknown column, or none at all.
        """
        if not key:
            raise ValueError(f"no column of {table} to delete by")
        params = TABLES[table].encoded(key)
        condition, values = " AND ".join(f"{column} = %s" for column in params), (*params.values(),)
        if self.trail is not None and self.trail.watches(table):
            for row in self.all(f"SELECT * FROM {table} WHERE {condition}", values):
                self.trail.note(self, table, row, None)
        return self.execute(f"DELETE FROM {table} WHERE {condition}", values)

    def upsert(self, table: str, key: Sequence[str], values: Mapping[str, Any]) -> None:
        """Insert a row, or change the one that has the same `key` (primary key or unique index)."""
        params = TABLES[table].encoded(values)
        changed = [column for column in params if column not in key]
        self._run(
            f"INSERT INTO {table} ({', '.join(params)}) VALUES ({marks(params)})"
            f" {self.dialect.on_conflict(key, changed)}",
            tuple(params.values()),
        )

    def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> Sequence[int]:
        """Insert many rows at once: the hot path, without defaults and without encoding by kind.

        @param rows: values in order of `columns`: text, numbers, bytes, `Instant`, None.
        @return: their ids in order (meaningless for a table without `id`).
        """
        if not rows:
            return ()
        return self.dialect.insert_rows(self._cursor, table, columns, rows)

    def _row(self, table: str, id: int) -> Row | None:
        return self.one(f"SELECT * FROM {table} WHERE id = %s", (id,))

    def _run(self, sql: str, params: Iterable[Any]) -> Cursor:
        self._cursor.execute(self.dialect.statement(sql), tuple(params))
        return self._cursor


class CommitInDoubt(Exception):
    """COMMIT failed: whether it took place is not known."""

    def __init__(self, error: Exception) -> None:
        """@param error: what the driver raised."""
        super().__init__(str(error))
        self.error = error


def in_transaction(
    connection: Connection,
    dialect: Dialect,
    now: Instant,
    function: Callable[..., T],
    *args: Any,
    last: tuple[str, Sequence[Any]] | None = None,
) -> T:
    """Run `function(tx, *args)` and commit; roll back whatever it raises.

    @param last: a statement to execute together with COMMIT, and its parameters.
    @raise CommitInDoubt: the function went well, what followed did not.
    """
    connection.begin()
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            result = function(Transaction(cursor, dialect, now), *args)
    except BaseException:
        # On a lost connection this fails as well, and the first error is the one that counts.
        with contextlib.suppress(Exception):
            connection.rollback()
        raise
    try:
        if last is None:
            connection.commit()
        else:
            connection.commit_with(dialect.statement(last[0]), last[1])
    except Exception as error:
        with contextlib.suppress(Exception):
            connection.rollback()
        raise CommitInDoubt(error) from error
    return result
