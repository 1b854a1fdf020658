"""Simulated readings: plausible, and shared out evenly."""

from __future__ import annotations

import itertools
import random

import pytest

from aemos import json
from aemos.services.simulation import CURVES, payload, turns, value_of

DAY = 86400


def mean_at(variable: str, hour: float) -> float:
    chance = random.Random(1)
    return sum(value_of(variable, hour * 3600, chance) for _ in range(200)) / 200


def test_it_is_warm_and_dry_in_the_afternoon_and_cold_and_damp_at_night() -> None:
    assert mean_at("temperature", 14) > mean_at("temperature", 2) + 8
    assert mean_at("humidity", 14) < mean_at("humidity", 2) - 20


def test_every_day_is_alike() -> None:
    assert mean_at("ph", 9) == pytest.approx(mean_at("ph", 9 + 24 * 365), abs=0.01)


@pytest.mark.parametrize("variable", [*CURVES, "something_else"])
def test_values_stay_within_reason_and_change(variable: str) -> None:
    chance = random.Random(2)
    values = [value_of(variable, second, chance) for second in range(0, DAY, 60)]
    assert all(0 < value < 100 for value in values)
    assert len(set(values)) > 10


def test_a_payload_is_a_datastream_message() -> None:
    message = json.decode(payload("ec", 0.0, random.Random(3)))
    assert message.keys() == {"variableName", "value"}
    assert message["variableName"] == "ec"
    assert isinstance(message["value"], float)


def test_sensors_take_turns_and_go_round_their_variables() -> None:
    first = list(itertools.islice(turns([("a", "b"), (), ("x", "y", "z")]), 6))
    assert first == [(0, "a"), (2, "x"), (0, "b"), (2, "y"), (0, "a"), (2, "z")]
    assert list(turns([()])) == []
