"""`/metrics`: what Prometheus scrapes (spec/notifications-metrics.md section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from aemos.http.render import Answer
from aemos.http.routing import API, Auth, Call, route


class MetricsRoutes:
    """Figures for scrapers; open, as the original's were."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/metrics",)

    def __init__(self, render: Callable[[], bytes]) -> None:
        """@param render: gives the text exposition format, version 0.0.4."""
        self._render = render

    @route("GET", "/prometheus", auth=Auth.OPEN)
    async def prometheus(self, call: Call) -> Answer:
        """All figures of this server."""
        return Answer(self._render(), content_type="text/plain; charset=utf-8; version=0.0.4")
