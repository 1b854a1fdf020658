"""One client's session: subscriptions, what is owed to it, and the QoS 1 and 2 flows both ways.

A session belongs to (principal, client id). It lives on without a connection when it is persistent;
`outbox` is None then. It knows nothing of topics' receivers: the broker hands it what it gets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from aemos.config.schema import Mqtt
from aemos.model import Principal
from aemos.mqtt.counters import Counters
from aemos.mqtt.packets.fields import MalformedPacket
from aemos.mqtt.packets.publish import DUP
from aemos.mqtt.publication import Publication, SharedCopy, first_byte

if TYPE_CHECKING:
    from aemos.mqtt.intake import Receipt
    from aemos.mqtt.outbox import Outbox

Delivery = tuple[Publication, int]
"""A message and byte 1 of the PUBLISH that carries it."""

_STREAM_BATCH = 100
_STREAM_AHEAD = 64 * 1024
"""Retained messages go out so many at a time, and only while less than this waits to be sent."""


class Session:
    """What the server remembers for one client."""

    __slots__ = (
        "_counters",
        "_inflight",
        "_last_id",
        "_queue",
        "_queued_bytes",
        "_releasing",
        "_settings",
        "_streams",
        "clean",
        "client_id",
        "dropped",
        "incoming",
        "outbox",
        "principal",
        "sent",
        "subscriptions",
    )

    def __init__(
        self,
        principal: Principal,
        client_id: str,
        clean: bool,
        settings: Mqtt,
        counters: Counters,
    ) -> None:
        self.principal = principal
        self.client_id = client_id
        self.clean = clean
        self.outbox: Outbox | None = None
        self.subscriptions: dict[str, int] = {}
        # Inbound QoS 2 ids between PUBLISH and PUBREL; with the receipt while it has no verdict.
        self.incoming: dict[int, Receipt | None] = {}
        self.sent = 0
        self.dropped = 0
        self._settings = settings
        self._counters = counters
        # Unacknowledged PUBLISHes in sending order, and ids whose PUBREL waits for PUBCOMP.
        self._inflight: dict[int, Delivery] = {}
        self._releasing: dict[int, None] = {}
        self._last_id = 0
        self._queue: deque[Delivery] = deque()
        self._queued_bytes = 0
        self._streams: dict[str, Iterator[Delivery]] = {}

    @property
    def key(self) -> tuple[str, str]:
        """Names the session among all."""
        return self.principal.key, self.client_id

    @property
    def in_flight(self) -> int:
        """Messages sent that the client has not acknowledged to the end."""
        return len(self._inflight) + len(self._releasing)

    @property
    def queued(self) -> int:
        """Messages waiting to be sent."""
        return len(self._queue)

    # ------------------------------------------------------------------ towards the client

    def deliver(self, publication: Publication, granted: int) -> None:
        """Send a message to this subscriber, or keep it until that is possible.

        @param granted: the QoS of the subscription; the lower of the two counts [MQTT-3.8.4-6].
        """
        qos = publication.qos
        if granted < qos:
            qos = granted
        outbox, limit = self.outbox, self._settings.max_output
        if outbox is None or self._queue or (outbox.unsent > limit and not outbox.has_room(limit)):
            self._wait(publication, qos)
        elif not qos:
            self.sent += 1
            outbox.write(publication.frame)
        elif len(self._inflight) + len(self._releasing) < self._settings.max_inflight:
            self._send(outbox, publication, first_byte(qos))
        else:
            self._wait(publication, qos)

    def stream(self, filter: str, deliveries: Iterator[Delivery]) -> None:
        """Send the retained messages of a new subscription, as fast as the client takes them."""
        self._streams[filter] = deliveries
        self.pump()

    def stop_stream(self, filter: str) -> None:
        """Send no more retained messages of this filter."""
        self._streams.pop(filter, None)

    def pump(self) -> None:
        """Send what waits, as far as the in-flight window and the outbox have room."""
        outbox = self.outbox
        if outbox is None or not (self._queue or self._streams):
            return
        queue, window, max_output = (
            self._queue,
            self._settings.max_inflight,
            self._settings.max_output,
        )
        while queue:
            publication, first = queue[0]
            if outbox.unsent > max_output or (first & 6 and self.in_flight >= window):
                return
            queue.popleft()
            self._queued_bytes -= publication.size
            self._send(outbox, publication, first)
        # What is left of a batch goes on when the outbox has been emptied (or by the next ack).
        for _ in range(_STREAM_BATCH):
            if not self._streams or outbox.unsent > _STREAM_AHEAD or self.in_flight >= window:
                return
            filter, deliveries = next(iter(self._streams.items()))
            delivery = next(deliveries, None)
            if delivery is None:
                del self._streams[filter]
            else:
                self._send(outbox, *delivery)

    def acknowledged(self, packet_id: int) -> None:
        """PUBACK: a QoS 1 delivery is done. Unknown ids are ignored."""
        delivery = self._inflight.get(packet_id)
        if delivery is None or not delivery[1] & 2:
            if delivery is not None or packet_id in self._releasing:
                raise MalformedPacket(f"PUBACK for QoS 2 message {packet_id}", "MQTT-4.3.3-1")
            return
        del self._inflight[packet_id]
        if self._queue or self._streams:
            self.pump()

    def received(self, packet_id: int) -> None:
        """PUBREC: the client has a QoS 2 message; answer PUBREL, also for an unknown id."""
        delivery = self._inflight.get(packet_id)
        if delivery is not None:
            if not delivery[1] & 4:
                raise MalformedPacket(f"PUBREC for QoS 1 message {packet_id}", "MQTT-4.3.2-1")
            del self._inflight[packet_id]
            self._releasing[packet_id] = None
        if self.outbox is not None:
            self.outbox.write(b"\x62\x02" + packet_id.to_bytes(2, "big"))

    def completed(self, packet_id: int) -> None:
        """PUBCOMP: a QoS 2 delivery is done. Unknown ids are ignored."""
        if packet_id in self._inflight:
            raise MalformedPacket(f"PUBCOMP before PUBREC of {packet_id}", "MQTT-4.3.3-1")
        if packet_id in self._releasing:
            del self._releasing[packet_id]
            if self._queue or self._streams:
                self.pump()

    # ------------------------------------------------------------------ connection comes and goes

    def resume(self, outbox: Outbox) -> None:
        """Go on over a new connection, its CONNACK written: resend what is owed, then the queue.

        PUBRELs first, in PUBREC order [MQTT-4.6.0-4], then unacknowledged PUBLISHes in their order.
        """
        self.outbox = outbox
        for packet_id in self._releasing:
            outbox.write(b"\x62\x02" + packet_id.to_bytes(2, "big"))
        for packet_id, (publication, first) in self._inflight.items():
            outbox.write(publication.packet(first | DUP, packet_id))
        self.pump()

    def detach(self) -> None:
        """The connection is gone: QoS 0 is not kept for the absent."""
        self.outbox = None
        self.sent = 0
        if any(not first & 6 for _, first in self._queue):
            self.purge(lambda delivery: bool(delivery[1] & 6))

    def hand_over_shared(self) -> None:
        """Give other members of its groups what the client has not acknowledged.

        QoS 2 messages that were sent stay: another client must not get them, too [MQTT-4.8.2-5, of
        MQTT 5].
        """
        for packet_id, (publication, first) in list(self._inflight.items()):
            if first & 2 and self._handed_over(publication):
                del self._inflight[packet_id]
        self.purge(lambda delivery: not self._handed_over(delivery[0]))

    def _handed_over(self, publication: Publication) -> bool:
        if not isinstance(publication, SharedCopy):
            return False
        return publication.subscription.hand_over(publication, self)

    def purge(self, keep: Callable[[Delivery], bool]) -> None:
        """Take out of the queue what `keep` is false for."""
        self._queue = deque(delivery for delivery in self._queue if keep(delivery))
        self._queued_bytes = sum(publication.size for publication, _ in self._queue)

    # ------------------------------------------------------------------

    def _send(self, outbox: Outbox, publication: Publication, first: int) -> None:
        self.sent += 1
        if not first & 6:
            outbox.write(publication.packet(first))
            return
        packet_id = self._last_id + 1
        # The window is far smaller than the space of ids, so a free one is near.
        while packet_id > 0xFFFF or packet_id in self._inflight or packet_id in self._releasing:
            packet_id = packet_id + 1 if packet_id < 0xFFFF else 1
        self._last_id = packet_id
        self._inflight[packet_id] = (publication, first)
        outbox.write(publication.packet(first, packet_id))

    def _wait(self, publication: Publication, qos: int) -> None:
        settings, waiting = self._settings, len(self._queue)
        if not qos:
            if self.outbox is None:
                return
            # Half of the queue is left to what must not be lost.
            if self.outbox.unsent > settings.max_output or waiting >= settings.max_queued // 2:
                self._drop("slow_consumer")
                return
        size = publication.size
        room = self._queued_bytes + size <= settings.max_queued_bytes or not waiting
        if waiting >= settings.max_queued or not room:
            self._drop("queue_full")
            return
        self._queue.append((publication, first_byte(qos)))
        self._queued_bytes += size

    def _drop(self, why: str) -> None:
        self.dropped += 1
        self._counters.dropped[why] += 1
