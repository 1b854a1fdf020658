"""The one writer: commits what many messages store together, and tells each when it is stored.

While one transaction runs, units queue; when it has committed, the next takes all that queued, up
to `max_batch` rows. An idle server so commits a single unit at once, a busy one fills its batches
by itself, without a timer. Promises P1, P3, P6 and P7 of the design live here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import RowRefused, StorageUnavailable
from aemos.model import Instant
from aemos.storage.dialects.base import Connection, Dialect, Trouble, translated
from aemos.storage.transaction import CommitInDoubt, Transaction, in_transaction

T = TypeVar("T")

_AT_ONCE = 1.0  # seconds: a connection that the server has dropped when it was idle says so sooner
_ATTEMPTS = 3  # of a transaction that met a deadlock or lock time-out, before it is split


class Rows(Protocol):
    """Knows how to store one sort of items, many at once."""

    def store(self, tx: Transaction, items: Sequence[Any]) -> None:
        """Called in the writer's thread with the items of many units in order of submission.

        May be called again with the same items when a transaction is repeated: what it writes into
        them must not depend on what an earlier attempt wrote. Each `Rows` has its turn once, where
        it first appears: those that always come behind others in their units are stored behind
        them. Raises what the driver raises.
        """
        ...


class Unit(msgspec.Struct, eq=False):
    """All that one message stores: it is committed as a whole, or refused as a whole.

    `parts` says what to store, and how. `done` is called in the reactor thread, once, in order of
    submission: with None after COMMIT, with the error when the database refused exactly this unit.
    The rest belongs to the writer.
    """

    parts: Sequence[tuple[Rows, Sequence[Any]]]
    done: Callable[[RowRefused | None], object]
    rows: int = 0
    started: bool = False
    withdrawn: bool = False
    writer: Writer | None = None

    def withdraw(self) -> bool:
        """Take it back if its batch has not started; `done` is then never called.

        @return: whether that worked.
        """
        return self.writer is not None and self.writer.withdraw(self)


class _Interaction:
    """An ordinary transaction that runs on the writer's thread (SQLite)."""

    __slots__ = ("args", "failed", "function", "result", "rows")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        self.result: Deferred[Any] = Deferred()
        self.failed = False


class _Stopped(Exception):
    """The grace is over; what is not committed stays so."""


class Writer:
    """Owns one thread and one connection; everything public is called in the reactor thread.

    What is read from outside: `queued` (rows waiting or being written), `batches` and `committed`
    (transactions and rows so far), `refused` (units), `commit_seconds` (how long the last
    transaction took), `away_since` (None while the database answers), `max_batch`.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        dialect: Dialect,
        *,
        node: str,
        max_batch: int = 500,
        max_queue: int = 100_000,
        retry_delay: float = 0.5,
    ) -> None:
        """
        @param reactor: IReactorFromThreads and IReactorTime.
        @param node: names this process among all that write into the database, 32 characters at
            most; never used by another, also not later.
        @param max_batch: rows of one transaction (a larger unit is a transaction of its own).
        @param max_queue: rows that may wait before the writer calls itself full.
        @param retry_delay: seconds between attempts while the database is away.
        """
        self._threads: IReactorFromThreads = reactor
        self._clock: IReactorTime = reactor
        self._dialect = dialect
        self._node = node
        self.max_batch = max_batch
        self._max_queue = max_queue
        self._retry_delay = retry_delay
        self._mark_sql = (
            "INSERT INTO writer_mark (node, batch, at) VALUES (%s, %s, %s) "
            + dialect.on_conflict(["node"], ["batch", "at"])
        )

        self.queued = 0
        self.batches = 0
        self.committed = 0
        self.refused = 0
        self.commit_seconds = 0.0
        self.away_since: Instant | None = None
        self._waiting_for_room: list[Callable[[], object]] = []
        self._afterwards: list[Callable[[], object]] = []
        self._stopping = False

        # Shared with the thread. Appending to and popping from a deque is atomic; `_taking` makes
        # "take a batch" and "withdraw a unit" exclude each other.
        self._queue: deque[Unit | _Interaction | None] = deque()
        self._taking = threading.Lock()
        self._awake = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._give_up = threading.Event()

        # Used by the thread alone.
        self._connection: Connection | None = None
        self._number = 0
        self._is_away = False

        self._thread = threading.Thread(target=self._run, name="aemos writer", daemon=True)
        self._ended: Deferred[None] = Deferred()

    # ---- in the reactor thread

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace: float) -> Deferred[None]:
        """Commit what is queued, then end. What cannot be committed in time is never acknowledged.

        @param grace: seconds.
        @return: fires when the thread has ended, or cannot be waited for any longer.
        """
        self._stopping = True
        if not self._thread.is_alive():
            return succeed(None)
        self._push(None)
        timer = self._clock.callLater(grace, self._give_up.set)
        last = self._clock.callLater(grace + 2 * self._retry_delay + 1, self._ended.callback, None)

        def ended(result: None) -> None:
            for call in (timer, last):
                if call.active():
                    call.cancel()

        return self._ended.addCallback(ended)

    def submit(self, unit: Unit) -> None:
        """Store the unit with the next batch; the outcome goes to `unit.done`."""
        unit.writer = self
        rows = 0
        for _, items in unit.parts:
            rows += len(items)
        unit.rows = rows
        self.queued += rows
        self._queue.append(unit)
        if not self._awake:
            self._awake = True
            self._wake.put(None)

    def interact(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run `function(tx, *args)` in a transaction of its own, in order of submission.

        Fails as `Database.transact` does; at once while the database is away, or stopping.
        """
        if self._stopping or self.away_since is not None:
            return fail(StorageUnavailable("the database cannot write now"))
        interaction = _Interaction(function, args)
        self._push(interaction)
        return interaction.result

    def withdraw(self, unit: Unit) -> bool:
        """See `Unit.withdraw`."""
        with self._taking:
            if unit.started or unit.withdrawn:
                return False
            unit.withdrawn = True
        self.queued -= unit.rows
        self._tell_of_room()
        return True

    @property
    def full(self) -> bool:
        """Whether so many rows wait that the doors had better stop reading."""
        return self.queued > self._max_queue

    def when_room(self, callback: Callable[[], object]) -> None:
        """Call back once when the writer is not `full` (any more); must not raise."""
        if self.full:
            self._waiting_for_room.append(callback)
        else:
            callback()

    def when_told(self, callback: Callable[[], object]) -> None:
        """For a unit's `done`: call back once when all units of its batch know their outcome."""
        self._afterwards.append(callback)

    def _push(self, item: _Interaction | None) -> None:
        self._queue.append(item)
        if not self._awake:
            self._awake = True
            self._wake.put(None)

    def _stored(self, units: Sequence[Unit], seconds: float) -> None:
        rows = sum([unit.rows for unit in units])
        self.queued -= rows
        self.batches += 1
        self.committed += rows
        self.commit_seconds = seconds
        self._answer(units, None)
        self._tell_of_room()

    def _refused(self, unit: Unit, error: RowRefused) -> None:
        self.queued -= unit.rows
        self.refused += 1
        self._answer([unit], error)
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        if self._waiting_for_room and not self.full:
            callbacks, self._waiting_for_room = self._waiting_for_room, []
            for callback in callbacks:
                callback()

    def _answer(self, units: Sequence[Unit], error: RowRefused | None) -> None:
        for unit in units:
            try:
                unit.done(error)
            except Exception:
                self._log.failure("what waited for a commit failed")
        callbacks, self._afterwards = self._afterwards, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                self._log.failure("what follows a commit failed")

    def _set_away(self, since: Instant | None, reason: str = "") -> None:
        if since is None and self.away_since is not None:
            seconds = (Instant.of(self._clock.seconds()) - self.away_since) / 1000
            self._log.info("the database is back after {seconds:.1f} s", seconds=seconds)
        elif since is not None:
            self._log.error("the database is away, writing waits: {reason}", reason=reason)
        self.away_since = since

    # ---- in the writer's thread

    def _run(self) -> None:
        try:
            while (work := self._next()) is not None:
                if isinstance(work, _Interaction):
                    self._interact(work)
                else:
                    self._store(work)
        except _Stopped:
            pass
        except BaseException:
            self._log.failure("the writer has failed")
            self._threads.callFromThread(self._set_away, self._now(), "the writer has failed")
        self._disconnect()
        self._threads.callFromThread(self._end)

    def _end(self) -> None:
        if not self._ended.called:
            self._ended.callback(None)

    def _next(self) -> list[Unit] | _Interaction | None:
        """Wait for work and take it; None = stop."""
        while True:
            while self._queue:
                taken = self._take()
                if taken is None or isinstance(taken, _Interaction) or taken:
                    return taken
            # First say "asleep", then look again: a unit that came in between would be forgotten.
            self._awake = False
            if self._queue:
                self._awake = True
                continue
            self._wake.get()

    def _take(self) -> list[Unit] | _Interaction | None:
        queue, room = self._queue, self.max_batch
        batch: list[Unit] = []
        with self._taking:
            while queue:
                item = queue[0]
                if item is None or isinstance(item, _Interaction):
                    if not batch:
                        queue.popleft()
                        return item
                    break
                rows = item.rows
                if rows > room and batch:
                    break
                queue.popleft()
                if not item.withdrawn:
                    item.started = True
                    batch.append(item)
                    room -= rows
        return batch

    def _store(self, units: list[Unit]) -> None:
        """Commit all units; by halves when the database refuses one of them, to find which (P7)."""
        pending = [units]
        while pending:
            batch = pending.pop()
            began = self._clock.seconds()
            error = self._commit(batch)
            if error is None:
                took = self._clock.seconds() - began
                self._threads.callFromThread(self._stored, batch, took)
            elif len(batch) == 1:
                self._threads.callFromThread(self._refused, batch[0], error)
            else:
                middle = len(batch) // 2
                pending += batch[middle:], batch[:middle]

    def _commit(self, batch: list[Unit]) -> RowRefused | None:
        """Commit the batch, waiting for the database for as long as it takes.

        @return: None when committed, else why it must be split or refused.
        @raise _Stopped: the grace is over.
        """
        attempts = 0
        in_doubt = False
        while True:
            idle, began = self._connection is not None, self._clock.seconds()
            try:
                connection = self._connect()
                if not (in_doubt and self._has_committed(connection)):
                    in_doubt = False
                    self._number += 1
                    now = self._now()
                    mark = self._mark_sql, (self._node, self._number, now)
                    in_transaction(connection, self._dialect, now, _write, batch, last=mark)
                self._is_back()
                return None
            except CommitInDoubt as doubt:
                in_doubt, error = True, doubt.error
            except Exception as raised:
                error = raised
            trouble = self._dialect.classify(error)
            attempts += 1
            if trouble is Trouble.BUSY and attempts < _ATTEMPTS:
                continue
            if trouble is Trouble.DUPLICATE and len(batch) == 1 and attempts == 1:
                # Another process may have stored the same reading just now: look again once.
                continue
            at_once = self._clock.seconds() - began < _AT_ONCE
            if trouble is Trouble.LOST and idle and at_once and attempts == 1 and not in_doubt:
                # Servers drop connections that idle; only a new one tells whether they are away.
                self._disconnect()
                continue
            locked = trouble is Trouble.BUSY and len(batch) == 1  # by others: not its fault
            if in_doubt or locked or trouble in (Trouble.LOST, Trouble.AWAY):
                self._wait(error)
            else:
                self._is_back()
                return self._refusal(error, trouble)

    def _refusal(self, error: Exception, trouble: Trouble | None) -> RowRefused:
        if trouble is None:
            # A mistake of ours; that it must not stop the writer makes it no less loud.
            self._log.failure("rows could not be stored", Failure(error))
            return RowRefused("could not be stored")
        refusal = translated(error, self._dialect)
        return refusal if isinstance(refusal, RowRefused) else RowRefused("was locked for too long")

    def _has_committed(self, connection: Connection) -> bool:
        """Whether the transaction whose COMMIT failed took place after all.

        Reading the mark for update waits until the server has ended that transaction either way:
        it may not have noticed yet that its client is gone.
        """
        sql = f"SELECT batch FROM writer_mark WHERE node = %s{self._dialect.for_update}"
        batch = in_transaction(
            connection, self._dialect, self._now(), lambda tx: tx.value(sql, (self._node,))
        )
        return bool(batch == self._number)

    def _wait(self, error: Exception) -> None:
        """The database is away: let go of the connection, fail who cannot wait, pause."""
        self._disconnect()
        if not self._is_away:
            self._is_away = True
            self._threads.callFromThread(self._set_away, self._now(), str(error))
        for item in tuple(self._queue):
            if isinstance(item, _Interaction) and not item.failed:
                item.failed = True
                self._fail(item, StorageUnavailable("the database cannot write now"))
        if self._give_up.wait(self._retry_delay):
            raise _Stopped

    def _is_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._threads.callFromThread(self._set_away, None)

    def _interact(self, interaction: _Interaction) -> None:
        if interaction.failed:
            return
        try:
            result = in_transaction(
                self._connect(), self._dialect, self._now(), interaction.function, *interaction.args
            )
        except CommitInDoubt as doubt:
            self._fail(interaction, translated(doubt.error, self._dialect))
        except Exception as error:
            self._fail(interaction, translated(error, self._dialect))
        else:
            self._threads.callFromThread(interaction.result.callback, result)

    def _fail(self, interaction: _Interaction, error: Exception) -> None:
        self._threads.callFromThread(interaction.result.errback, Failure(error))

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._dialect.connect(writing=True)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception as error:
                self._log.debug("closing a lost connection: {error}", error=error)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _write(tx: Transaction, batch: list[Unit]) -> None:
    groups: dict[Rows, list[Any]] = {}
    for unit in batch:
        for rows, items in unit.parts:
            group = groups.get(rows)
            if group is None:
                groups[rows] = list(items)
            else:
                group += items
    for rows, items in groups.items():
        rows.store(tx, items)
