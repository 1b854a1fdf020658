"""Remembers the last runs of every chain: why, along which nodes, and what came of it.

In memory, since a run is no more than an evaluation of what is stored: enough to see what a chain
does now, in particular one that only records (`mode: shadow`). Runs that reached an action or went
wrong have places of their own, so that the many others do not push them out.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from aemos.model import Instant, Principal
from aemos.services.events import Events, RuleRan, RulesChanged
from aemos.services.rules.chains import chain_for
from aemos.services.rules.rulebook import Rulebook
from aemos.storage.database import Database

TELLING = 50
"""How many runs are remembered of a chain that reached an action or went wrong."""

OTHERS = 10
"""How many of the others."""


@attrs.define(slots=True, eq=False)
class _Runs:
    telling: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=TELLING))
    others: deque[dict[str, Any]] = attrs.field(factory=lambda: deque(maxlen=OTHERS))


class Journal:
    """The last runs by chain."""

    def __init__(self, database: Database, book: Rulebook, events: Events) -> None:
        self._database, self._book = database, book
        self._runs: dict[int, _Runs] = {}
        events.subscribe(RuleRan, self._ran)
        events.subscribe(RulesChanged, self._changed)

    async def runs(self, by: Principal, chain_id: int, stated: int | None) -> list[dict[str, Any]]:
        """@return: the last runs, newest first: `at`, `trigger`, `mode`, `status`, `durationMs`,
        `path` (the nodes that were reached, filters with how they were decided), `actions` and
        `errors`.
        @raise NotFound, Forbidden, BadRequest: as `chains.chain_for`, for rule.view.
        """
        await self._database.read(chain_for, by, "rule.view", chain_id, stated)
        runs = self._runs.get(chain_id)
        if runs is None:
            return []
        return sorted((*runs.telling, *runs.others), key=_when, reverse=True)

    def _ran(self, event: RuleRan) -> None:
        runs = self._runs.get(event.chain_id)
        if runs is None:
            runs = self._runs[event.chain_id] = _Runs()
        telling = event.failed or (event.run is not None and event.run.actions)
        (runs.telling if telling else runs.others).append(_told(event))

    def _changed(self, event: RulesChanged) -> None:
        for chain_id in event.chain_ids:
            if chain_id not in self._book.chains:
                self._runs.pop(chain_id, None)


def _told(event: RuleRan) -> dict[str, Any]:
    run = event.run
    return {
        "at": event.at,
        "trigger": {"type": event.cause, **event.detail},
        "mode": "shadow" if event.shadow else "live",
        "status": event.status,
        "durationMs": round(event.seconds * 1000, 3),
        "path": [] if run is None else [_reached(node) for node in run.executed],
        "actions": [] if run is None else [_action(action) for action in run.actions],
        "errors": [] if run is None else run.errors,
    }


def _reached(node: dict[str, Any]) -> dict[str, Any]:
    reached = {"nodeId": node["nodeId"], "type": node["type"]}
    if "passed" in node:
        reached["passed"] = node["passed"]
    return reached


def _action(action: dict[str, Any]) -> dict[str, Any]:
    command = action["command"]
    told = {
        "nodeId": action["nodeId"],
        "status": action["status"],
        "deviceUuid": command.get("deviceUuid"),
        "stateName": command.get("stateName"),
        "value": command.get("value"),
        "applied": action["notificationSent"],
    }
    return {**told, "error": action["error"]} if "error" in action else told


def _when(run: dict[str, Any]) -> Instant:
    at: Instant = run["at"]
    return at
