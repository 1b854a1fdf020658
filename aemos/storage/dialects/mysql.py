"""MySQL and MariaDB, through PyMySQL."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pymysql
from pymysql.constants import CLIENT, CR, ER, FIELD_TYPE
from pymysql.converters import conversions, escape_item, escape_string

from aemos.errors import StartError
from aemos.model import Instant
from aemos.storage.dialects.base import Connection, Cursor, Trouble

_OLDEST_MYSQL = (8, 0)
_OLDEST_MARIADB = (10, 6)

_PATIENCE = 600  # seconds that a server waits for another one that migrates

_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,PIPES_AS_CONCAT"

_BUSY = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK}
_DUPLICATE = {ER.DUP_ENTRY, ER.DUP_KEY, 1586}  # 1586: ER_DUP_ENTRY_WITH_KEY_NAME
_MISSING_REFERENCE = {
    ER.NO_REFERENCED_ROW,
    ER.NO_REFERENCED_ROW_2,
    ER.ROW_IS_REFERENCED,
    ER.ROW_IS_REFERENCED_2,
}
_REFUSED = {
    ER.BAD_NULL_ERROR,
    ER.NO_DEFAULT_FOR_FIELD,
    ER.DATA_TOO_LONG,
    ER.WARN_DATA_OUT_OF_RANGE,
    ER.WARN_DATA_TRUNCATED,
    ER.TRUNCATED_WRONG_VALUE,
    ER.TRUNCATED_WRONG_VALUE_FOR_FIELD,
    ER.DIVISION_BY_ZERO,
    1690,  # ER_DATA_OUT_OF_RANGE
    3140,  # ER_INVALID_JSON_TEXT
    3819,  # ER_CHECK_CONSTRAINT_VIOLATED
    4025,  # MariaDB: ER_CONSTRAINT_FAILED
}
# The statement is a mistake of ours; nothing that the operator does would help.
_OUR_MISTAKE = {ER.PARSE_ERROR, ER.SYNTAX_ERROR, ER.BAD_FIELD_ERROR, ER.WRONG_VALUE_COUNT_ON_ROW}

_COLUMN = re.compile(r"[Cc]olumn '(?:[^']*\.)?([^'.]+)'")
_FIELD = re.compile(r"Field '([^']+)'")
_KEY = re.compile(r"for key '(?:[^']*\.)?([^'.]+)'")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@functools.lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("'%Y-%m-%d %H:%M:%S.")


def _instant_literal(value: int, mapping: object = None) -> str:
    """`'2026-01-01 00:00:00.000'`; readings of one batch share few seconds, hence the cache.

    @raise OverflowError: outside the years 1 to 9999.
    """
    second, millisecond = divmod(value, 1000)
    return f"{_second_text(second)}{millisecond:03d}'"


def _instant_of(text: str | bytes) -> Instant | None:
    """Read a DATETIME; None for the zero dates that lax servers let in."""
    if isinstance(text, bytes):
        text = text.decode("ascii")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Instant((moment.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND)


def _number_of(text: str) -> int | float:
    """DECIMAL (what SUM and AVG give) as SQLite gives it."""
    return float(text) if "." in text else int(text)


_CONVERSIONS = {
    **conversions,
    FIELD_TYPE.DATETIME: _instant_of,
    FIELD_TYPE.TIMESTAMP: _instant_of,
    FIELD_TYPE.DECIMAL: _number_of,
    FIELD_TYPE.NEWDECIMAL: _number_of,
    Instant: _instant_literal,
}

# Literals for the hot path, chosen by exact type: PyMySQL's own way costs three times as much.
_LITERALS: dict[type, Callable[[Any], str]] = {
    str: lambda value: f"'{escape_string(value)}'",
    int: str,
    bool: lambda value: "1" if value else "0",
    Instant: _instant_literal,
    bytes: lambda value: f"X'{value.hex()}'",
    type(None): lambda value: "NULL",
}


def _literal(value: Any) -> str:
    encode = _LITERALS.get(value.__class__)
    return str(escape_item(value, "utf8mb4", _CONVERSIONS)) if encode is None else encode(value)


@functools.lru_cache(maxsize=256)
def _row_template(width: int, count: int) -> str:
    return ",".join([f"({','.join(['%s'] * width)})"] * count)


@attrs.define(eq=False)
class MySQL:
    """A database on a MySQL or MariaDB server.

    Connections are in autocommit mode, READ COMMITTED, strict, in UTC; an UPDATE counts the rows that
    it matched, as SQLite does. A statement without an answer for `query_timeout` counts as a lost
    connection.
    """

    user: str
    password: str = attrs.field(repr=False)
    database: str
    host: str = "127.0.0.1"
    port: int = 3306
    unix_socket: str | None = None
    ssl_ca: str | None = None
    connect_timeout: float = 10.0
    query_timeout: float = 60.0

    name = "mysql"
    single_writer = False
    for_update = " FOR UPDATE"

    # Learnt from the server: a packet larger than this makes it hang up. Its lowest default is 16 MiB.
    _max_packet: int = attrs.field(default=16 * 1024 * 1024, init=False)
    _id_step: int = attrs.field(default=1, init=False)

    def connect(self, *, writing: bool, patient: bool = False) -> Connection:
        timeout = None if patient else self.query_timeout
        connection = pymysql.connect(
            host=self.host,
            port=self.port,
            unix_socket=self.unix_socket,
            user=self.user,
            password=self.password,
            database=self.database,
            ssl_ca=self.ssl_ca,
            charset="utf8mb4",
            conv=_CONVERSIONS,
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS,
            connect_timeout=max(1, round(self.connect_timeout)),
            read_timeout=timeout,
            write_timeout=timeout,
        )
        try:
            self._prepare(connection)
        except Exception:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: pymysql.Connection[Any]) -> None:
        maria = "mariadb" in connection.get_server_info().lower()
        # The original drops what is below a second (spec/data-model.md section 1), and so does MariaDB.
        mode = _SQL_MODE if maria else _SQL_MODE + ",TIME_TRUNCATE_FRACTIONAL"
        isolation = "tx_isolation" if maria else "transaction_isolation"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET SESSION sql_mode = '{mode}', time_zone = '+00:00', "
                f"{isolation} = 'READ-COMMITTED', innodb_lock_wait_timeout = 1"
            )
            cursor.execute("SELECT @@max_allowed_packet, @@auto_increment_increment")
            self._max_packet, self._id_step = map(int, cursor.fetchone() or ())

    def check(self, connection: Connection) -> None:
        assert isinstance(connection, pymysql.Connection)
        text = str(connection.get_server_info())
        # MariaDB says "5.5.5-10.11.6-MariaDB" to be taken for a MySQL by old replicas.
        found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", text)
        version = (int(found[1]), int(found[2])) if found else (0, 0)
        maria = "mariadb" in text.lower()
        product, oldest = ("MariaDB", _OLDEST_MARIADB) if maria else ("MySQL", _OLDEST_MYSQL)
        if version < oldest:
            raise StartError(f"{product} {text} is too old: {oldest[0]}.{oldest[1]} or later is needed")

    def alive(self, connection: Connection) -> bool:
        assert isinstance(connection, pymysql.Connection)
        try:
            connection.ping(reconnect=False)
        except Exception:
            return False
        return True

    def begin(self, connection: Connection) -> None:
        assert isinstance(connection, pymysql.Connection)
        connection.begin()

    def commit(self, connection: Connection) -> None:
        assert isinstance(connection, pymysql.Connection)
        connection.commit()

    def rollback(self, connection: Connection) -> None:
        assert isinstance(connection, pymysql.Connection)
        connection.rollback()

    @contextlib.contextmanager
    def exclusively(self, connection: Connection) -> Iterator[None]:
        # The lock belongs to the server, not to one of its databases; it ends with the connection.
        name = "aemos " + hashlib.sha256(self.database.encode()).hexdigest()[:32]
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SELECT GET_LOCK(%s, %s)", (name, _PATIENCE))
            if cursor.fetchall() != ((1,),):
                raise StartError("another server has been changing the database for too long")
            try:
                yield
            finally:
                cursor.execute("SELECT RELEASE_LOCK(%s)", (name,))
                cursor.fetchall()

    def set_aside(self, connection: Connection, label: str) -> None:
        """Nothing: whoever runs a server makes its backups."""

    def statement(self, sql: str) -> str:
        return sql  # PyMySQL's own placeholders

    def on_conflict(self, key: Sequence[str], changed: Sequence[str]) -> str:
        columns = changed or key[:1]
        assignments = ", ".join(f"{column} = VALUES({column})" for column in columns)
        return f"ON DUPLICATE KEY UPDATE {assignments}"

    def insert_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> Sequence[int]:
        """One INSERT, or several when the server would not take so large a packet.

        PyMySQL's `executemany` is not used: it splits without a word, so that `lastrowid` is that of
        its last part. A multi-row INSERT gets consecutive ids whatever `innodb_autoinc_lock_mode` is.
        """
        literals = tuple([_literal(value) for row in rows for value in row])
        if sum(map(len, literals)) * 4 + 1024 > self._max_packet:
            return self._insert_large(cursor, table, columns, literals)
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        cursor.execute(head + _row_template(len(columns), len(rows)) % literals)
        first, step = cursor.lastrowid or 0, self._id_step
        return range(first, first + len(rows) * step, step)

    def _insert_large(
        self, cursor: Cursor, table: str, columns: Sequence[str], literals: Sequence[str]
    ) -> Sequence[int]:
        width = len(columns)
        ids: list[int] = []
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        part: list[str] = []
        size = len(head)

        def flush() -> None:
            cursor.execute(head + ",".join(part))
            first, step = cursor.lastrowid or 0, self._id_step
            ids.extend(range(first, first + len(part) * step, step))

        for start in range(0, len(literals), width):
            row = f"({','.join(literals[start : start + width])})"
            length = len(row.encode("utf-8", "surrogateescape")) + 1
            if len(head) + length > self._max_packet - 1024:
                raise RowTooLarge("larger than the server takes (max_allowed_packet)")
            if part and size + length > self._max_packet - 1024:
                flush()
                part.clear()
                size = len(head)
            part.append(row)
            size += length
        flush()
        return ids

    def classify(self, error: Exception) -> Trouble | None:
        if isinstance(error, (OverflowError, UnicodeEncodeError, RowTooLarge)):
            return Trouble.REFUSED  # a time that no datetime holds, a lone surrogate
        if not isinstance(error, pymysql.MySQLError):
            return None
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in _BUSY:
            return Trouble.BUSY
        if code in _DUPLICATE:
            return Trouble.DUPLICATE
        if code in _MISSING_REFERENCE:
            return Trouble.MISSING_REFERENCE
        if code in _REFUSED:
            return Trouble.REFUSED
        # InterfaceError (0, '') is how PyMySQL says that it closed the connection earlier.
        if code >= CR.CR_ERROR_FIRST and code <= CR.CR_ERROR_LAST or isinstance(error, pymysql.InterfaceError):
            return Trouble.LOST
        if code in _OUR_MISTAKE or (code == 0 and isinstance(error, pymysql.ProgrammingError)):
            return None
        return Trouble.AWAY  # disk full, read-only, too many connections, no right, no such table ...

    def explain(self, error: Exception) -> str:
        if isinstance(error, RowTooLarge):
            return str(error)
        code, text = (error.args[0], str(error.args[1])) if len(error.args) > 1 else (0, "")
        found = _COLUMN.search(text) or _FIELD.search(text)
        if found is None:
            return "a value does not fit its column"
        if code == ER.DATA_TOO_LONG:
            return f"{found[1]} is too long"
        if code in (ER.BAD_NULL_ERROR, ER.NO_DEFAULT_FOR_FIELD):
            return f"{found[1]} is missing"
        if code in (ER.WARN_DATA_OUT_OF_RANGE, 1690):
            return f"{found[1]} is out of range"
        return f"{found[1]} is not an allowed value"

    def index_of(self, error: Exception) -> str:
        found = _KEY.search(str(error.args[-1])) if error.args else None
        return found[1] if found else ""


class RowTooLarge(ValueError):
    """One row alone is larger than `max_allowed_packet`."""
