"""Runs the nodes of one chain over a snapshot; changes nothing (spec/rule-engine.md section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.command_form import Limit
from aemos.services.rules import values
from aemos.services.rules.conditions import evaluate, leaves
from aemos.services.rules.snapshot import Snapshot

MAX_STEPS = 1000
_LIGHT = 200  # conditions: what has more is not decided in passing
_ORDER = {"filter": 0, "transform": 1, "action": 2}


@attrs.frozen(eq=False)
class Plan:
    """The nodes of a chain as a run takes them: where it starts, and each by its id.

    `heavy` is what may take more than a moment: many conditions, or a regular expression.
    """

    first: Mapping[str, Any] | None
    by_id: Mapping[int, Mapping[str, Any]]
    heavy: bool

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, Any]]) -> Plan:
        """@param nodes: `RuleChainNode` rows; a chain may have none."""
        conditions = [
            leaf for node in nodes if node["type"] == "filter" for leaf in leaves(node["config"])
        ]
        heavy = len(conditions) > _LIGHT or any(
            condition.get("operator") == "matches" for condition in conditions
        )
        return cls(start(nodes) if nodes else None, {node["id"]: node for node in nodes}, heavy)


@attrs.frozen
class Command:
    """What a reached action asks for."""

    node_id: int
    device_uuid: str
    state_name: str
    value: Any
    limit: Limit | None = None


@attrs.define
class Run:
    """One execution: what came out so far. `result` is the form on the wire."""

    now: Instant
    data: Snapshot
    commands: list[Command] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)
    passed: bool = True
    aborted: str = ""
    transformations: list[dict[str, Any]] = attrs.field(factory=list)
    actions: list[dict[str, Any]] = attrs.field(factory=list)
    executed: list[dict[str, Any]] = attrs.field(factory=list)

    @property
    def filters(self) -> list[dict[str, Any]]:
        """The filters that were reached, and how they were decided."""
        return [
            {"nodeId": node["nodeId"], "passed": node["passed"], "condition": node["config"]}
            for node in self.executed
            if node["type"] == "filter"
        ]

    def result(
        self, chain_id: object, name: str, meta: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """@param chain_id: as it is shown."""
        reason = {"abortedReason": self.aborted} if self.aborted else {}
        errors = {"errors": self.errors} if self.errors else {}
        return {
            "ruleChainId": chain_id,
            "name": name,
            "status": "aborted" if self.aborted else "success",
            "summary": {
                "totalNodes": len(self.executed),
                "filtersPassed": self.passed,
                "transformationsApplied": len(self.transformations),
                "actionsExecuted": len(self.actions),
                **reason,
            },
            "nodeResults": {
                "filters": self.filters,
                "transformations": self.transformations,
                "actions": self.actions,
            },
            "executionDetails": {
                "ruleChainId": chain_id,
                "executedNodes": self.executed,
                "finalData": self.data.wire(),
            },
            "meta": {**(meta or {}), **reason, **errors},
        }


def run(plan: Plan, data: Snapshot, now: Instant) -> Run:
    """Execute the nodes of a chain from its start along `nextNodeId`.

    @param data: transforms change it.
    """
    outcome = Run(now, data)
    node = plan.first
    seen: set[int] = set()
    while node is not None:
        if node["id"] in seen:
            outcome.aborted = "circular"
            break
        if len(seen) >= MAX_STEPS:
            outcome.aborted = "max_steps"
            break
        seen.add(node["id"])
        if not _step(outcome, node):
            break
        node = plan.by_id.get(node["nextNodeId"])
    return outcome


def start(nodes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """@return: the first node, by type and id, that no other points to; of a cycle the first."""
    ordered = sorted(nodes, key=lambda node: (_ORDER.get(node["type"], 3), node["id"]))
    targets = {node["nextNodeId"] for node in nodes if node["nextNodeId"] != node["id"]}
    return next((node for node in ordered if node["id"] not in targets), ordered[0])


def _step(outcome: Run, node: Mapping[str, Any]) -> bool:
    """@return: whether the chain goes on."""
    config = node["config"] if isinstance(node["config"], dict) else {}
    executed = {"nodeId": node["id"], "type": node["type"]}
    goes_on = True
    if node["type"] == "filter":
        goes_on = evaluate(config, outcome.data, outcome.now, outcome.errors)
        outcome.passed = outcome.passed and goes_on
        executed["passed"] = goes_on
    elif node["type"] == "transform":
        _transform(config, outcome)
        snapshot = outcome.data.wire()
        kind = config.get("operation") or "unknown"
        outcome.transformations.append(
            {"nodeId": node["id"], "transformationType": kind, "dataSnapshot": snapshot}
        )
        executed["newData"] = snapshot
    else:
        executed["actionResult"] = _act(config, node["id"], outcome)
    outcome.executed.append({**executed, "config": config})
    return goes_on


def _transform(config: Mapping[str, Any], outcome: Run) -> None:
    """Change one value for the nodes that follow; what cannot be calculated stays as it is."""
    source, key = outcome.data.source(config), str(config.get("key"))
    operation = str(config.get("operation"))
    if source is None or source.values.get(key) is None or operation not in _CALCULATIONS:
        return
    left, right = values.number(source.values[key]), values.number(config.get("operand"))
    try:
        changed = _CALCULATIONS[operation](left, right)
    except (ZeroDivisionError, OverflowError):
        changed = math.nan
    if math.isfinite(changed):
        source.values[key] = int(changed) if changed.is_integer() else changed
    else:
        outcome.errors.append(f"{operation} of {key[:50]} gives no number")


_CALCULATIONS = {
    "add": lambda left, right: left + right,
    "subtract": lambda left, right: left - right,
    "multiply": lambda left, right: left * right,
    "divide": lambda left, right: left / right,
}


def _act(config: Mapping[str, Any], node_id: int, outcome: Run) -> dict[str, Any]:
    kind = config.get("type") or "unknown"
    given = config.get("command")
    shown = given if isinstance(given, dict) else {}
    result: dict[str, Any] = {"status": "success"}
    try:
        outcome.commands.append(_command(node_id, given))
    except BadRequest as error:
        result = {"status": "error", "error": str(error)}
        outcome.errors.append(f"node {node_id}: {error}")
    uuid, value = shown.get("deviceUuid"), shown.get("value")
    outcome.actions.append(
        {
            "nodeId": node_id,
            **result,
            "SourceType": {"deviceUuid": uuid, "value": value, "deviceType": kind},
            "command": shown,
            "timestamp": outcome.now,
            "notificationSent": False,
        }
    )
    return {
        **result,
        "commandSent": shown,
        "timestamp": outcome.now,
        "deviceInfo": {"uuid": uuid, "type": kind},
        "sensorData": outcome.data.wire(),
    }


def _command(node_id: int, given: Any) -> Command:
    """@raise BadRequest: no command, or one without device, state or value, or with a time limit
    that is none.
    """
    if not isinstance(given, dict):
        raise BadRequest("the action has no command")
    uuid, state = given.get("deviceUuid"), given.get("stateName")
    if not isinstance(uuid, str) or not isinstance(state, str) or given.get("value") is None:
        raise BadRequest("the command needs deviceUuid, stateName and value")
    limit = Limit.of(given.get("maxOn"), given.get("off"))
    return Command(node_id, uuid, state, given["value"], limit)
