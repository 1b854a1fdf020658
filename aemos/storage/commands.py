"""Commands to devices and what became of each: the SQL of `command` and `command_transition`.

A command has a `status`, and a row of `command_transition` for each status that it was ever in. It
moves only as `_FROM` allows, checked under the lock of its row, whoever moves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from aemos.model import Instant
from aemos.storage import actuator_timers
from aemos.storage.actuator_timers import TimerRow
from aemos.storage.listing import Condition, Listed, Listing
from aemos.storage.listing import listed as listing_of
from aemos.storage.transaction import Row, Transaction, marks

QUEUED = "queued"
SENT = "sent"
RECEIVED = "received"
CONFIRMED = "confirmed"
FAILED = "failed"
EXPIRED = "expired"
CANCELLED = "cancelled"

WAITING = frozenset({QUEUED, SENT})
"""Of these the device has not said yet that it has the command."""
OPEN = WAITING | {RECEIVED}
"""The device has not said yet what came of it."""

# The device has the last word: what it reports counts even if the server has given up.
_REPORTED = OPEN | {EXPIRED, CANCELLED}
_FROM: Mapping[str, frozenset[str]] = {
    SENT: frozenset({QUEUED}),
    RECEIVED: WAITING,
    CONFIRMED: _REPORTED,
    FAILED: _REPORTED,
    EXPIRED: WAITING,
    CANCELLED: WAITING,
}
_DETAIL = 200  # characters, command_transition.detail


@attrs.frozen(slots=True, eq=False)
class TimerChange:
    """What an order did to the timer of its actuator: rows of `actuator_timer`.

    `cancelled` is the stop that the `ended` timer had under way, a row of `command`.
    """

    begun: TimerRow | None = None
    ended: TimerRow | None = None
    cancelled: Row | None = None


@attrs.define(slots=True, eq=False)
class NewCommand:
    """A command before and after it is stored.

    `values` are columns of `command`; `timer` begins with it. `forwarded` = those who listen in on
    the device's commands get it from somebody else. The store fills in `row` (with `repeated`, if
    this device was given a command of this id before) and `change`.
    """

    values: Mapping[str, Any]
    timer: Mapping[str, Any] | None = None
    forwarded: bool = False
    row: Row = attrs.field(factory=dict)
    repeated: bool = False
    change: TimerChange = TimerChange()

    def store(self, tx: Transaction) -> None:
        """Insert it, queued, with its timer."""
        self.change = TimerChange()
        device, name = self.values["device_uuid"], self.values["command_id"]
        if self.timer is not None:
            _one_at_a_time(tx, device)
        known = find(tx, device, name)
        self.repeated = known is not None
        if known is not None:
            self.row = known
            return
        at = self.values["created_at"]
        row = {**self.values, "status": QUEUED, "attempts": 0, "changed_at": at}
        number = tx.insert("command", row)
        _note(tx, number, QUEUED, at, "")
        self.row = by_number(tx, number) or {}
        if self.timer is not None or row["state_value"] is not None or not row["stops"]:
            self.change = new_order(tx, device, row["actuator"], row["state_value"], at, self.timer)


class NewCommands:
    """Stores what came over MQTT, with everything else that is written."""

    def store(self, tx: Transaction, items: Sequence[NewCommand]) -> None:
        for item in items:
            item.store(tx)


NEW_COMMANDS = NewCommands()


@attrs.define(slots=True, eq=False)
class Step:
    """Something that a command went through.

    It is named by its row, or by device and command id as the device does. The store fills in
    `row` as it is afterwards (None = there is no such command), `moved`, and the timer that `ended`
    because its stop was confirmed.
    """

    status: str
    at: Instant
    command: int = 0
    device_uuid: str = ""
    command_id: str = ""
    detail: str = ""
    reply: Any = None
    row: Row | None = None
    moved: bool = False
    ended: TimerRow | None = None

    def store(self, tx: Transaction) -> None:
        """Take the step if the command is where it can be taken from."""
        self.row, self.moved, self.ended = None, False, None
        lock = tx.dialect.for_update
        if self.command:
            row = tx.one(f"SELECT * FROM command WHERE id = %s{lock}", (self.command,))
        else:
            row = tx.one(
                f"SELECT * FROM command WHERE device_uuid = %s AND command_id = %s{lock}",
                (self.device_uuid, self.command_id),
            )
        if row is None:
            return
        changes: dict[str, Any] = {}
        if self.status == SENT:
            changes["attempts"] = row["attempts"] + 1
        self.moved = row["status"] in _FROM[self.status]
        if self.moved:
            changes |= {"status": self.status, "changed_at": self.at}
            if self.reply is not None:
                changes["reply"] = self.reply
            _note(tx, row["id"], self.status, self.at, self.detail)
        if changes:
            tx.update("command", row["id"], changes)
        self.row = {**row, **changes}
        if self.moved and self.status == CONFIRMED and row["stops"]:
            self.ended = actuator_timers.stopped(tx, row)


class Steps:
    """Stores steps in the order in which they were taken."""

    def store(self, tx: Transaction, items: Sequence[Step]) -> None:
        for step in items:
            step.store(tx)


STEPS = Steps()


def find(tx: Transaction, device_uuid: str, command_id: str) -> Row | None:
    if not command_id.isascii():
        return None  # the column cannot hold it, and MySQL refuses to compare
    return tx.one(
        "SELECT * FROM command WHERE device_uuid = %s AND command_id = %s",
        (device_uuid, command_id),
    )


def by_number(tx: Transaction, number: int) -> Row | None:
    return tx.one("SELECT * FROM command WHERE id = %s", (number,))


def listed(tx: Transaction, device_uuid: str, listing: Listing, command_id: str = "") -> Listed:
    """@return: the commands of a device. @param command_id: only that one, "" = all."""
    condition = Condition()
    condition.add("device_uuid = %s", device_uuid)
    if command_id:
        condition.add("command_id = %s", command_id)
    return listing_of(tx, "command", condition, listing, ("command_id",))


def transitions(tx: Transaction, commands: Sequence[int]) -> dict[int, list[Row]]:
    """@return: row of a command -> its steps in their order: `status`, `at`, `detail`."""
    found: dict[int, list[Row]] = {number: [] for number in commands}
    for start in range(0, len(commands), 500):
        ids = tuple(commands[start : start + 500])
        for row in tx.all(
            "SELECT command, status, at, detail FROM command_transition"
            f" WHERE command IN ({marks(ids)}) ORDER BY id",
            ids,
        ):
            found[row.pop("command")].append(row)
    return found


def waiting(tx: Transaction, after: int, limit: int) -> list[Row]:
    """@return: commands that their devices have not received yet, in order, from an id on."""
    return tx.all(
        f"SELECT * FROM command WHERE status IN ('{QUEUED}', '{SENT}') AND id > %s"
        " ORDER BY id LIMIT %s",
        (after, limit),
    )


def matching(tx: Transaction, device_uuid: str, state_name: str, value: str) -> list[int]:
    """@return: the open commands that a reported state confirms.

    What was not sent yet cannot have had an effect, but for the stop of a timer: whoever reports
    that it is off needs no stop.
    """
    rows = tx.all(
        "SELECT c.id AS id FROM command c LEFT JOIN actuator_timer t ON t.stop_command = c.id"
        " WHERE c.device_uuid = %s AND c.state_name = %s AND c.state_value = %s"
        f" AND (c.status IN ('{SENT}', '{RECEIVED}')"
        f" OR (c.status = '{QUEUED}' AND t.id IS NOT NULL)) ORDER BY c.id",
        (device_uuid, state_name, value),
    )
    return [row["id"] for row in rows]


def new_order(
    tx: Transaction,
    device_uuid: str,
    actuator: str,
    value: str | None,
    at: Instant,
    timer: Mapping[str, Any] | None,
) -> TimerChange:
    """Let an order take the place of the timer that its actuator has.

    A stop that is under way is not sent any more. An order without a timer of its own that asks for
    what the old timer would bring about leaves that alone: the device may never get the order.

    @param value: of the state that is ordered, if there is one.
    @param timer: the new one's columns.
    """
    old = actuator_timers.of_actuator(tx, device_uuid, actuator)
    if old is not None and timer is None and value is not None and old["off_value"] == value:
        return TimerChange()
    cancelled = None
    if old is not None:
        actuator_timers.end(tx, old["id"])
        if old["stop_command"] is not None:
            step = Step(CANCELLED, at, old["stop_command"], detail="a new order came")
            step.store(tx)
            cancelled = step.row if step.moved else None
    begun = None if timer is None else actuator_timers.begin(tx, timer)
    return TimerChange(begun, old, cancelled)


def prune(tx: Transaction, before: Instant, limit: int) -> int:
    """Forget commands over which nothing has happened since then, so many at most.

    @return: how many they were.
    """
    rows = tx.all(
        f"SELECT id FROM command WHERE changed_at < %s AND status NOT IN ('{QUEUED}', '{SENT}')"
        " AND id NOT IN (SELECT stop_command FROM actuator_timer WHERE stop_command IS NOT NULL)"
        " ORDER BY changed_at LIMIT %s",
        (before, limit),
    )
    ids = [row["id"] for row in rows]
    return tx.execute(f"DELETE FROM command WHERE id IN ({marks(ids)})", ids) if ids else 0


def _one_at_a_time(tx: Transaction, device_uuid: str) -> None:
    """Let nobody else begin a timer for this device: two could begin one for the same actuator."""
    for table in ("Device", "Sensor"):
        tx.all(f"SELECT id FROM {table} WHERE uuid = %s{tx.dialect.for_update}", (device_uuid,))


def _note(tx: Transaction, number: int, status: str, at: Instant, detail: str) -> None:
    tx.insert(
        "command_transition",
        {"command": number, "status": status, "at": at, "detail": detail[:_DETAIL] or None},
    )
