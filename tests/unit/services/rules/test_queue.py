"""The queue of rule triggers and its circuit (spec/rule-engine.md section 8)."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from aemos.config.rules import Rules
from aemos.services.rules.backpressure import Backpressure, Circuit
from aemos.services.rules.queue import RuleQueue

SETTINGS = Rules(queue_warning=100, queue_critical=500, queue_recovery=50)


def circuit(state: Circuit, settings: Rules = SETTINGS) -> Backpressure:
    """A circuit that has come into this state."""
    opened = Backpressure(settings, Clock())
    if state is not Circuit.CLOSED:
        opened.refusal(500, 5)
    if state is Circuit.HALF_OPEN:
        opened.refusal(50, 5)
    assert opened.circuit is state
    return opened


@pytest.mark.parametrize(
    ("state", "waiting", "priority", "reason", "after"),
    [
        (Circuit.CLOSED, 0, 10, "", Circuit.CLOSED),
        (Circuit.CLOSED, 399, 10, "", Circuit.CLOSED),
        (Circuit.CLOSED, 400, 10, "low-priority-shed", Circuit.CLOSED),
        (Circuit.CLOSED, 499, 5, "", Circuit.CLOSED),
        (Circuit.CLOSED, 500, 5, "queue-critical", Circuit.OPEN),
        (Circuit.CLOSED, 500, 1, "", Circuit.OPEN),
        (Circuit.OPEN, 51, 5, "circuit-open", Circuit.OPEN),
        (Circuit.OPEN, 51, 1, "", Circuit.OPEN),
        (Circuit.OPEN, 500, 1, "", Circuit.OPEN),
        (Circuit.OPEN, 50, 5, "", Circuit.HALF_OPEN),
        (Circuit.OPEN, 30, 5, "", Circuit.CLOSED),
        (Circuit.HALF_OPEN, 31, 5, "", Circuit.HALF_OPEN),
        (Circuit.HALF_OPEN, 30, 5, "", Circuit.CLOSED),
        (Circuit.HALF_OPEN, 100, 5, "circuit-reopened", Circuit.OPEN),
        (Circuit.HALF_OPEN, 100, 2, "", Circuit.OPEN),
        (Circuit.HALF_OPEN, 500, 2, "queue-critical", Circuit.OPEN),
    ],
)
def test_the_circuit_decides_by_how_many_wait_and_how_urgent_it_is(
    state: Circuit, waiting: int, priority: int, reason: str, after: Circuit
) -> None:
    judged = circuit(state)
    assert (judged.refusal(waiting, priority), judged.circuit) == (reason, after)


def test_without_backpressure_everything_passes() -> None:
    free = Backpressure(Rules(backpressure=False), Clock())
    assert (free.refusal(10**6, 10), free.circuit) == ("", Circuit.CLOSED)


@pytest.mark.parametrize(
    ("waiting", "health"),
    [(49, "healthy"), (50, "degraded"), (100, "warning"), (500, "critical")],
)
def test_health_is_told_by_the_thresholds(waiting: int, health: str) -> None:
    assert circuit(Circuit.CLOSED).health(waiting) == health


def test_a_reset_closes_the_circuit_and_forgets_what_was_refused() -> None:
    clock = Clock()
    queue: RuleQueue[str] = RuleQueue(SETTINGS, clock)
    queue.circuit.refusal(500, 5)
    clock.advance(2)
    assert (queue.circuit.rejected, queue.figures()["backpressure"]["stateAgeMs"]) == (1, 2000)
    told = queue.reset()
    assert (told["circuitState"], told["metrics"]["rejectedCount"]) == ("CLOSED", 0)
    assert queue.circuit.rejected_in_all == 1


def test_the_most_urgent_goes_first_and_equals_in_their_order() -> None:
    queue: RuleQueue[str] = RuleQueue(SETTINGS, Clock())
    for kind, name in (("reading", "a"), ("state", "b"), ("schedule", "c"), ("reading", "d")):
        queue.put(kind, name)
    assert queue.pending == 4
    assert [queue.take() for _ in range(5)] == ["c", "a", "b", "d", None]
    assert (queue.waiting, queue.active, queue.pending) == (0, 4, 4)
    queue.done()
    queue.done(failed=True)
    counts = queue.figures()["queue"]["counts"]
    assert (counts["active"], counts["completed"], counts["failed"]) == (2, 1, 1)
