"""`/metrics`: figures for scrapers and boards (spec/notifications-metrics.md section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from aemos.errors import Forbidden
from aemos.http.render import Answer
from aemos.http.routing import API, Auth, Call, route
from aemos.services.rules.queue import RuleQueue


class MetricsRoutes:
    """Figures, open to read as the original's were; only a System Admin changes something."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/metrics",)

    def __init__(self, render: Callable[[], bytes], queue: RuleQueue[Any]) -> None:
        """@param render: gives the text exposition format, version 0.0.4."""
        self._render, self._queue = render, queue

    @route("GET", "/prometheus", auth=Auth.OPEN, produces=("text/plain",))
    async def prometheus(self, call: Call) -> Answer:
        """All figures of this server."""
        return Answer(self._render(), content_type="text/plain; charset=utf-8; version=0.0.4")

    @route("GET", "/queue", auth=Auth.OPEN)
    async def queue(self, call: Call) -> Answer:
        """Tell how the rule queue is."""
        return Answer(self._queue.figures())

    @route("GET", "/queue/summary", auth=Auth.OPEN)
    async def queue_summary(self, call: Call) -> Answer:
        """Tell how the rule queue is, in short."""
        return Answer(self._queue.summary())

    @route("POST", "/backpressure/reset")
    async def reset_backpressure(self, call: Call) -> Answer:
        """Let the rule queue take events again; for a System Admin."""
        if not call.principal.administrator:
            raise Forbidden("Forbidden: Insufficient permissions")
        message = "Backpressure manager reset successfully"
        return Answer({"success": True, "message": message, "status": self._queue.reset()})
