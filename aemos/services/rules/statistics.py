"""Keeps the counters of rule chains, with a write a second at most (spec/rule-engine.md 1)."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from aemos.services.events import Events, RuleRan, RulesChanged
from aemos.services.lazy_writes import LazyWrites
from aemos.services.rules.rulebook import Rulebook
from aemos.storage import rules
from aemos.storage.database import Database
from aemos.storage.rules import Counts


class Statistics:
    """`executionCount`, `failureCount`, `lastExecutedAt` and `lastErrorAt` of every chain.

    A run has failed if its status says so, or if a condition or action of it went wrong. A crash
    loses what was counted in the last second.
    """

    def __init__(
        self, database: Database, book: Rulebook, events: Events, clock: IReactorTime
    ) -> None:
        self._book = book
        self._counts: dict[int, Counts] = {}
        self._writes: LazyWrites[int, Counts] = LazyWrites(
            "counters of rule chains", database, clock, rules.count_runs
        )
        events.subscribe(RuleRan, self._ran)
        events.subscribe(RulesChanged, self._changed)

    async def flush(self) -> None:
        """Write what was counted, now."""
        await self._writes.flush()

    async def stop(self) -> None:
        """Write what was counted, and end."""
        await self._writes.stop()

    def _ran(self, event: RuleRan) -> None:
        before = self._counts.get(event.chain_id, event.counts)
        # A new one: what is just being written stays as it is.
        after = Counts(before.runs + 1, before.failures, event.at, before.last_failure_at)
        if event.failed:
            after.failures, after.last_failure_at = before.failures + 1, event.at
        self._counts[event.chain_id] = after
        self._writes.put(event.chain_id, after)

    def _changed(self, event: RulesChanged) -> None:
        for chain_id in event.chain_ids:
            if chain_id not in self._book.chains:
                self._counts.pop(chain_id, None)
                self._writes.forget(chain_id)
