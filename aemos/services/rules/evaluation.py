"""Runs chains without holding the server up: light ones at once, heavy ones in a thread."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from aemos.config.rules import Rules
from aemos.model import Instant
from aemos.services.rules.execution import Plan, Run, run
from aemos.services.rules.snapshot import Snapshot


class Evaluation:
    """Threads for chains with many conditions or with regular expressions, which take time."""

    def __init__(self, reactor: Any, settings: Rules) -> None:
        """@param reactor: IReactorThreads and IReactorTime."""
        self._reactor = reactor
        self.timeout = settings.chain_timeout_ms / 1000
        self._pool = ThreadPool(0, settings.concurrency, "rules")

    def start(self) -> None:
        """Allow threads; none is made before it is needed."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for the threads."""
        if self._pool.started:
            self._pool.stop()

    def run(self, plan: Plan, data: Snapshot, now: Instant, timeout: float) -> Deferred[Run]:
        """Run in a thread.

        @return: fails with `TimeoutError` of Twisted after so many seconds; the run itself goes on
            to its end, and nothing comes of it.
        """
        running: Deferred[Run] = deferToThreadPool(self._reactor, self._pool, run, plan, data, now)
        return running.addTimeout(timeout, self._reactor)
