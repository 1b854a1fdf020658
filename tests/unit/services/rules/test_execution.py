"""How a chain runs (spec/rule-engine.md section 4)."""

from __future__ import annotations

from typing import Any

import pytest

from aemos import json
from aemos.model import Instant
from aemos.services.command_form import Limit
from aemos.services.rules.effects import remembered
from aemos.services.rules.execution import MAX_STEPS, Plan, Run, run
from aemos.services.rules.snapshot import Snapshot

NOW = Instant(1_800_000_000_000)
S, D = "11111111-1111-4111-8111-111111111111", "aaaaaaaa-1111-4111-8111-111111111111"
HOT = {"sourceType": "sensor", "UUID": S, "key": "t", "operator": ">", "value": 30}
COLD = {**HOT, "operator": "<"}
PUMP_ON = {
    "type": "DEVICE_COMMAND",
    "command": {"deviceUuid": D, "stateName": "power", "value": "on", "initiatedBy": "device"},
}


def node(id: int, type: str, config: Any, next: int | None = None) -> dict[str, Any]:
    return {"id": id, "name": str(id), "type": type, "config": config, "nextNodeId": next}


def executed(*nodes: dict[str, Any], t: Any = 32) -> Run:
    return run(Plan.of(nodes), Snapshot.of([{"UUID": S, "t": t, "timestamp": NOW}], []), NOW)


def reached(outcome: Run) -> list[int]:
    return [each["nodeId"] for each in outcome.executed]


def test_a_filter_that_passes_leads_to_the_action() -> None:
    outcome = executed(node(1, "filter", HOT, 2), node(2, "action", PUMP_ON))
    assert [(c.device_uuid, c.state_name, c.value) for c in outcome.commands] == [
        (D, "power", "on")
    ]
    assert json.decode(json.encode(outcome.result(7, "C"))) == {
        "ruleChainId": 7,
        "name": "C",
        "status": "success",
        "summary": {
            "totalNodes": 2,
            "filtersPassed": True,
            "transformationsApplied": 0,
            "actionsExecuted": 1,
        },
        "nodeResults": {
            "filters": [{"nodeId": 1, "passed": True, "condition": HOT}],
            "transformations": [],
            "actions": [
                {
                    "nodeId": 2,
                    "status": "success",
                    "SourceType": {"deviceUuid": D, "value": "on", "deviceType": "DEVICE_COMMAND"},
                    "command": PUMP_ON["command"],
                    "timestamp": NOW.iso(),
                    "notificationSent": False,
                }
            ],
        },
        "executionDetails": {
            "ruleChainId": 7,
            "executedNodes": [
                {"nodeId": 1, "type": "filter", "passed": True, "config": HOT},
                {
                    "nodeId": 2,
                    "type": "action",
                    "actionResult": {
                        "status": "success",
                        "commandSent": PUMP_ON["command"],
                        "timestamp": NOW.iso(),
                        "deviceInfo": {"uuid": D, "type": "DEVICE_COMMAND"},
                        "sensorData": {
                            "sensorData": {S: {"t": 32, "timestamp": NOW.iso()}},
                            "deviceData": {},
                        },
                    },
                    "config": PUMP_ON,
                },
            ],
            "finalData": {
                "sensorData": {S: {"t": 32, "timestamp": NOW.iso()}},
                "deviceData": {},
            },
        },
        "meta": {},
    }


def test_a_filter_that_does_not_pass_ends_the_run() -> None:
    outcome = executed(node(1, "filter", COLD, 2), node(2, "action", PUMP_ON))
    assert reached(outcome) == [1]
    assert (outcome.passed, outcome.commands, outcome.aborted) == (False, [], "")


@pytest.mark.parametrize(
    ("nodes", "order"),
    [
        # A node that another points to is no start, whatever its id.
        ([node(1, "filter", HOT), node(2, "filter", HOT, 1)], [2, 1]),
        ([node(3, "filter", HOT), node(2, "action", PUMP_ON), node(1, "action", PUMP_ON)], [3]),
        ([node(2, "filter", HOT, 99)], [2]),
        ([node(2, "filter", HOT, 3), node(3, "filter", HOT, 2)], [2, 3]),
        ([node(2, "filter", HOT, 2)], [2]),
    ],
)
def test_the_start_and_the_way(nodes: list[dict[str, Any]], order: list[int]) -> None:
    assert reached(executed(*nodes)) == order


def test_a_circle_ends_the_run_and_keeps_what_it_did() -> None:
    outcome = executed(node(1, "filter", HOT, 2), node(2, "action", PUMP_ON, 1))
    assert (outcome.aborted, len(outcome.commands)) == ("circular", 1)
    result = outcome.result(1, "C")
    assert result["status"] == "aborted"
    assert result["summary"]["abortedReason"] == result["meta"]["abortedReason"] == "circular"


def test_a_run_has_a_greatest_length() -> None:
    nodes = [node(n, "filter", HOT, n + 1) for n in range(1, MAX_STEPS + 2)]
    outcome = executed(*nodes)
    assert (outcome.aborted, len(outcome.executed)) == ("max_steps", MAX_STEPS)


@pytest.mark.parametrize(
    ("operation", "operand", "result"),
    [
        ("add", 2, 34),
        ("subtract", "2", 30),
        ("multiply", 1.5, 48),
        ("divide", 64, 0.5),
        ("divide", 0, 32),
        ("multiply", "x", 32),
        ("power", 2, 32),
        (["add"], 2, 32),
    ],
)
def test_a_transform_changes_the_value_for_what_follows(
    operation: Any, operand: Any, result: float
) -> None:
    config = {**HOT, "operation": operation, "operand": operand}
    outcome = executed(
        node(1, "filter", {**HOT, "operator": "isNumber"}, 2),
        node(2, "transform", config, 3),
        node(3, "filter", {**HOT, "operator": "==", "value": result}),
    )
    assert (reached(outcome), outcome.passed) == ([1, 2, 3], True)
    (shown,) = outcome.transformations
    assert shown["dataSnapshot"]["sensorData"][S]["t"] == result


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"command": "on"},
        {"command": {"deviceUuid": D, "stateName": "power"}},
        {"command": {**PUMP_ON["command"], "maxOn": "long"}},
        {"command": {**PUMP_ON["command"], "maxOn": 0}},
    ],
)
def test_an_action_without_a_command_is_an_error_and_the_run_goes_on(config: Any) -> None:
    outcome = executed(node(1, "action", config, 2), node(2, "action", PUMP_ON))
    assert [action["status"] for action in outcome.actions] == ["error", "success"]
    assert (len(outcome.commands), len(outcome.errors)) == (1, 1)


def test_an_action_may_limit_for_how_long_it_lasts() -> None:
    limited = {**PUMP_ON, "command": {**PUMP_ON["command"], "maxOn": 600, "off": "idle"}}
    first, second = executed(node(1, "action", limited, 2), node(2, "action", PUMP_ON)).commands
    assert (first.limit, second.limit) == (Limit(600.0, "idle"), None)


def test_a_change_that_is_told_once_more_has_its_times() -> None:
    times = {"at": "2026-01-01T12:00:00.000Z", "stop_at": "2026-01-01T12:00:02.000Z"}
    names = (
        "device_id",
        "device_uuid",
        "device_name",
        "device_type",
        "critical",
        "organization_id",
        "state",
        "old",
        "new",
        "initiated_by",
        "initiator_id",
        "priority",
    )
    change = remembered({**dict.fromkeys(names), **times, "max_on": 2.0})
    assert change.stop_at == change.at + 2000
