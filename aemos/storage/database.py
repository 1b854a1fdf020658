"""The database as services hold it: read, transact, and the writer."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.config.schema import Settings
from aemos.errors import RowRefused, StartError, StorageUnavailable
from aemos.model import Instant
from aemos.storage import audit, migrate
from aemos.storage.dialects.base import Dialect, Trouble, translated
from aemos.storage.location import dialect_of
from aemos.storage.pool import CheckedPool
from aemos.storage.transaction import CommitInDoubt, Transaction, in_transaction
from aemos.storage.writer import Unit, Writer

T = TypeVar("T")

_ATTEMPTS = 5  # of an ordinary transaction that meets deadlocks
_AT_ONCE = 1.0  # seconds: a connection that the server has dropped when it was idle says so sooner
_SAY_AGAIN = 10.0  # seconds after which the same trouble is logged again
_STANDSTILL = 1.5  # seconds without a commit, while something waits for one
_PAUSE = 0.01  # seconds between them at most, doubled each time; only its own thread waits


def open_database(reactor: Any, settings: Settings) -> Database:
    """Make the database that the settings name; nothing is opened before `start`.

    @param reactor: IReactorThreads, IReactorTime and IReactorCore.
    @raise ConfigurationError: the URL names none.
    """
    return Database(reactor, dialect_of(settings), settings)


class Database:
    """One database: a pool for reading (and on MySQL for ordinary writes), and the writer."""

    _log = Logger()

    def __init__(self, reactor: Any, dialect: Dialect, settings: Settings) -> None:
        self._clock: IReactorTime = reactor
        self.dialect = dialect
        self._told = "", 0.0
        section = settings.database
        self.writer = Writer(
            reactor,
            dialect,
            node=uuid.uuid4().hex,
            max_batch=section.max_batch,
            max_queue=section.max_queue,
            retry_delay=section.retry_delay,
        )
        self._pool = CheckedPool(
            reactor,
            dialect,
            size=section.pool_size,
            ping_after=section.ping_after,
            writing=not dialect.single_writer,
        )

    async def start(self) -> list[str]:
        """Connect, check the version, bring the schema up to date, then let the writer begin.

        @return: the names of the migrations that were applied.
        @raise StartError: one line that says what is wrong.
        """
        applied = await self._pool.run(self._prepare)
        self.writer.start()
        return applied

    def _prepare(self) -> list[str]:
        dialect = self.dialect
        try:
            connection = dialect.connect(writing=True, patient=True)
        except Exception as error:
            if dialect.classify(error) is None:
                raise
            raise StartError(f"the database cannot be opened: {error}") from error
        with contextlib.closing(connection):
            connection.require_version()
            return migrate.migrate(connection, dialect, self._now())

    async def stop(self, grace: float = 10.0) -> None:
        """Let the writer commit what is queued, then close everything.

        @param grace: seconds that the writer gets.
        """
        await self.writer.stop(grace)
        self._pool.close()  # type: ignore[no-untyped-call]

    def read(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run `function(tx, *args)` in a thread; it must not write.

        @return: its result, or `StorageUnavailable`, or whatever it raised.
        """
        return self._pool.run(self._read, function, args)

    def transact(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run `function(tx, *args)` in a thread and commit; what it raises rolls back.

        It may be run more than once: deadlocks and lock time-outs are tried again. What it changes
        is recorded if somebody is acting (`aemos.storage.audit`).

        @return: its result after COMMIT, or `StorageUnavailable`, `DuplicateRow`,
            `MissingReference`, `RowRefused`, or whatever it raised.
        """
        who = audit.actor()
        if who is not None:
            return self._interact(audit.recorded, who, function, *args)
        return self._interact(function, *args)

    def _interact(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        if self.dialect.single_writer:
            return self.writer.interact(function, *args)
        return self._pool.run(self._transact, function, args)

    def ping(self) -> Deferred[None]:
        """@return: fails with `StorageUnavailable` while the database is away, or stands still."""
        return ensureDeferred(self._ping())

    async def _ping(self) -> None:
        if self.writer.away_since is not None:
            raise StorageUnavailable(f"the database is away since {self.writer.away_since.iso()}")
        await self.read(lambda tx: tx.value("SELECT 1"))
        if self.writer.queued:
            await self._progress()

    def _progress(self) -> Deferred[None]:
        """Somebody who locks a table holds up the writer alone, and reading goes on.

        @return: fires when what is queued is committed, or at least some of it before long; fails
            with `StorageUnavailable` otherwise.
        """
        answer: Deferred[None] = Deferred()
        batches = self.writer.batches

        def committed(error: RowRefused | None) -> None:
            if timer.active():
                timer.cancel()
                answer.callback(None)

        def late() -> None:
            behind.withdraw()
            if self.writer.batches > batches:
                answer.callback(None)
            else:
                answer.errback(StorageUnavailable("the database commits nothing"))

        behind = Unit((), committed)
        timer: IDelayedCall = self._clock.callLater(_STANDSTILL, late)
        self.writer.submit(behind)
        return answer

    def _read(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        def read() -> T:
            with contextlib.closing(self._pool.connect().cursor()) as cursor:
                return function(Transaction(cursor, self.dialect, self._now()), *args)

        return self._persistently(read)

    def _transact(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        def transact() -> T:
            return in_transaction(self._pool.connect(), self.dialect, self._now(), function, *args)

        return self._persistently(transact)

    def _persistently(self, work: Callable[[], T]) -> T:
        """Try again where that may help: after a lost connection once, after a deadlock more often.

        @raise Exception: in the words of `aemos.errors` if it is the driver's.
        """
        reconnected = False
        attempts = 0
        while True:
            in_doubt, began = False, self._clock.seconds()
            try:
                return work()
            except CommitInDoubt as doubt:
                in_doubt, error = True, doubt.error
            except Exception as raised:
                error = raised
            attempts += 1
            trouble = self.dialect.classify(error)
            if trouble is Trouble.BUSY and attempts < _ATTEMPTS:
                # At once, those that met here would meet again.
                time.sleep(random.uniform(0, _PAUSE * 2**attempts))  # noqa: S311
                continue
            if trouble in (Trouble.LOST, Trouble.AWAY):
                was_connected = self._pool.forget()
                at_once = self._clock.seconds() - began < _AT_ONCE
                if was_connected and at_once and not (reconnected or in_doubt):
                    reconnected = True
                    continue
                self._tell(error)
            problem = translated(error, self.dialect)
            if problem is error:
                raise error
            raise problem from error

    def _tell(self, error: Exception) -> None:
        """Say in the log why nothing can be read or changed: once, not for each who asked."""
        text, now = str(error), self._clock.seconds()
        told, at = self._told
        if text != told or now - at > _SAY_AGAIN:
            self._told = text, now
            self._log.warn("the database is not available: {error}", error=text)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())
