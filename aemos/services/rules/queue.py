"""The figures of the rule queue as existing boards read them (spec/notifications-metrics.md 3).

Chains run when somebody asks for it (`aemos.services.rules.runs`), one after the other within the
request, so nothing ever waits here: what is active, completed and failed are such runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IReactorTime

from aemos.model import Instant

WARNING, CRITICAL, RECOVERY = 10_000, 50_000, 5_000
_NAME = "rule-engine-events"


class RuleQueue:
    """Counts runs; the circuit that would refuse them under pressure stays closed."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.active = self.completed = self.failed = 0
        self._changed_at = self._now()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count what is inside as one run; it failed if it raises."""
        self.active += 1
        try:
            yield
        except BaseException:
            self.failed += 1
            raise
        else:
            self.completed += 1
        finally:
            self.active -= 1

    @property
    def health(self) -> str:
        """`healthy`, `degraded` from half of the warning threshold on, `warning`, `critical`."""
        for limit, word in ((CRITICAL, "critical"), (WARNING, "warning")):
            if self.active >= limit:
                return word
        return "degraded" if self.active >= WARNING / 2 else "healthy"

    def figures(self) -> dict[str, Any]:
        """@return: the body of `GET /metrics/queue`."""
        age = self._now() - self._changed_at
        return {
            "timestamp": self._now(),
            "queue": {
                "name": _NAME,
                "counts": {
                    "waiting": 0,
                    "active": self.active,
                    "completed": self.completed,
                    "failed": self.failed,
                    "delayed": 0,
                    "paused": 0,
                },
                "totalPending": self.active,
                "utilizationPercent": round(100 * self.active / CRITICAL, 2),
                "health": self.health,
                "isPaused": False,
            },
            "workers": {"count": 1, "list": [{"id": "1", "name": _NAME}]},
            "backpressure": {
                **_circuit(),
                "rejectedCount": 0,
                "lastStateChange": self._changed_at,
                "stateAgeMs": age,
            },
        }

    def summary(self) -> dict[str, Any]:
        """@return: the body of `GET /metrics/queue/summary`."""
        return {
            "health": self.health,
            "queueDepth": self.active,
            "workers": 1,
            "circuitState": "CLOSED",
            "rejectedCount": 0,
        }

    def reset(self) -> dict[str, Any]:
        """Close the circuit. @return: its status; `lastStateChange` in milliseconds since 1970."""
        self._changed_at = self._now()
        changed_at = int(self._changed_at)
        figures = {"rejectedCount": 0, "lastStateChange": changed_at, "stateAge": 0}
        return {**_circuit(), "metrics": figures}

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _circuit() -> dict[str, Any]:
    thresholds = {"warning": WARNING, "critical": CRITICAL, "recovery": RECOVERY}
    return {"enabled": True, "circuitState": "CLOSED", "thresholds": thresholds}
