"""How values are written as MySQL literals, and read back from its text."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions, escape_item, escape_string

from aemos.model import Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_THREE_DIGITS = tuple(f"{number:03d}'" for number in range(1000))

# What PyMySQL escapes; most values hold none of it, and looking is cheaper than translating.
_needs_escape = re.compile("[\\0\\\\\n\r\x1a\"']").search


@functools.lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("'%Y-%m-%d %H:%M:%S.")


def instant_literal(value: int, mapping: object = None) -> str:
    """`'2026-01-01 00:00:00.000'`; the readings of a batch share few seconds, hence the cache.

    @raise OverflowError: outside the years 1 to 9999.
    """
    return _second_text(value // 1000) + _THREE_DIGITS[value % 1000]


def _text_literal(value: str) -> str:
    return f"'{value if _needs_escape(value) is None else escape_string(value)}'"


def _instant(text: str | bytes) -> Instant | None:
    """Read a DATETIME; None for the zero dates that lax servers let in."""
    if isinstance(text, bytes):
        text = text.decode("ascii")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return Instant((moment.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND)


def _number(text: str) -> int | float:
    """Read a DECIMAL (what SUM and AVG give) as SQLite gives it."""
    return float(text) if "." in text else int(text)


CONVERSIONS: dict[Any, Callable[[Any], Any]] = {
    **conversions,
    FIELD_TYPE.DATETIME: _instant,
    FIELD_TYPE.TIMESTAMP: _instant,
    FIELD_TYPE.DECIMAL: _number,
    FIELD_TYPE.NEWDECIMAL: _number,
    Instant: instant_literal,
}
"""For PyMySQL's `conv`: by field type when reading, by exact Python type when writing."""

_LITERALS: Mapping[type, Callable[[Any], str]] = {
    str: _text_literal,
    int: str,
    bool: lambda value: "1" if value else "0",
    Instant: instant_literal,
    bytes: lambda value: f"X'{value.hex()}'",
    type(None): lambda value: "NULL",
}


def _literal(value: Any) -> str:
    write = _LITERALS.get(value.__class__)
    return escape_item(value, "utf8mb4", CONVERSIONS) if write is None else write(value)


def row_literals(rows: Sequence[Sequence[Any]]) -> Iterable[str]:
    """`(1,'a',NULL)` for each row.

    By columns, because the values of a column are mostly of one type and mostly need no escaping:
    a quarter of the time that value by value takes, and this is what a busy writer does most.
    """
    columns: list[Sequence[Any]] = []
    places: list[str] = []
    for values in zip(*rows, strict=True):
        classes = set(map(type, values))
        only = classes.pop() if len(classes) == 1 else None
        if only is int:
            columns.append(values)
            places.append("%s")
        elif only is str and _needs_escape("".join(values)) is None:
            columns.append(values)
            places.append("'%s'")
        else:
            write = _literal if only is None else _LITERALS.get(only, _literal)
            columns.append([write(value) for value in values])
            places.append("%s")
    return map(f"({','.join(places)})".__mod__, zip(*columns, strict=True))
