"""Completes the tables that the original system created in MySQL, without touching their rows.

`CREATE TABLE IF NOT EXISTS` leaves an existing table as it is. What it lacks of the columns and
keys that the same statement declares is added here. A unique key that existing rows break is
reported and left off: the rule is then kept by the code alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import attrs
from twisted.logger import Logger

from aemos.storage.transaction import Transaction

_log = Logger()

_CREATE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*)\n\)", re.S)
_KEY = re.compile(r"(UNIQUE )?KEY (\w+) \(([\w, ]+)\)")
_SHOWN = 20  # duplicates that a warning names at most


class _Script(Protocol):
    @property
    def statements(self) -> list[str]: ...


@attrs.frozen
class _Key:
    name: str
    columns: tuple[str, ...]
    unique: bool


@attrs.frozen
class _Declared:
    """A table as its CREATE statement declares it: column name -> definition, and keys."""

    table: str
    columns: dict[str, str]
    keys: list[_Key]


def complete(tx: Transaction, migration: _Script) -> None:
    """Add the columns and keys that tables lack; nothing to do where the migration created them."""
    if tx.dialect.name != "mysql":
        return
    for declared in _declarations(migration):
        _add_columns(tx, declared)
        _add_keys(tx, declared)


def _declarations(migration: _Script) -> Iterator[_Declared]:
    for statement in migration.statements:
        create = _CREATE.match(statement)
        if create is None:
            continue
        columns: dict[str, str] = {}
        keys: list[_Key] = []
        for line in create[2].split("\n"):
            text = line.strip().removesuffix(",")
            key = _KEY.fullmatch(text)
            if key is not None:
                keys.append(_Key(key[2], tuple(key[3].split(", ")), key[1] is not None))
            elif not text.startswith(("PRIMARY KEY", "FOREIGN KEY")):
                columns[text.split()[0]] = text
        yield _Declared(create[1], columns, keys)


def _add_columns(tx: Transaction, declared: _Declared) -> None:
    rows = tx.all(
        "SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
        (declared.table,),
    )
    present = {row["name"].lower() for row in rows}
    for column, definition in declared.columns.items():
        if column.lower() not in present:
            _log.info("adding column {table}.{column}", table=declared.table, column=column)
            tx.execute(f"ALTER TABLE {declared.table} ADD COLUMN {definition}")


def _add_keys(tx: Transaction, declared: _Declared) -> None:
    present = _keys(tx, declared.table)
    for key in declared.keys:
        if key.unique:
            if any(other.unique and set(other.columns) == set(key.columns) for other in present):
                continue
            duplicates = _duplicates(tx, declared.table, key)
            if duplicates:
                _log.warn(
                    "{table}.{columns} is not unique, so its unique index is left off: {rows}",
                    table=declared.table,
                    columns=",".join(key.columns),
                    rows="; ".join(duplicates),
                )
                key = _Key(key.name, key.columns, unique=False)  # still needed to find rows by it
        if not key.unique and any(
            other.columns[: len(key.columns)] == key.columns for other in present
        ):
            continue
        _log.info("adding index {key} to {table}", key=key.name, table=declared.table)
        taken = {other.name.lower() for other in present}
        name = f"{key.name}_aemos" if key.name.lower() in taken else key.name
        kind = "UNIQUE KEY" if key.unique else "KEY"
        tx.execute(f"ALTER TABLE {declared.table} ADD {kind} {name} ({', '.join(key.columns)})")


def _keys(tx: Transaction, table: str) -> list[_Key]:
    rows = tx.all(
        "SELECT INDEX_NAME AS name, COLUMN_NAME AS col, NON_UNIQUE AS repeats"
        " FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s"
        " ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        (table,),
    )
    columns: dict[str, list[str]] = {}
    unique: dict[str, bool] = {}
    for row in rows:
        # A functional index of the original has no column name.
        columns.setdefault(row["name"], []).append(row["col"] or "")
        unique[row["name"]] = not int(row["repeats"])
    return [_Key(name, tuple(parts), unique[name]) for name, parts in columns.items()]


def _duplicates(tx: Transaction, table: str, key: _Key) -> list[str]:
    """@return: for each value that occurs more than once, the value and the ids of its rows."""
    columns = ", ".join(key.columns)
    present = " AND ".join(f"{column} IS NOT NULL" for column in key.columns)
    rows = tx.all(
        f"SELECT {columns}, GROUP_CONCAT(id ORDER BY id) AS ids FROM {table} WHERE {present}"
        f" GROUP BY {columns} HAVING COUNT(*) > 1 ORDER BY MIN(id) LIMIT {_SHOWN}"
    )
    return [f"{', '.join(str(row[c]) for c in key.columns)} in rows {row['ids']}" for row in rows]
