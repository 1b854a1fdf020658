"""Messages for one sensor or device itself, with word of how far they have come.

They go to the connected sessions of that device alone; all others who are subscribed to the topic
get theirs from `Broker.publish` or `Broker.forward`, which spare the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aemos.model import PrincipalKind
from aemos.mqtt.publication import TrackedPublication
from aemos.mqtt.session import Session
from aemos.mqtt.shared import Receiver, is_shared
from aemos.services.events import DeviceListens
from aemos.topics import matches

if TYPE_CHECKING:
    from aemos.mqtt.broker import Broker
    from aemos.services.interfaces import Progress

_THINGS = (PrincipalKind.SENSOR, PrincipalKind.DEVICE)


class Handover:
    """The part of the broker that knows which sessions are the device's own."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def hand_over(
        self, uuid: str, topic: str, payload: bytes, qos: int, progress: Progress
    ) -> None:
        """See `services.interfaces.Publisher`."""
        broker = self._broker
        for session in broker.sessions_of(uuid):
            if session.outbox is None or not is_own(session, uuid):
                continue
            granted = _granted(session, topic)
            if granted is None or not broker.may_receive(session, topic):
                continue
            if not session.watch(topic, payload, progress):
                session.deliver(TrackedPublication(topic, payload, qos, progress), granted)
        broker.store.commit_soon()

    def listens(self, session: Session) -> bool:
        """@return: whether this is a device that gets its commands."""
        name = session.principal.name
        return is_own(session, name) and _granted(session, f"devices/{name}/commands") is not None

    def announce(self, session: Session) -> None:
        """Tell services about a device, if it listens from now on."""
        if self.listens(session):
            self._broker.events.publish(DeviceListens(session.principal.name))


def is_own(session: Session, uuid: str) -> bool:
    """@return: whether this is a session of the sensor or device itself."""
    return session.principal.name == uuid and session.principal.kind in _THINGS


def others(
    receivers: Iterable[tuple[Receiver, int]], uuid: str
) -> tuple[tuple[Receiver, int], ...]:
    """@return: those that are no sessions of the sensor or device itself."""
    return tuple(
        (receiver, granted)
        for receiver, granted in receivers
        if not (isinstance(receiver, Session) and is_own(receiver, uuid))
    )


def _granted(session: Session, topic: str) -> int | None:
    """@return: the QoS with which a session gets a topic by its own subscriptions, if at all."""
    return max(
        (
            qos
            for topic_filter, qos in session.subscriptions.items()
            if not is_shared(topic_filter) and matches(topic_filter, topic)
        ),
        default=None,
    )
