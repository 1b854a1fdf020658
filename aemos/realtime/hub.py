"""Rooms and live events: who hears what, whichever door it listens at.

The hub knows no socket, no token and no wire format. Doors let their sessions join rooms (after
asking for permission, see `aemos.realtime.session`); the hub turns what services publish into
events and hands each to the members of its rooms, once per member.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos import json
from aemos.model import Instant
from aemos.services.events import (
    DeviceStateChanged,
    Events,
    ReadingChanged,
    ReadingDeleted,
    ReadingsStored,
    StatusStored,
)

Wire = TypeVar("Wire")

_ROOM = re.compile(r"(?:telemetry|device)-[1-9][0-9]{0,17}|device-uuid-[\w.-]{1,64}", re.ASCII)


def is_room(name: str) -> bool:
    """@return: whether `name` is written like a room (spec/realtime.md section 3)."""
    return _ROOM.fullmatch(name) is not None


@attrs.define(slots=True, eq=False)
class Event:
    """One thing that happened, as every door tells it.

    `id` is opaque; ids compare as text in the order of happening, also over restarts. `data` is the
    payload of spec/realtime.md section 4. `organization_id` is the tenant that owns it (None: only
    System Admins see it). A newer event of the same `subject` makes this one outdated.
    """

    id: str
    name: str
    data: Mapping[str, Any]
    organization_id: int | None
    subject: str
    _json: bytes = attrs.field(default=b"", init=False)
    _encoded: dict[object, object] = attrs.field(factory=dict, init=False)

    def json(self) -> bytes:
        """@return: `data` as JSON, made once."""
        if not self._json:
            self._json = json.encode(self.data)
        return self._json

    def encoded(self, form: Callable[[Event, str], Wire], room: str) -> Wire:
        """@return: `form(self, room)`, made once and shared by all members that need the same."""
        key = (form, room)
        if key not in self._encoded:
            self._encoded[key] = form(self, room)
        return cast(Wire, self._encoded[key])


class Member(Protocol):
    """Who can be in a room; compared by identity."""

    def deliver(self, event: Event, room: str) -> None:
        """Take one event; `room` is the one that brought it here. May leave rooms, never waits."""


class Hub:
    """Room -> members. An event in whose rooms nobody is costs a look into a dict."""

    _log = Logger()

    def __init__(self, events: Events, clock: IReactorTime) -> None:
        self._clock = clock
        self._rooms: dict[str, dict[Member, None]] = {}
        self._last_id = 0
        self.events_sent = 0
        self.deliveries = 0
        events.subscribe(ReadingsStored, self._readings_stored)
        events.subscribe(ReadingChanged, self._reading_changed)
        events.subscribe(ReadingDeleted, self._reading_deleted)
        events.subscribe(StatusStored, self._status_stored)
        events.subscribe(DeviceStateChanged, self._device_state_changed)

    def join(self, member: Member, room: str) -> None:
        """Tell `member` from now on what happens in `room`."""
        self._rooms.setdefault(room, {})[member] = None

    def leave(self, member: Member, room: str) -> None:
        """Undo `join`; nothing changes if it is not there."""
        members = self._rooms.get(room)
        if members is not None:
            members.pop(member, None)
            if not members:
                del self._rooms[room]

    @property
    def rooms(self) -> int:
        """How many rooms have members."""
        return len(self._rooms)

    def _readings_stored(self, event: ReadingsStored) -> None:
        rooms = self._rooms
        if not rooms:
            return
        sensor_room = f"device-uuid-{event.sensor_uuid}"
        all_wanted = sensor_room in rooms
        for reading in event.readings:
            room = f"telemetry-{reading.telemetry_id}"
            if reading.id is not None and (all_wanted or room in rooms):
                stream = {
                    "id": reading.id,
                    "value": reading.value,
                    "telemetryDataId": reading.telemetry_id,
                    "recievedAt": reading.at,
                }
                self._send(
                    "new-datastream",
                    (room, sensor_room),
                    {"dataStream": stream, "timestamp": self._now()},
                    event.organization_id,
                    room,
                )

    def _reading_changed(self, event: ReadingChanged) -> None:
        # Its own event, not a second new-datastream: the value of a variable is not new again.
        row = event.row
        room = f"telemetry-{row['telemetryDataId']}"
        if room in self._rooms:
            stream = {key: row[key] for key in ("id", "value", "telemetryDataId", "recievedAt")}
            data = {"dataStream": stream, "timestamp": self._now()}
            subject = f"{room}#{row['id']}"
            self._send("update-datastream", (room,), data, event.organization_id, subject)

    def _reading_deleted(self, event: ReadingDeleted) -> None:
        room = f"telemetry-{event.telemetry_id}"
        if room in self._rooms:
            gone = {
                "id": event.reading_id,
                "telemetryDataId": event.telemetry_id,
                "deleted": True,
            }
            data = {"dataStream": gone, "timestamp": self._now()}
            subject = f"{room}#{event.reading_id}"
            self._send("delete-datastream", (room,), data, event.organization_id, subject)

    def _status_stored(self, event: StatusStored) -> None:
        room = f"device-uuid-{event.uuid}"
        if room in self._rooms:
            data = {
                "deviceUuid": event.uuid,
                "status": event.status,
                "metadata": event.metadata,
                "timestamp": event.at,
            }
            self._send("device-status", (room,), data, event.organization_id, f"{room}#status")

    def _device_state_changed(self, event: DeviceStateChanged) -> None:
        rooms = (f"device-uuid-{event.device_uuid}", f"device-{event.device_id}")
        if not any(room in self._rooms for room in rooms):
            return
        metadata: dict[str, Any] = {
            "deviceId": event.device_id,
            "deviceUuid": event.device_uuid,
            "deviceName": event.device_name,
            "deviceType": event.device_type,
            "isCritical": event.critical,
            "stateName": event.state,
            "oldValue": event.old,
            "newValue": event.new,
            "initiatedBy": event.initiated_by,
        }
        if event.rule is None:
            metadata["initiatorId"] = event.initiator_id
        else:
            metadata |= {"triggeredBy": "rule_chain", "ruleChainDetails": event.rule}
        data = {
            "title": "Device State Changed",
            "message": f"{event.state} changed to {event.new}",
            "type": "device-state-change",
            "deviceType": event.device_type,
            "deviceId": event.device_id,
            "deviceUuid": event.device_uuid,
            "priority": event.priority,
            "timestamp": event.at,
            "metadata": metadata,
        }
        subject = f"{rooms[0]}#state-{event.state}"
        self._send("device-state-change", rooms, data, event.organization_id, subject)

    def _send(
        self,
        name: str,
        rooms: Sequence[str],
        data: Mapping[str, Any],
        organization_id: int | None,
        subject: str,
    ) -> None:
        event = Event(self._next_id(), name, data, organization_id, subject)
        # The first matching room counts for a member of several; and members may leave meanwhile.
        hearing: dict[Member, str] = {}
        for room in rooms:
            for member in self._rooms.get(room, ()):
                hearing.setdefault(member, room)
        self.events_sent += 1
        self.deliveries += len(hearing)
        for member, room in hearing.items():
            try:
                member.deliver(event, room)
            except Exception:
                self._log.failure("delivering {event} failed", event=name)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())

    def _next_id(self) -> str:
        """Microseconds since 1970, always at least one more than before, as 14 hex digits.

        Made of the time so that ids of a later run are greater, and so that an id tells from where
        to read on in the database.
        """
        self._last_id = max(self._last_id + 1, int(self._clock.seconds() * 1_000_000))
        return f"{self._last_id:014x}"
