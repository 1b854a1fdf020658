"""What filters decide (spec/rule-engine.md sections 2 and 3)."""

from __future__ import annotations

from typing import Any

import pytest

from aemos.model import Instant
from aemos.services.rules.conditions import MAX_DEPTH, MAX_ERRORS, evaluate, leaves
from aemos.services.rules.snapshot import Snapshot

NOW = Instant(1_800_000_000_000)
S, D = "11111111-1111-4111-8111-111111111111", "AAAAAAAA-1111-4111-8111-111111111111"
MISSING = object()


def condition(operator: str, value: Any = "", **changes: Any) -> dict[str, Any]:
    return {
        "sourceType": "sensor", "UUID": S, "key": "t", "operator": operator, "value": value,
        **changes,
    }  # fmt: skip


def snapshot(source: Any = MISSING, age: int = 60_000) -> Snapshot:
    values = {} if source is MISSING else {"t": source}
    sensor = {"UUID": S, "timestamp": NOW - age, **values}
    return Snapshot.of([sensor], [{"UUID": D, "power": "on"}])


def decide(config: Any, data: Snapshot) -> tuple[bool, list[str]]:
    errors: list[str] = []
    return evaluate(config, data, NOW, errors), errors


TABLE: list[tuple[Any, str, Any, bool]] = [
    (31, ">", 30, True), (30, ">", 30, False), (30, ">=", 30, True), (29, "<", 30, True),
    (30, "<=", "30", True), ("30", ">", 4, True), ("30", ">", "4", False), ("x", ">", 4, False),
    (True, ">", 0, True), ("", "<", 1, True), (1, ">", [], True), ({}, ">", 1, False),
    ("25", "==", 25, True), (25, "==", "25.0", True), (True, "==", 1, True), (0, "==", "", True),
    (True, "==", "true", True), ("True", "==", True, True), (False, "==", "false", True),
    (True, "==", "yes", False), ("a", "==", "a", True), (1, "==", None, False),
    (0x10, "==", "0x10", True), (1, "==", [1], True), ([1], "==", [1], False),
    ("25", "!=", 25, False), ("a", "!=", "b", True),
    (5, "between", [1, 5], True), (5, "between", [6, 9], False), (5, "between", [5], False),
    (5, "between", "5", False),
    ("water low", "contains", "low", True), (1234, "contains", 23, True),
    ("abc", "notContains", "x", True), ("abc", "startsWith", "ab", True),
    (25.0, "endsWith", 5, True),
    ("E-17", "matches", "^E-\\d+$", True), ("xE-17", "matches", "E", True),
    ("E-17", "matches", "(?<code>\\d\\d)$", True), ("E", "matches", "F", False),
    ("a", "in", ["a", "b"], True), ("5", "in", [5], True), (5, "in", ["x"], False),
    (True, "in", [1], False), ("a", "in", "abc", False), ("a", "notIn", ["b"], True),
    ("a", "notIn", ["a"], False), ("a", "notIn", "b", False),
    ([1, 2, 3], "hasAll", [1, 2], True), ([1], "hasAll", [1, 2], False),
    ([1], "hasAny", [1, 2], True), ([3], "hasNone", [1, 2], True), ("1", "hasAny", ["1"], False),
    (0, "isNull", "", False), (0, "isNotNull", "", True),
    (0, "isEmpty", "", True), ("", "isEmpty", "", True), (False, "isEmpty", "", True),
    ([], "isEmpty", "", True), ("0", "isEmpty", "", False), ("0", "isNotEmpty", "", True),
    (1.5, "isNumber", "", True), ("1", "isNumber", "", False), (True, "isNumber", "", False),
    ("1", "isString", "", True), (True, "isBoolean", "", True), ([], "isArray", "", True),
    (1, "olderThan", "59s", True), (1, "olderThan", "1m", False), (1, "newerThan", "2m", True),
    (1, "inLast", "1m", True), (1, "inLast", "59s", False), (1, "olderThan", "soon", True),
    (1, "newerThan", "soon", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "operator", "value", "passes"), TABLE)
def test_an_operator(source: Any, operator: str, value: Any, passes: bool) -> None:
    assert decide(condition(operator, value), snapshot(source)) == (passes, [])


@pytest.mark.parametrize(
    ("operator", "value", "duration", "passes"),
    [
        ("valueOlderThan", 1, "30s", True),
        ("valueOlderThan", "1", "30s", True),
        ("valueOlderThan", 2, "30s", False),
        ("valueNewerThan", 1, "2m", True),
        ("valueInLast", 1, "1m", True),
        ("valueInLast", 1, "59s", False),
    ],
)
def test_an_operator_on_how_long_a_value_is_there(
    operator: str, value: Any, duration: str, passes: bool
) -> None:
    config = condition(operator, value, duration=duration)
    assert decide(config, snapshot(1)) == (passes, [])


@pytest.mark.parametrize("source", [MISSING, None])
def test_of_a_missing_value_only_absence_is_true(source: Any) -> None:
    operators = sorted({row[1] for row in TABLE})
    true = [name for name in operators if decide(condition(name, 1), snapshot(source))[0]]
    assert true == ["isEmpty", "isNull"]


def test_of_an_unknown_source_nothing_is_true() -> None:
    operators = {row[1] for row in TABLE}
    assert not any(
        decide(condition(name, 1, UUID=D.replace("A", "B")), snapshot(1))[0] for name in operators
    )


@pytest.mark.parametrize("name", ["UUID", "uuid", "sensorUUID", "deviceUUID"])
def test_a_source_goes_by_any_of_four_names_in_any_case(name: str) -> None:
    config = {"sourceType": "device", name: D.lower(), "key": "power", "operator": "==",
              "value": "on"}  # fmt: skip
    assert decide(config, snapshot()) == (True, [])


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (condition("not in", [1]), "unknown operator: not in"),
        (condition("olderThan", 30), "duration"),
        (condition("valueInLast", 1), "duration"),
        (condition("matches", "("), "not a regular expression"),
        ({}, "unknown operator"),
        ({"operator": []}, "unknown operator"),
        ({"type": "XOR", "expressions": []}, "AND or OR"),
        ({"type": "AND", "expressions": {}}, "AND or OR"),
        ({"type": "AND", "expressions": [5]}, "not an object"),
    ],
)
def test_what_cannot_be_evaluated_is_false_and_told(config: Any, says: str) -> None:
    passed, errors = decide(config, snapshot(1))
    assert not passed
    assert says in errors[0]


def test_an_expression_that_takes_too_long_is_given_up() -> None:
    passed, errors = decide(condition("matches", "(a|aa)+$"), snapshot("a" * 60 + "b"))
    assert not passed
    assert "too long" in errors[0]


def test_a_filter_of_many_such_expressions_is_given_up_as_a_whole() -> None:
    slow = condition("matches", "(a|aa)+$")
    wrong = {"type": "OR", "expressions": [condition("?")] * (MAX_ERRORS - 1)}
    config = {"type": "OR", "expressions": [wrong] + [slow] * 1000 + [YES]}
    passed, errors = decide(config, snapshot("a" * 60 + "b"))
    assert (passed, len(errors)) == (False, MAX_ERRORS)


YES, NO = condition("==", 1), condition("==", 2)


@pytest.mark.parametrize(
    ("kind", "members", "passes"),
    [
        ("AND", [], True),
        ("OR", [], False),
        ("AND", [YES, YES], True),
        ("AND", [YES, NO], False),
        ("OR", [NO, YES], True),
        ("or", [NO, NO], False),
        ("AND", [YES, {"type": "OR", "expressions": [NO, YES]}], True),
    ],
)
def test_a_group(kind: str, members: list[Any], passes: bool) -> None:
    assert decide({"type": kind, "expressions": members}, snapshot(1)) == (passes, [])


def test_one_member_that_cannot_be_evaluated_spoils_no_other() -> None:
    config = {"type": "OR", "expressions": [condition("?"), YES]}
    passed, errors = decide(config, snapshot(1))
    assert (passed, len(errors)) == (True, 1)


def test_groups_nest_to_a_limit() -> None:
    config: dict[str, Any] = YES
    for _ in range(MAX_DEPTH):
        config = {"type": "AND", "expressions": [config]}
    assert decide(config, snapshot(1)) == (True, [])
    assert list(leaves(config)) == [YES]
    passed, errors = decide({"type": "AND", "expressions": [config]}, snapshot(1))
    assert (passed, len(errors)) == (False, 1)
