"""Readings as a small farm would give them: a curve over the day for each variable, and noise."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence

import attrs

from aemos import json

_DAY = 86400.0  # seconds


@attrs.frozen
class Curve:
    """How a variable runs over a day: highest at `peak` (hours, UTC), lowest twelve hours later."""

    mean: float
    swing: float
    noise: float
    peak: float = 14.0
    digits: int = 1

    def at(self, seconds: float, chance: random.Random) -> float:
        """@param seconds: since 1970. @return: a value, rounded as such a sensor would."""
        angle = math.tau * (seconds / _DAY - self.peak / 24.0)
        return round(
            self.mean + self.swing * math.cos(angle) + chance.gauss(0.0, self.noise), self.digits
        )


CURVES = {
    "temperature": Curve(21.0, 6.0, 0.2),
    "humidity": Curve(62.0, -14.0, 0.8),
    "ph": Curve(6.1, 0.15, 0.02, digits=2),
    "ec": Curve(1.8, 0.2, 0.03, digits=2),
    "water_level": Curve(74.0, -8.0, 0.3),
}
"""The variables of the demo farm. Humidity is lowest when it is warmest, hence the minus."""

_FALLBACK = Curve(50.0, 10.0, 1.0)


def value_of(variable: str, seconds: float, chance: random.Random) -> float:
    """@return: a plausible value of a variable at a time, also of one without a curve."""
    return CURVES.get(variable, _FALLBACK).at(seconds, chance)


def payload(variable: str, seconds: float, chance: random.Random) -> bytes:
    """@return: a datastream message for one reading (spec/mqtt.md section 5.1)."""
    return json.encode({"variableName": variable, "value": value_of(variable, seconds, chance)})


def turns(variables: Sequence[Sequence[str]]) -> Iterator[tuple[int, str]]:
    """Go round the sensors for ever, each time to a sensor's next variable.

    @param variables: the variable names of each sensor.
    @return: (index of the sensor, variable name) without end; nothing if there is no variable.
    """
    rounds = [(index, itertools.cycle(names)) for index, names in enumerate(variables) if names]
    for index, names in itertools.cycle(rounds):
        yield index, next(names)
