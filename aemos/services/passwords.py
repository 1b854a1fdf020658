"""Password hashes: bcrypt in a small thread pool of its own, with a bounded queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import bcrypt
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from aemos.config.schema import Auth
from aemos.errors import Unavailable

T = TypeVar("T")

_LIMIT = 72  # bytes that bcrypt looks at; the library refuses longer ones, Node.js cut them


class Passwords:
    """Makes and checks hashes off the reactor thread.

    How long a check takes tells nothing about the account: one without a hash and one with a
    cheaper hash of the original take as long as a new one.
    """

    def __init__(self, settings: Auth, reactor: Any) -> None:
        self._cost, self._queue = settings.bcrypt_cost, settings.bcrypt_queue
        self._reactor = reactor
        self._pool = ThreadPool(0, settings.bcrypt_threads, name="passwords")
        self._waiting = 0

    def start(self) -> None:
        """Start the pool."""
        self._pool.start()

    def stop(self) -> None:
        """Stop the pool; a check that is running is finished first."""
        self._pool.stop()

    async def hash(self, password: str) -> str:
        """@return: a hash to store (`$2b$`, which bcryptjs reads as well).

        @raise Unavailable: too many are waiting already.
        """
        return await self._run(_hash, password, self._cost)

    async def check(self, password: str, hashed: str | None) -> bool:
        """@param hashed: `$2a$` or `$2b$`; None or anything else matches no password.

        @raise Unavailable: too many are waiting already.
        """
        return await self._run(_check, password, hashed or "", self._cost)

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        if self._waiting >= self._queue:
            raise Unavailable("too many sign-ins at once, please try again")
        self._waiting += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, function, *args)
        finally:
            self._waiting -= 1


def _hash(password: str, cost: int) -> str:
    return bcrypt.hashpw(_cut(password), bcrypt.gensalt(cost)).decode()


def _check(password: str, hashed: str, cost: int) -> bool:
    cheapest = 4
    try:
        matches = bcrypt.checkpw(_cut(password), hashed.encode())
    except ValueError:  # no bcrypt hash
        matches, done = False, cheapest
        bcrypt.hashpw(_cut(password), bcrypt.gensalt(cheapest))
    else:
        done = int(hashed[4:6])
    # Work doubles with each step: `done` and one of each of done..cost-1 make one of `cost`.
    for step in range(done, cost):
        bcrypt.hashpw(_cut(password), bcrypt.gensalt(step))
    return matches


def _cut(password: str) -> bytes:
    return password.encode("utf-8", "replace")[:_LIMIT]
