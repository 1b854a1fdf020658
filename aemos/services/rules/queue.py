"""The triggers that wait for their rule chains, most urgent first, and the figures of that.

What existing boards read of it is in spec/notifications-metrics.md section 3: the server shows
itself as one worker of the queue that the original had in Redis.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from aemos.config.rules import Rules
from aemos.model import Instant
from aemos.services.rules.backpressure import Backpressure

T = TypeVar("T")

PRIORITIES = {"schedule": 1, "reading": 5, "state": 5}
"""Kind of trigger -> how urgent it is: 1 goes before 5."""

_NAME = "rule-engine-events"


class RuleQueue(Generic[T]):
    """Bounded by its circuit; `T` is what waits.

    `active` are taken and not done with, `delayed` wait for another attempt.
    """

    def __init__(self, settings: Rules, clock: IReactorTime) -> None:
        self._settings, self._clock = settings, clock
        self.circuit = Backpressure(settings, clock)
        self._waiting: dict[int, deque[T]] = {}
        self.active = self.delayed = self.completed = self.failed = 0

    @property
    def waiting(self) -> int:
        """How many have not been taken."""
        return sum(map(len, self._waiting.values()))

    @property
    def pending(self) -> int:
        """How many are not done with."""
        return self.waiting + self.active

    def refuses(self, kind: str) -> bool:
        """Ask whether a trigger may come; each question counts if the answer is yes."""
        return bool(self.circuit.refusal(self.pending, PRIORITIES[kind]))

    def put(self, kind: str, item: T) -> None:
        """Let it wait behind those that are as urgent."""
        priority = PRIORITIES[kind]
        queue = self._waiting.get(priority)
        if queue is None:
            self._waiting[priority] = queue = deque()
            self._waiting = dict(sorted(self._waiting.items()))
        queue.append(item)

    def take(self) -> T | None:
        """@return: the most urgent, which is active until `done` is called for it."""
        for queue in self._waiting.values():
            if queue:
                self.active += 1
                return queue.popleft()
        return None

    def done(self, failed: bool = False) -> None:
        """Count one that was taken."""
        self.active -= 1
        if failed:
            self.failed += 1
        else:
            self.completed += 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count what is inside as one that was taken; it failed if it raises."""
        self.active += 1
        try:
            yield
        except BaseException:
            self.done(failed=True)
            raise
        self.done()

    @property
    def health(self) -> str:
        """One of the words of `Backpressure.health`."""
        return self.circuit.health(self.pending)

    def figures(self) -> dict[str, Any]:
        """@return: the body of `GET /metrics/queue`."""
        circuit, pending = self.circuit, self.pending
        share = 100 * pending / self._settings.queue_critical if self._settings.backpressure else 0
        return {
            "timestamp": Instant.of(self._clock.seconds()),
            "queue": {
                "name": _NAME,
                "counts": {
                    "waiting": self.waiting,
                    "active": self.active,
                    "completed": self.completed,
                    "failed": self.failed,
                    "delayed": self.delayed,
                    "paused": 0,
                },
                "totalPending": pending,
                "utilizationPercent": round(share, 2),
                "health": self.health,
                "isPaused": False,
            },
            "workers": {"count": 1, "list": [{"id": "1", "name": _NAME}]},
            "backpressure": {
                **circuit.figures(),
                "rejectedCount": circuit.rejected,
                "lastStateChange": circuit.changed_at,
                "stateAgeMs": circuit.age(),
            },
        }

    def summary(self) -> dict[str, Any]:
        """@return: the body of `GET /metrics/queue/summary`."""
        return {
            "health": self.health,
            "queueDepth": self.pending,
            "workers": 1,
            "circuitState": self.circuit.circuit.name,
            "rejectedCount": self.circuit.rejected,
        }

    def overview(self) -> dict[str, Any]:
        """@return: what `GET /health` shows of it."""
        return {
            "health": self.health,
            "queueDepth": self.pending,
            "workers": 1,
            "circuitState": self.circuit.circuit.name,
            "backpressureEnabled": self._settings.backpressure,
        }

    def reset(self) -> dict[str, Any]:
        """Close the circuit. @return: its status; `lastStateChange` in milliseconds since 1970."""
        circuit = self.circuit
        circuit.reset()
        figures = {
            "rejectedCount": circuit.rejected,
            "lastStateChange": int(circuit.changed_at),
            "stateAge": circuit.age(),
        }
        return {**circuit.figures(), "metrics": figures}
