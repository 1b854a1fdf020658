"""A pool of database connections that are checked before use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from typing import Any, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from aemos.errors import StorageUnavailable
from aemos.storage.dialects.base import Connection, Dialect

T = TypeVar("T")

_PATIENCE = 15.0  # seconds
_LAST_CALLS = 1.0  # seconds that calls in progress get at the end, and once more when cut off


class CheckedPool(adbapi.ConnectionPool):
    """One connection for each of a few threads, replaced when the server has dropped it.

    A server closes connections that were idle for its `wait_timeout`, or when it restarts. adbapi
    alone then fails one statement per connection (`cp_reconnect`), or every later one. Here a
    connection that was idle for `ping_after` seconds is asked first; asking each time would cost
    half as much again as the statement itself.

    A server that hangs holds up the threads. What has waited too long for one of them by then is
    not begun.
    """

    connections: dict[int, Connection]

    _log = Logger()

    def __init__(
        self, reactor: Any, dialect: Dialect, *, size: int, ping_after: float, writing: bool
    ) -> None:
        """
        @param reactor: IReactorThreads, IReactorTime and IReactorCore.
        @param size: connections at most.
        @param ping_after: seconds.
        @param writing: whether its connections may change anything.
        """
        # adbapi insists on the name of a module; the dialect is what connects.
        super().__init__("sqlite3", cp_min=1, cp_max=size, cp_reactor=reactor)  # type: ignore[no-untyped-call]
        self._dialect = dialect
        self._writing = writing
        self._ping_after = ping_after
        self._clock: IReactorTime = reactor
        self._last_used: dict[int, float] = {}
        # One that waits for a server for ever must not keep the process.
        self.threadpool.threadFactory = _DaemonThread

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Call `function(*args)` in a thread of the pool, where `connect` gives its connection.

        @return: its result; `StorageUnavailable` after `close`, when the threads would say nothing,
            and when it has waited so long for one that nobody is likely to wait for it.
        """
        if self.threadpool.joined:
            return fail(StorageUnavailable("the database is closed"))
        asked = self._clock.seconds()

        def begin() -> T:
            if self._clock.seconds() - asked > _PATIENCE:
                raise StorageUnavailable("the database had no time")
            return function(*args)

        return deferToThreadPool(self._reactor, self.threadpool, begin)

    def connect(self) -> Connection:
        """@return: this thread's connection, checked if it was idle.

        Raises what the driver raises when there is no connecting.
        """
        thread = get_ident()
        connection = self.connections.get(thread)
        now = self._clock.seconds()
        if connection is not None:
            idle = now - self._last_used[thread]
            if idle >= self._ping_after and not connection.alive():
                self.forget()
                connection = None
        if connection is None:
            if self.threadpool.joined:
                raise StorageUnavailable("the database is closed")
            connection = self._dialect.connect(writing=self._writing)
            self.connections[thread] = connection
        self._last_used[thread] = now
        return connection

    def forget(self) -> bool:
        """Close this thread's connection, if it has one; the next `connect` opens another.

        @return: whether it had one.
        """
        connection = self.connections.get(get_ident())
        if connection is None:
            return False
        self.disconnect(connection)  # type: ignore[no-untyped-call]
        return True

    def finalClose(self) -> None:
        """Let the threads end; what the database does not answer soon is cut off."""
        ending = threading.Thread(target=super().finalClose, daemon=True)
        ending.start()
        ending.join(_LAST_CALLS)
        if ending.is_alive():
            for connection in list(self.connections.values()):
                connection.abandon()
            ending.join(_LAST_CALLS)
        if ending.is_alive():
            self._log.warn("the database does not answer: its connections are left as they are")


class _DaemonThread(threading.Thread):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, daemon=True, **options)
