"""`/system`: the server itself, for those who run it; `/metrics/series`: its last minutes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Protocol

from msgspec import Meta
from twisted.logger import Logger

from aemos.config.load import describe
from aemos.config.schema import Settings
from aemos.errors import Forbidden
from aemos.http.render import Answer, success
from aemos.http.routing import API, Call, route
from aemos.http.schemas import Body, FreeQuery
from aemos.observability.series import Series
from aemos.services.refusals import Refusals


class Levelled(Protocol):
    """What has a level that may be changed at any time: `observability.logs.Observer`."""

    level: str


class NewLevel(Body):
    """Body of `PUT /system/log-level`."""

    level: Literal["debug", "info", "warn", "error"]


class Newest(FreeQuery):
    """`?limit=`."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class SystemRoutes:
    """Configuration and log level for System Admins, refusals for whoever may see the sensors."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/system",)
    _log = Logger()

    def __init__(self, settings: Settings, log: Levelled, refusals: Refusals) -> None:
        self._settings, self._level, self._refusals = settings, log, refusals

    @route("GET", "/configuration", data={"configuration": []})
    async def configuration(self, call: Call) -> Answer:
        """Show the configuration in force, without secrets; for a System Admin."""
        _require_administrator(call)
        lines = (line.split(": ", 1) for line in describe(self._settings))
        return success(data={"configuration": [{"key": key, "value": text} for key, text in lines]})

    @route("GET", "/log-level", data={"level": str})
    async def log_level(self, call: Call) -> Answer:
        """Tell from which level on lines are logged; for a System Admin."""
        _require_administrator(call)
        return success(data={"level": self._level.level})

    @route("PUT", "/log-level", data={"level": str})
    async def set_log_level(self, call: Call, body: NewLevel) -> Answer:
        """Log from another level on, until the server starts again; for a System Admin."""
        _require_administrator(call)
        before, self._level.level = self._level.level, body.level
        self._log.warn(
            "log level {before} -> {after} by {name}",
            before=before,
            after=body.level,
            name=call.principal.name,
        )
        return success(data={"level": body.level})

    @route("GET", "/refusals", permission="sensor.view", data={"refusals": [], "counts": dict})
    async def newest_refusals(self, call: Call, query: Newest) -> Answer:
        """List messages of sensors and devices that were not stored lately, and why."""
        rows = await self._refusals.newest(call.principal, query.limit)
        counts = self._refusals.counts(call.principal)
        return success(results=len(rows), data={"refusals": rows, "counts": counts})


class SeriesRoutes:
    """What the figures of the server were."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/metrics",)

    def __init__(self, series: Series) -> None:
        self._series = series

    @route("GET", "/series", permission="device.view", data={"every": float, "times": [str]})
    async def series(self, call: Call) -> Answer:
        """Show the figures of the last 15 minutes, sampled every few seconds."""
        return success(data=self._series.shown())


def _require_administrator(call: Call) -> None:
    if not call.principal.administrator:
        raise Forbidden("Forbidden: Insufficient permissions")
