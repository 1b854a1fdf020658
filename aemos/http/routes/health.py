"""`/health`: does the process answer, and can it do its work (spec/http-api.md section 4.12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from aemos.errors import StorageUnavailable
from aemos.http.render import Answer, success
from aemos.http.routing import API, Auth, Call, route
from aemos.model import Instant
from aemos.storage.database import Database

_PING_TIMEOUT = 2.0  # seconds

Part = Callable[[], Mapping[str, Any]]
"""Tells about one part of the server: `{"status": "ok" | "error", ...}`."""


class Health:
    """Liveness and readiness; the database is asked each time, other parts tell what they know."""

    prefixes = (f"{API}/health",)

    def __init__(self, database: Database, clock: IReactorTime, parts: Mapping[str, Part]) -> None:
        """@param parts: by name, e.g. `{"mqtt": ...}`; a part whose status is not "ok" is not ready."""
        self._database, self._clock, self._parts = database, clock, parts

    @route("GET", "", auth=Auth.OPEN)
    async def overview(self, call: Call) -> Answer:
        """Tell how the server and its parts are; 500 while the database is away."""
        message = await self._database_error()
        database = {"status": "ok"} if message is None else {"status": "error", "message": message}
        services = {"database": database, **{name: part() for name, part in self._parts.items()}}
        status = 200 if message is None else 500
        return Answer({"status": database["status"], "timestamp": self._now(), "services": services}, status)

    @route("GET", "/ready", auth=Auth.OPEN)
    async def ready(self, call: Call) -> Answer:
        """Compat: always ready; `readiness` is the one that looks."""
        return Answer({"status": "ready"})

    @route("GET", "/live", auth=Auth.OPEN)
    async def live(self, call: Call) -> Answer:
        """The process answers."""
        return Answer({"status": "alive"})

    @route("GET", "/liveness", auth=Auth.OPEN)
    async def liveness(self, call: Call) -> Answer:
        """The process answers, with its time."""
        return Answer({"status": "alive", "timestamp": self._now()})

    @route("GET", "/readiness", auth=Auth.OPEN)
    async def readiness(self, call: Call) -> Answer:
        """Tell whether requests should be sent here; 503 names the part that is not ready."""
        checks = {
            "database": _word(await self._database_error() is None),
            # Compat: the queue is built in, so there is no Redis that could be away.
            "redis": "ready",
            "backpressure": "circuit open - not accepting traffic" if self._database.writer.full else "ready",
        }
        checks |= {name: _word(part().get("status") == "ok") for name, part in self._parts.items()}
        ready = all(check == "ready" for check in checks.values())
        return Answer({"status": _word(ready), "timestamp": self._now(), "checks": checks}, 200 if ready else 503)

    async def _database_error(self) -> str | None:
        """@return: None if the database answers, else why not."""
        ping: defer.Deferred[None] = self._database.ping()
        ping.addTimeout(_PING_TIMEOUT, self._clock)
        try:
            await ping
        except StorageUnavailable as error:
            return str(error)
        except defer.TimeoutError:
            return f"no answer within {_PING_TIMEOUT:.0f} seconds"
        return None

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _word(ready: bool) -> str:
    return "ready" if ready else "not ready"


class Test:
    """`/test`: a first request to try (spec/http-api.md section 4.14)."""

    prefixes = ("/test",)

    @route("GET", "", auth=Auth.OPEN)
    async def test(self, call: Call) -> Answer:
        """The server answers."""
        return success(message="Server is running correctly!")
