"""What services publish, as events of the hub: the only place that knows both.

A kind of event is a handler here: it says in which rooms something is told, in which shape, and
which permission its organization asks for. Whatever is about a sensor or device is told in
`device-uuid-{uuid}` and in the room of its organization; docs/realtime.rst has the list.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime

from aemos.model import Instant, PrincipalKind
from aemos.realtime.hub import Hub
from aemos.services.events import (
    AlarmChanged,
    BroadcastSent,
    CommandChanged,
    DeviceStateChanged,
    Events,
    NotificationSent,
    PresenceChanged,
    ReadingChanged,
    ReadingDeleted,
    ReadingsCommitted,
    ReadingsStored,
    StatusStored,
    UserWelcomed,
)


class Feed:
    """Builds no event for rooms in which nobody is."""

    def __init__(self, hub: Hub, events: Events, clock: IReactorTime) -> None:
        self._hub, self._clock = hub, clock
        self._heard = hub.heard
        events.subscribe(ReadingsCommitted, self._readings_committed)
        events.subscribe(ReadingChanged, self._reading_changed)
        events.subscribe(ReadingDeleted, self._reading_deleted)
        events.subscribe(StatusStored, self._status_stored)
        events.subscribe(DeviceStateChanged, self._device_state_changed)
        events.subscribe(PresenceChanged, self._presence_changed)
        events.subscribe(UserWelcomed, self._user_welcomed)
        events.subscribe(CommandChanged, self._command_changed)
        events.subscribe(BroadcastSent, self._broadcast_sent)
        events.subscribe(AlarmChanged, self._alarm_changed)
        events.subscribe(NotificationSent, self._notification_sent)

    def _readings_committed(self, event: ReadingsCommitted) -> None:
        if self._heard:
            for message in event.messages:
                self._readings_stored(message)

    def _readings_stored(self, event: ReadingsStored) -> None:
        heard = self._heard
        sensor_room = f"device-uuid-{event.sensor_uuid}"
        everything = f"organization-{event.organization_id}"
        all_wanted = sensor_room in heard or everything in heard
        for reading in event.readings:
            room = f"telemetry-{reading.telemetry_id}"
            if reading.id is not None and (all_wanted or room in heard):
                stream = {
                    "id": reading.id,
                    "value": reading.value,
                    "telemetryDataId": reading.telemetry_id,
                    "recievedAt": reading.at,
                }
                self._hub.tell(
                    "new-datastream",
                    (room, sensor_room, everything),
                    {"dataStream": stream, "timestamp": self._now()},
                    organization_id=event.organization_id,
                    subject=room,
                    permission="sensor.view",
                    uuid=event.sensor_uuid,
                    telemetry_id=reading.telemetry_id,
                )

    def _reading_changed(self, event: ReadingChanged) -> None:
        # Its own event, not a second new-datastream: the value of a variable is not new again.
        row = event.row
        stream = {key: row[key] for key in ("id", "value", "telemetryDataId", "recievedAt")}
        self._tell_edit("update-datastream", stream, event.organization_id, event.sensor_uuid)

    def _reading_deleted(self, event: ReadingDeleted) -> None:
        gone = deleted_stream(event)
        # Some clients look for these in `dataStream`, some beside it.
        self._tell_edit("delete-datastream", gone, event.organization_id, event.sensor_uuid, **gone)

    def _tell_edit(
        self,
        name: str,
        stream: dict[str, Any],
        organization_id: int | None,
        uuid: str | None,
        **beside: object,
    ) -> None:
        room = f"telemetry-{stream['telemetryDataId']}"
        rooms = (room, f"organization-{organization_id}")
        if self._anybody_in(*rooms):
            self._hub.tell(
                name,
                rooms,
                {**beside, "dataStream": stream, "timestamp": self._now()},
                organization_id=organization_id,
                subject=f"{room}#{stream['id']}",
                permission="sensor.view",
                uuid=uuid,
                telemetry_id=stream["telemetryDataId"],
            )

    def _status_stored(self, event: StatusStored) -> None:
        rooms = (f"device-uuid-{event.uuid}", f"organization-{event.organization_id}")
        if self._anybody_in(*rooms):
            data = {
                "deviceUuid": event.uuid,
                "status": event.status,
                "metadata": event.metadata,
                "timestamp": event.at,
            }
            self._hub.tell(
                "device-status",
                rooms,
                data,
                organization_id=event.organization_id,
                subject=f"{rooms[0]}#status",
                permission=_viewing(event.kind),
                uuid=event.uuid,
            )

    def _device_state_changed(self, event: DeviceStateChanged) -> None:
        rooms = self._rooms_of_state(event)
        if not self._anybody_in(*rooms):
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
        self._hub.tell(
            "device-state-change",
            rooms,
            data,
            organization_id=event.organization_id,
            subject=f"{rooms[0]}#state-{event.state}",
            permission="device.view",
            uuid=event.device_uuid,
        )

    def _rooms_of_state(self, event: DeviceStateChanged) -> tuple[str, ...]:
        return (
            f"device-uuid-{event.device_uuid}",
            f"device-{event.device_id}",
            f"organization-{event.organization_id}",
        )

    def _presence_changed(self, event: PresenceChanged) -> None:
        rooms = [f"device-uuid-{event.uuid}", f"organization-{event.organization_id}"]
        if event.kind is PrincipalKind.DEVICE:
            rooms.insert(1, f"device-{event.id}")
        if self._anybody_in(*rooms):
            data = {
                "deviceUuid": event.uuid,
                "kind": event.kind.value,
                "id": event.id,
                "name": event.name,
                "presence": event.presence,
                "before": event.before,
                "since": event.since,
                "lastSeen": event.last_seen,
                "timestamp": self._now(),
            }
            self._hub.tell(
                "presence",
                rooms,
                data,
                organization_id=event.organization_id,
                subject=f"{rooms[0]}#presence",
                permission=_viewing(event.kind),
                uuid=event.uuid,
            )

    def _broadcast_sent(self, event: BroadcastSent) -> None:
        room = f"organization-{event.organization_id}"
        if self._anybody_in(room):
            data = {
                "organizationId": event.organization_id,
                "message": event.message,
                "timestamp": event.at,
            }
            self._hub.tell(
                "broadcast",
                (room,),
                data,
                organization_id=event.organization_id,
                subject=f"{room}#broadcast-{event.at}",
                permission="device.view",
            )

    def _command_changed(self, event: CommandChanged) -> None:
        rooms = (f"device-uuid-{event.device_uuid}", f"organization-{event.organization_id}")
        if self._anybody_in(*rooms):
            data = {
                "deviceUuid": event.device_uuid,
                "status": event.status,
                "detail": event.detail,
                "command": event.command,
                "timestamp": event.at,
            }
            self._hub.tell(
                "command",
                rooms,
                data,
                organization_id=event.organization_id,
                subject=f"{rooms[0]}#command-{event.number}",
                permission="device.view",
                uuid=event.device_uuid,
            )

    def _alarm_changed(self, event: AlarmChanged) -> None:
        rooms = [f"organization-{event.organization_id}"]
        if event.uuid is not None:
            rooms.insert(0, f"device-uuid-{event.uuid}")
        if self._anybody_in(*rooms):
            data = {
                "change": event.kind,
                "comment": event.comment,
                "alarm": event.alarm,
                "timestamp": event.at,
            }
            self._hub.tell(
                "alarm",
                rooms,
                data,
                organization_id=event.organization_id,
                subject=f"alarm-{event.alarm['id']}",
                permission="sensor.view",
                uuid=event.uuid,
            )

    def _user_welcomed(self, event: UserWelcomed) -> None:
        room = str(event.user_id)
        if self._anybody_in(room):
            data = {"userId": event.user_id, "message": event.message, "timestamp": event.at}
            self._hub.tell(
                "welcome",
                (room,),
                data,
                organization_id=None,
                subject=f"user-{room}#welcome",
                permission="",
            )

    def _notification_sent(self, event: NotificationSent) -> None:
        room = f"organization-{event.organization_id}"
        if event.kind == "realtime" and self._anybody_in(room):
            self._hub.tell(
                "notification",
                (room,),
                dict(event.content),
                organization_id=event.organization_id,
                subject=f"{room}#notification-{event.content['timestamp']}",
                permission="sensor.view",
            )

    def _anybody_in(self, *rooms: str) -> bool:
        return any(room in self._heard for room in rooms)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def deleted_stream(event: ReadingDeleted) -> dict[str, Any]:
    """@return: what is told of a reading that is gone."""
    return {"id": event.reading_id, "telemetryDataId": event.telemetry_id, "deleted": True}


def _viewing(kind: PrincipalKind) -> str:
    return "sensor.view" if kind is PrincipalKind.SENSOR else "device.view"
