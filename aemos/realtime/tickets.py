"""Tickets: what stands for a token in an address, for a moment and for one use."""

from __future__ import annotations

import secrets

from twisted.internet.interfaces import IReactorTime

from aemos.model import Instant

LIFETIME = 30.0
"""Seconds in which a ticket must be used."""
_MOST = 10_000


class Tickets:
    """Keeps the tokens behind the tickets that are good just now, in memory."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._tokens: dict[str, tuple[float, str]] = {}

    def issue(self, token: str) -> tuple[str, Instant]:
        """@return: a new ticket, and when it expires. Of too many the oldest is good no more."""
        self._forget_expired()
        if len(self._tokens) >= _MOST:
            del self._tokens[next(iter(self._tokens))]
        ticket = secrets.token_urlsafe(24)
        expires = self._clock.seconds() + LIFETIME
        self._tokens[ticket] = (expires, token)
        return ticket, Instant.of(expires)

    def redeem(self, ticket: str) -> str | None:
        """@return: the token that this ticket stood for; None = it is not good (any more)."""
        self._forget_expired()
        found = self._tokens.pop(ticket, None)
        return None if found is None else found[1]

    def _forget_expired(self) -> None:
        now = self._clock.seconds()
        while self._tokens:
            ticket, (expires, _) = next(iter(self._tokens.items()))
            if expires > now:
                return
            del self._tokens[ticket]
