"""Runs a chain when somebody asks for it: as a dry run, or with its effects.

Sources: spec/rule-engine.md sections 4 and 5, spec/http-api.md section 4.11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos import json
from aemos.errors import AemosError, BadRequest
from aemos.model import Instant, Principal
from aemos.services.rules import values
from aemos.services.rules.chains import chain_for
from aemos.services.rules.conditions import leaves
from aemos.services.rules.execution import Command, Run, run
from aemos.services.rules.queue import RuleQueue
from aemos.services.rules.snapshot import Snapshot, uuid_in
from aemos.services.state_changes import StateChanges
from aemos.storage import devices, rules, sensors
from aemos.storage.database import Database
from aemos.storage.places import DEVICES, SENSORS, Places
from aemos.storage.transaction import Row, Transaction

_NUMERIC = frozenset({"number", "float", "int", "integer", "double"})
_NO_NODES = "No nodes to execute"


@attrs.define
class RuleRuns:
    """Runs chains for users with rule.update; what a run looks at and changes stays within the
    organization of the chain.
    """

    _database: Database
    _changes: StateChanges
    _queue: RuleQueue
    _clock: IReactorTime

    _log = Logger()

    async def execute(
        self, by: Principal, chain_id: int, stated: int | None, data: Snapshot
    ) -> dict[str, Any]:
        """Run a chain over the data given; nothing is changed and nobody is told.

        @return: the result as on the wire. @raise: as `chains.chain_for`.
        """
        now = Instant.of(self._clock.seconds())

        def execute(tx: Transaction) -> dict[str, Any]:
            chain = chain_for(tx, by, "rule.update", chain_id, stated)
            nodes = rules.nodes_of(tx, [chain_id])[chain_id]
            if not nodes:
                return {"result": _NO_NODES}
            # Compat: here the id is shown as the text that it is in the path. The run takes place
            # in this thread, as a filter may take its time.
            return run(nodes, data, now).result(str(chain_id), chain["name"])

        return await self._database.read(execute)

    async def trigger(self, by: Principal, chain_id: int, stated: int | None) -> dict[str, Any]:
        """Run a chain over the data of now, with the effects of the actions that it reaches.

        An action without effect (no such device, a value that is not allowed) is told in the
        result and stops no other.

        @return: `totalRuleChains` and `results`. @raise: as `chains.chain_for`.
        """
        with self._queue.running():
            return await self._trigger(by, chain_id, stated)

    async def _trigger(self, by: Principal, chain_id: int, stated: int | None) -> dict[str, Any]:
        now = Instant.of(self._clock.seconds())

        def execute(tx: Transaction) -> tuple[Row, Run | None]:
            chain = chain_for(tx, by, "rule.update", chain_id, stated)
            nodes = rules.nodes_of(tx, [chain_id])[chain_id]
            if not nodes:
                return chain, None
            data = _collect(tx, nodes, chain["organizationId"])
            return chain, run(nodes, data, now)

        chain, outcome = await self._database.read(execute)
        head = {"ruleChainId": chain_id, "name": chain["name"]}
        if outcome is None:
            return _answer({**head, "status": "skipped", "message": _NO_NODES})
        for command in outcome.commands:
            await self._apply(chain, command, outcome)
        await self._database.transact(rules.count_run, chain_id, bool(outcome.errors))
        status = "error" if outcome.errors else "success"
        duration = Instant.of(self._clock.seconds()) - now
        result = outcome.result(chain_id, chain["name"])
        failed = {"error": "; ".join(outcome.errors)} if outcome.errors else {}
        return _answer({**head, "status": status, "result": result, **failed, "duration": duration})

    async def _apply(self, chain: Row, command: Command, outcome: Run) -> None:
        rule = {
            "ruleChainId": chain["id"],
            "ruleChainName": chain["name"],
            "nodeId": command.node_id,
        }
        shown = next(each for each in outcome.actions if each["nodeId"] == command.node_id)
        try:
            if not isinstance(command.value, (str, int, float)):
                raise BadRequest("the value of a command must be text, a number, true or false")
            await self._changes.set_by_rule(
                chain["organizationId"],
                command.device_uuid,
                command.state_name,
                json.text(command.value),
                rule,
            )
            shown["notificationSent"] = True
        except AemosError as error:
            shown |= {"status": "error", "error": str(error)}
            outcome.errors.append(f"node {command.node_id}: {error}")
            self._log.warn(
                "action {node} of rule chain {chain} has no effect: {error}",
                node=command.node_id,
                chain=chain["id"],
                error=error,
            )


def _answer(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"totalRuleChains": 1, "results": [result]}


def _collect(tx: Transaction, nodes: Sequence[Row], organization_id: int | None) -> Snapshot:
    """Read the newest value of everything that the nodes refer to, within the organization."""
    data = Snapshot()
    for kind, uuid, key in sorted(_wanted(nodes)):
        find, places, latest = _READERS[kind]
        thing = find(tx, uuid)
        if thing is None or organization_id is None:
            continue
        if places.owner(tx, thing["id"]) != organization_id:
            continue
        found = latest(tx, thing["id"], key)
        if found is not None:
            value = typed(found["value"], found["datatype"])
            data.put(kind, thing["uuid"], key, value, found["at"])
    return data


_Reader = tuple[Callable[..., Row | None], Places, Callable[..., Row | None]]
_READERS: Mapping[str, _Reader] = {
    "sensor": (sensors.find_by_uuid, SENSORS, rules.latest_reading),
    "device": (devices.find_by_uuid, DEVICES, rules.latest_state),
}
"""How to find a thing by uuid, the organization that owns it, and the newest value of a name."""


def _wanted(nodes: Sequence[Row]) -> set[tuple[str, str, str]]:
    wanted = set()
    for node in nodes:
        if node["type"] not in ("filter", "transform"):
            continue
        for leaf in leaves(node["config"]):
            uuid, key = uuid_in(leaf), leaf.get("key")
            if isinstance(uuid, str) and isinstance(key, str):
                kind = "sensor" if leaf.get("sourceType") == "sensor" else "device"
                wanted.add((kind, uuid, key))
    return wanted


def typed(value: str | None, datatype: str | None) -> Any:
    """Turn stored text into what its data type says; text that is no number stays text.

    @return: a number for number, float and int, a boolean for boolean.
    """
    kind = (datatype or "").lower()
    if value is None:
        return None
    if kind == "boolean":
        return value.lower() == "true"
    if kind in _NUMERIC and value.strip():
        number = values.number(value)
        if math.isfinite(number):
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return value
