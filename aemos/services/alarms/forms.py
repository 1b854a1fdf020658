"""What an alarm definition may say: its condition, its quiet hours, whom it tells.

The structs are the JSON of `alarm_definition` and of the bodies of its routes at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from aemos.errors import BadRequest
from aemos.json import END

_MAX_LEAVES = 20
_MAX_DEPTH = 5
_MINUTES = Meta(gt=0, le=43_200)  # 30 days

Number = Annotated[float, Meta(ge=-1e308, le=1e308)]
Minutes = Annotated[float, _MINUTES]
Variable = Annotated[str, Meta(max_length=50)]
Time = Annotated[str, Meta(pattern=rf"^([01][0-9]|2[0-3]):[0-5][0-9]{END}")]
Severity = Literal["info", "warning", "critical"]

PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
WORDS = ("name", "severity", "sensor", "uuid", "area", "variable", "value")
"""What a message may have in double braces."""


class _Form(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts; an unknown key is a mistake of who writes it."""


class Threshold(_Form, tag="threshold"):
    """True from beyond `level` until the value is back at `clearLevel`, which gives hysteresis.

    Without `clearLevel` it is `level` for both. `variable` "" is that of the definition, here and
    in the other parts; else another one of the same sensor.
    """

    direction: Literal["above", "below"]
    level: Number
    clearLevel: Number | None = None
    variable: Variable = ""


class Rate(_Form, tag="rate"):
    """True while the newest value is more than `change` away from the oldest of the window."""

    direction: Literal["rise", "fall", "either"]
    change: Annotated[float, Meta(gt=0, le=1e308)]
    minutes: Minutes
    variable: Variable = ""


class Missing(_Form, tag="missing"):
    """True while no reading has come for so long."""

    minutes: Minutes
    variable: Variable = ""


class Stuck(_Form, tag="stuck"):
    """True while readings come but have told the same for so long.

    Numbers that differ by `tolerance` at most are the same.
    """

    minutes: Minutes
    tolerance: Annotated[float, Meta(ge=0, le=1e308)] = 0.0
    variable: Variable = ""


class AnyOf(_Form, tag="any"):
    """True while one of its parts is."""

    of: Annotated[list[Condition], Meta(min_length=1, max_length=_MAX_LEAVES)]


class AllOf(_Form, tag="all"):
    """True while all of its parts are."""

    of: Annotated[list[Condition], Meta(min_length=1, max_length=_MAX_LEAVES)]


Leaf = Threshold | Rate | Missing | Stuck
Condition = Threshold | Rate | Missing | Stuck | AnyOf | AllOf


class QuietHours(_Form, rename={"start": "from", "end": "to"}):
    """From one time of day to another, by the clocks of a time zone; may go over midnight."""

    start: Time
    end: Time
    timeZone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"


class Step(_Form):
    """Whom to tell so many minutes after the alarm, if nobody has acknowledged it by then."""

    channels: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=20)]
    afterMinutes: Annotated[float, Meta(ge=0, le=43_200)] = 0.0


def leaves(condition: Condition) -> Iterator[Leaf]:
    """@return: the parts of a condition that look at values."""
    if isinstance(condition, (AnyOf, AllOf)):
        for part in condition.of:
            yield from leaves(part)
    else:
        yield condition


def check_condition(condition: Condition, variable: str) -> None:
    """@param variable: the definition's own; "" = it names none.

    @raise BadRequest: too large, a part without a variable, or levels that contradict each other.
    """
    if _depth(condition) > _MAX_DEPTH:
        raise _refused("condition", f"must not be nested more than {_MAX_DEPTH} deep")
    parts = list(leaves(condition))
    if len(parts) > _MAX_LEAVES:
        raise _refused("condition", f"must not have more than {_MAX_LEAVES} parts")
    if not variable and not all(part.variable for part in parts):
        raise _refused("variableName", "is required, or a variable in each part of the condition")
    for part in parts:
        if isinstance(part, Threshold) and part.clearLevel is not None:
            sign = 1 if part.direction == "above" else -1
            if sign * part.clearLevel > sign * part.level:
                raise _refused("condition", 'has a "clearLevel" on the wrong side of "level"')


def check_message(template: str) -> None:
    """@raise BadRequest: a word in double braces that is not in `WORDS`."""
    unknown = sorted(set(PLACEHOLDER.findall(template)) - {*WORDS})
    if unknown:
        raise _refused("message", f"has no {', '.join(unknown)}; there is {', '.join(WORDS)}")


def check_quiet_hours(quiet: QuietHours) -> None:
    """@raise BadRequest: no such time zone, or hours that have no length."""
    try:
        ZoneInfo(quiet.timeZone)
    except (KeyError, ValueError, OSError):
        raise _refused("quietHours", f"has no time zone {quiet.timeZone}") from None
    if quiet.start == quiet.end:
        raise _refused("quietHours", 'must not have the same "from" and "to"')


def filled(template: str, words: Mapping[str, str]) -> str:
    """@return: the template with the words that stand for `{{word}}`; unknown ones are left out."""
    return PLACEHOLDER.sub(lambda found: words.get(found[1], ""), template)


def condition_of(value: Any) -> Condition:
    """@return: the condition of a stored definition."""
    found: Condition = msgspec.convert(value, Condition)
    return found


def quiet_hours_of(value: Any) -> QuietHours | None:
    """@return: the quiet hours of a stored definition."""
    return None if value is None else msgspec.convert(value, QuietHours)


def steps_of(value: Any) -> Sequence[Step]:
    """@return: the steps of a stored definition, the earliest first."""
    steps = msgspec.convert(value or [], list[Step])
    return sorted(steps, key=lambda step: step.afterMinutes)


def _depth(condition: Condition) -> int:
    if isinstance(condition, (AnyOf, AllOf)):
        return 1 + max(_depth(part) for part in condition.of)
    return 1


def _refused(field: str, what: str) -> BadRequest:
    return BadRequest(f'Invalid request body: "{field}" {what}')
