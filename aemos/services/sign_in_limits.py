"""Slows down who guesses passwords: growing pauses and then a lock, per account and per address."""

from __future__ import annotations

from math import ceil

import attrs
from twisted.internet.interfaces import IReactorTime

from aemos.config.schema import Auth
from aemos.errors import TooManyRequests

_REMEMBERED = 20_000  # accounts and addresses each; of more the one that failed longest ago goes
_FIRST_PAUSE = 1.0  # seconds; each further failure doubles it


class TooManySignIns(TooManyRequests):
    """Too many sign-ins failed. `retry_after` is seconds; the text is the same for every cause."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many failed sign-ins, please try again later")
        self.retry_after = ceil(retry_after)


@attrs.define
class _Failures:
    """Failures in a row; `until` is when the next attempt may come (reactor seconds)."""

    count: int = 0
    last: float = 0.0
    until: float = 0.0


class _Record:
    """Failures by key, bounded; a key without one for as long as the longest lock starts anew."""

    def __init__(self, allowed: int, lock: float, clock: IReactorTime) -> None:
        self._allowed, self._lock, self._clock = allowed, lock, clock
        self._known: dict[str, _Failures] = {}

    def wait(self, key: str) -> float:
        """@return: seconds until the next attempt may come."""
        known = self._known.get(key)
        return 0.0 if known is None else max(0.0, known.until - self._clock.seconds())

    def add(self, key: str) -> None:
        now = self._clock.seconds()
        known = self._known.pop(key, None)  # so that it becomes the newest
        if known is None or now - known.last > self._lock:
            known = _Failures()
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        known.count, known.last = known.count + 1, now
        excess = known.count - self._allowed
        if excess >= 0:
            # The exponent is bounded, too: a float ends at two to the power of 1024.
            known.until = now + min(self._lock, _FIRST_PAUSE * 2.0 ** min(excess, 30))
        self._known[key] = known

    def take_back(self, key: str) -> None:
        known = self._known.get(key)
        if known is not None:
            known.count -= 1
            known.until = 0.0
            if known.count <= 0:
                del self._known[key]

    def forget(self, key: str) -> None:
        self._known.pop(key, None)


class SignInLimits:
    """Asked before a password is looked at.

    An attempt counts as failed until it is known to be none, so that many at once gain nothing. An
    account counts whether there is one of that e-mail or not: the answer tells nothing about it.
    """

    def __init__(self, settings: Auth, clock: IReactorTime) -> None:
        self._accounts = _Record(settings.account_failures, settings.lock, clock)
        self._addresses = _Record(settings.address_failures, settings.lock, clock)

    def begin(self, email: str, address: str) -> None:
        """Count an attempt.

        @param address: of the client, "" for one that has none or is limited elsewhere.
        @raise TooManySignIns: it comes too early, and is not counted.
        """
        account = email.lower()
        wait = max(self._accounts.wait(account), self._addresses.wait(address))
        if wait:
            raise TooManySignIns(wait)
        self._accounts.add(account)
        if address:
            self._addresses.add(address)

    def succeeded(self, email: str, address: str) -> None:
        """The attempt was none of a guesser. Others from the same address still count."""
        self._accounts.forget(email.lower())
        self._addresses.take_back(address)

    def undecided(self, email: str, address: str) -> None:
        """Nobody could tell just now: the attempt did not happen."""
        self._accounts.take_back(email.lower())
        self._addresses.take_back(address)
