"""Runs a chain when somebody asks for it: as a dry run, or with its effects.

Sources: spec/rule-engine.md sections 4 and 5, spec/http-api.md section 4.11.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from aemos.config.rules import Rules
from aemos.model import Instant, Principal
from aemos.services.events import Events, RuleDataCollected, RuleRan
from aemos.services.rules.chains import chain_for
from aemos.services.rules.effects import Effects, Firing
from aemos.services.rules.evaluation import Evaluation
from aemos.services.rules.execution import Plan, Run, run
from aemos.services.rules.queue import RuleQueue
from aemos.services.rules.rulebook import Chain, counts_of
from aemos.services.rules.snapshot import Snapshot
from aemos.services.rules.sources import Reference, newest, references, resolve, typed
from aemos.services.rules.statistics import Statistics
from aemos.storage import rules
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

_NO_NODES = "No nodes to execute"
_OFF = "The rule chain is switched off"
_LEAST = 1.0  # seconds that a run gets, however long the collection took


@attrs.define
class RuleRuns:
    """Runs chains for users with rule.update; what a run looks at and changes stays within the
    organization of the chain.
    """

    _database: Database
    _effects: Effects
    _evaluation: Evaluation
    _queue: RuleQueue[Any]
    _statistics: Statistics
    _events: Events
    _clock: IReactorTime
    _settings: Rules

    async def execute(
        self, by: Principal, chain_id: int, stated: int | None, data: Snapshot
    ) -> dict[str, Any]:
        """Run a chain over the data given; nothing is changed and nobody is told.

        @return: the result as on the wire. @raise: as `chains.chain_for`.
        """
        now = self._now()

        def execute(tx: Transaction) -> dict[str, Any]:
            chain = chain_for(tx, by, "rule.update", chain_id, stated)
            nodes = rules.nodes_of(tx, [chain_id])[chain_id]
            if not nodes:
                return {"result": _NO_NODES}
            # Compat: here the id is shown as the text that it is in the path. The run takes place
            # in this thread, as a filter may take its time.
            return run(Plan.of(nodes), data, now).result(str(chain_id), chain["name"])

        return await self._database.read(execute)

    async def trigger(self, by: Principal, chain_id: int, stated: int | None) -> dict[str, Any]:
        """Run a chain over the data of now, with the effects of the actions that it reaches.

        An action without effect (no such device, a value that is not allowed) is told in the
        result and stops no other. A chain that only records has no effects here either.

        @return: `totalRuleChains` and `results`. @raise: as `chains.chain_for`.
        """
        with self._queue.running():
            return await self._trigger(by, chain_id, stated)

    async def _trigger(self, by: Principal, chain_id: int, stated: int | None) -> dict[str, Any]:
        began = self._clock.seconds()

        def read(tx: Transaction) -> tuple[Row, list[Row]]:
            chain = chain_for(tx, by, "rule.update", chain_id, stated)
            return chain, rules.nodes_of(tx, [chain_id])[chain_id]

        row, nodes = await self._database.read(read)
        chain = Chain(chain_id, row, Plan.of(nodes), (), frozenset(), counts_of(row))
        head = {"ruleChainId": chain_id, "name": chain.name}
        if not nodes:
            return _answer({**head, "status": "skipped", "message": _NO_NODES})
        if chain.off:
            return _answer({**head, "status": "skipped", "message": _OFF})
        data, meta = await self._collected(row, nodes)
        left = self._evaluation.timeout - (self._clock.seconds() - began)
        outcome: Run | None = None
        status = "success"
        try:
            outcome = await self._evaluation.run(chain.plan, data, self._now(), max(left, _LEAST))
        except TimeoutError:
            status = "timeout"
        if outcome is not None:
            if outcome.commands and not chain.shadow:
                status = "failure" if await self._applied(chain, outcome) else status
            status = "aborted" if outcome.aborted else status
        seconds = self._clock.seconds() - began
        self._events.publish(
            RuleRan(
                chain_id,
                chain.organization_id,
                chain.shadow,
                "manual",
                {"userId": by.id},
                status,
                self._now(),
                seconds,
                outcome,
                chain.counts,
            )
        )
        await self._statistics.flush()
        return _answer({**head, **_result(chain, outcome, meta), "duration": round(seconds * 1000)})

    async def _collected(self, row: Row, nodes: list[Row]) -> tuple[Snapshot, dict[str, Any]]:
        """@return: the newest values of what the nodes name, nothing if that takes too long."""
        names = references(nodes, "filter", "transform")
        kinds = sorted({name.kind for name in names})
        began = self._clock.seconds()
        limit = self._settings.collection_timeout_ms / 1000
        collecting: Deferred[Snapshot] = self._database.read(_collect, row, names)
        try:
            data = await collecting.addTimeout(limit, self._clock)
        except TimeoutError:
            self._events.publish(RuleDataCollected(kinds, limit, timed_out=True))
            missing = sorted({f"{name.kind}:{name.uuid}" for name in names})
            return Snapshot(), {"partialData": True, "missingSources": missing}
        seconds = self._clock.seconds() - began
        self._events.publish(RuleDataCollected(kinds, seconds, timed_out=False))
        return data, {}

    def _applied(self, chain: Chain, outcome: Run) -> Deferred[bool]:
        """@return: fires with whether the effects failed, once they are there or given up."""
        applied: Deferred[bool] = Deferred()
        self._effects.put(Firing(chain, outcome, None, applied.callback))
        return applied

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _result(chain: Chain, outcome: Run | None, meta: Mapping[str, Any]) -> dict[str, Any]:
    if outcome is None:
        code = "RULE_CHAIN_TIMEOUT"
        return {"status": "timeout", "error": "the run takes too long", "errorCode": code}
    failed = {"error": "; ".join(outcome.errors)} if outcome.errors else {}
    meta = {**meta, "mode": "shadow"} if chain.shadow else meta
    return {
        "status": "error" if outcome.errors else "success",
        "result": outcome.result(chain.id, chain.name, meta),
        **failed,
    }


def _answer(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"totalRuleChains": 1, "results": [result]}


def _collect(tx: Transaction, chain: Row, names: Collection[Reference]) -> Snapshot:
    """Read the newest value of everything that is named, within the organization."""
    sources = resolve(tx, [(chain["organizationId"], name) for name in names])
    rows = newest(tx, sources.values())
    data = Snapshot()
    for source in sorted(sources.values(), key=lambda each: (each.kind, each.uuid, each.key)):
        row = rows.get(source.slot)
        if row is not None:
            value = typed(row["value"], source.datatype)
            data.put(source.kind, source.uuid, source.key, value, row["at"])
    return data
