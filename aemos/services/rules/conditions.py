"""Decides filters: every operator, alone and in AND/OR groups (spec/rule-engine.md section 3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import regex

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.rules import values
from aemos.services.rules.snapshot import Snapshot

MAX_DEPTH = 50
"""How deep groups may nest; the dashboard makes a handful."""

MAX_ERRORS = 100
"""After so many conditions that cannot be evaluated, no further one is tried: it is false."""

_REGEX_TIMEOUT = 0.05  # seconds: an expression that takes longer is refused, not waited for
_DURATION = re.compile(r"(\d{1,12})([smhd])", re.ASCII)
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@attrs.define(slots=True)
class Leaf:
    """What an operator looks at: the value, what it is compared with, and the value's age (ms)."""

    source: Any
    value: Any
    duration: Any
    age: int | None


Operator = Callable[[Leaf], bool]


def evaluate(config: Mapping[str, Any], data: Snapshot, now: Instant, errors: list[str]) -> bool:
    """Decide a filter.

    @param errors: what cannot be evaluated is false, and the reason is added here.
    """
    return _evaluate(config, data, now, errors, 0)


def leaves(config: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """@return: the conditions of a filter, out of all its groups."""
    if not isinstance(config, Mapping) or depth > MAX_DEPTH:
        return
    if "expressions" in config:
        members = config["expressions"]
        for member in members if isinstance(members, list) else ():
            yield from leaves(member, depth + 1)
    else:
        yield config


def _evaluate(config: Any, data: Snapshot, now: Instant, errors: list[str], depth: int) -> bool:
    if not isinstance(config, Mapping) or depth > MAX_DEPTH:
        errors.append("a condition is not an object, or groups are nested too deeply")
        return False
    if len(errors) >= MAX_ERRORS:
        return False
    if "expressions" in config:
        return _group(config, data, now, errors, depth)
    name = str(config.get("operator"))
    operator = _OPERATORS.get(name)
    if operator is None:
        errors.append(f"unknown operator: {name[:50]}")
        return False
    source = data.source(config)
    if source is None:
        return False
    key = str(config.get("key"))
    at = source.time(key)
    leaf = Leaf(
        source=source.values.get(key),
        value=config.get("value"),
        duration=config.get("duration"),
        age=None if at is None else now - at,
    )
    if leaf.source is None:
        return name in ("isNull", "isEmpty")
    try:
        return operator(leaf)
    except BadRequest as error:
        errors.append(f"{name} of {key[:50]}: {error}")
    except RecursionError:
        errors.append(f"{name} of {key[:50]}: nested too deeply")
    return False


def _group(
    config: Mapping[str, Any], data: Snapshot, now: Instant, errors: list[str], depth: int
) -> bool:
    kind, members = str(config.get("type")).upper(), config["expressions"]
    if kind not in ("AND", "OR") or not isinstance(members, list):
        errors.append("a group needs the type AND or OR and a list of expressions")
        return False
    decided = [_evaluate(member, data, now, errors, depth + 1) for member in members]
    return all(decided) if kind == "AND" else any(decided)


def duration(given: Any) -> int:
    """@return: milliseconds; text that is no duration counts as none.

    @raise BadRequest: not even text.
    """
    if not isinstance(given, str):
        raise BadRequest("the duration must be text such as 5m")
    found = _DURATION.fullmatch(given)
    return int(found[1]) * _UNITS[found[2]] if found else 0


def _matches(leaf: Leaf) -> bool:
    try:
        pattern = regex.compile(values.text(leaf.value))
        found = pattern.search(
            values.text(leaf.source),
            timeout=_REGEX_TIMEOUT,
            concurrent=True,  # the rest of the server goes on meanwhile
        )
        return found is not None
    except regex.error as error:
        raise BadRequest(f"not a regular expression: {error}") from None
    except TimeoutError:
        raise BadRequest("the regular expression takes too long") from None


def _between(leaf: Leaf) -> bool:
    bounds = leaf.value
    if not isinstance(bounds, list) or len(bounds) != 2:
        return False
    low, high = bounds
    return values.less_or_equal(low, leaf.source) and values.less_or_equal(leaf.source, high)


def _among(leaf: Leaf) -> bool:
    return any(values.same(leaf.source, member) for member in leaf.value)


def _listed(decide: Callable[[Leaf], bool]) -> Operator:
    """False where the value is no list."""
    return lambda leaf: isinstance(leaf.value, list) and decide(leaf)


def _sets(decide: Callable[[Iterator[bool]], bool]) -> Operator:
    """Which of the wanted members the source holds; false where either is no list."""

    def operator(leaf: Leaf) -> bool:
        if not isinstance(leaf.source, list) or not isinstance(leaf.value, list):
            return False
        return decide(
            any(values.same(held, wanted) for held in leaf.source) for wanted in leaf.value
        )

    return operator


def _aged(decide: Callable[[int, int], bool], *, of_value: bool = False) -> Operator:
    """Compare the age with a duration; `of_value`: only while the source has the value."""

    def operator(leaf: Leaf) -> bool:
        limit = duration(leaf.duration if of_value else leaf.value)
        if leaf.age is None or (of_value and not values.same(leaf.source, leaf.value)):
            return False
        return decide(leaf.age, limit)

    return operator


def _is_empty(leaf: Leaf) -> bool:
    return leaf.source == [] or values.falsy(leaf.source)


_OPERATORS: Mapping[str, Operator] = {
    ">": lambda leaf: values.less(leaf.value, leaf.source),
    ">=": lambda leaf: values.less_or_equal(leaf.value, leaf.source),
    "<": lambda leaf: values.less(leaf.source, leaf.value),
    "<=": lambda leaf: values.less_or_equal(leaf.source, leaf.value),
    "==": lambda leaf: values.equal(leaf.source, leaf.value),
    "!=": lambda leaf: not values.equal(leaf.source, leaf.value),
    "between": _between,
    "contains": lambda leaf: values.text(leaf.value) in values.text(leaf.source),
    "notContains": lambda leaf: values.text(leaf.value) not in values.text(leaf.source),
    "startsWith": lambda leaf: values.text(leaf.source).startswith(values.text(leaf.value)),
    "endsWith": lambda leaf: values.text(leaf.source).endswith(values.text(leaf.value)),
    "matches": _matches,
    "in": _listed(_among),
    "notIn": _listed(lambda leaf: not _among(leaf)),
    "hasAll": _sets(all),
    "hasAny": _sets(any),
    "hasNone": _sets(lambda held: not any(held)),
    "isNull": lambda leaf: False,
    "isNotNull": lambda leaf: True,
    "isEmpty": _is_empty,
    "isNotEmpty": lambda leaf: not _is_empty(leaf),
    "isNumber": lambda leaf: values.is_number(leaf.source),
    "isString": lambda leaf: isinstance(leaf.source, str),
    "isBoolean": lambda leaf: isinstance(leaf.source, bool),
    "isArray": lambda leaf: isinstance(leaf.source, list),
    "olderThan": _aged(lambda age, limit: age > limit),
    "newerThan": _aged(lambda age, limit: age < limit),
    "inLast": _aged(lambda age, limit: age <= limit),
    "valueOlderThan": _aged(lambda age, limit: age > limit, of_value=True),
    "valueNewerThan": _aged(lambda age, limit: age < limit, of_value=True),
    "valueInLast": _aged(lambda age, limit: age <= limit, of_value=True),
}
"""Operator -> its decision, where the source has a value."""
