"""Remembers when tokens and keys were last used, without a write for each use."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from aemos.model import Instant, PrincipalKind
from aemos.services.catalogue import Credential, Identity
from aemos.services.lazy_writes import LazyWrites
from aemos.storage import token_use
from aemos.storage.database import Database

_EVERY = 60_000  # milliseconds between two writes for one token


class TokenUse:
    """Notes uses in memory and writes them together; a token's `lastUsed` is exact to a minute."""

    def __init__(self, database: Database, clock: IReactorTime, limit: int = 100_000) -> None:
        """@param limit: tokens remembered at most; the one used longest ago is forgotten first."""
        self._clock, self._limit = clock, limit
        self._noted: dict[tuple[PrincipalKind, int], Instant] = {}
        self._writes: LazyWrites[tuple[PrincipalKind, int], Instant] = LazyWrites(
            "the last use of tokens", database, clock, token_use.touch
        )

    def used(self, identity: Identity, credential: Credential) -> None:
        """Note that somebody signed in with this token of a sensor or device just now."""
        self.note(identity.kind, credential.id)

    def note(self, kind: PrincipalKind, row_id: int) -> None:
        """Note that what is stored in this row of its table was used just now."""
        now = Instant.of(self._clock.seconds())
        key = (kind, row_id)
        noted = self._noted.pop(key, None)
        if noted is not None and now - noted < _EVERY:
            self._noted[key] = noted
            return
        if len(self._noted) >= self._limit:
            oldest = next(iter(self._noted))
            del self._noted[oldest]
            self._writes.forget(oldest)
        self._noted[key] = now
        self._writes.put(key, now)

    async def stop(self) -> None:
        """Write what is noted and end; what the database does not take now is lost."""
        await self._writes.stop()
