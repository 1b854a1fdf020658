"""Figures of the last minutes: gauges as they were, counters as rates, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from twisted.internet.task import Clock

from aemos.observability.series import Series


@attrs.define
class Server:
    """What is measured."""

    waiting: float = 0
    done: float = 0


@attrs.frozen
class Stage:
    clock: Clock
    server: Server
    series: Series

    def column(self, name: str) -> list[float]:
        shown = self.series.shown()["series"]
        assert isinstance(shown, dict)
        return list(shown[name])


@pytest.fixture
def stage() -> Iterator[Stage]:
    clock, server = Clock(), Server()
    clock.advance(1000)
    series = Series(
        lambda: {"waiting": server.waiting}, lambda: {"done": server.done}, clock, every=5, span=20
    )
    series.start()
    yield Stage(clock, server, series)
    series.stop()


def test_before_the_first_sample_there_is_nothing_to_show(stage: Stage) -> None:
    assert stage.series.shown() == {"every": 5, "times": [], "series": {"waiting": [], "done": []}}


def test_a_gauge_is_shown_as_it_was_and_a_counter_as_its_rate(stage: Stage) -> None:
    stage.server.waiting, stage.server.done = 3, 50
    stage.clock.advance(5)
    stage.server.waiting, stage.server.done = 1, 51
    stage.clock.advance(5)
    assert stage.column("waiting") == [3, 1]
    assert stage.column("done") == [10, 0.2]
    assert stage.series.shown()["times"] == [1_005_000, 1_010_000]


def test_only_the_newest_samples_are_kept(stage: Stage) -> None:
    for number in range(10):
        stage.server.waiting = number
        stage.clock.advance(5)
    assert stage.column("waiting") == [6, 7, 8, 9]


def test_a_counter_that_begins_anew_gives_no_negative_rate(stage: Stage) -> None:
    stage.server.done = 100
    stage.clock.advance(5)
    stage.server.done = 0
    stage.clock.advance(5)
    assert stage.column("done") == [20, 0]
