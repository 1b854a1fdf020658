"""How often something happens, learned from its gaps."""

from __future__ import annotations

import pytest

from aemos.services.intervals import Interval


def learned(*gaps: float) -> Interval:
    interval = Interval()
    for gap in gaps:
        interval.learn(gap)
    return interval


def test_too_few_gaps_tell_nothing():
    assert learned(*[60] * 7).seconds is None
    assert learned(*[60] * 8).seconds == pytest.approx(60)


def test_a_small_scatter_changes_little():
    assert learned(*[55, 65] * 10).seconds == pytest.approx(60, rel=0.02)


@pytest.mark.parametrize("burst", [2, 5, 12])
def test_the_pause_between_bursts_counts_and_not_the_haste_within(burst):
    gaps = ([1] * (burst - 1) + [120]) * 10
    assert 60 <= learned(*gaps).seconds <= 121


def test_an_outage_moves_it_by_less_than_two_thirds_and_is_soon_forgotten():
    interval = learned(*[60] * 20)
    interval.learn(100_000)
    assert 60 < interval.seconds < 100
    for _ in range(30):
        interval.learn(60)
    assert interval.seconds == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize("after", [300, 10])
def test_another_pace_is_learned(after):
    interval = learned(*[60] * 20)
    for _ in range(60):
        interval.learn(after)
    assert interval.seconds == pytest.approx(after, rel=0.1)


def test_what_was_learned_outlives_being_written_down():
    interval = Interval.of(learned(*[60] * 9).seconds)
    interval.learn(60)
    assert interval.seconds == pytest.approx(60)
    assert Interval.of(0).seconds is None
