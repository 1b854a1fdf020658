"""One application message on its way to subscribers, encoded once for all who get it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aemos.mqtt.packets.fields import fixed_header, write_text
from aemos.mqtt.packets.publish import DUP, RETAIN

if TYPE_CHECKING:
    from aemos.mqtt.shared import SharedSubscription
    from aemos.services.interfaces import Progress


class Publication:
    """Topic, payload and the QoS it was published with.

    @param wire_topic: the topic as a length-prefixed field, when the caller has it already.
    @param frame: likewise the whole packet for QoS 0, without DUP and RETAIN.
    """

    __slots__ = ("_first", "_frame", "_head", "_wire_topic", "payload", "qos", "topic")

    progress: Progress | None = None
    """Who wants to know that the client has it."""

    def __init__(
        self, topic: str, payload: bytes, qos: int, wire_topic: bytes = b"", frame: bytes = b""
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self._wire_topic = wire_topic
        self._frame = frame
        self._first = 0

    @property
    def size(self) -> int:
        """Bytes of topic and payload, as the limits of queues count them."""
        return len(self.topic) + len(self.payload)

    @property
    def frame(self) -> bytes:
        """The whole PUBLISH at QoS 0 for an existing subscription: the same bytes for everybody."""
        frame = self._frame
        if not frame:
            frame = self._frame = self.packet(0x30)
        return frame

    def packet(self, first: int, packet_id: int = 0) -> bytes:
        """Encode a PUBLISH.

        @param first: byte 1 with QoS, DUP and RETAIN as this receiver gets them.
        @param packet_id: 1..65535 unless the QoS is 0.
        """
        if self._first != first:
            topic = self._wire_topic or write_text(self.topic)
            length = len(topic) + len(self.payload) + (2 if first & 6 else 0)
            self._head = fixed_header(first, length) + topic
            self._first = first
        if first & 6:
            return self._head + packet_id.to_bytes(2, "big") + self.payload
        return self._head + self.payload


class SharedCopy(Publication):
    """The copy of a message for a shared subscription, which finds it another member if need be."""

    __slots__ = ("subscription",)

    def __init__(self, publication: Publication, subscription: SharedSubscription) -> None:
        super().__init__(publication.topic, publication.payload, publication.qos)
        self.subscription = subscription


class TrackedPublication(Publication):
    """The copy of a message for one session, somebody being told how far it has come."""

    __slots__ = ("progress",)

    progress: Progress

    def __init__(self, topic: str, payload: bytes, qos: int, progress: Progress) -> None:
        super().__init__(topic, payload, qos)
        self.progress = progress

    def is_message(self, topic: str, payload: bytes) -> bool:
        """Whether it says this on this topic."""
        return self.topic == topic and self.payload == payload

    def packet(self, first: int, packet_id: int = 0) -> bytes:
        """As for every publication: sessions ask for the packet when they send it."""
        self.progress.sent()
        return super().packet(first, packet_id)


def first_byte(qos: int, *, retain: bool = False, dup: bool = False) -> int:
    """@return: byte 1 of a PUBLISH."""
    return 0x30 | qos << 1 | (RETAIN if retain else 0) | (DUP if dup else 0)
