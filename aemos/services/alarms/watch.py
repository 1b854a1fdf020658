"""Watches readings and the clock for all alarm definitions, after the commit and off its path.

sensor -> variable -> subjects is kept in memory, exact after every change of definitions, sensors,
variables and areas. A message of a sensor in which no definition is interested costs one look into
a dict.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.config.alarms import Alarms as Settings
from aemos.errors import StorageUnavailable
from aemos.model import Instant
from aemos.services.alarms.recorder import Recorder
from aemos.services.alarms.subject import (
    Change,
    Definition,
    Place,
    Subject,
    Transition,
    key_of,
)
from aemos.services.events import (
    AlarmChanged,
    Events,
    IdentityChanged,
    ReadingChanged,
    ReadingDeleted,
    ReadingsCommitted,
)
from aemos.storage import alarm_definitions, alarms, queries
from aemos.storage.database import Database
from aemos.storage.queries import Range
from aemos.storage.transaction import Row, Transaction

_SLICE = 500  # readings that are judged in one turn of the reactor
_TICK = 1.0  # seconds between looks at the clock
_PAUSE = 1.0  # seconds between attempts while the database is away
_LOOK_BACK = 500  # readings of a variable that are read again at the start
_NOTHING: Mapping[int, object] = {}
_DISMISSED_FOR = 90 * 86_400_000  # milliseconds for which it is known who ended an alarm by hand


@attrs.frozen
class _Loaded:
    """What was read: definitions, sensors, and how things stood when the server last looked."""

    definitions: Sequence[Definition]
    places: Sequence[Place]
    created: dict[int, Instant]
    open: dict[str, Row]
    dismissed: dict[str, Instant]


class Watch:
    """Turns readings into transitions of alarms. `dropped` readings came faster than were judged.

    Until they are judged readings wait in memory: what is left of them after a crash is read
    again from the database.
    """

    _log = Logger()

    def __init__(
        self,
        database: Database,
        events: Events,
        recorder: Recorder,
        clock: IReactorTime,
        settings: Settings,
    ) -> None:
        self._database, self._recorder, self._clock = database, recorder, clock
        self._settings = settings
        self._started_at = Instant(0)
        self._definitions: dict[int, Definition] = {}
        self.subjects: dict[str, Subject] = {}
        self._by_sensor: dict[int, dict[int, list[tuple[Subject, str]]]] = {}
        self._queue: deque[tuple[int, int, str, Instant]] = deque()
        self.dropped = 0
        self._working: IDelayedCall | None = None
        self._due: list[tuple[Instant, int, Subject]] = []
        self._numbers = count()
        self._ticking: LoopingCall | None = None
        self._stale_definitions: set[int] = set()
        self._stale_sensors: set[str] = set()
        self._waiting: list[Deferred[None]] = []
        self._loading: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._stopped = False
        events.subscribe(ReadingsCommitted, self._committed)
        events.subscribe(IdentityChanged, lambda event: self._outdated(sensors=[event.uuid]))
        events.subscribe(ReadingChanged, lambda event: self._edited(event.sensor_uuid))
        events.subscribe(ReadingDeleted, lambda event: self._edited(event.sensor_uuid))
        events.subscribe(AlarmChanged, self._alarm_changed)

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def waiting(self) -> int:
        """How many readings have not been judged yet."""
        return len(self._queue)

    async def start(self) -> None:
        """Read all definitions and how things stand, then begin to look at the clock.

        @raise StorageUnavailable: the database cannot tell.
        """
        self._started_at = self._now()
        self._stale_definitions.update(await self._database.read(alarm_definitions.all_ids))
        await self._load()
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = self._clock
        self._ticking.start(_TICK, now=False).addErrback(
            lambda failure: self._log.failure("nobody looks at the clock for alarms", failure)
        )

    async def stop(self) -> None:
        """Judge what waits, and nothing more."""
        self._stopped = True
        if self._ticking is not None:
            self._ticking.stop()
            self._ticking = None
        for timer in (self._working, self._retry):
            if timer is not None:
                timer.cancel()
        self._working = self._retry = None
        if self._loading is not None:
            await self._loading
        while self._queue:
            self._judge_some()

    def reload(self, definition_id: int) -> Deferred[None]:
        """Take over a definition that was made, changed or deleted.

        @return: fires when that is done; at once while the database is away, which is tried again.
        """
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self._outdated(definitions=[definition_id])
        return done

    # ---- readings

    def _committed(self, event: ReadingsCommitted) -> None:
        by_sensor, queue = self._by_sensor, self._queue
        everything = self._loading is not None  # what is about to be watched is not known yet
        if not by_sensor and not everything:
            return
        for message in event.messages:
            watched = by_sensor.get(message.sensor_id, _NOTHING)
            if watched is _NOTHING and not everything:
                continue
            for reading in message.readings:
                variable_id = reading.telemetry_id
                if reading.id is not None and (everything or variable_id in watched):
                    queue.append((message.sensor_id, variable_id, reading.value, reading.at))
        self._make_room()
        self._work()

    def _make_room(self) -> None:
        too_many = len(self._queue) - self._settings.queue
        if too_many > 0:
            if not self.dropped:
                self._log.warn("readings come faster than alarms can be judged: some are left out")
            self.dropped += too_many
            for _ in range(too_many):
                self._queue.popleft()

    def _work(self) -> None:
        if self._queue and self._working is None and self._loading is None and not self._stopped:
            self._working = self._clock.callLater(0, self._judge)

    def _judge(self) -> None:
        self._working = None
        self._judge_some()
        self._work()

    def _judge_some(self) -> None:
        now = self._now()
        transitions: list[Transition] = []
        for _ in range(min(_SLICE, len(self._queue))):
            sensor_id, variable_id, value, at = self._queue.popleft()
            watched = self._by_sensor.get(sensor_id)
            if watched is not None:
                for subject, variable in watched.get(variable_id, ()):
                    transitions += subject.take(variable, value, min(at, now))
                    self._plan(subject, now)
        self._recorder.put(transitions)

    # ---- the clock

    def _plan(self, subject: Subject, now: Instant) -> None:
        """See to it that the subject is looked at in time; later is not earlier, and so left."""
        at = subject.next_look(now)
        if at is not None and (subject.scheduled is None or at < subject.scheduled):
            subject.scheduled = at
            heapq.heappush(self._due, (at, next(self._numbers), subject))

    def _tick(self) -> None:
        now = self._now()
        transitions: list[Transition] = []
        if self._loading is None:
            while self._due and self._due[0][0] <= now:
                at, _, subject = heapq.heappop(self._due)
                if subject.dropped or subject.scheduled != at:
                    continue
                subject.scheduled = None
                transitions += subject.look(now)
                self._plan(subject, now)
        self._recorder.put(transitions)

    def _alarm_changed(self, event: AlarmChanged) -> None:
        alarm = event.alarm
        if event.kind == "cleared" and alarm["clearedBy"] is not None and alarm["definitionId"]:
            subject = self.subjects.get(key_of(alarm["definitionId"], alarm["sensorId"]))
            if subject is not None:
                subject.dismiss()

    # ---- what is watched

    def _edited(self, sensor_uuid: str | None) -> None:
        """A reading was edited: what is in the database now is what counts."""
        if sensor_uuid is not None and self.subjects:
            self._outdated(sensors=[sensor_uuid])

    def _outdated(self, *, definitions: Iterable[int] = (), sensors: Iterable[str] = ()) -> None:
        self._stale_definitions.update(definitions)
        if self._definitions or self._stale_definitions:
            self._stale_sensors.update(sensors)
        if self._retry is not None or self._stopped:
            self._tell(self._taken())
        elif self._loading is None and (
            self._stale_definitions or self._stale_sensors or self._waiting
        ):
            self._loading = loading = ensureDeferred(self._load_all())
            loading.addErrback(lambda failure: self._log.failure("loading alarms failed", failure))
            if loading.called:
                self._loading = None
            self._work()

    async def _load_all(self) -> None:
        waiting: list[Deferred[None]] = []
        try:
            while self._stale_definitions or self._stale_sensors or self._waiting:
                waiting += self._taken()
                await self._load()
        except StorageUnavailable as error:
            self._log.warn("changed alarms not read yet: {error}", error=error)
            if not self._stopped:
                self._retry = self._clock.callLater(_PAUSE, self._load_again)
        finally:
            self._loading = None
            self._work()
            self._tell(waiting)

    def _load_again(self) -> None:
        self._retry = None
        self._outdated()

    def _taken(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _tell(self, waiting: Iterable[Deferred[None]]) -> None:
        for done in waiting:
            done.callback(None)

    async def _load(self) -> None:
        definition_ids, self._stale_definitions = self._stale_definitions, set()
        uuids, self._stale_sensors = self._stale_sensors, set()
        try:
            await self._recorder.flush()
            since = Instant(self._now() - _DISMISSED_FOR)
            loaded = await self._database.read(
                _load, definition_ids, uuids, {*self._definitions}, since
            )
            found = [
                (definition, place)
                for definition in {
                    **self._definitions,
                    **{each.id: each for each in loaded.definitions},
                }.values()
                for place in loaded.places
                if (definition.id in definition_ids or place.uuid in uuids)
                and definition.covers(place)
            ]
            readings = await self._database.read(_newest, found, self._now())
        except BaseException:
            self._stale_definitions |= definition_ids
            self._stale_sensors |= uuids
            raise
        self._take_over(definition_ids, uuids, loaded, found, readings)

    def _take_over(
        self,
        definition_ids: Collection[int],
        uuids: Collection[str],
        loaded: _Loaded,
        found: Sequence[tuple[Definition, Place]],
        readings: dict[int, list[tuple[str, str, Instant]]],
    ) -> None:
        for subject in list(self.subjects.values()):
            if subject.definition.id in definition_ids or subject.place.uuid in uuids:
                self._drop(subject)
        for definition_id in definition_ids:
            self._definitions.pop(definition_id, None)
        self._definitions.update((each.id, each) for each in loaded.definitions)
        now = self._now()
        transitions: list[Transition] = []
        for definition, place in found:
            since = max(
                self._started_at, definition.row["updated_at"], loaded.created[place.sensor_id]
            )
            subject = Subject(definition, place, since)
            names = definition.names
            subject.resume(
                [one for one in readings[place.sensor_id] if one[0] in names],
                now,
                raised=subject.key in loaded.open,
                dismissed_at=loaded.dismissed.get(subject.key),
            )
            self._add(subject)
            transitions += subject.look(now)
            self._plan(subject, now)
        for key in loaded.open.keys() - self.subjects.keys():
            transitions.append(Transition(key, Change.CLEAR, now, comment="not watched any more"))
        self._recorder.put(transitions)

    def _drop(self, subject: Subject) -> None:
        subject.dropped = True
        del self.subjects[subject.key]
        watched = self._by_sensor[subject.place.sensor_id]
        for variable_id in list(watched):
            watched[variable_id] = [pair for pair in watched[variable_id] if pair[0] is not subject]
            if not watched[variable_id]:
                del watched[variable_id]
        if not watched:
            del self._by_sensor[subject.place.sensor_id]

    def _add(self, subject: Subject) -> None:
        self.subjects[subject.key] = subject
        watched = self._by_sensor.setdefault(subject.place.sensor_id, {})
        names = subject.definition.names
        for variable_id, name in subject.place.variables.items():
            if name in names:
                watched.setdefault(variable_id, []).append((subject, name))

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _load(
    tx: Transaction,
    definition_ids: Collection[int],
    uuids: Collection[str],
    known: Collection[int],
    since: Instant,
) -> _Loaded:
    """@param known: definitions that may watch the sensors with these uuids."""
    rows = alarm_definitions.in_use(tx, definition_ids)
    definitions = [Definition.of(row, row["of_variable"]) for row in rows]
    organizations = {row["organization_id"] for row in rows}
    sensors = alarm_definitions.watched_sensors(tx, organizations, uuids)
    variables = alarm_definitions.variables_of(tx, [row["id"] for row in sensors])
    places = [
        Place(
            sensor_id=row["id"],
            uuid=row["uuid"] or "",
            sensor=row["name"] or row["uuid"] or "",
            area_id=row["area_id"],
            area=row["area"] or "",
            organization_id=row["organization_id"],
            variables=variables.get(row["id"], {}),
        )
        for row in sensors
    ]
    return _Loaded(
        definitions,
        places,
        {row["id"]: row["createdAt"] or Instant(0) for row in sensors},
        {row["open_key"]: row for row in alarms.open_of(tx, definition_ids, uuids)},
        alarms.dismissed(tx, {*definition_ids, *(known if uuids else ())}, since),
    )


def _newest(
    tx: Transaction, found: Sequence[tuple[Definition, Place]], now: Instant
) -> dict[int, list[tuple[str, str, Instant]]]:
    """@return: sensor id -> the newest readings of what is looked at there, in order of time.

    That is what lies in the windows and hold times, and at least the newest one of each variable.
    """
    spans: dict[int, int] = {}
    names: dict[int, tuple[int, str]] = {}
    for definition, place in found:
        span = _span(definition)
        for variable_id, name in place.variables.items():
            if name in definition.names:
                names[variable_id] = place.sensor_id, name
                spans[variable_id] = max(spans.get(variable_id, 0), span)
    readings: dict[int, list[tuple[str, str, Instant]]] = {
        place.sensor_id: [] for _, place in found
    }
    for variable_id, row in queries.latest(tx, list(spans)).items():
        within = Range(start=Instant(now - spans[variable_id]), descending=True)
        rows = queries.page(tx, variable_id, within, _LOOK_BACK) if spans[variable_id] else []
        sensor_id, name = names[variable_id]
        readings[sensor_id] += [
            (name, one["value"], one["recievedAt"])
            for one in reversed(rows or [row])
            if one["value"] is not None and one["recievedAt"] is not None
        ]
    for series in readings.values():
        series.sort(key=lambda one: one[2])
    return readings


def _span(definition: Definition) -> int:
    """@return: milliseconds of history that tell how long the condition has been what it is."""
    row = definition.row
    hold = max(row["hold_seconds"], row["clear_hold_seconds"])
    return max(definition.window, int(hold * 1000))
