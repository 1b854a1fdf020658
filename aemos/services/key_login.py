"""Tells who asks with an API key, and what the key permits now."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from aemos.errors import Unauthenticated
from aemos.model import Instant, Principal, PrincipalKind
from aemos.services.auth import account_of
from aemos.services.catalogue import digest
from aemos.services.events import Events, UserChanged
from aemos.storage import api_keys
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction

PREFIX = "aemos_"
"""What every key begins with; no other token does."""

_INVALID = "Invalid or expired API key"
_MAX_KEYS = 10_000
_LONGEST = 100  # characters; a key has 49


@attrs.frozen
class _Standing:
    """What is remembered of a key: its row's id, its principal, as of when (reactor seconds)."""

    key_id: int
    principal: Principal
    loaded_at: float


class KeyLogin:
    """Remembers what keys permit, until `UserChanged` of who made them, or for a while.

    A key permits what it was made for as far as its maker may do that in its organization now; it
    is void while the maker is inactive or no member there.
    """

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: IReactorTime,
        remember: float,
        used: Callable[[PrincipalKind, int], object],
    ) -> None:
        """@param remember: seconds that changes of another process may stay unseen.

        @param used: told about each use with the id of the key, to keep `lastUsedAt`.
        """
        self._database, self._clock = database, clock
        self._remember, self._used = remember, used
        self._standings: dict[str, _Standing] = {}
        self._changes = 0
        events.subscribe(UserChanged, self._changed)

    async def principal(self, key: str) -> Principal:
        """@return: who may do what with this key; `id` is that of the user who made it.

        @raise Unauthenticated: unknown, revoked, expired, or its maker is gone.
        """
        if len(key) > _LONGEST:
            raise Unauthenticated(_INVALID)
        key_digest = digest(key)
        standing = self._standings.get(key_digest)
        if standing is None or self._clock.seconds() - standing.loaded_at >= self._remember:
            standing = await self._load(key_digest)
        ends = standing.principal.expires_at
        if ends is not None and ends <= Instant.of(self._clock.seconds()):
            raise Unauthenticated(_INVALID)
        self._used(PrincipalKind.API_KEY, standing.key_id)
        return standing.principal

    async def _load(self, key_digest: str) -> _Standing:
        changes = self._changes
        found = await self._database.read(_look_up, key_digest)
        self._standings.pop(key_digest, None)
        if found is None:
            raise Unauthenticated(_INVALID)
        standing = _Standing(*found, loaded_at=self._clock.seconds())
        if changes == self._changes:  # else what was read may be outdated already
            if len(self._standings) >= _MAX_KEYS:
                del self._standings[next(iter(self._standings))]
            self._standings[key_digest] = standing
        return standing

    def _changed(self, event: UserChanged) -> None:
        self._changes += 1
        self._standings = {
            key_digest: standing
            for key_digest, standing in self._standings.items()
            if standing.principal.id != event.user_id
        }


def _look_up(tx: Transaction, key_digest: str) -> tuple[int, Principal] | None:
    """@return: the id of the row and who it stands for; None = the key is good for nothing."""
    row = api_keys.find_by_digest(tx, key_digest)
    if row is None:
        return None
    maker, organization = account_of(tx, row["created_by"]), row["organization_id"]
    if maker is None or not (maker.administrator or organization in maker.granted):
        return None
    held = maker.permissions if maker.administrator else maker.granted[organization]
    return row["id"], Principal(
        kind=PrincipalKind.API_KEY,
        name=row["prefix"],
        id=row["created_by"],
        permissions={organization: frozenset(row["permissions"]).intersection(held)},
        credential=key_digest,
        expires_at=row["expires_at"],
    )
