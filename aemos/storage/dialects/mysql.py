"""MySQL and MariaDB, through PyMySQL."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pymysql
from pymysql.constants import CLIENT, CR, ER

from aemos.errors import StartError
from aemos.storage.dialects.base import Connection, Cursor, Trouble
from aemos.storage.dialects.mysql_values import CONVERSIONS, row_literals

_OLDEST_MYSQL = (8, 0)
_OLDEST_MARIADB = (10, 6)
_PATIENCE = 600  # seconds that a server waits for another one that migrates
_ROW_LOCK = 1  # seconds that a statement waits for a row
_TABLE_LOCK = 2  # the same for a table; the server's default is a day

_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,PIPES_AS_CONCAT"

_BUSY = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK}
_DUPLICATE = {ER.DUP_ENTRY, ER.DUP_KEY, 1586}  # 1586: ER_DUP_ENTRY_WITH_KEY_NAME
_MISSING_REFERENCE = {
    ER.NO_REFERENCED_ROW,
    ER.NO_REFERENCED_ROW_2,
    ER.ROW_IS_REFERENCED,
    ER.ROW_IS_REFERENCED_2,
}
_MISSING = {ER.BAD_NULL_ERROR, ER.NO_DEFAULT_FOR_FIELD}
_OUT_OF_RANGE = {ER.WARN_DATA_OUT_OF_RANGE, 1690}  # 1690: ER_DATA_OUT_OF_RANGE
_REFUSED = {
    *_MISSING,
    *_OUT_OF_RANGE,
    ER.DATA_TOO_LONG,
    ER.WARN_DATA_TRUNCATED,
    ER.TRUNCATED_WRONG_VALUE,
    ER.TRUNCATED_WRONG_VALUE_FOR_FIELD,
    ER.DIVISION_BY_ZERO,
    # Text compared with a column of ASCII that it cannot be in.
    ER.CANT_AGGREGATE_2COLLATIONS,
    ER.CANT_AGGREGATE_3COLLATIONS,
    ER.CANT_AGGREGATE_NCOLLATIONS,
    3140,  # ER_INVALID_JSON_TEXT
    3819,  # ER_CHECK_CONSTRAINT_VIOLATED
    4025,  # MariaDB: ER_CONSTRAINT_FAILED
}
# The statement is a mistake of ours: nothing that an operator does would help. An unknown column is
# none: somebody has changed the table by hand, and what is written had better wait.
_OUR_MISTAKE = {ER.PARSE_ERROR, ER.SYNTAX_ERROR}

# column 'value', column `db`.`DataStream`.`value`, Field 'value', CONSTRAINT `Device.metadata`
_COLUMN = re.compile(r"(?:[Cc]olumn|Field|CONSTRAINT) (?:`[^`]*`\.)*['`](?:[^'`]*\.)?([^'`.]+)['`]")
_KEY = re.compile(r"for key '(?:[^']*\.)?([^'.]+)'")


if TYPE_CHECKING:
    _PyMySQLConnection = pymysql.connections.Connection[pymysql.cursors.Cursor]
else:
    _PyMySQLConnection = pymysql.connections.Connection


class RowTooLarge(ValueError):
    """One row alone is larger than `max_allowed_packet`."""


@functools.cache
def _unverified() -> ssl.SSLContext:
    """@return: what encrypts connections to a server of which nobody said how to know it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class MySQLConnection(_PyMySQLConnection):
    """PyMySQL's connection and what the pool asks of it.

    Whoever waits for the server has to wait for the interpreter's lock afterwards, and a busy
    reactor gives it up only every 5 ms. So a busy writer had better ask seldom: `commit_with` sends
    two statements at once, and begins the next transaction on the way.
    """

    _begun = False

    def _create_ssl_ctx(self, sslp: dict[str, Any]) -> ssl.SSLContext:
        # PyMySQL would read all authorities of the machine for each connection, which takes longer
        # than everything else about connecting, and verify nothing by them.
        return super()._create_ssl_ctx(sslp) if sslp else _unverified()  # type: ignore[misc]

    def begin(self) -> None:
        if not self._begun:
            super().begin()

    def commit(self) -> None:
        self._begun = False
        super().commit()

    def rollback(self) -> None:
        self._begun = False
        super().rollback()

    def commit_with(self, sql: str, params: Sequence[Any]) -> None:
        with self.cursor() as cursor:
            cursor.execute(f"{sql}; COMMIT AND CHAIN", params)
            cursor.nextset()
        self._begun = True

    def alive(self) -> bool:
        timeout = self._read_timeout
        self.answer_within(self.connect_timeout)
        try:
            self.ping(reconnect=False)
        except Exception:
            return False
        self.answer_within(timeout)
        return True

    def answer_within(self, seconds: float | None) -> None:
        """Let the server have so much time for each answer from now on; None = any."""
        self._read_timeout = self._write_timeout = seconds

    def abandon(self) -> None:
        connected: socket.socket | None = self._sock  # type: ignore[attr-defined]
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def require_version(self) -> None:
        text = self.version
        # MariaDB says "5.5.5-10.11.6-MariaDB" to be taken for a MySQL by old replicas.
        found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", text)
        version = (int(found[1]), int(found[2])) if found else (0, 0)
        product, oldest = ("MariaDB", _OLDEST_MARIADB) if self.maria else ("MySQL", _OLDEST_MYSQL)
        if version < oldest:
            needed = f"{oldest[0]}.{oldest[1]}"
            raise StartError(f"{product} {text} is too old: {needed} or later is needed")

    @property
    def maria(self) -> bool:
        """Whether the server is a MariaDB."""
        return "mariadb" in self.version.lower()

    @property
    def version(self) -> str:
        """As the server tells it."""
        return str(self.get_server_info())  # type: ignore[no-untyped-call]


@attrs.define(eq=False)
class MySQL:
    """A database on a MySQL or MariaDB server.

    Connections are in autocommit mode, READ COMMITTED, strict, in UTC; an UPDATE counts the rows
    that it matched, as SQLite does. A statement without an answer for `query_timeout` seconds
    counts as a lost connection.
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

    # Learnt from the server at each connect. It hangs up on a packet larger than this.
    _max_packet: int = attrs.field(default=16 * 1024 * 1024, init=False)
    _id_step: int = attrs.field(default=1, init=False)

    def connect(self, *, writing: bool, patient: bool = False) -> Connection:
        # A server that hangs takes connections, and says nothing.
        timeout = max(1, round(self.connect_timeout))
        connection = MySQLConnection(
            host=self.host,
            port=self.port,
            unix_socket=self.unix_socket,
            user=self.user,
            password=self.password,
            database=self.database,
            ssl_ca=self.ssl_ca,
            ssl_verify_cert=True if self.ssl_ca else None,  # else it would trust any certificate
            charset="utf8mb4",
            conv=CONVERSIONS,
            autocommit=True,
            client_flag=CLIENT.FOUND_ROWS | (CLIENT.MULTI_STATEMENTS if writing else 0),
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
        )
        try:
            self._prepare(connection, _PATIENCE if patient else _TABLE_LOCK)
        except Exception:
            connection.close()
            raise
        connection.answer_within(None if patient else self.query_timeout)
        return connection

    def _prepare(self, connection: MySQLConnection, table_lock: int) -> None:
        # The original drops what is below a second (spec/data-model.md section 1): so does
        # MariaDB, and MySQL when told to.
        maria = connection.maria
        mode = _SQL_MODE if maria else _SQL_MODE + ",TIME_TRUNCATE_FRACTIONAL"
        isolation = "tx_isolation" if maria else "transaction_isolation"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET SESSION sql_mode = '{mode}', time_zone = '+00:00', "
                f"{isolation} = 'READ-COMMITTED', innodb_lock_wait_timeout = {_ROW_LOCK}, "
                f"lock_wait_timeout = {table_lock}"
            )
            cursor.execute("SELECT @@max_allowed_packet, @@auto_increment_increment")
            self._max_packet, self._id_step = map(int, cursor.fetchone() or ())

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

    def row_marks(self, rows: int, columns: int) -> str:
        return ", ".join([f"({', '.join(['%s'] * columns)})"] * rows)

    def on_conflict(self, key: Sequence[str], changed: Sequence[str]) -> str:
        # VALUES(): MariaDB does not know the row alias that newer MySQL prefers.
        assignments = ", ".join(f"{column} = VALUES({column})" for column in changed or key[:1])
        return f"ON DUPLICATE KEY UPDATE {assignments}"

    def insert_rows(
        self, cursor: Cursor, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> Sequence[int]:
        """One INSERT, or several where the server would not take so large a packet.

        Not PyMySQL's `executemany`: it splits without a word, and `lastrowid` is then that of the
        last part. The ids of one INSERT are consecutive in every `innodb_autoinc_lock_mode`.
        """
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        literals = list(row_literals(rows))
        # A character has at most four bytes.
        if (sum(map(len, literals)) + len(literals) + len(head)) * 4 < self._max_packet:
            return self._insert(cursor, head, literals)
        ids: list[int] = []
        for part in self._packets(literals, self._max_packet - len(head) - 1024):
            ids += self._insert(cursor, head, part)
        return ids

    def _insert(self, cursor: Cursor, head: str, literals: Sequence[str]) -> range:
        cursor.execute(head + ",".join(literals))
        first, step = cursor.lastrowid or 0, self._id_step
        return range(first, first + len(literals) * step, step)

    def _packets(self, literals: Sequence[str], room: int) -> Iterator[list[str]]:
        """Cut the rows into lists of at most `room` bytes."""
        part: list[str] = []
        left = room
        for literal in literals:
            size = len(literal.encode("utf-8", "surrogateescape")) + 1
            if size > room:
                raise RowTooLarge("larger than the database server takes (max_allowed_packet)")
            if size > left:
                yield part
                part, left = [], room
            part.append(literal)
            left -= size
        yield part

    def classify(self, error: Exception) -> Trouble | None:
        if isinstance(error, (OverflowError, UnicodeEncodeError, RowTooLarge)):
            return Trouble.REFUSED  # a time that no datetime holds, a lone surrogate
        if not isinstance(error, pymysql.MySQLError):
            return None
        code = _code(error)
        if code in _BUSY:
            return Trouble.BUSY
        if code in _DUPLICATE:
            return Trouble.DUPLICATE
        if code in _MISSING_REFERENCE:
            return Trouble.MISSING_REFERENCE
        if code in _REFUSED:
            return Trouble.REFUSED
        # InterfaceError (0, '') is how PyMySQL says that it has closed the connection itself.
        by_client = CR.CR_ERROR_FIRST <= code <= CR.CR_ERROR_LAST
        if by_client or isinstance(error, pymysql.InterfaceError):
            return Trouble.LOST
        if code in _OUR_MISTAKE or (code == 0 and isinstance(error, pymysql.ProgrammingError)):
            return None
        return Trouble.AWAY  # disk full, read-only, shutting down, no right, no such table ...

    def explain(self, error: Exception) -> str:
        if isinstance(error, RowTooLarge):
            return str(error)
        found = _COLUMN.search(str(error.args[-1])) if error.args else None
        if found is None:
            return "a value does not fit its column"
        code = _code(error)
        if code == ER.DATA_TOO_LONG:
            return f"{found[1]} is too long"
        if code in _MISSING:
            return f"{found[1]} is missing"
        if code in _OUT_OF_RANGE:
            return f"{found[1]} is out of range"
        return f"{found[1]} is not an allowed value"

    def index_of(self, error: Exception) -> str:
        found = _KEY.search(str(error.args[-1])) if error.args else None
        return found[1] if found else ""


def _code(error: Exception) -> int:
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0
