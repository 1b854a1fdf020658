"""Commands to sensors and devices, from the order to what the device says about it.

A command is stored before it is sent, and every status it is ever in is stored with its time. Here
is in memory what devices have not received yet: it is sent when a device listens, once to each of
its MQTT sessions, until one of them acknowledges it or its time is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.config import schema
from aemos.errors import AemosError, Conflict, NotFound, RowRefused, TooManyRequests
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.areas import random_uuid
from aemos.services.command_form import shown
from aemos.services.events import CommandChanged, DeadlineChanged, DeviceListens, Events
from aemos.services.interfaces import Publisher
from aemos.services.order_intake import NewOrder, prepare, target_of
from aemos.storage import actuator_timers, commands
from aemos.storage.commands import NewCommand, Step, TimerChange
from aemos.storage.database import Database
from aemos.storage.listing import Listed, Listing
from aemos.storage.transaction import Row, Transaction
from aemos.storage.writer import Unit

_AT_ONCE = 1000  # commands read at a time at the start
_OVER = commands.OPEN - commands.WAITING  # received: what remains is for the device to say

FULL = "too many commands wait for their devices"
CROWDED = "too many actuators of this device have a time limit"


class NoReply(AemosError):
    """The device has not answered in the time that the caller gave it."""

    code, status = "no_reply", 504

    def __init__(self, message: str, command: Mapping[str, Any]) -> None:
        """@param command: as it is by now, for the answer."""
        super().__init__(message)
        self.details = {"data": {"command": command}}


@attrs.define(slots=True, eq=False)
class Waiting:
    """A command that its device has not received. `lasting` = nothing pushes it out (a stop)."""

    number: int
    uuid: str
    payload: bytes
    qos: int
    expires_at: Instant | None
    lasting: bool = False


class Commands:
    """Takes orders, sends them, follows them. `publisher` is bound when the doors are made."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        settings: schema.Commands,
        clock: IReactorTime,
        new_id: Callable[[], str] = random_uuid,
    ) -> None:
        """@param new_id: names commands."""
        self.publisher: Publisher | None = None
        self.settings = settings
        self.reached: Counter[str] = Counter()  # statuses, since the start
        self._database, self._events, self._clock = database, events, clock
        self._new_id = new_id
        self._waiting: dict[str, dict[int, Waiting]] = {}
        self._count = 0
        self._expiries: list[tuple[Instant, int, str]] = []
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self._asking: dict[int, list[Deferred[None]]] = {}
        self._timed: Counter[str] = Counter()  # actuators with a time limit, by device
        events.subscribe(DeviceListens, self._device_listens)
        events.subscribe(CommandChanged, self._changed)
        events.subscribe(DeadlineChanged, self._deadline_changed)

    # ------------------------------------------------------------------ start and stop

    async def start(self) -> None:
        """Take up what waits; what has expired meanwhile expires now, as of its time.

        @raise StorageUnavailable: the database cannot be read.
        """
        self._timed.update(await self._database.read(actuator_timers.counts))
        after = 0
        while rows := await self._database.read(commands.waiting, after, _AT_ONCE):
            after = rows[-1]["id"]
            for row in rows:
                self._remember(row)
        self._expire()

    def stop(self) -> None:
        """Let nobody wait any longer; commands stay as they are."""
        self._stopped = True
        self._watch_clock()
        for asking in list(self._asking.values()):
            _wake(asking)

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether no more commands may wait."""
        return self._count >= self.settings.max_waiting

    def crowded(self, uuid: str) -> bool:
        """Whether no more actuators of this device may have a time limit."""
        return self._timed[uuid] >= self.settings.max_waiting_per_device

    # ------------------------------------------------------------------ orders

    async def give(self, by: Principal, device: str, order: NewOrder) -> dict[str, Any]:
        """@param device: the uuid of a device or sensor, or the id of a device.

        @return: the command, queued (or more, if the device listens).
        @raise NotFound: no such device. @raise Forbidden: no device.update in its organization.
        @raise BadRequest: the order says too little, or contradicts itself.
        @raise TooManyRequests: too many commands wait, or too many timers run, already.
        """
        access.require_somewhere(by, "device.update")
        if self.full:
            raise TooManyRequests(FULL)
        now = self.now()

        def write(tx: Transaction) -> NewCommand:
            target = target_of(tx, by, "device.update", device)
            new = prepare(tx, target, order, self._new_id, now, "user", by.id, self.settings)
            if new.timer is not None and self.crowded(target.uuid):
                raise TooManyRequests(CROWDED)
            new.store(tx)
            return new

        new = await self._database.transact(write)
        self.stored(new)
        return shown(new.row)

    async def listed(
        self,
        by: Principal,
        device: str,
        listing: Listing,
        command_id: str = "",
    ) -> Listed:
        """@param command_id: only the command of this id, "" = all.

        @return: commands of a device as they are shown, with their `transitions`.

        @raise NotFound: no such device. @raise Forbidden: no device.view in its organization.
        """
        access.require_somewhere(by, "device.view")

        def read(tx: Transaction) -> Listed:
            uuid = target_of(tx, by, "device.view", device).uuid
            found = commands.listed(tx, uuid, listing, command_id)
            return found.map(partial(_with_transitions, tx))

        return await self._database.read(read)

    async def get(self, by: Principal, device: str, command_id: str) -> dict[str, Any]:
        """@return: a command with its `transitions`. @raise: as `listed`, or no such command."""
        access.require_somewhere(by, "device.view")

        def read(tx: Transaction) -> dict[str, Any]:
            row = _command(tx, target_of(tx, by, "device.view", device).uuid, command_id)
            return _with_transitions(tx, [row])[0]

        return await self._database.read(read)

    async def cancel(self, by: Principal, device: str, command_id: str) -> dict[str, Any]:
        """Send a command no more; whether the device has it already may not be known.

        @raise NotFound, Forbidden: as `give`. @raise Conflict: the device has received it, or it
            is over.
        """
        access.require_somewhere(by, "device.update")
        now = self.now()

        def write(tx: Transaction) -> Step:
            uuid = target_of(tx, by, "device.update", device).uuid
            row = _command(tx, uuid, command_id)
            step = Step(commands.CANCELLED, now, row["id"], detail=f"by user {by.id}")
            step.store(tx)
            if not step.moved:
                status = row["status"]
                raise Conflict(f"The command is {status}, it cannot be cancelled any more")
            return step

        step = await self._database.transact(write)
        self.stepped(step)
        return shown(step.row or {})

    async def reply(self, command: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Wait for what the device says about a command.

        @param command: as `give` returned it. @return: the command, confirmed or failed.
        @raise NoReply: it is neither in time, or never will be.
        """
        number: int = command["id"]
        ends = self._clock.seconds() + seconds
        while True:
            waiter: Deferred[None] = Deferred()
            asking = self._asking.setdefault(number, [])
            asking.append(waiter)  # before the look: nothing can be missed in between
            try:
                row = await self._database.read(_by_number, number)
                left = ends - self._clock.seconds()
                if row["status"] in (commands.CONFIRMED, commands.FAILED):
                    return shown(row)
                if row["status"] not in commands.OPEN or left <= 0 or waiter.called:
                    raise NoReply(f"No reply: the command is {row['status']}", shown(row))
                timer = self._clock.callLater(left, waiter.callback, None)
                await waiter
                if timer.active():
                    timer.cancel()
            finally:
                asking.remove(waiter)
                if not asking:
                    self._asking.pop(number, None)

    # ------------------------------------------------------------------ what happens to them

    def stored(self, new: NewCommand) -> None:
        """A command was committed: tell it, and send it if its device listens."""
        if new.repeated:
            return
        row = new.row
        waiting = self._remember(row)
        self._tell(row, commands.QUEUED, row["created_at"], "")
        self.timer_changed(new.change, row["created_at"])
        self._make_room(waiting)
        topic = f"devices/{row['device_uuid']}/commands"
        if self.publisher is not None and not new.forwarded:
            self.publisher.publish(topic, row["payload"], qos=row["qos"], spare=row["device_uuid"])
        self._hand_over(waiting)

    def stepped(self, step: Step) -> None:
        """A step was committed: tell it, if the command has moved."""
        row = step.row
        if row is None or not step.moved:
            return
        self._tell(row, step.status, step.at, step.detail)
        if step.ended is not None:
            self._events.publish(DeadlineChanged(None, step.ended))

    def timer_changed(self, change: TimerChange, at: Instant) -> None:
        """What an order did to the timer of its actuator was committed: tell it."""
        if change.cancelled is not None:
            self._tell(change.cancelled, commands.CANCELLED, at, "a new order came")
        if change.begun is not None or change.ended is not None:
            self._events.publish(DeadlineChanged(change.begun, change.ended))

    def send_again(self, row: Row) -> None:
        """Send a command to its device once more, whatever was acknowledged."""
        self._hand_over(_waiting(row))

    def now(self) -> Instant:
        """@return: the server's time."""
        return Instant.of(self._clock.seconds())

    def _tell(self, row: Row, status: str, at: Instant, detail: str) -> None:
        self.reached[status] += 1
        self._events.publish(
            CommandChanged(
                number=row["id"],
                command_id=row["command_id"],
                device_uuid=row["device_uuid"],
                organization_id=row["organization_id"],
                status=status,
                at=at,
                detail=detail,
                command=shown({**row, "status": status, "changed_at": at}),
            )
        )

    def _changed(self, event: CommandChanged) -> None:
        """Forget what does not wait any longer, and wake those who ask for a reply."""
        if event.status in commands.WAITING:
            return
        self._forget(event.device_uuid, event.number)
        if event.status not in _OVER:
            _wake(self._asking.get(event.number, ()))

    def _deadline_changed(self, event: DeadlineChanged) -> None:
        for timer, step in ((event.begun, 1), (event.ended, -1)):
            if timer is not None:
                uuid = timer["device_uuid"]
                self._timed[uuid] += step
                if not self._timed[uuid]:
                    del self._timed[uuid]

    # ------------------------------------------------------------------ sending

    def _device_listens(self, event: DeviceListens) -> None:
        for waiting in list(self._waiting.get(event.uuid, {}).values()):
            self._hand_over(waiting)

    def _hand_over(self, waiting: Waiting) -> None:
        expired = waiting.expires_at is not None and waiting.expires_at <= self.now()
        if self.publisher is not None and not expired:
            self.publisher.hand_over(
                waiting.uuid,
                f"devices/{waiting.uuid}/commands",
                waiting.payload,
                waiting.qos,
                _Progress(self, waiting.number),
            )

    def step(self, status: str, number: int, at: Instant, detail: str = "") -> None:
        """Write down that a command has come so far, and tell it when that is stored."""
        step = Step(status, at, number, detail=detail)

        def done(error: RowRefused | None) -> None:
            if error is None:
                self.stepped(step)
            else:
                self._log.error(
                    "the database refused a step of command {number}: {error}",
                    number=number,
                    error=error,
                )

        self._database.writer.submit(Unit(((commands.STEPS, [step]),), done))

    # ------------------------------------------------------------------ what waits

    def _remember(self, row: Row) -> Waiting:
        waiting = _waiting(row)
        of_device = self._waiting.setdefault(waiting.uuid, {})
        if waiting.number not in of_device:
            self._count += 1
            of_device[waiting.number] = waiting
            if waiting.expires_at is not None:
                heappush(self._expiries, (waiting.expires_at, waiting.number, waiting.uuid))
                self._watch_clock()
        return waiting

    def _forget(self, uuid: str, number: int) -> None:
        of_device = self._waiting.get(uuid)
        if of_device is None or of_device.pop(number, None) is None:
            return
        self._count -= 1
        if not of_device:
            del self._waiting[uuid]
        if len(self._expiries) > 2 * self._count + _AT_ONCE:
            # Most of them are of commands that were received long before.
            self._expiries = [e for e in self._expiries if e[1] in self._waiting.get(e[2], ())]
            heapify(self._expiries)

    def _make_room(self, newest: Waiting) -> None:
        """Cancel the oldest commands of a device for which too many wait."""
        of_device = self._waiting.get(newest.uuid, {})
        surplus = len(of_device) - self.settings.max_waiting_per_device
        if surplus > 0:
            movable = [w for w in of_device.values() if not w.lasting and w is not newest]
            for waiting in movable[:surplus]:
                self._forget(waiting.uuid, waiting.number)
                self.step(commands.CANCELLED, waiting.number, self.now(), "too many wait")

    def _expire(self) -> None:
        self._timer = None
        now = self.now()
        while self._expiries and self._expiries[0][0] <= now:
            at, number, uuid = heappop(self._expiries)
            if number in self._waiting.get(uuid, ()):
                self._forget(uuid, number)
                self.step(commands.EXPIRED, number, at)
        self._watch_clock()

    def _watch_clock(self) -> None:
        """Be called when the next command expires."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._expiries and not self._stopped:
            left = max(0.0, (self._expiries[0][0] - self.now()) / 1000)
            self._timer = self._clock.callLater(left, self._expire)


@attrs.frozen(slots=True, eq=False)
class _Progress:
    """What MQTT tells about one command."""

    commands: Commands
    number: int

    def sent(self) -> None:
        self.commands.step(commands.SENT, self.number, self.commands.now())

    def received(self) -> None:
        self.commands.step(commands.RECEIVED, self.number, self.commands.now())


def _wake(asking: Sequence[Deferred[None]]) -> None:
    for waiter in list(asking):
        if not waiter.called:
            waiter.callback(None)


def _waiting(row: Row) -> Waiting:
    return Waiting(
        number=row["id"],
        uuid=row["device_uuid"],
        payload=bytes(row["payload"]),
        qos=row["qos"],
        expires_at=row["expires_at"],
        lasting=row["expires_at"] is None,
    )


def _command(tx: Transaction, uuid: str, command_id: str) -> Row:
    row = commands.find(tx, uuid, command_id)
    if row is None:
        raise NotFound("Command not found")
    return row


def _by_number(tx: Transaction, number: int) -> Row:
    row = commands.by_number(tx, number)
    if row is None:
        raise NotFound("Command not found")
    return row


def _with_transitions(tx: Transaction, rows: Sequence[Row]) -> list[Row]:
    steps = commands.transitions(tx, [row["id"] for row in rows])
    return [{**shown(row), "transitions": steps[row["id"]]} for row in rows]
