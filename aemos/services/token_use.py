"""Remembers when device tokens were last used, without a write for each use."""

from __future__ import annotations

from itertools import islice

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.errors import AemosError
from aemos.model import Instant, PrincipalKind
from aemos.services.catalogue import Credential, Identity
from aemos.storage import device_tokens
from aemos.storage.database import Database

_EVERY = 60_000  # milliseconds between two writes for one token
_DELAY = 1.0  # seconds in which uses of different tokens come together
_AFTER_FAILURE = 60.0  # seconds
_BATCH = 500  # tokens in one transaction


class TokenUse:
    """Notes uses in memory and writes them together; a token's `lastUsed` is exact to a minute."""

    _log = Logger()

    def __init__(self, database: Database, clock: IReactorTime, limit: int = 100_000) -> None:
        """@param limit: tokens remembered at most; the one used longest ago is forgotten first."""
        self._database, self._clock, self._limit = database, clock, limit
        self._noted: dict[tuple[PrincipalKind, int], Instant] = {}
        self._waiting: dict[tuple[PrincipalKind, int], Instant] = {}
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[bool] | None = None
        self._stopped = False

    def used(self, identity: Identity, credential: Credential) -> None:
        """Note that somebody signed in with this token just now."""
        now = Instant.of(self._clock.seconds())
        key = (identity.kind, credential.id)
        noted = self._noted.pop(key, None)
        if noted is not None and now - noted < _EVERY:
            self._noted[key] = noted
            return
        if len(self._noted) >= self._limit:
            oldest = next(iter(self._noted))
            del self._noted[oldest]
            self._waiting.pop(oldest, None)
        self._noted[key] = self._waiting[key] = now
        self._write_in(_DELAY)

    async def stop(self) -> None:
        """Write what is noted and end; what the database does not take now is lost."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        while self._waiting and await self._write():
            pass

    def _write_in(self, seconds: float) -> None:
        if self._timer is None and self._writing is None and not self._stopped:
            self._timer = self._clock.callLater(seconds, self._start)

    def _start(self) -> None:
        self._timer = None
        self._writing = writing = ensureDeferred(self._write())
        writing.addCallback(self._ended)
        writing.addErrback(lambda failure: self._log.failure("writing lastUsed failed", failure))

    def _ended(self, written: bool) -> bool:
        self._writing = None
        if self._waiting:
            self._write_in(_DELAY if written else _AFTER_FAILURE)
        return written

    async def _write(self) -> bool:
        """@return: whether a batch was written; if not, it waits on."""
        batch = dict(islice(self._waiting.items(), _BATCH))
        try:
            await self._database.transact(device_tokens.touch, batch)
        except AemosError as error:
            self._log.warn("lastUsed of device tokens is not written yet: {error}", error=error)
            return False
        for key, at in batch.items():
            if self._waiting.get(key) == at:
                del self._waiting[key]
        return True
