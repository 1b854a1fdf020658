"""Writes that may wait a little: the newest value of each key, many keys in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.errors import AemosError, RowRefused
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

K = TypeVar("K")
V = TypeVar("V")

_DELAY = 1.0  # seconds in which values of different keys come together
_AFTER_FAILURE = 60.0  # seconds
_BATCH = 500  # keys in one transaction


class LazyWrites(Generic[K, V]):
    """Keeps what is to be written in memory until its turn comes.

    One transaction a second at most, so that a storm of changes does not become a storm of writes.
    """

    _log = Logger()

    def __init__(
        self,
        what: str,
        database: Database,
        clock: IReactorTime,
        write: Callable[[Transaction, Mapping[K, V]], object],
    ) -> None:
        """@param what: for the log. @param write: called in a thread, in a write transaction."""
        self._what, self._database, self._clock, self._write_batch = what, database, clock, write
        self._waiting: dict[K, V] = {}
        self._timer: IDelayedCall | None = None
        self._lock = DeferredLock()  # of two writes of one key the newer must be the later
        self._stopped = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, key: K, value: V) -> None:
        """Write this value soon, in place of one of the same key that still waits."""
        self._waiting[key] = value
        self._write_in(_DELAY)

    def forget(self, key: K) -> None:
        """Do not write what waits for this key."""
        self._waiting.pop(key, None)

    def forget_oldest(self) -> None:
        """Do not write what has waited longest."""
        self._waiting.pop(next(iter(self._waiting)), None)

    async def flush(self) -> bool:
        """Write what waits, now. @return: whether the database took everything."""
        self._cancel()
        while self._waiting:
            if not await self._write():
                self._write_in(_AFTER_FAILURE)
                return False
        return True

    async def stop(self) -> None:
        """Write what waits and end; what the database does not take now is lost."""
        self._stopped = True
        await self.flush()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_in(self, seconds: float) -> None:
        if self._timer is None and not self._lock.locked and not self._stopped:
            self._timer = self._clock.callLater(seconds, self._start)

    def _start(self) -> None:
        self._timer = None
        writing = ensureDeferred(self._write())
        writing.addCallback(self._ended)
        writing.addErrback(
            lambda failure: self._log.failure("writing {what} failed", failure, what=self._what)
        )

    def _ended(self, written: bool) -> None:
        if self._waiting:
            self._write_in(_DELAY if written else _AFTER_FAILURE)

    async def _write(self) -> bool:
        """@return: whether a batch was written; if not, it waits on."""
        await self._lock.acquire()
        try:
            return await self._write_some()
        finally:
            self._lock.release()

    async def _write_some(self) -> bool:
        batch = dict(islice(self._waiting.items(), _BATCH))
        try:
            try:
                await self._database.transact(self._write_batch, batch)
            except RowRefused:
                await self._write_apart(batch)
        except AemosError as error:
            self._log.warn("{what} not written yet: {error}", what=self._what, error=error)
            return False
        for key, value in batch.items():
            if self._waiting.get(key) is value:
                del self._waiting[key]
        return True

    async def _write_apart(self, batch: Mapping[K, V]) -> None:
        """One value that the database will never take must not hold up the others."""
        for key, value in batch.items():
            try:
                await self._database.transact(self._write_batch, {key: value})
            except RowRefused as error:
                self._log.error(
                    "{what} of {key} cannot be written: {error}",
                    what=self._what,
                    key=key,
                    error=error,
                )
