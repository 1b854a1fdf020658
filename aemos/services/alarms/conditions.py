"""Conditions at work: each part keeps what it needs of the readings of its variable, bounded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from aemos.model import Instant
from aemos.services.alarms import forms

_SAMPLES = 120  # of a window: a denser series is thinned out
_MINUTE = 60_000  # milliseconds
_ROUNDING = 1e-9  # 20.1 is not more than 0.1 away from 20, whatever binary fractions make of it


class Part(Protocol):
    """Something that holds or does not, for one sensor. `window` is the time that it looks back."""

    window: int

    def take(self, variable: str, value: str, at: Instant) -> None:
        """A reading; those of one variable come in order of their times."""

    def holds(self, now: Instant) -> bool:
        """@return: whether it is true at a time, which is not before that of any reading."""

    def changes_after(self, now: Instant) -> Instant | None:
        """@return: when it may change if no reading comes; None = not by itself any more."""

    def resume(self, *, raised: bool) -> None:
        """Begin as after an alarm, or as if there had never been one."""


def number(value: str) -> float | None:
    """@return: the reading as a number; true is 1 and false 0. None = it is no finite number."""
    try:
        found = float(value)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(value.strip().lower())
    return found if math.isfinite(found) else None


def at_work(condition: forms.Condition, variable: str, since: Instant) -> Part:
    """@param variable: for parts that name none. @param since: nothing is missed before this."""
    if isinstance(condition, (forms.AnyOf, forms.AllOf)):
        parts = [at_work(part, variable, since) for part in condition.of]
        return _Tree(any if isinstance(condition, forms.AnyOf) else all, parts)
    name = condition.variable or variable
    if isinstance(condition, forms.Threshold):
        return _Threshold(name, condition)
    if isinstance(condition, forms.Rate):
        return _Rate(name, condition)
    if isinstance(condition, forms.Missing):
        return _Missing(name, condition, since)
    return _Stuck(name, condition)


class _Threshold:
    window = 0

    def __init__(self, variable: str, form: forms.Threshold) -> None:
        self._variable = variable
        self._sign = 1 if form.direction == "above" else -1
        clear = form.level if form.clearLevel is None else form.clearLevel
        self._level, self._clear = self._sign * form.level, self._sign * clear
        self._beyond = False

    def take(self, variable: str, value: str, at: Instant) -> None:
        found = number(value) if variable == self._variable else None
        if found is not None:
            found *= self._sign
            # What is exactly at the clear level is back.
            self._beyond = found > (self._clear if self._beyond else self._level)

    def holds(self, now: Instant) -> bool:
        return self._beyond

    def changes_after(self, now: Instant) -> Instant | None:
        return None

    def resume(self, *, raised: bool) -> None:
        self._beyond = raised


class _Rate:
    def __init__(self, variable: str, form: forms.Rate) -> None:
        self._variable, self._form = variable, form
        self.window = int(form.minutes * _MINUTE)
        self._samples: deque[tuple[Instant, float]] = deque()
        self._newest: tuple[Instant, float] | None = None

    def take(self, variable: str, value: str, at: Instant) -> None:
        found = number(value) if variable == self._variable else None
        if found is None:
            return
        self._newest = at, found
        self._forget(at)
        if not self._samples or at - self._samples[-1][0] >= self.window / _SAMPLES:
            self._samples.append(self._newest)

    def _forget(self, now: Instant) -> None:
        while self._samples and self._samples[0][0] < now - self.window:
            self._samples.popleft()

    def holds(self, now: Instant) -> bool:
        if self._newest is None:
            return False
        self._forget(now)
        if not self._samples:
            return False
        change = self._newest[1] - self._samples[0][1]
        if self._form.direction == "either":
            return abs(change) > self._form.change
        return (change if self._form.direction == "rise" else -change) > self._form.change

    def changes_after(self, now: Instant) -> Instant | None:
        if not self._samples:
            return None
        at = Instant(self._samples[0][0] + self.window + 1)
        return at if at > now else None

    def resume(self, *, raised: bool) -> None:
        self._samples.clear()


class _Missing:
    window = 0

    def __init__(self, variable: str, form: forms.Missing, since: Instant) -> None:
        self._variable, self._heard = variable, since
        self._limit = int(form.minutes * _MINUTE)

    def take(self, variable: str, value: str, at: Instant) -> None:
        if variable == self._variable:
            self._heard = max(self._heard, at)

    def holds(self, now: Instant) -> bool:
        return now - self._heard >= self._limit

    def changes_after(self, now: Instant) -> Instant | None:
        at = Instant(self._heard + self._limit)
        return at if at > now else None

    def resume(self, *, raised: bool) -> None:
        if raised:
            # It was missing, and that the server starts is no reading: what is read now tells.
            self._heard = Instant(0)


class _Stuck:
    def __init__(self, variable: str, form: forms.Stuck) -> None:
        self._variable, self._tolerance = variable, form.tolerance
        self.window = self._limit = int(form.minutes * _MINUTE)
        self._value: str | None = None
        self._since = self._newest = Instant(0)
        self._resumed = False

    def take(self, variable: str, value: str, at: Instant) -> None:
        if variable != self._variable:
            return
        if self._value is None or not self._same(self._value, value):
            first = self._value is None and self._resumed
            self._value, self._since = value, Instant(0) if first else at
        self._newest = at

    def _same(self, one: str, other: str) -> bool:
        first, second = number(one), number(other)
        if first is None or second is None:
            return one == other
        return abs(first - second) <= self._tolerance * (1 + _ROUNDING)

    def holds(self, now: Instant) -> bool:
        # By the readings, not the clock: a sensor that says nothing is missing, not stuck.
        return self._value is not None and self._newest - self._since >= self._limit

    def changes_after(self, now: Instant) -> Instant | None:
        return None

    def resume(self, *, raised: bool) -> None:
        # How long it has been so was known when the alarm was raised, and may not be read again.
        self._value, self._resumed = None, raised


class _Tree:
    def __init__(self, holds: Callable[[list[bool]], bool], parts: Sequence[Part]) -> None:
        self._holds, self._parts = holds, parts
        self.window = max(part.window for part in parts)

    def take(self, variable: str, value: str, at: Instant) -> None:
        for part in self._parts:
            part.take(variable, value, at)

    def holds(self, now: Instant) -> bool:
        return self._holds([part.holds(now) for part in self._parts])

    def changes_after(self, now: Instant) -> Instant | None:
        times = [at for part in self._parts if (at := part.changes_after(now)) is not None]
        return min(times, default=None)

    def resume(self, *, raised: bool) -> None:
        for part in self._parts:
            part.resume(raised=raised)
