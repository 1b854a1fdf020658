"""Switches actuators off again when their time is over, and does not give up before they say so.

An order with `maxOn` starts a timer, a row of `actuator_timer`. At its end a stop is stored and
sent, and sent again, later and later, until the device confirms it; after some attempts the
actuator counts as stuck. A new order for the same actuator ends the timer or puts another in its
place. All timers are in memory too: while the database is away, stops are sent all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.errors import BadRequest, StorageUnavailable
from aemos.model import Instant
from aemos.services.command_form import Order, payload
from aemos.services.commands import Commands
from aemos.services.events import (
    ActuatorStopped,
    ActuatorStuck,
    DeadlineChanged,
    DeviceStateChanged,
    Events,
)
from aemos.services.state_changes import StateChanges
from aemos.storage import actuator_timers, commands, device_states, devices
from aemos.storage.actuator_timers import TimerRow
from aemos.storage.commands import NewCommand
from aemos.storage.database import Database
from aemos.storage.transaction import Row, Transaction

_LONGEST = 60.0  # seconds between two attempts
_QOS = 2


@attrs.define(slots=True, eq=False)
class _Attempt:
    """One attempt to stop: what it has stored."""

    timer: TimerRow
    command: Row
    new: NewCommand | None = None
    state: DeviceStateChanged | None = None


class FailSafe:
    """Watches the clock for all timers."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        orders: Commands,
        changes: StateChanges,
        clock: IReactorTime,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._orders, self._changes = orders, changes
        self._settings = orders.settings
        self._timers: dict[tuple[str, str], TimerRow] = {}
        self._busy: set[int] = set()
        self._call: IDelayedCall | None = None
        self._stopped = False
        events.subscribe(DeadlineChanged, self._deadline_changed)
        events.subscribe(DeviceStateChanged, self._state_changed)

    async def start(self) -> None:
        """Take up the timers of an earlier run; what is due is done at once.

        @raise StorageUnavailable: the database cannot be read.
        """
        for timer in await self._database.read(actuator_timers.every):
            self._timers[_key(timer)] = timer
            if self._stuck(timer):
                self._tell_stuck(timer)
        self._watch_clock()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True
        self._watch_clock()

    def __len__(self) -> int:
        return len(self._timers)

    @property
    def stuck(self) -> int:
        """How many actuators do not confirm that they have stopped."""
        return sum(map(self._stuck, self._timers.values()))

    @property
    def busy(self) -> bool:
        """Whether a stop is being stored."""
        return bool(self._busy)

    # ------------------------------------------------------------------ the clock

    def _deadline_changed(self, event: DeadlineChanged) -> None:
        ended, begun = event.ended, event.begun
        if ended is not None:
            self._drop(ended)
            if self._stuck(ended):
                self._tell_stopped(ended)
        if begun is not None:
            # Of two orders at once the later one may be told first; its timer has the higher id.
            held = self._timers.get(_key(begun))
            if held is None or held["id"] < begun["id"]:
                self._timers[_key(begun)] = dict(begun)
        self._watch_clock()

    def _holds(self, timer: Mapping[str, Any]) -> bool:
        """Whether this is (still) the timer of its actuator."""
        held = self._timers.get(_key(timer))
        return held is not None and held["id"] == timer["id"]

    def _drop(self, timer: Mapping[str, Any]) -> None:
        if self._holds(timer):
            del self._timers[_key(timer)]

    def _state_changed(self, event: DeviceStateChanged) -> None:
        if event.timer is not None:
            self._orders.timer_changed(event.timer, event.at)

    def _watch_clock(self) -> None:
        """Be called when the next timer is due."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        due = [t["next_at"] for t in self._timers.values() if t["id"] not in self._busy]
        if due and not self._stopped:
            left = max(0.0, (min(due) - self._orders.now()) / 1000)
            self._call = self._clock.callLater(left, self._look)

    def _look(self) -> None:
        self._call = None
        now = self._orders.now()
        for timer in list(self._timers.values()):
            number: int = timer["id"]
            if timer["next_at"] <= now and number not in self._busy:
                self._busy.add(number)
                attempt = ensureDeferred(self._attempt(timer))
                attempt.addErrback(partial(self._failed, timer))
                attempt.addBoth(partial(self._attempted, number))
        self._watch_clock()

    def _attempted(self, number: int, _: object) -> None:
        self._busy.discard(number)
        self._watch_clock()

    def _failed(self, timer: TimerRow, failure: Any) -> None:
        self._log.failure(
            "stopping {actuator} of {uuid} failed",
            failure,
            actuator=timer["actuator"],
            uuid=timer["device_uuid"],
        )
        self._later(timer)

    def _later(self, timer: TimerRow) -> None:
        if self._holds(timer):
            again = Instant(self._orders.now() + round(self._settings.stop_retry * 1000))
            self._timers[_key(timer)]["next_at"] = again

    # ------------------------------------------------------------------ stopping

    async def _attempt(self, timer: TimerRow) -> None:
        now = self._orders.now()
        try:
            attempt = await self._database.transact(self._write, timer["id"], now)
        except StorageUnavailable as error:
            # It is stored when that is possible; to stop cannot wait until then.
            self._log.warn(
                "the stop of {actuator} of {uuid} is sent before it is stored: {error}",
                actuator=timer["actuator"],
                uuid=timer["device_uuid"],
                error=error,
            )
            self._orders.send_again({"id": 0, **_command_of(timer)})
            self._later(timer)
            return
        if attempt is None:
            self._drop(timer)
            return
        if not self._holds(timer):
            return  # a new order has come while this was written, and has cancelled it
        held = self._timers[_key(timer)] = attempt.timer
        if attempt.state is not None:
            self._events.publish(attempt.state)
        if attempt.new is not None:
            self._orders.stored(attempt.new)
        else:
            self._orders.send_again(attempt.command)
        if held["attempts"] == self._settings.stop_attempts + 1:
            self._tell_stuck(held)

    def _write(self, tx: Transaction, number: int, now: Instant) -> _Attempt | None:
        """@return: None = the timer has ended meanwhile."""
        timer = actuator_timers.find(tx, number)
        if timer is None:
            return None
        next_at = Instant(now + round(self._pause(timer["attempts"]) * 1000))
        if timer["stop_command"] is not None:
            row = commands.by_number(tx, timer["stop_command"])
            if row is not None:
                timer = actuator_timers.attempted(tx, timer, row["id"], next_at)
                return _Attempt(timer, row)
        new = NewCommand({**_command_of(timer), "created_at": now})
        new.store(tx)
        state = self._set_back(tx, timer)
        timer = actuator_timers.attempted(tx, timer, new.row["id"], next_at)
        return _Attempt(timer, new.row, new, state)

    def _set_back(self, tx: Transaction, timer: TimerRow) -> DeviceStateChanged | None:
        """Set the state that the server itself had set, unless it is that already."""
        if timer["state_id"] is None:
            return None
        state = device_states.find(tx, timer["state_id"])
        device = devices.find_by_uuid(tx, timer["device_uuid"])
        if state is None or device is None:
            return None
        now = device_states.current(tx, [state["id"]]).get(state["id"])
        if now is not None and now["value"] == timer["off_value"]:
            return None
        try:
            return self._changes.set_within(tx, device, state, timer["off_value"], "system")
        except BadRequest:  # by now the state may no more have this value; the device has to stop
            return None

    def _pause(self, attempts: int) -> float:
        """@return: seconds until the attempt after this one; `attempts` were made before."""
        return float(min(_LONGEST, self._settings.stop_retry * 2 ** min(attempts, 16)))

    def _stuck(self, timer: Mapping[str, Any]) -> bool:
        return bool(timer["attempts"] > self._settings.stop_attempts)

    def _tell_stuck(self, timer: TimerRow) -> None:
        self._log.error(
            "{actuator} of {uuid} had to stop at {at} and does not confirm it",
            actuator=timer["actuator"],
            uuid=timer["device_uuid"],
            at=timer["stop_at"].iso(),
        )
        self._events.publish(
            ActuatorStuck(
                device_uuid=timer["device_uuid"],
                organization_id=timer["organization_id"],
                actuator=timer["actuator"],
                state=timer["state_name"],
                command_id=timer["stop_id"],
                stop_at=timer["stop_at"],
                attempts=timer["attempts"],
            )
        )

    def _tell_stopped(self, timer: Mapping[str, Any]) -> None:
        self._events.publish(
            ActuatorStopped(
                device_uuid=timer["device_uuid"],
                organization_id=timer["organization_id"],
                actuator=timer["actuator"],
                state=timer["state_name"],
            )
        )


def _key(timer: Mapping[str, Any]) -> tuple[str, str]:
    return timer["device_uuid"], timer["actuator"]


def _command_of(timer: TimerRow) -> dict[str, Any]:
    """@return: the columns of the stop: the same each time, so that it is sent as one message."""
    order, uuid, at = Order.of(timer["stop"]), timer["device_uuid"], timer["stop_at"]
    state_name, state_value = order.state or (None, None)
    return {
        "command_id": timer["stop_id"],
        "device_uuid": uuid,
        "organization_id": timer["organization_id"],
        "actuator": timer["actuator"],
        "stops": True,
        "state_name": state_name,
        "state_value": state_value,
        "payload": payload(uuid, timer["stop_id"], order, at, "system"),
        "qos": _QOS,
        "initiated_by": "system",
        "expires_at": None,
    }
