"""Compares values as JavaScript does, since the rules of existing chains were written for it.

Values come from JSON and from text columns: None, bool, int, float, str, list, dict. Two oddities
of JavaScript are not kept, as they only ever surprised (spec/rule-engine.md section 3): `true` and
the text "true" are equal, and so are a number and its text where JavaScript is strict.
"""

from __future__ import annotations

import math
import re
from typing import Any

from aemos import json

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_OTHER_BASE = re.compile(r"0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)", re.ASCII)
_INFINITE = {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}


def number(value: Any) -> float:
    """JavaScript's Number(); NaN for what is none."""
    if type(value) is float:
        return value
    if value is None:
        return 0.0
    if isinstance(value, (bool, int, float)):
        return _float(value)
    if isinstance(value, str):
        return _number_of_text(value.strip())
    if isinstance(value, list) and len(value) < 2:
        return number(text(value))
    return math.nan


def _number_of_text(value: str) -> float:
    if not value:
        return 0.0
    if _DECIMAL.fullmatch(value):
        return float(value)
    if _OTHER_BASE.fullmatch(value):
        return _float(int(value, 0))
    return _INFINITE.get(value, math.nan)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond every double
        return math.inf if value > 0 else -math.inf


def text(value: Any) -> str:
    """JavaScript's String()."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return ",".join("" if item is None else text(item) for item in value)
    if isinstance(value, dict):
        return "[object Object]"
    return json.text(value)


def less(left: Any, right: Any) -> bool:
    """`left < right`: texts by character, everything else as numbers; NaN is less than nothing."""
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    return number(left) < number(right)


def less_or_equal(left: Any, right: Any) -> bool:
    """`left <= right`, as `less`."""
    if isinstance(left, str) and isinstance(right, str):
        return left <= right
    return number(left) <= number(right)


def equal(left: Any, right: Any) -> bool:
    """`left == right`."""
    if left is None or right is None:
        return left is right
    if isinstance(left, bool) and isinstance(right, str):
        left, right = right, left
    if isinstance(right, bool) and isinstance(left, str) and left.lower() in ("true", "false"):
        return left.lower() == text(right)
    if isinstance(left, (list, dict)) or isinstance(right, (list, dict)):
        both = isinstance(left, (list, dict)) and isinstance(right, (list, dict))
        return not both and text(left) == text(right)
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return number(left) == number(right)


def same(left: Any, right: Any) -> bool:
    """`left === right`, except that a number and its text are the same."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float, str)) and isinstance(right, (int, float, str)):
        return equal(left, right) if type(left) is type(right) else _number_and_text(left, right)
    return left is None and right is None


def _number_and_text(left: float | str, right: float | str) -> bool:
    for one in (left, right):
        if isinstance(one, str) and not _DECIMAL.fullmatch(one.strip()):
            return False
    return number(left) == number(right)


def falsy(value: Any) -> bool:
    """@return: whether JavaScript takes the value for false."""
    return value is None or value is False or value == "" or (_is_number(value) and not value)


def is_number(value: Any) -> bool:
    """@return: whether it is a JSON number; NaN is none."""
    return _is_number(value) and not math.isnan(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
