"""One definition at one sensor: from readings and the time to "raise" and "clear"."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs

from aemos.model import Instant
from aemos.services.alarms.conditions import Part, at_work
from aemos.services.alarms.forms import Condition, condition_of, filled, leaves
from aemos.storage.transaction import Row


@attrs.frozen(eq=False)
class Place:
    """A sensor as messages name it, and its variables: id -> name."""

    sensor_id: int
    uuid: str
    sensor: str
    area_id: int
    area: str
    organization_id: int
    variables: dict[int, str]


@attrs.frozen(eq=False)
class Definition:
    """A row of `alarm_definition`, its condition read. `variable` "" = the parts name theirs."""

    row: Row
    variable: str
    condition: Condition

    @classmethod
    def of(cls, row: Row, variable: str | None) -> Definition:
        """@param variable: the name of the one variable that it is about, if it is about one."""
        return cls(row, variable or row["variable_name"] or "", condition_of(row["condition_tree"]))

    @property
    def id(self) -> int:
        number: int = self.row["id"]
        return number

    @property
    def names(self) -> set[str]:
        """The variables that it looks at."""
        return {part.variable or self.variable for part in leaves(self.condition)}

    @property
    def window(self) -> int:
        """The milliseconds that its condition looks back."""
        return at_work(self.condition, self.variable, Instant(0)).window

    def covers(self, place: Place) -> bool:
        """@return: whether a sensor is one of those that it watches."""
        row = self.row
        return (
            row["organization_id"] == place.organization_id
            and row["sensor_id"] in (None, place.sensor_id)
            and row["area_id"] in (None, place.area_id)
            and (row["telemetry_id"] is None or row["telemetry_id"] in place.variables)
            and self.names <= set(place.variables.values())
        )


class Change(enum.Enum):
    """What becomes of the alarm."""

    RAISE = "raise"
    CLEAR = "clear"


@attrs.frozen(eq=False)
class Transition:
    """An alarm is to be raised or cleared. `comment` says why if that is not the condition."""

    key: str
    change: Change
    at: Instant
    alarm: Row = attrs.field(factory=dict)
    comment: str = ""


def key_of(definition_id: int, sensor_id: int) -> str:
    """@return: what no two open alarms have in common."""
    return f"definition:{definition_id}:sensor:{sensor_id}"


class Subject:
    """Holds for how long the condition has been what it is; raises once, clears once.

    Times are those of the readings, but never later than now: a sensor whose clock runs ahead
    neither shortens nor stretches a hold time. A reading that is older than one that was taken is
    left out: alarms are about what is.
    """

    def __init__(self, definition: Definition, place: Place, since: Instant) -> None:
        """@param since: before this nothing counts as missing."""
        self.definition, self.place = definition, place
        self.key = key_of(definition.id, place.sensor_id)
        self.part: Part = at_work(definition.condition, definition.variable, since)
        self._hold = int(definition.row["hold_seconds"] * 1000)
        self._clear_hold = int(definition.row["clear_hold_seconds"] * 1000)
        self._newest: dict[str, Instant] = {}
        self._value = ("", "")  # the variable that was heard last, and what it said
        self._truth, self._since = False, since
        self.raised = self._dismissed = False
        self.scheduled: Instant | None = None
        self.dropped = False

    def take(self, variable: str, value: str, at: Instant) -> Sequence[Transition]:
        """Take a reading over. @param at: not after now. @return: what follows from it."""
        if at < self._newest.get(variable, at):
            return ()
        changes = list(self._settle(at))  # what was held long enough before this reading
        self._newest[variable] = at
        self._value = variable, value
        self.part.take(variable, value, at)
        return [*changes, *self.look(at)]

    def look(self, now: Instant) -> Sequence[Transition]:
        """@return: what follows from the time alone."""
        truth = self.part.holds(now)
        changes: list[Transition] = []
        if truth != self._truth:
            changes += self._settle(now)
            self._truth, self._since = truth, now
            if not truth:
                self._dismissed = False
        return [*changes, *self._settle(now)]

    def next_look(self, now: Instant) -> Instant | None:
        """@return: when to look again if no reading comes; None = there is no need."""
        changes = self.part.changes_after(now)
        if self._truth == self.raised or self._dismissed:
            return changes
        held = Instant(self._since + (self._hold if self._truth else self._clear_hold))
        return held if changes is None else min(held, changes)

    def resume(
        self,
        readings: Sequence[tuple[str, str, Instant]],
        now: Instant,
        *,
        raised: bool,
        dismissed_at: Instant | None,
    ) -> None:
        """Begin where an earlier process, or an earlier form of the definition, ended.

        @param readings: the newest (variable, value, time) in order of time; nothing follows from
            them but how long the condition has been true.
        @param raised: whether there is an alarm.
        @param dismissed_at: when a user ended the last one.
        """
        self.part.resume(raised=raised)
        self._truth = self.raised = raised
        for variable, value, at in readings:
            at = min(at, now)
            self._newest[variable] = at
            self._value = variable, value
            self.part.take(variable, value, at)
            self._become(self.part.holds(at), at)
        self._become(self.part.holds(now), now)
        if self._truth and not raised and dismissed_at is not None:
            self._dismissed = dismissed_at >= self._since

    def _become(self, truth: bool, at: Instant) -> None:
        if truth != self._truth:
            self._truth, self._since = truth, at

    def dismiss(self) -> None:
        """A user has ended the alarm: the next one comes when the condition was false before."""
        self.raised = False
        self._dismissed = self._truth

    def _settle(self, now: Instant) -> Sequence[Transition]:
        if self._truth == self.raised or self._dismissed:
            return ()
        hold = self._hold if self._truth else self._clear_hold
        if now - self._since < hold:
            return ()
        self.raised = self._truth
        if self.raised:
            return (Transition(self.key, Change.RAISE, now, self._alarm()),)
        return (Transition(self.key, Change.CLEAR, now),)

    def _alarm(self) -> Row:
        row, place = self.definition.row, self.place
        variable, value = self._value
        words = {
            "name": row["name"],
            "severity": row["severity"],
            "sensor": place.sensor,
            "uuid": place.uuid,
            "area": place.area,
            "variable": variable or self.definition.variable,
            "value": value,
        }
        return {
            "definition_id": row["id"],
            "organization_id": row["organization_id"],
            "sensor_id": place.sensor_id,
            "area_id": place.area_id,
            "uuid": place.uuid,
            "name": row["name"],
            "severity": row["severity"],
            "message": filled(row["message"], words)[:1000],
            "value": value or None,
        }
