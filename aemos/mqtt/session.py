"""One client's session: subscriptions, what is owed to it, and the QoS 1 and 2 flows both ways.

A session belongs to (principal, client id). It knows nothing of topics' receivers: the broker hands
it what it gets. Here is what all sessions have in common, and the session that ends with its
connection; `aemos.mqtt.durable` has the one that outlives it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from twisted.logger import Logger

from aemos.config.schema import Mqtt
from aemos.model import Principal
from aemos.mqtt.counters import Counters
from aemos.mqtt.packets.fields import MalformedPacket
from aemos.mqtt.publication import Publication, SharedCopy, TrackedPublication, first_byte

if TYPE_CHECKING:
    from aemos.mqtt.intake import Receipt
    from aemos.mqtt.outbox import Outbox
    from aemos.services.interfaces import Progress

# Of the module: there may be a hundred thousand sessions.
_log = Logger()

Delivery = tuple[Publication, int]
"""A message and byte 1 of the PUBLISH that carries it."""

STREAM_BATCH = 100
STREAM_AHEAD = 64 * 1024
"""Retained messages go out so many at a time, and only while less than this waits to be sent."""


class Session(ABC):
    """What the server remembers for one client."""

    __slots__ = (
        "_complained",
        "_counters",
        "_last_id",
        "_settings",
        "_streams",
        "client_id",
        "dropped",
        "incoming",
        "outbox",
        "overrun",
        "principal",
        "sent",
        "subscriptions",
    )

    clean: bool
    """Whether the session ends with its connection."""

    def __init__(
        self, principal: Principal, client_id: str, settings: Mqtt, counters: Counters
    ) -> None:
        self.principal = principal
        self.client_id = client_id
        self.outbox: Outbox | None = None
        # Ends the connection of a client that does not keep up, if `mqtt.queue_full` says so.
        self.overrun: Callable[[], object] | None = None
        self.subscriptions: dict[str, int] = {}
        # Inbound QoS 2 ids between PUBLISH and PUBREL; with the receipt while it has no verdict.
        self.incoming: dict[int, Receipt | None] = {}
        self.sent = 0
        self.dropped = 0
        self._complained = -1
        self._settings = settings
        self._counters = counters
        self._last_id = 0
        self._streams: dict[str, Iterator[Delivery]] = {}

    @property
    def key(self) -> tuple[str, str]:
        """Names the session among all."""
        return self.principal.key, self.client_id

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Messages sent that the client has not acknowledged to the end."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """Messages waiting to be sent."""

    @property
    @abstractmethod
    def queued_bytes(self) -> int:
        """Bytes of their topics and payloads."""

    # ------------------------------------------------------------------ towards the client

    @abstractmethod
    def deliver(self, publication: Publication, granted: int) -> None:
        """Send a message to this subscriber, or keep it until that is possible.

        @param granted: the QoS of the subscription; the lower of the two counts [MQTT-3.8.4-6].
        """

    @abstractmethod
    def watch(self, topic: str, payload: bytes, progress: Progress) -> bool:
        """Report from now on about a message that is under way already.

        @return: False = no such message is.
        """

    def stream(self, filter: str, deliveries: Iterator[Delivery]) -> None:
        """Send the retained messages of a new subscription, as fast as the client takes them."""
        self._streams[filter] = deliveries
        self.pump()

    def stop_stream(self, filter: str) -> None:
        """Send no more retained messages of this filter."""
        self._streams.pop(filter, None)

    @abstractmethod
    def pump(self) -> None:
        """Send what waits, as far as the in-flight window and the outbox have room."""

    @abstractmethod
    def acknowledged(self, packet_id: int) -> None:
        """PUBACK: a QoS 1 delivery is done. Unknown ids are ignored."""

    @abstractmethod
    def received(self, packet_id: int) -> None:
        """PUBREC: the client has a QoS 2 message; answer PUBREL, also for an unknown id."""

    @abstractmethod
    def completed(self, packet_id: int) -> None:
        """PUBCOMP: a QoS 2 delivery is done. Unknown ids are ignored."""

    # ------------------------------------------------------------------ connection comes and goes

    @abstractmethod
    def resume(self, outbox: Outbox) -> None:
        """Go on over a new connection, its CONNACK written: resend what is owed, then the queue."""

    def detach(self) -> None:
        """The connection is gone."""
        self.outbox = self.overrun = None
        self.sent = 0

    @abstractmethod
    def hand_over_shared(self) -> None:
        """Give other members of its groups what the client, which is leaving, has not acknowledged.

        QoS 2 messages that were sent stay: another client must not get them, too [MQTT-4.8.2-5, of
        MQTT 5].
        """

    def _handed_over(self, publication: Publication) -> bool:
        if not isinstance(publication, SharedCopy):
            return False
        return publication.subscription.hand_over(publication, self)

    @abstractmethod
    def purge(self, wanted: Callable[[str], bool]) -> None:
        """Give up what waits on topics that are not `wanted` any more."""

    # ------------------------------------------------------------------ limits

    def _take_next_stream(self) -> Delivery | None:
        """@return: the next retained message that is to be sent."""
        while self._streams:
            filter, deliveries = next(iter(self._streams.items()))
            delivery = next(deliveries, None)
            if delivery is not None:
                return delivery
            del self._streams[filter]
        return None

    def _has_room(self, size: int) -> bool:
        """Whether one more message may wait, if need be at the expense of others."""
        settings = self._settings
        while (waiting := self.queued) >= settings.max_queued or (
            waiting and self.queued_bytes + size > settings.max_queued_bytes
        ):
            policy = settings.queue_full
            if policy != "drop_oldest" or not self._drop_oldest():
                self._drop("queue_full")
                if policy == "disconnect" and self.overrun is not None:
                    self.overrun()
                return False
            self._drop("queue_full")
        return True

    def _takes_unsure(self) -> bool:
        """Whether one more message of QoS 0 may wait; half of the queue is left to the others."""
        outbox, settings = self.outbox, self._settings
        if outbox is None:
            return False  # QoS 0 is not kept for the absent
        if outbox.unsent > settings.max_output or self.queued >= settings.max_queued // 2:
            self._drop("slow_consumer")
            return False
        return True

    @abstractmethod
    def _drop_oldest(self) -> bool:
        """Give up the message that has been waiting longest. @return: whether there was one."""

    def _drop(self, why: str) -> None:
        self.dropped += 1
        counters = self._counters
        counters.dropped[why] += 1
        if self._complained != counters.minute:
            self._complained = counters.minute
            _log.warn(
                "messages for MQTT client {client_id!r} are dropped: {why}, {queued} waiting,"
                " {dropped} dropped so far",
                client_id=self.client_id,
                why=why,
                queued=self.queued,
                dropped=self.dropped,
            )


_NOTHING: deque[Delivery] = deque(maxlen=0)
"""The queue of those for whom nothing waits: an empty deque of their own takes 700 bytes."""


class TransientSession(Session):
    """A session that ends with its connection (clean session)."""

    __slots__ = ("_inflight", "_queue", "_queued_bytes", "_releasing")

    clean = True

    def __init__(
        self, principal: Principal, client_id: str, settings: Mqtt, counters: Counters
    ) -> None:
        super().__init__(principal, client_id, settings, counters)
        # Unacknowledged PUBLISHes, and ids whose PUBREL waits for PUBCOMP, with the message if
        # somebody is told of it.
        self._inflight: dict[int, Delivery] = {}
        self._releasing: dict[int, TrackedPublication | None] = {}
        self._queue = _NOTHING
        self._queued_bytes = 0

    @property
    def in_flight(self) -> int:
        return len(self._inflight) + len(self._releasing)

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    def deliver(self, publication: Publication, granted: int) -> None:
        qos = publication.qos
        if granted < qos:
            qos = granted
        outbox, limit = self.outbox, self._settings.max_output
        if outbox is None:
            return
        if self._queue or (outbox.unsent > limit and not outbox.has_room(limit)):
            self._wait(publication, qos)
        elif not qos:
            self.sent += 1
            outbox.write(publication.frame)
        elif len(self._inflight) + len(self._releasing) < self._settings.max_inflight:
            self._send(outbox, publication, first_byte(qos))
        else:
            self._wait(publication, qos)

    def watch(self, topic: str, payload: bytes, progress: Progress) -> bool:
        sent = [publication for publication, _ in self._inflight.values()]
        waiting = [publication for publication, _ in self._queue]
        for publication in (*sent, *self._releasing.values(), *waiting):
            if isinstance(publication, TrackedPublication) and publication.is_message(
                topic, payload
            ):
                publication.progress = progress
                return True
        return False

    def pump(self) -> None:
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
        self._queue = _NOTHING
        # What is left of a batch goes on when the outbox has been emptied (or by the next ack).
        for _ in range(STREAM_BATCH):
            if outbox.unsent > STREAM_AHEAD or self.in_flight >= window:
                return
            delivery = self._take_next_stream()
            if delivery is None:
                return
            self._send(outbox, *delivery)

    def acknowledged(self, packet_id: int) -> None:
        delivery = self._inflight.get(packet_id)
        if delivery is None or not delivery[1] & 2:
            if delivery is not None or packet_id in self._releasing:
                raise MalformedPacket(f"PUBACK for QoS 2 message {packet_id}", "MQTT-4.3.3-1")
            return
        del self._inflight[packet_id]
        progress = delivery[0].progress
        if progress is not None:
            progress.received()
        if self._queue or self._streams:
            self.pump()

    def received(self, packet_id: int) -> None:
        delivery = self._inflight.get(packet_id)
        if delivery is not None:
            if not delivery[1] & 4:
                raise MalformedPacket(f"PUBREC for QoS 1 message {packet_id}", "MQTT-4.3.2-1")
            del self._inflight[packet_id]
            tracked = delivery[0]
            self._releasing[packet_id] = (
                tracked if isinstance(tracked, TrackedPublication) else None
            )
        if self.outbox is not None:
            self.outbox.write(b"\x62\x02" + packet_id.to_bytes(2, "big"))

    def completed(self, packet_id: int) -> None:
        if packet_id in self._inflight:
            raise MalformedPacket(f"PUBCOMP before PUBREC of {packet_id}", "MQTT-4.3.3-1")
        if packet_id in self._releasing:
            tracked = self._releasing.pop(packet_id)
            if tracked is not None:
                tracked.progress.received()
            if self._queue or self._streams:
                self.pump()

    def resume(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.pump()

    def purge(self, wanted: Callable[[str], bool]) -> None:
        self._keep_waiting(lambda publication: wanted(publication.topic))

    def hand_over_shared(self) -> None:
        for packet_id, (publication, first) in list(self._inflight.items()):
            if first & 2 and self._handed_over(publication):
                del self._inflight[packet_id]
        self._keep_waiting(lambda publication: not self._handed_over(publication))

    def _keep_waiting(self, wanted: Callable[[Publication], bool]) -> None:
        self._queue = deque(delivery for delivery in self._queue if wanted(delivery[0]))
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
        size = publication.size
        if (self._takes_unsure() if not qos else True) and self._has_room(size):
            if self._queue is _NOTHING:
                self._queue = deque()
            self._queue.append((publication, first_byte(qos)))
            self._queued_bytes += size

    def _drop_oldest(self) -> bool:
        if not self._queue:
            return False
        publication, _ = self._queue.popleft()
        self._queued_bytes -= publication.size
        return True
