"""Brings what the server finds out about alarms into the database, in order, none lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import AemosError, DuplicateRow, StorageUnavailable
from aemos.services.alarms.lifecycle import Alarms
from aemos.services.alarms.subject import Transition
from aemos.services.events import Events
from aemos.storage.database import Database

_AT_ONCE = 100  # transitions in one transaction
_PAUSE = 1.0  # seconds between attempts while the database is away


class Recorder:
    """Waits for the database as long as it takes.

    What waits is bounded by the number of alarms: while the database is away no readings come, and
    the time alone raises or clears an alarm once.
    """

    _log = Logger()

    def __init__(
        self, database: Database, alarms: Alarms, events: Events, clock: IReactorTime
    ) -> None:
        self._database, self._alarms = database, alarms
        self._events, self._clock = events, clock
        self._waiting: deque[Transition] = deque()
        self._writing: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._stopped = False

    def put(self, transitions: Iterable[Transition]) -> None:
        """Store these after all that were put before, then publish what changed."""
        self._waiting.extend(transitions)
        self._begin()

    async def flush(self) -> None:
        """Wait until all is stored, or the database is found to be away."""
        while self._writing is not None:
            done: Deferred[None] = Deferred()
            self._writing.addCallback(done.callback)
            await done

    async def stop(self) -> None:
        """Store what waits; what the database does not take now is found out again at the start."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            self._begin()
        await self.flush()

    def _begin(self) -> None:
        if self._waiting and self._writing is None and self._retry is None:
            self._writing = writing = ensureDeferred(self._write())
            writing.addErrback(lambda failure: self._log.failure("alarms are not stored", failure))
            if writing.called:
                self._writing = None

    async def _write(self) -> None:
        size, repeated = _AT_ONCE, False
        try:
            while self._waiting:
                batch = [self._waiting[i] for i in range(min(size, len(self._waiting)))]
                try:
                    told = await self._database.transact(self._alarms.apply, batch)
                except StorageUnavailable as error:
                    self._log.warn("alarms not stored yet: {error}", error=error)
                    if not self._stopped:
                        self._retry = self._clock.callLater(_PAUSE, self._again)
                    return
                except DuplicateRow as error:
                    # Another server has raised it in the same moment: looked at again, it is there.
                    if repeated:
                        self._give_up(batch, error)
                    repeated = not repeated
                    continue
                except Exception as error:
                    # The others must not wait for ever behind one that cannot be stored.
                    if size == 1:
                        self._give_up(batch, error)
                    size = 1
                    continue
                size, repeated = _AT_ONCE, False
                for _ in batch:
                    self._waiting.popleft()
                for event in told:
                    self._events.publish(event)
        finally:
            self._writing = None

    def _give_up(self, batch: list[Transition], error: Exception) -> None:
        for transition in batch:
            self._waiting.popleft()
            if isinstance(error, AemosError):
                self._log.error(
                    "alarm {key} cannot be stored: {error}", key=transition.key, error=error
                )
            else:
                self._log.failure(
                    "alarm {key} cannot be stored", Failure(error), key=transition.key
                )

    def _again(self) -> None:
        self._retry = None
        self._begin()
