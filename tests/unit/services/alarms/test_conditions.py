"""Conditions, hold times and what a subject makes of them, without a database."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.alarms import forms
from aemos.services.alarms.subject import Definition, Place, Subject

NOON = Instant.parse("2026-01-01T12:00:00Z")
MINUTE = 60_000
ABOVE_30 = {"type": "threshold", "direction": "above", "level": 30, "clearLevel": 28}


def subject(condition: Any, hold: float = 0, clear_hold: float = 0, **changes: Any) -> Subject:
    """@param hold, clear_hold: seconds."""
    row = {
        "id": 1,
        "organization_id": 1,
        "name": "Hot",
        "severity": "warning",
        "telemetry_id": None,
        "sensor_id": None,
        "area_id": None,
        "variable_name": "temperature",
        "condition_tree": condition,
        "hold_seconds": hold,
        "clear_hold_seconds": clear_hold,
        "message": "{{name}}: {{variable}} of {{sensor}} in {{area}} is {{ value }}",
        **changes,
    }
    place = Place(1, "u", "probe", 1, "field", 1, {1: "temperature", 2: "humidity"})
    return Subject(Definition.of(row, None), place, NOON)


def told(
    watched: Subject, *readings: tuple[float, object], variable: str = "temperature"
) -> list[tuple[str, float]]:
    """@param readings: minutes after noon, and the value. @return: what follows, and when."""
    found = []
    for minutes, value in readings:
        found += watched.take(variable, str(value), after(minutes))
    return steps(found)


def looked(watched: Subject, minutes: float) -> list[tuple[str, float]]:
    return steps(watched.look(after(minutes)))


def after(minutes: float) -> Instant:
    return Instant(NOON + int(minutes * MINUTE))


def steps(transitions: Iterable[Any]) -> list[tuple[str, float]]:
    return [(one.change.value, (one.at - NOON) / MINUTE) for one in transitions]


def test_a_noisy_series_around_the_level_makes_one_alarm() -> None:
    noise = random.Random(7)
    hot = subject(ABOVE_30)
    readings = [(n, 30 + noise.uniform(-1.9, 1.9)) for n in range(500)]
    assert [kind for kind, _ in told(hot, *readings)] == ["raise"]
    assert told(hot, (500, 28.1), (501, 28)) == [("clear", 501)]
    # Without hysteresis the same noise would be a storm.
    assert len(told(subject({**ABOVE_30, "clearLevel": None}), *readings)) > 50


def test_what_is_exactly_at_the_level_is_not_beyond_it() -> None:
    assert told(subject(ABOVE_30), (0, 30), (1, "30.0001")) == [("raise", 1)]
    below = {"type": "threshold", "direction": "below", "level": 5, "clearLevel": 7}
    assert told(subject(below), (0, 5), (1, 4), (2, 6.9), (3, 7)) == [("raise", 1), ("clear", 3)]


@pytest.mark.parametrize("value", ["nan", "inf", "", "hot", "1e999"])
def test_what_is_no_number_changes_nothing(value: str) -> None:
    assert told(subject(ABOVE_30), (0, 31), (1, value), (2, 20)) == [("raise", 0), ("clear", 2)]


def test_true_and_false_are_one_and_zero() -> None:
    door = {"type": "threshold", "direction": "above", "level": 0.5}
    assert told(subject(door), (0, "true"), (1, "False")) == [("raise", 0), ("clear", 1)]


def test_an_alarm_waits_for_its_hold_time_and_so_does_its_end() -> None:
    hot = subject(ABOVE_30, hold=300, clear_hold=120)
    assert told(hot, (0, 31), (4.9, 27), (5, 31), (9, 32)) == []
    assert looked(hot, 9.99) == []
    assert looked(hot, 10) == [("raise", 10)]
    assert told(hot, (11, 20), (12, 33), (13, 20)) == []
    assert hot.next_look(after(13)) == after(15)
    assert looked(hot, 15) == [("clear", 15)]


def test_a_hold_time_that_is_over_before_a_late_reading_counts() -> None:
    """The readings tell how long it was so, also when they come all at once."""
    assert told(subject(ABOVE_30, hold=300), (0, 31), (6, 20)) == [("raise", 6), ("clear", 6)]


def test_a_reading_from_before_the_newest_one_is_left_out() -> None:
    hot = subject(ABOVE_30)
    assert told(hot, (5, 20), (1, 40)) == []


def test_missing_readings_are_found_by_the_clock_alone() -> None:
    silent = subject({"type": "missing", "minutes": 15})
    assert told(silent, (1, 20)) == []
    assert silent.next_look(after(1)) == after(16)
    assert looked(silent, 15.9) == []
    assert looked(silent, 16) == [("raise", 16)]
    assert silent.next_look(after(16)) is None
    assert told(silent, (20, 20)) == [("clear", 20)]


def test_a_sensor_that_never_reported_is_missed_from_the_beginning() -> None:
    assert looked(subject({"type": "missing", "minutes": 15}), 15) == [("raise", 15)]


def test_a_value_that_does_not_move_is_stuck() -> None:
    stuck = subject({"type": "stuck", "minutes": 60, "tolerance": 0.1})
    assert told(stuck, (0, 20), (30, 20.1), (59, 19.9)) == []
    assert told(stuck, (60, 20)) == [("raise", 60)]
    assert told(stuck, (61, 20.2)) == [("clear", 61)]


def test_a_sensor_that_says_nothing_is_not_stuck() -> None:
    stuck = subject({"type": "stuck", "minutes": 60})
    assert told(stuck, (0, "open"), (30, "open")) == []
    assert looked(stuck, 90) == []
    assert told(stuck, (91, "open")) == [("raise", 91)]


@pytest.mark.parametrize(
    ("direction", "values", "expected"),
    [
        ("rise", [20, 23, 25.1], [("raise", 2)]),
        ("rise", [20, 15, 14], []),
        ("fall", [20, 15, 14.9], [("raise", 2)]),
        ("either", [20, 14.9, 25.1], [("raise", 1)]),
    ],
)
def test_a_value_that_moves_too_fast(
    direction: str, values: Sequence[float], expected: list[tuple[str, float]]
) -> None:
    fast = subject({"type": "rate", "direction": direction, "change": 5, "minutes": 10})
    assert told(fast, *enumerate(values)) == expected


def test_what_moves_slowly_is_no_alarm_and_the_window_moves_on() -> None:
    fast = subject({"type": "rate", "direction": "rise", "change": 5, "minutes": 10})
    assert told(fast, *[(n, 20 + n * 0.4) for n in range(100)]) == []
    assert told(fast, (100, 80)) == [("raise", 100)]
    assert looked(fast, 121) == [("clear", 121)]


def test_the_window_of_a_dense_series_stays_small() -> None:
    fast = subject({"type": "rate", "direction": "rise", "change": 5, "minutes": 10})
    assert told(fast, *[(n / 600, 20) for n in range(20_000)]) == []
    samples: Any = vars(fast.part)["_samples"]
    assert len(samples) <= 121
    assert told(fast, (34, 25.1)) == [("raise", 34)]


def test_all_and_any_take_variables_of_the_same_sensor() -> None:
    damp = {"type": "threshold", "direction": "above", "level": 80, "variable": "humidity"}
    silent = {"type": "missing", "minutes": 30, "variable": "humidity"}
    mould = {"type": "all", "of": [ABOVE_30, {"type": "any", "of": [damp, silent]}]}
    tree = subject(mould)
    assert tree.definition.names == {"temperature", "humidity"}
    assert told(tree, (0, 35)) == []
    assert told(tree, (1, 81), variable="humidity") == [("raise", 1)]
    assert told(tree, (2, 50), variable="humidity") == [("clear", 2)]
    assert tree.next_look(after(2)) == after(32)
    assert looked(tree, 32) == [("raise", 32)]
    assert told(tree, (33, 20)) == [("clear", 33)]


def test_after_the_end_by_hand_the_next_alarm_needs_a_new_reason() -> None:
    hot = subject(ABOVE_30)
    assert told(hot, (0, 31)) == [("raise", 0)]
    hot.dismiss()
    assert told(hot, (1, 35), (2, 20), (3, 31)) == [("raise", 3)]


def test_the_message_is_filled_in() -> None:
    (raised,) = subject(ABOVE_30).take("temperature", "31.5", NOON)
    assert raised.alarm["message"] == "Hot: temperature of probe in field is 31.5"


def test_after_a_restart_it_goes_on_between_the_levels() -> None:
    again = subject(ABOVE_30)
    again.resume([("temperature", "29", NOON)], after(1), raised=True, dismissed_at=None)
    assert looked(again, 1) == []
    assert told(again, (2, 27)) == [("clear", 2)]
    fresh = subject(ABOVE_30)
    fresh.resume([("temperature", "29", NOON)], after(1), raised=False, dismissed_at=None)
    assert looked(fresh, 1) == []


def test_after_a_restart_the_hold_time_counts_from_the_readings() -> None:
    hot = subject(ABOVE_30, hold=600)
    series = [("temperature", "31", after(0)), ("temperature", "32", after(4))]
    hot.resume(series, after(6), raised=False, dismissed_at=None)
    assert looked(hot, 9.9) == []
    assert looked(hot, 10) == [("raise", 10)]


def test_after_a_restart_what_was_ended_by_hand_stays_ended() -> None:
    hot = subject(ABOVE_30)
    hot.resume([("temperature", "31", NOON)], after(2), raised=False, dismissed_at=after(1))
    assert told(hot, (3, 32), (4, 20), (5, 32)) == [("raise", 5)]


def test_after_a_restart_what_was_stuck_is_stuck_until_it_moves() -> None:
    stuck = subject({"type": "stuck", "minutes": 60})
    stuck.resume([("temperature", "20", after(55))], after(56), raised=True, dismissed_at=None)
    assert told(stuck, (57, 20)) == []
    assert told(stuck, (58, 21)) == [("clear", 58)]


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ({**ABOVE_30, "clearLevel": 31}, "clearLevel"),
        ({"type": "threshold", "direction": "below", "level": 5, "clearLevel": 4}, "clearLevel"),
        ({"type": "any", "of": [ABOVE_30] * 20 + [{"type": "all", "of": [ABOVE_30]}]}, "20"),
        ({"type": "any", "of": [{"type": "all", "of": [ABOVE_30] * 11}] * 2}, "20"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(condition: Any, says: str) -> None:
    with pytest.raises((BadRequest, msgspec.ValidationError), match=says):
        forms.check_condition(forms.condition_of(condition), "temperature")


def test_a_condition_is_not_nested_without_end() -> None:
    deep: Any = ABOVE_30
    for _ in range(5):
        deep = {"type": "any", "of": [deep]}
    with pytest.raises(BadRequest, match="nested"):
        forms.check_condition(forms.condition_of(deep), "temperature")


def test_each_part_needs_a_variable() -> None:
    with pytest.raises(BadRequest, match="variableName"):
        forms.check_condition(forms.condition_of(ABOVE_30), "")


def test_a_message_with_an_unknown_word_is_refused() -> None:
    forms.check_message("{{sensor}} {{ value }}")
    with pytest.raises(BadRequest, match="has no sensr"):
        forms.check_message("{{sensr}}")
