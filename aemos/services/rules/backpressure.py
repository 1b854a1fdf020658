"""Refuses triggers while too many wait: the circuit of spec/rule-engine.md section 8."""

from __future__ import annotations

import enum
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos.config.rules import Rules
from aemos.model import Instant

_URGENT = 1  # never refused
_IMPORTANT = 2  # still taken while the circuit opens again
_NORMAL = 5  # what is less urgent than this is shed first
_WARN_EVERY = 30.0  # seconds


class Circuit(enum.Enum):
    """Closed = triggers pass. The value is what the metric shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Backpressure:
    """Decides by how many wait; a refusal concerns rules only, the value itself is stored."""

    _log = Logger()

    def __init__(self, settings: Rules, clock: IReactorTime) -> None:
        self._settings, self._clock = settings, clock
        self.circuit = Circuit.CLOSED
        self.rejected = 0
        self.rejected_in_all = 0
        self.changed_at = self._now()
        self._warned_at = -_WARN_EVERY

    def refusal(self, waiting: int, priority: int) -> str:
        """@param priority: 1 is the most urgent.

        @return: why a trigger is refused; "" = it is not.
        """
        if not self._settings.backpressure:
            return ""
        reason = self._judge(waiting, priority)
        if reason:
            self.rejected += 1
            self.rejected_in_all += 1
        return reason

    def _judge(self, waiting: int, priority: int) -> str:
        settings = self._settings
        if self.circuit is Circuit.OPEN:
            if waiting > settings.queue_recovery:
                return "" if priority <= _URGENT else "circuit-open"
            self._change(Circuit.HALF_OPEN, waiting)
        if self.circuit is Circuit.HALF_OPEN:
            if waiting <= 0.6 * settings.queue_recovery:
                self._change(Circuit.CLOSED, waiting)
                self.rejected = 0
            elif waiting >= settings.queue_warning:
                self._change(Circuit.OPEN, waiting)
                if priority > _IMPORTANT:
                    return "circuit-reopened"
        if waiting >= settings.queue_critical:
            if self.circuit is not Circuit.OPEN:
                self._change(Circuit.OPEN, waiting)
            return "" if priority <= _URGENT else "queue-critical"
        if waiting >= settings.queue_warning:
            self._warn(waiting)
            if priority > _NORMAL and waiting >= 0.8 * settings.queue_critical:
                return "low-priority-shed"
        return ""

    def reset(self) -> None:
        """Close the circuit."""
        self._change(Circuit.CLOSED, 0)
        self.rejected = 0

    def figures(self) -> dict[str, Any]:
        """@return: `enabled`, `circuitState` and `thresholds`, as every answer shows them."""
        settings = self._settings
        return {
            "enabled": settings.backpressure,
            "circuitState": self.circuit.name,
            "thresholds": {
                "warning": settings.queue_warning,
                "critical": settings.queue_critical,
                "recovery": settings.queue_recovery,
            },
        }

    def age(self) -> int:
        """@return: for how many milliseconds the circuit has been as it is."""
        return self._now() - self.changed_at

    def health(self, waiting: int) -> str:
        """@return: `healthy`, `degraded` from half of the warning threshold on, `warning`,
        `critical`.
        """
        settings = self._settings
        if waiting >= settings.queue_critical:
            return "critical"
        if waiting >= settings.queue_warning:
            return "warning"
        return "degraded" if waiting >= settings.queue_warning / 2 else "healthy"

    def _change(self, circuit: Circuit, waiting: int) -> None:
        if circuit is not self.circuit:
            self._log.warn(
                "rule triggers: the circuit is {now} after {seconds:.1f} s of {before},"
                " {waiting} wait",
                now=circuit.name,
                before=self.circuit.name,
                seconds=self.age() / 1000,
                waiting=waiting,
            )
        self.circuit, self.changed_at = circuit, self._now()

    def _warn(self, waiting: int) -> None:
        now = self._clock.seconds()
        if now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            self._log.warn("{waiting} rule triggers wait", waiting=waiting)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())
