"""Tells MQTT subscribers what services report: readings, states, presence, alarms, refusals."""

from __future__ import annotations

from aemos import json
from aemos.config.schema import Mqtt
from aemos.model import PrincipalKind
from aemos.mqtt.broker import Broker
from aemos.services.events import (
    AlarmChanged,
    DeviceStateChanged,
    Events,
    MessageRefused,
    NotificationSent,
    PresenceChanged,
    PresenceForgotten,
    ReadingsCommitted,
    ReadingsStored,
)


class Announcements:
    """Publishes on behalf of the server; builds nothing that nobody is subscribed to."""

    def __init__(self, broker: Broker, settings: Mqtt) -> None:
        self._broker, self._settings = broker, settings

    def listen(self, events: Events) -> None:
        """Begin to announce what `events` tell."""
        events.subscribe(ReadingsCommitted, self.readings_committed)
        events.subscribe(DeviceStateChanged, self.device_state_changed)
        events.subscribe(MessageRefused, self.message_refused)
        events.subscribe(PresenceChanged, self.presence_changed)
        events.subscribe(PresenceForgotten, self.presence_forgotten)
        events.subscribe(AlarmChanged, self.alarm_changed)
        events.subscribe(NotificationSent, self.notification_sent)

    def readings_committed(self, event: ReadingsCommitted) -> None:
        """Announce what one commit stored."""
        if self._broker.subscription_count:
            for message in event.messages:
                self.readings_stored(message)

    def readings_stored(self, event: ReadingsStored) -> None:
        """One `data_stream` message per new reading (spec/mqtt.md section 5.3, point 3)."""
        topic = f"devices/{event.sensor_uuid}/datastream"
        # Compat: what came over CoAP is told to CoAP observers only.
        if event.door == "coap" or not self._broker.has_subscribers(topic):
            return
        for reading in event.readings:
            if reading.id is not None:
                payload = json.encode(
                    {
                        "type": "data_stream",
                        "deviceUuid": event.sensor_uuid,
                        "telemetryDataId": reading.telemetry_id,
                        "value": reading.value,
                        "timestamp": reading.at,
                        "metadata": {"id": reading.id},
                    }
                )
                self._broker.publish(topic, payload, qos=self._settings.datastream_qos)

    def device_state_changed(self, event: DeviceStateChanged) -> None:
        """One `device_state_change` message (spec/mqtt.md section 6)."""
        topic = f"devices/{event.device_uuid}/state"
        if not self._broker.has_subscribers(topic):
            return
        # Compat: what was not there in the original is not there without need.
        limited = event.max_on is not None
        deadline = {"maxOn": event.max_on, "stopAt": event.stop_at} if limited else {}
        payload = json.encode(
            {
                "type": "device_state_change",
                "deviceUuid": event.device_uuid,
                "deviceName": event.device_name,
                "deviceType": event.device_type,
                "stateName": event.state,
                "oldValue": event.old,
                "newValue": event.new,
                "initiatedBy": event.initiated_by,
                "timestamp": event.at,
                "priority": event.priority,
                **deadline,
                "metadata": {
                    "deviceId": event.device_id,
                    "isCritical": event.critical,
                    "initiatorId": event.initiator_id,
                },
            }
        )
        self._broker.publish(topic, payload, qos=self._settings.default_qos)

    def presence_changed(self, event: PresenceChanged) -> None:
        """One retained message per sensor or device: what it is now (docs/devices.rst)."""
        payload = json.encode(
            {
                "type": "presence",
                "deviceUuid": event.uuid,
                "presence": event.presence,
                "since": event.since,
                "lastSeen": event.last_seen,
            }
        )
        self._retain(event.uuid, payload)

    def presence_forgotten(self, event: PresenceForgotten) -> None:
        """Take the retained message back."""
        self._retain(event.uuid, b"")

    def _retain(self, uuid: str, payload: bytes) -> None:
        topic = f"devices/{uuid}/presence"
        self._broker.publish(topic, payload, qos=self._settings.default_qos, retain=True)

    def alarm_changed(self, event: AlarmChanged) -> None:
        """One message for each step of an alarm (docs/alarms.rst)."""
        if event.organization_id is None:
            return
        topic = f"organizations/{event.organization_id}/alarms"
        if self._broker.has_subscribers(topic):
            payload = json.encode(
                {
                    "type": "alarm",
                    "change": event.kind,
                    "comment": event.comment,
                    "alarm": event.alarm,
                    "timestamp": event.at,
                }
            )
            self._broker.publish(topic, payload, qos=1)

    def notification_sent(self, event: NotificationSent) -> None:
        """What a channel of the kind `mqtt` tells."""
        topic = f"organizations/{event.organization_id}/notifications"
        if event.kind == "mqtt" and self._broker.has_subscribers(topic):
            self._broker.publish(topic, json.encode(event.content), qos=1)

    def message_refused(self, event: MessageRefused) -> None:
        """Tell a device, on `devices/{its uuid}/errors`, why its message was not stored."""
        message, verdict = event.message, event.verdict
        of_device = message.principal.kind in (PrincipalKind.SENSOR, PrincipalKind.DEVICE)
        if verdict.accepted or not of_device:
            return
        topic = f"devices/{message.principal.name}/errors"
        if self._broker.has_subscribers(topic):
            payload = json.encode(
                {
                    "code": verdict.code.value,
                    "message": verdict.reason,
                    "topic": message.topic,
                    "timestamp": message.received_at,
                }
            )
            self._broker.publish(topic, payload, qos=self._settings.default_qos)
