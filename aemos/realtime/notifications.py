"""What Socket.IO clients hear of readings: at once, or gathered while a variable is busy.

The first reading of an idle variable is told at once, and so is an urgent one. Those that follow
within `notification_interval_ms` wait for the end of it: one or two are told one by one, more as a
batch, with the newest as an event of its own for clients that do not know batches
(spec/notifications-metrics.md section 1). All else is told as `feed` does it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from aemos.config.socketio import SocketIo
from aemos.realtime.feed import Feed, deleted_stream
from aemos.realtime.hub import Event, Hub
from aemos.services.events import (
    DeviceStateChanged,
    Events,
    ReadingChanged,
    ReadingDeleted,
    ReadingsStored,
)
from aemos.storage.readings import Reading

EVERYBODY = "organization-*"
"""The room of all clients: each hears what its principal may see. None can ask for it."""

_AT_ONCE = 200  # variables whose readings are told in one reactor turn
_FEW = 2


def meant_for_strangers(event: Event) -> bool:
    """@return: whether clients without a token may hear this in the room of everybody."""
    return event.name == "datastreams-update"


@attrs.define(slots=True)
class _Busy:
    """A variable that was told of within the last interval, and what waits for its end."""

    sensor_uuid: str
    organization_id: int | None
    waiting: list[Reading] = attrs.field(factory=list)


class Notifications(Feed):
    """The feed of the hub that Socket.IO clients listen to."""

    def __init__(self, hub: Hub, events: Events, clock: IReactorTime, settings: SocketIo) -> None:
        super().__init__(hub, events, clock)
        self._interval = settings.notification_interval_ms / 1000
        self._buffer = settings.notification_buffer
        self._broadcast = settings.broadcast_all
        self._rules_for_all = settings.rule_changes == "organization"
        self._busy: dict[int, _Busy] = {}
        self._due: deque[int] = deque()
        self._timer: IDelayedCall | None = None

    def stop(self) -> None:
        """Tell no more of what waits."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _readings_stored(self, event: ReadingsStored) -> None:
        self._gather(event.readings, event.sensor_uuid, event.organization_id)

    def _reading_changed(self, event: ReadingChanged) -> None:
        super()._reading_changed(event)
        # The clients that there are know no other event than that of a new reading.
        row = event.row
        edited = Reading(row["value"], row["telemetryDataId"], "", row["recievedAt"], id=row["id"])
        self._gather((edited,), event.sensor_uuid or "", event.organization_id)

    def _reading_deleted(self, event: ReadingDeleted) -> None:
        super()._reading_deleted(event)
        if self._broadcast:
            told = {"type": "delete", "dataStream": deleted_stream(event)}
            busy = _Busy(event.sensor_uuid or "", event.organization_id)
            self._tell_everybody(told, event.telemetry_id, busy)

    def _rooms_of_state(self, event: DeviceStateChanged) -> tuple[str, ...]:
        rooms = super()._rooms_of_state(event)
        for_all = self._broadcast or (event.rule is not None and self._rules_for_all)
        return (*rooms, EVERYBODY) if for_all else rooms

    # Gathering

    def _gather(
        self, readings: Iterable[Reading], sensor_uuid: str, organization_id: int | None
    ) -> None:
        """Take the readings that somebody wants to hear of."""
        heard = self._heard
        all_wanted = self._anybody_in(
            f"device-uuid-{sensor_uuid}", f"organization-{organization_id}"
        ) or (self._broadcast and EVERYBODY in heard)
        for reading in readings:
            if reading.id is not None and (
                all_wanted or f"telemetry-{reading.telemetry_id}" in heard
            ):
                self._take(reading, sensor_uuid, organization_id)

    def _take(self, reading: Reading, sensor_uuid: str, organization_id: int | None) -> None:
        busy = self._busy.get(reading.telemetry_id)
        if busy is None:
            busy = self._busy[reading.telemetry_id] = _Busy(sensor_uuid, organization_id)
            self._tell_one(reading, busy)
            self._start_timer()
        elif reading.urgent:
            self._tell_one(reading, busy)
        else:
            if busy.organization_id != organization_id:
                # The sensor moved: what waits is the former organization's.
                self._tell_waiting(busy)
                busy.organization_id = organization_id
            busy.waiting.append(reading)
            if len(busy.waiting) > self._buffer:
                del busy.waiting[: len(busy.waiting) - self._buffer // 2]

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self._clock.callLater(self._interval, self._tick)

    def _tick(self) -> None:
        self._due.extend(self._busy)
        self._go_on()

    def _go_on(self) -> None:
        """Tell what some variables gathered; the others follow when messages had their turn."""
        for _ in range(min(len(self._due), _AT_ONCE)):
            number = self._due.popleft()
            busy = self._busy[number]
            if busy.waiting:
                self._tell_waiting(busy)
            else:
                del self._busy[number]
        self._timer = None
        if self._due:
            self._timer = self._clock.callLater(0, self._go_on)
        elif self._busy:
            self._start_timer()

    # Telling

    def _tell_waiting(self, busy: _Busy) -> None:
        readings, busy.waiting = busy.waiting, []
        if len(readings) <= _FEW:
            for reading in readings:
                self._tell_one(reading, busy)
        elif readings:
            self._tell_batch(readings, busy)

    def _tell_one(self, reading: Reading, busy: _Busy) -> None:
        self._tell_new(reading, busy)
        if self._broadcast:
            self._tell_everybody(
                {"type": "create", "dataStream": _stream(reading)}, reading.telemetry_id, busy
            )

    def _tell_batch(self, readings: Sequence[Reading], busy: _Busy) -> None:
        telemetry_id, count = readings[0].telemetry_id, len(readings)
        # Of two of the same time the later one; a reading that was sent late is not the latest.
        latest = max(reversed(readings), key=lambda reading: reading.at)
        numbers = [number for reading in readings if (number := _number(reading.value)) is not None]
        data = {
            "telemetryDataId": telemetry_id,
            "count": count,
            "latest": _stream(latest),
            "min": min(numbers, default=None),
            "max": max(numbers, default=None),
            "avg": math.fsum(numbers) / len(numbers) if numbers else None,
            "timestamp": self._now(),
        }
        self._tell_reading("datastream-batch", _rooms(telemetry_id, busy), data, telemetry_id, busy)
        self._tell_new(latest, busy)
        if self._broadcast:
            self._tell_everybody(
                {"type": "batch", "telemetryDataId": telemetry_id, "count": count},
                telemetry_id,
                busy,
            )

    def _tell_new(self, reading: Reading, busy: _Busy) -> None:
        telemetry_id = reading.telemetry_id
        data = {"dataStream": _stream(reading), "timestamp": self._now()}
        self._tell_reading("new-datastream", _rooms(telemetry_id, busy), data, telemetry_id, busy)

    def _tell_everybody(self, data: dict[str, Any], telemetry_id: int, busy: _Busy) -> None:
        if EVERYBODY in self._heard:
            data["timestamp"] = self._now()
            self._tell_reading("datastreams-update", (EVERYBODY,), data, telemetry_id, busy)

    def _tell_reading(
        self, name: str, rooms: tuple[str, ...], data: dict[str, Any], number: int, busy: _Busy
    ) -> None:
        if self._anybody_in(*rooms):
            self._hub.tell(
                name,
                rooms,
                data,
                organization_id=busy.organization_id,
                subject=f"telemetry-{number}",
                permission="sensor.view",
                uuid=busy.sensor_uuid,
                telemetry_id=number,
            )


def _rooms(telemetry_id: int, busy: _Busy) -> tuple[str, ...]:
    return (
        f"telemetry-{telemetry_id}",
        f"device-uuid-{busy.sensor_uuid}",
        f"organization-{busy.organization_id}",
    )


def _stream(reading: Reading) -> dict[str, Any]:
    return {
        "id": reading.id,
        "value": reading.value,
        "telemetryDataId": reading.telemetry_id,
        "recievedAt": reading.at,
    }


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
