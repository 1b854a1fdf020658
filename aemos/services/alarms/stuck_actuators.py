"""Raises an alarm for an actuator that does not stop, and clears it when it does."""

from __future__ import annotations

import hashlib

from twisted.internet.interfaces import IReactorTime

from aemos.model import Instant
from aemos.services.alarms.recorder import Recorder
from aemos.services.alarms.subject import Change, Transition
from aemos.services.events import ActuatorStopped, ActuatorStuck, Events


class StuckActuators:
    """Told again after a restart, an actuator has still its one alarm."""

    def __init__(self, events: Events, recorder: Recorder, clock: IReactorTime) -> None:
        self._recorder, self._clock = recorder, clock
        events.subscribe(ActuatorStuck, self._stuck)
        events.subscribe(ActuatorStopped, self._stopped)

    def _stuck(self, event: ActuatorStuck) -> None:
        what = event.state or event.actuator
        alarm = {
            "organization_id": event.organization_id,
            "uuid": event.device_uuid,
            "name": "Actuator does not stop",
            "severity": "critical",
            "message": (
                f"Device {event.device_uuid} does not confirm that {what} has stopped, which was"
                f" due at {event.stop_at.iso()}; told {event.attempts} times"
            ),
        }
        key = _key(event.device_uuid, event.actuator)
        self._recorder.put([Transition(key, Change.RAISE, self._now(), alarm)])

    def _stopped(self, event: ActuatorStopped) -> None:
        key = _key(event.device_uuid, event.actuator)
        self._recorder.put([Transition(key, Change.CLEAR, self._now())])

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def _key(uuid: str, actuator: str) -> str:
    digest = hashlib.sha256(actuator.encode()).hexdigest()[:32]  # it may be any text
    return f"actuator:{uuid}:{digest}"
