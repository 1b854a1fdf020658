"""How urgent a new value of a state is (spec/notifications-metrics.md section 2)."""

from __future__ import annotations

import pytest

from aemos.services.state_changes import priority_of


@pytest.mark.parametrize(
    ("name", "critical", "old", "new", "priority"),
    [
        ("power", False, "off", "on", "high"),
        ("power", False, "on", "on", "normal"),
        ("power", False, None, "on", "high"),
        ("power", True, "on", "on", "high"),
        ("FaultCode", False, "1", "1", "high"),
        ("over-heat alarm", False, "1", "1", "high"),
        ("speed", False, "10", "15", "normal"),
        ("speed", False, "10", "15.1", "high"),
        ("speed", False, "-10", "-4", "high"),
        ("speed", False, "10", " 1.2e1 ", "normal"),
        ("speed", False, "0", "0", "normal"),
        ("speed", False, "0", "0.1", "high"),
        ("speed", False, "10", "1_1", "high"),
        ("speed", False, "10", "inf", "high"),
        ("speed", False, "1e999", "1e999", "normal"),
    ],
)
def test_the_priority_of_a_change(
    name: str, critical: bool, old: str | None, new: str, priority: str
) -> None:
    assert priority_of(name, critical, old, new) == priority
