"""`/health`: does the process answer, and can it do its work (spec/http-api.md section 4.12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from twisted.internet.interfaces import IReactorTime

from aemos.http.render import Answer, success
from aemos.http.routing import API, Auth, Call, route
from aemos.model import Instant
from aemos.observability.health import Health

_CIRCUIT_OPEN = "circuit open - not accepting traffic"

Figures = Callable[[], Mapping[str, Any]]
"""Tells more about one part of the server, e.g. how many clients are connected."""


class HealthRoutes:
    """Liveness and readiness."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/health",)

    def __init__(
        self,
        health: Health,
        clock: IReactorTime,
        *,
        congested: Callable[[], bool],
        figures: Mapping[str, Figures] | None = None,
    ) -> None:
        """@param health: has at least the part `database`.

        @param congested: whether the doors are being held back, as more waits than can be stored.
        @param figures: by name of the part; shown by `GET /health` beside its status.
        """
        self._health, self._clock = health, clock
        self._congested, self._figures = congested, figures or {}

    @route("GET", "", auth=Auth.OPEN)
    async def overview(self, call: Call) -> Answer:
        """Tell how the server and its parts are; 500 while the database is away."""
        problems = await self._health.check()
        services = {name: {"status": "ok", **figures()} for name, figures in self._figures.items()}
        for name, problem in problems.items():
            status = {"status": "error", "message": problem} if problem else {"status": "ok"}
            services[name] = {**services.get(name, {}), **status}
        working = services["database"]["status"] == "ok"
        body = {
            "status": "ok" if working else "error",
            "timestamp": self._now(),
            "services": services,
        }
        return Answer(body, 200 if working else 500)

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
        """Tell whether requests should be sent here; 503 shows the part that is not ready."""
        problems = await self._health.check()
        checks = {name: "not ready" if problem else "ready" for name, problem in problems.items()}
        # Compat: the rule queue is built in, so there is no Redis that could be away.
        checks["redis"] = "ready"
        checks["backpressure"] = _CIRCUIT_OPEN if self._congested() else "ready"
        ready = all(check == "ready" for check in checks.values())
        body = {
            "status": "ready" if ready else "not ready",
            "timestamp": self._now(),
            "checks": checks,
        }
        return Answer(body, 200 if ready else 503)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


class TestRoutes:
    """`/test`: a first request to try (spec/http-api.md section 4.14)."""

    prefixes: ClassVar[tuple[str, ...]] = ("/test",)

    @route("GET", "", auth=Auth.OPEN)
    async def test(self, call: Call) -> Answer:
        """The server answers."""
        return success(message="Server is running correctly!")
