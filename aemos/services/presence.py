"""Knows which sensors and devices are there: `online`, `late`, `silent` or `offline`.

Judged by what is heard from each by any door, by its MQTT sessions and by the interval at which it
uses to report, which is learned (docs/devices.rst). A message costs one addition to a set; once a
second what was heard is brought into the records, and those are judged whose time has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from heapq import heappop, heappush
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.config.schema import Presence as Settings
from aemos.errors import StorageUnavailable
from aemos.model import Instant, Principal, PrincipalKind
from aemos.services import access
from aemos.services.catalogue import Catalogue, Identity
from aemos.services.events import (
    ClientConnected,
    ClientGone,
    CommandChanged,
    DeviceStateChanged,
    Events,
    IdentityChanged,
    MessageRefused,
    PresenceChanged,
    PresenceForgotten,
    ReadingsCommitted,
    StatusStored,
)
from aemos.services.intervals import Interval
from aemos.services.lazy_writes import LazyWrites
from aemos.services.patience import NEVER, Patience, Thing
from aemos.storage import presence
from aemos.storage.commands import CONFIRMED, FAILED, RECEIVED
from aemos.storage.database import Database
from aemos.storage.listing import Listed
from aemos.storage.presence import LATE, OFFLINE, ONLINE, SILENT
from aemos.storage.transaction import Row

_TICK = 1.0  # seconds
_SLICE = 500  # things looked at in one turn of the reactor: about 2 ms
_WRITE_EVERY = 60.0  # seconds between two writes of one lastSeen
_ANSWERS = (RECEIVED, CONFIRMED, FAILED)  # statuses of a command that its device brought about
_WORSE = (ONLINE, LATE, SILENT, OFFLINE).index


class Presences:
    """Keeps a record of each sensor and device that was heard of, and tells when it changes."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        catalogue: Catalogue,
        settings: Settings,
        clock: IReactorTime,
    ) -> None:
        """The catalogue must have subscribed to `IdentityChanged` before."""
        self._database, self._events, self._catalogue = database, events, catalogue
        self._settings, self._clock = settings, clock
        self.counts: Counter[str] = Counter()  # things heard of, by their presence
        self._things: dict[str, Thing] = {}
        self._heard: set[str] = set()
        self._spoke: list[str] = []  # what was heard up to the last tick
        self._going_on: IDelayedCall | None = None
        self._due: list[tuple[float, str]] = []  # a heap; outdated entries stay until their time
        self._patience = Patience(settings)
        self._stopped = False
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock
        self._writes: LazyWrites[str, Mapping[str, Any]] = LazyWrites(
            "presence", database, clock, presence.save
        )
        events.subscribe(ReadingsCommitted, self._readings_committed)
        events.subscribe(StatusStored, lambda event: self._heard.add(event.uuid))
        events.subscribe(DeviceStateChanged, self._state_changed)
        events.subscribe(CommandChanged, self._command_changed)
        events.subscribe(MessageRefused, self._message_refused)
        events.subscribe(ClientConnected, self._connected)
        events.subscribe(ClientGone, self._gone)
        events.subscribe(IdentityChanged, self._identity_changed)

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Read what was known when the server ended, and begin to judge.

        Nothing changes by the restart itself: silence counts from `presence.settle` seconds after
        now, by when those who were connected are back.
        """
        settled_at = self._clock.seconds() + self._settings.settle
        self._patience = Patience(self._settings, settled_at)
        for row in await self._database.read(presence.load):
            thing = Thing(row["uuid"], row["presence"], row["since_at"])
            if row["last_seen_at"] is not None:
                thing.seen_at = thing.written_at = row["last_seen_at"] / 1000
            thing.interval = Interval.of(row["interval_ms"] / 1000)
            thing.stays = row["stays"]
            thing.judged_from = settled_at
            self._things[thing.uuid] = thing
            self.counts[row["presence"]] += 1
            if thing.presence != OFFLINE:
                self._judge_at(thing, self._patience.next_look(thing, settled_at))
        self._ticking.start(_TICK, now=False).addErrback(
            lambda failure: self._log.failure("presence is judged no more", failure)
        )

    def freeze(self) -> None:
        """The server is stopping: that clients go now says nothing about them."""
        if self._stopped:
            return
        self._stopped = True
        if self._ticking.running:
            self._ticking.stop()
        if self._going_on is not None:
            self._going_on.cancel()
        now = self._clock.seconds()
        for uuid in {*self._spoke, *self._heard}:
            self._spoken(uuid, now)
        for thing in self._things.values():
            if thing.sessions and thing.stays != thing.stays_connected(now):
                self._write(thing)

    async def stop(self) -> None:
        """Write down what is known; what the database does not take now is lost."""
        self.freeze()
        for thing in self._things.values():
            if thing.seen_at > thing.written_at:
                self._write(thing)
        await self._writes.stop()

    # ------------------------------------------------------------------ answers

    def shown(self, uuid: str | None) -> Row:
        """@return: `presence` and `lastSeen` of a sensor or device; `offline` if never heard of."""
        thing = self._things.get(uuid or "")
        if thing is None or thing.presence is None:
            return {"presence": OFFLINE, "lastSeen": None}
        return {"presence": thing.presence, "lastSeen": thing.last_seen}

    def show(self, row: Row) -> Row:
        """@return: the row of a sensor or device with its `presence` and `lastSeen`."""
        return {**row, **self.shown(row["uuid"])}

    async def summary(self, by: Principal) -> list[Row]:
        """@return: per organization how many of its sensors and devices are what, as far as `by`
        may view them; those that are inactive or retired do not count.
        """
        scope = _scope(by)
        await self._writes.flush()
        counts: dict[int | None, Row] = {}
        for row in await self._database.read(presence.counts, scope):
            organization = row["organizationId"]
            empty = {"organizationId": organization, ONLINE: 0, LATE: 0, SILENT: 0, OFFLINE: 0}
            counts.setdefault(organization, empty)[row["presence"]] = row["things"]
        return list(counts.values())

    async def listed(self, by: Principal, wanted: presence.Wanted) -> Listed:
        """@return: sensors and devices that `by` may view, with their presence."""
        scope = _scope(by)
        await self._writes.flush()
        found: Listed = await self._database.read(presence.listed, scope, wanted)
        return found.map(lambda rows: [{**row, **self.shown(row["uuid"])} for row in rows])

    # ------------------------------------------------------------------ what is heard

    def heard(self, uuid: str) -> None:
        """A sensor or device gave a sign of life."""
        self._heard.add(uuid)

    def _readings_committed(self, event: ReadingsCommitted) -> None:
        self._heard.update([message.sensor_uuid for message in event.messages])

    def _state_changed(self, event: DeviceStateChanged) -> None:
        if event.initiated_by == "device":
            self._heard.add(event.device_uuid)

    def _command_changed(self, event: CommandChanged) -> None:
        if event.status in _ANSWERS:
            self._heard.add(event.device_uuid)

    def _message_refused(self, event: MessageRefused) -> None:
        if event.message.principal.kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE):
            self._heard.add(event.message.principal.name)

    def _connected(self, event: ClientConnected) -> None:
        if self._stopped or not _is_thing(event.client.identity):
            return
        now = self._clock.seconds()
        thing = self._thing(event.client.identity.name)
        thing.connected(now)
        self._lives(thing, now)

    def _gone(self, event: ClientGone) -> None:
        client = event.client
        thing = self._things.get(client.identity.name)
        if self._stopped or thing is None or not _is_thing(client.identity):
            return
        now = self._clock.seconds()
        lasted = (event.at - client.connected_at) / 1000
        thing.left(now, lasted, spoke=client.messages_received > 0)
        self._judge(thing, now)

    def _identity_changed(self, event: IdentityChanged) -> None:
        if event.uuid in self._things:
            self._catalogue.find(event.uuid, partial(self._checked, event.uuid), patient=True)

    def _checked(self, uuid: str, identity: Identity | StorageUnavailable | None) -> None:
        if identity is None:
            self._forget(uuid)

    # ------------------------------------------------------------------ judging

    def _tick(self) -> None:
        self._spoke.extend(self._heard)
        self._heard.clear()
        if self._going_on is None:
            self._go_on()

    def _go_on(self) -> None:
        """Work off a slice of what is to be done; the rest in later turns of the reactor."""
        self._going_on = None
        now = self._clock.seconds()
        for uuid in self._spoke[-_SLICE:]:
            self._spoken(uuid, now)
        del self._spoke[-_SLICE:]
        for _ in range(_SLICE):
            if not self._due or self._due[0][0] > now:
                break
            due, uuid = heappop(self._due)
            thing = self._things.get(uuid)
            if thing is not None and thing.due == due:
                thing.due = NEVER
                self._judge(thing, now)
        if self._spoke or (self._due and self._due[0][0] <= now):
            self._going_on = self._clock.callLater(0, self._go_on)

    def _spoken(self, uuid: str, now: float) -> None:
        thing = self._thing(uuid)
        thing.spoke(now)
        self._lives(thing, now)

    def _lives(self, thing: Thing, now: float) -> None:
        thing.seen_at = now
        thing.judged_from = max(thing.judged_from, now)
        if thing.presence != ONLINE:
            self._change(thing, ONLINE)
        elif now - thing.written_at >= _WRITE_EVERY:
            self._write(thing)
        look = self._patience.next_look(thing, now)
        # A look that comes too early finds out; one that is much too late is moved.
        if look < thing.due:
            self._judge_at(thing, look)

    def _judge(self, thing: Thing, now: float) -> None:
        """Find out what it is now, by the time that has passed; only a sign of life improves it."""
        verdict = self._patience.verdict(thing, now)
        if thing.presence is None or _WORSE(verdict) > _WORSE(thing.presence):
            self._change(thing, verdict)
        if thing.presence != OFFLINE:
            self._judge_at(thing, self._patience.next_look(thing, now))

    def _judge_at(self, thing: Thing, moment: float) -> None:
        if moment < thing.due:
            thing.due = moment
            heappush(self._due, (moment, thing.uuid))

    # ------------------------------------------------------------------ records

    def _thing(self, uuid: str) -> Thing:
        thing = self._things.get(uuid)
        if thing is None:
            thing = self._things[uuid] = Thing(uuid)
        return thing

    def _change(self, thing: Thing, becomes: str) -> None:
        before, thing.presence = thing.presence, becomes
        if before is not None:
            self.counts[before] -= 1
        self.counts[becomes] += 1
        thing.since = Instant.of(self._clock.seconds())
        self._write(thing)
        # Told as it is now, even if it takes a while until the name of it is known.
        tell = partial(self._tell, thing.uuid, becomes, before, thing.since, thing.last_seen)
        self._catalogue.find(thing.uuid, tell, patient=True)

    def _tell(
        self,
        uuid: str,
        becomes: str,
        before: str | None,
        since: Instant,
        last_seen: Instant | None,
        identity: Identity | StorageUnavailable | None,
    ) -> None:
        if isinstance(identity, Identity):
            self._events.publish(
                PresenceChanged(
                    identity.kind,
                    identity.id,
                    uuid,
                    identity.name,
                    identity.organization_id,
                    becomes,
                    before,
                    since,
                    last_seen,
                )
            )
        elif identity is None:
            self._forget(uuid)

    def _forget(self, uuid: str) -> None:
        """Nothing is called so any more."""
        thing = self._things.pop(uuid, None)
        if thing is not None:
            if thing.presence is not None:
                self.counts[thing.presence] -= 1
            self._writes.put(uuid, {})
            self._events.publish(PresenceForgotten(uuid))

    def _write(self, thing: Thing) -> None:
        now = thing.written_at = self._clock.seconds()
        thing.stays = thing.stays_connected(now)
        values = {
            "presence": thing.presence,
            "since_at": thing.since,
            "last_seen_at": thing.last_seen,
            "interval_ms": int((thing.interval.seconds or 0) * 1000),
            "stays": thing.stays,
        }
        self._writes.put(thing.uuid, values)


def _is_thing(identity: Principal) -> bool:
    return identity.kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE)


def _scope(by: Principal) -> presence.Scope:
    return presence.Scope(access.scope(by, "sensor.view"), access.scope(by, "device.view"))
