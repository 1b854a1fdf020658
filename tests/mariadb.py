"""A MariaDB server of the tests' own: private folder, free port, killed without mercy if asked."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql

from tests.parts import need

_START = 60.0  # seconds
_STOP = 20.0  # seconds to shut down
_NO_AIO = "--innodb-use-native-aio=0"  # the kernel grants it to few processes at a time
_LOG_SIZE = "--innodb-log-file-size=16M"
# A server refuses to run as root unless it is told to.
_USER_OPTIONS = ["--user=root"] if os.geteuid() == 0 else []

_KEPT = Path(__file__).parents[1] / ".pytest_cache" / "d" / "mariadb"
"""Data folders of servers that never ran, by version: what pytest keeps between its runs."""

_USER, _PASSWORD = "aemos", "p@ss/word%"


class MariaDB:
    """One server process on 127.0.0.1; databases in it are named and never reused."""

    def __init__(self, *options: str) -> None:
        """@param options: of the server process, beside those that suit tests."""
        # Not pytest's folder: the path of a unix socket has at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="aemos-mariadb-"))
        # A server that starts removes the temporary tables of all that share this folder.
        self._temporary = f"--tmpdir={tempfile.mkdtemp(dir=self._folder)}"
        self.port = _free_port()
        self._names = (f"aemos_{number}" for number in itertools.count(1))
        self._clean: list[str] = []
        self._as_new: dict[str, tuple[Any, ...]] = {}
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make the data folder."""
        shutil.copytree(_installed(), self._folder / "data")

    def start(self) -> None:
        """Start, or start again on the same port, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                need("mariadbd"),
                "--no-defaults",
                *_USER_OPTIONS,
                f"--datadir={self._folder / 'data'}",
                f"--socket={self._folder / 's'}",
                f"--pid-file={self._folder / 'pid'}",
                f"--log-error={self._folder / 'log'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=64M",
                self._temporary,
                _NO_AIO,
                _LOG_SIZE,
                "--debug-no-sync",  # killing the server loses nothing, only a power cut would
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START
        # Not with PyMySQL: it leaves a socket open when a connection is refused.
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.05)
        self.execute(f"CREATE USER IF NOT EXISTS '{_USER}'@'%%' IDENTIFIED BY %s", (_PASSWORD,))
        self.execute(f"GRANT ALL ON *.* TO '{_USER}'@'%%'", ())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def pid(self) -> int:
        """Of the server process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut down and remove the folder."""
        try:
            self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            # One that has just started may miss the signal; of its data nothing is needed any more.
            self._end(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_STOP)
            self._process = None

    def connect(self, database: str = "") -> pymysql.connections.Connection[Any]:
        """@return: a connection as root, in autocommit mode."""
        return pymysql.connect(
            unix_socket=str(self._folder / "s"),
            user="root",
            database=database or None,
            autocommit=True,
            charset="utf8mb4",
            ssl_disabled=True,
        )

    def execute(self, sql: str, params: tuple[Any, ...] | None = None, database: str = "") -> Any:
        """Run one statement as root. @return: its rows."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def new_database(self) -> str:
        """@return: the name of a new, empty database."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name}")

    def keep(self, name: str) -> None:
        """Remember what a migrated database with nothing in it looks like: it can be reused."""
        with closing(self.connect(name)) as connection, connection.cursor() as cursor:
            self._as_new[name] = _looks(cursor, name)

    def borrow(self) -> str | None:
        """@return: the name of a database that is as migrated, if there is one."""
        return self._clean.pop() if self._clean else None

    def give_back(self, name: str) -> None:
        """Empty a database for the next test, or drop it if that does not make it as new.

        Making sixty tables takes a second, emptying the few that a test used does not.
        """
        with closing(self.connect(name)) as connection, connection.cursor() as cursor:
            _empty(cursor, name)
            as_new = _looks(cursor, name) == self._as_new[name]
        if as_new:
            self._clean.append(name)
        else:
            self.drop(name)

    def url(self, name: str, port: int | None = None) -> str:
        """@param port: of something that stands in between. @return: for `database.url`."""
        return f"mysql://{_USER}:p%40ss%2Fword%25@127.0.0.1:{port or self.port}/{name}"


def _installed() -> Path:
    """@return: a new data folder to copy; the server takes seconds to make one."""
    version = subprocess.run([need("mariadbd"), "--version"], capture_output=True, check=True)
    name = hashlib.sha256(version.stdout).hexdigest()[:16]
    _KEPT.mkdir(parents=True, exist_ok=True)
    kept, part = _KEPT / name, _KEPT / f"{name}.part"
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others of the same run want it at the same time
        if not kept.exists():
            shutil.rmtree(part, ignore_errors=True)
            _install(part)
            part.rename(kept)
    return kept


def _install(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run(
            [
                need("mariadb-install-db"),
                "--no-defaults",
                *_USER_OPTIONS,
                f"--datadir={folder}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                f"--tmpdir={temporary}",
                _NO_AIO,
                _LOG_SIZE,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{done.stdout}\n{done.stderr}")


_SEEDED = frozenset(("Permission", "Role", "RolePermission", "schema_migration"))
"""Tables that migrations fill; a test that changes one gets its database dropped."""

_LAYOUT = """
    SELECT MD5(GROUP_CONCAT(part ORDER BY part)) FROM (
        SELECT CONCAT_WS(' ', TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, EXTRA) AS part
        FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %(name)s
        UNION ALL
        SELECT CONCAT_WS(' ', TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE)
        FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %(name)s
        UNION ALL
        SELECT CONCAT_WS(' ', EVENT_OBJECT_TABLE, TRIGGER_NAME)
        FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %(name)s
    ) AS parts
"""


def _looks(cursor: Any, name: str) -> tuple[Any, ...]:
    """@return: equal for databases with the same tables, columns, indexes and seeded rows."""
    cursor.execute("SET SESSION group_concat_max_len = 1000000")
    cursor.execute(_LAYOUT, {"name": name})
    layout = cursor.fetchone()
    cursor.execute(f"CHECKSUM TABLE {', '.join(sorted(_SEEDED))}")
    return (layout, cursor.fetchall())


def _empty(cursor: Any, name: str) -> None:
    """Truncate each table that holds rows or has given out an id, but not the seeded ones."""
    cursor.execute(
        "SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s",
        (name,),
    )
    tables = [(table, next_id) for table, next_id in cursor.fetchall() if table not in _SEEDED]
    cursor.execute(
        " UNION ALL ".join(f"(SELECT '{table}' FROM `{table}` LIMIT 1)" for table, _ in tables)
    )
    filled = {row[0] for row in cursor.fetchall()}
    cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
    for table, next_id in tables:
        if table in filled or (next_id or 1) > 1:
            cursor.execute(f"TRUNCATE TABLE `{table}`")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
