"""What one connection publishes: from PUBLISH to the router, and acknowledgements back in order.

Acknowledgements leave through a FIFO: a publish whose verdict is known waits for those before it.
An accepted message is forwarded when it reaches the head, just before its acknowledgement, so that
subscribers see the publisher's order. This is the hot path: one `Receipt` and one `Message` each,
and only one for all messages of a read that go the same way while nobody listens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from aemos.model import ACCEPTED, Along, Burst, Instant, Message, Verdict
from aemos.mqtt.adapter import DENIED, Route
from aemos.mqtt.durable import DurableSession
from aemos.mqtt.holds import AUTHORIZING, UNACKNOWLEDGED
from aemos.mqtt.packets.fields import MalformedPacket, Rules, decode_topic_name
from aemos.mqtt.packets.publish import RETAIN, split_publish
from aemos.mqtt.store import settle, shared_among, withdraw
from aemos.storage.mqtt_changes import SESSION_CHANGES, Change, Inbound

if TYPE_CHECKING:
    from aemos.mqtt.broker import Broker
    from aemos.mqtt.connection import Connection
    from aemos.mqtt.session import Session
    from aemos.mqtt.shared import SharedSubscription

_QOS_0 = 0x30  # byte 1 of a PUBLISH without any flag
_PUBACK = b"\x40\x02"
_GATHERED = frozenset((0x30, 0x32, 0x3A))  # not retained, QoS 0 or 1, the latter also with DUP

_MAX_ROUTES = 256
_LONG_TOPIC = 1024
"""So many topics does a connection remember its rights for, none of them longer than that."""


class Receipt(msgspec.Struct, eq=False):
    """One publish between its arrival and its acknowledgement; called with the verdict.

    Or several that came together: `payloads` are theirs, then of those that were not refused,
    `answer` is what acknowledges them, empty for QoS 0, `size` the bytes of all payloads. `route`
    is where they go when they are accepted, None = nowhere (any more). `followers` are repeats of a
    QoS 2 message that came on a later connection and get their answer with this one. `along` is
    what has to be stored with the message besides its own rows: copies for durable sessions, its
    QoS 2 id; `served` are the shared subscriptions that got theirs so.
    """

    intake: Intake
    route: Route | None
    qos: int
    retain: int
    payloads: Sequence[bytes]
    answer: bytes
    size: int = 0
    count: int = 1
    verdict: Verdict | None = None
    along: Along | None = None
    served: Collection[SharedSubscription] = ()
    followers: Sequence[Receipt] = ()

    def __call__(self, verdict: Verdict) -> None:
        """The router's `done`."""
        if self.along is None:
            self.verdict = verdict
            intake = self.intake
            if not intake.due:
                intake.due = True
                intake.turn.release(intake.release)
        else:
            self.intake.judged(self, verdict, self.along)

    def decided(self, verdicts: Sequence[Verdict]) -> None:
        """The router's `done` of a burst: what is refused is not forwarded, but acknowledged."""
        if verdicts.count(ACCEPTED) < self.count:
            judged = zip(self.payloads, verdicts, strict=True)
            self.payloads = [payload for payload, verdict in judged if verdict.accepted]
        self(ACCEPTED)

    def settle(self) -> None:
        """Nothing stands in the way of the acknowledgement any more."""
        self(ACCEPTED)


_NOTHING: deque[Receipt] = deque(maxlen=0)
"""The FIFO of those to whom nothing is owed: an empty deque of their own takes 700 bytes."""
_NEVER = Instant()


class _Gathered(msgspec.Struct, eq=False):
    """Messages in one read that are alike but for payload and packet id, before they are handed on.

    `prefix` is what their bodies begin with: the topic, with its length. `skip` bytes are before
    the payload. `room` messages and `room_bytes` of payload may still be gathered. `ids` are as on
    the wire.
    """

    route: Route
    first: int
    prefix: bytes
    skip: int
    room: int
    room_bytes: int
    payloads: list[bytes] = []
    ids: list[bytes] = []

    def take(self, first: int, buffer: bytes, start: int, end: int) -> bool:
        """@return: whether the next message is one of them."""
        at = start + self.skip
        if first != self.first or at > end or not buffer.startswith(self.prefix, start):
            return False
        if first != _QOS_0:
            packet_id = buffer[at - 2 : at]
            if packet_id == b"\0\0":
                return False
            self.ids.append(packet_id)
        self.payloads.append(buffer[at:end])
        self.room -= 1
        self.room_bytes -= end - at
        return True


class Intake:
    """Takes the publishes of one connection."""

    __slots__ = (
        "_at",
        "_broker",
        "_connection",
        "_gathered",
        "_heard",
        "_match",
        "_max_bytes",
        "_max_receipts",
        "_routes",
        "_rules",
        "_session",
        "due",
        "receipts",
        "received",
        "rights",
        "turn",
        "waiting",
        "waiting_bytes",
    )

    def __init__(
        self, broker: Broker, connection: Connection, session: Session, rules: Rules
    ) -> None:
        self._broker, self._connection, self._session = broker, connection, session
        self._rules = rules
        self._routes: dict[bytes, Route] = {}
        # When the last message arrived, as the connection and as messages tell it.
        self._heard = 0.0
        self._at = _NEVER
        self._match = broker.match
        self.turn = broker.turn
        self.due = False
        self._max_receipts = broker.settings.max_unacknowledged
        self._max_bytes = broker.settings.max_unacknowledged_bytes
        self.receipts = _NOTHING
        self.waiting = self.waiting_bytes = 0
        self._gathered: _Gathered | None = None
        self.received = 0
        self.rights = broker.rights

    def publish(self, first: int, buffer: bytes, start: int, end: int) -> None:
        """Handle a PUBLISH whose body is buffer[start:end].

        @raise MalformedPacket: the connection must be closed.
        """
        self.received += 1
        gathered = self._gathered
        if gathered is not None:
            taken = gathered.take(first, buffer, start, end)
            if not taken or gathered.room <= 0 or gathered.room_bytes <= 0:
                self.hand_on()
            if taken:
                return
        qos, raw_topic, packet_id, payload = split_publish(first, buffer, start, end)
        if qos == 2:
            incoming = self._session.incoming
            if packet_id in incoming:
                self._repeated(packet_id)
                return
            if len(incoming) >= self._broker.settings.max_unreleased:
                raise MalformedPacket("too many QoS 2 messages without PUBREL", "MQTT-4.3.3")
        route = self._routes.get(raw_topic)
        if route is None:
            self._first_of(raw_topic, qos, first & RETAIN, packet_id, payload)
        elif first == _QOS_0 and route.plain:
            # What goes out is what came in, unless the remaining length was padded.
            frame = buffer[start - 2 : end] if buffer[start - 2] == _QOS_0 else b""
            self._broker.forward(route.topic, payload, 0, 0, route.wire_topic, frame)
        elif route.gathers and end < len(buffer) and buffer[end] == first and first in _GATHERED:
            self._gather(route, first, buffer, start, end)
        else:
            self._take(route, qos, first & RETAIN, packet_id, payload)

    def rest(self) -> None:
        """Keep nothing that a client does not need while it is silent."""
        if not self.receipts:
            self.receipts = _NOTHING

    def release(self) -> None:
        """Forward and acknowledge from the head of the FIFO on, as far as verdicts are known."""
        self.due = False
        receipts, broker = self.receipts, self._broker
        write = self._connection.outbox.write
        while receipts:
            receipt = receipts[0]
            verdict, route = receipt.verdict, receipt.route
            if verdict is None:
                break
            if route is not None and (verdict is ACCEPTED or verdict.accepted):
                receipt.route = None
                if receipt.retain or self._match(route.topic):
                    self._forward(receipt, route)
                    if receipt.qos and broker.store.pending:
                        receipt.verdict = None
                        broker.store.commit(receipt.settle)
                        return
            receipts.popleft()
            self.waiting -= receipt.count
            self.waiting_bytes -= receipt.size
            if receipt.qos == 2:
                self._recorded(receipt)
            if receipt.answer:
                write(receipt.answer, receipt.count)
        if (
            self._connection.held
            and self.waiting <= self._max_receipts // 2
            and self.waiting_bytes <= self._max_bytes // 2
        ):
            self._connection.go_on(UNACKNOWLEDGED)
        if not receipts and broker.draining is not None:
            broker.acknowledged_all(self._connection)

    def _forward(self, receipt: Receipt, route: Route) -> None:
        broker, qos, retain = self._broker, receipt.qos, receipt.retain
        for payload in receipt.payloads:
            if qos:
                broker.forward_kept(
                    route.topic,
                    payload,
                    qos,
                    retain,
                    route.wire_topic,
                    receipt.served,
                    route.spare,
                )
            else:
                broker.forward(route.topic, payload, 0, retain, route.wire_topic, spare=route.spare)
                broker.store.commit_soon()

    def judged(self, receipt: Receipt, verdict: Verdict, along: Along) -> None:
        """Store what goes along with a message, unless that is done or the message was refused."""
        broker, receipt.along = self._broker, None
        [(_, changes)] = along.parts
        receipt.served = shared_among(changes)
        if not verdict.accepted:
            withdraw(changes)
        elif along.stored:
            settle(changes)
        else:
            broker.store.record(*changes)
            broker.store.commit(partial(receipt, verdict))
            return
        receipt(verdict)

    def released(self, packet_id: int) -> None:
        """PUBREL: the id of a QoS 2 publish is free again [MQTT-4.3.3-2]; answer PUBCOMP."""
        if self.due:
            self.release()
        session = self._session
        known = packet_id in session.incoming
        session.incoming.pop(packet_id, None)
        answer, write = b"\x70\x02" + packet_id.to_bytes(2, "big"), self._connection.outbox.write
        if isinstance(session, DurableSession):
            # The client may use the id for another message once it has seen the PUBCOMP.
            store = self._broker.store
            if known:
                store.record(Inbound(session.row, packet_id, False))
            store.commit(partial(write, answer))
        else:
            write(answer)

    def hand_on(self) -> None:
        """Have the messages judged that were gathered: nothing behind them may overtake them."""
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return
        route, payloads, qos = gathered.route, gathered.payloads, gathered.first >> 1 & 3
        if len(payloads) == 1 or self._match(route.topic):
            ids = gathered.ids if qos else [b""] * len(payloads)
            for packet_id, payload in zip(ids, payloads, strict=True):
                self._take(route, qos, 0, int.from_bytes(packet_id, "big"), payload)
            return
        answer = _PUBACK + _PUBACK.join(gathered.ids) if qos else b""
        size, count = sum(map(len, payloads)), len(payloads)
        receipt = Receipt(self, route, qos, 0, payloads, answer, size, count)
        self._owe(receipt)
        burst = Burst(self._message(route, payloads[0], qos), payloads)
        self._broker.router.handle_burst(burst, receipt.decided)
        self._hold_back()

    def forget_routes(self) -> None:
        """Rights have changed: ask for them again."""
        self._routes.clear()
        self.rights = self._broker.rights

    # ------------------------------------------------------------------

    def _take(self, route: Route, qos: int, retain: int, packet_id: int, payload: bytes) -> None:
        if qos == 1:
            answer = _PUBACK + packet_id.to_bytes(2, "big")
        elif qos == 2:
            answer = b"\x50\x02" + packet_id.to_bytes(2, "big")
        else:
            answer = b""
        # A retained message, whatever its topic [MQTT-3.3.1-10]: not judged, but it has its turn.
        clears = retain and not payload and route.allowed
        if route.kind is None or route.discarded or (clears and not self.receipts):
            self._route(route, qos, retain, packet_id, payload, answer)
            return
        onward = route if route.forwards or clears else None
        receipt = Receipt(self, onward, qos, retain, (payload,), answer, len(payload))
        if qos == 2:
            self._session.incoming[packet_id] = receipt
        self._owe(receipt)
        message = self._message(route, payload, qos)
        if route.allowed:
            durable = qos == 2 and not self._session.clean
            if qos and (durable or retain or self._match(route.topic)):
                changes = self._changes(onward, qos, retain, packet_id, payload)
                if changes:
                    message.along = receipt.along = Along(((SESSION_CHANGES, changes),))
            if clears:
                receipt.settle()
            else:
                self._broker.router.handle(message, receipt)
        else:
            self._broker.counters.denied += 1
            self._broker.router.refuse(message, DENIED, receipt)
        self._hold_back()

    def _hold_back(self) -> None:
        if self.waiting >= self._max_receipts or self.waiting_bytes >= self._max_bytes:
            self._connection.hold(UNACKNOWLEDGED)

    def _gather(self, route: Route, first: int, buffer: bytes, start: int, end: int) -> None:
        """Let this message wait for those behind it in this read."""
        # Half of the limit at most: a window must not open and close as a whole.
        limit = self._max_receipts
        room = min(self._broker.max_burst, limit // 2, limit - self.waiting)
        topic_end = start + 2 + (buffer[start] << 8 | buffer[start + 1])
        skip = topic_end - start + (2 if first != _QOS_0 else 0)
        self._gathered = gathered = _Gathered(
            route,
            first,
            buffer[start:topic_end],
            skip,
            room,
            self._max_bytes - self.waiting_bytes,
        )
        gathered.take(first, buffer, start, end)
        if gathered.room <= 0 or gathered.room_bytes <= 0:
            self.hand_on()

    def _message(self, route: Route, payload: bytes, qos: int) -> Message:
        heard = self._connection.heard
        if heard != self._heard:
            self._heard = heard
            self._at = Instant.of(heard)
        return route.message(self._session.principal, payload, qos, self._at)

    def _changes(
        self, route: Route | None, qos: int, retain: int, packet_id: int, payload: bytes
    ) -> Sequence[Change]:
        """@return: what must be stored before a message that is to be judged is acknowledged."""
        changes: Sequence[Change] = ()
        if route is not None:
            changes = self._broker.keep(
                route.topic, payload, qos, retain, route.wire_topic, route.spare
            )
        if qos == 2 and isinstance(self._session, DurableSession):
            changes = [*changes, Inbound(self._session.row, packet_id, True)]
        return changes

    def _route(
        self, route: Route, qos: int, retain: int, packet_id: int, payload: bytes, answer: bytes
    ) -> None:
        """Take a message that is not ingested: forward at once, acknowledge in turn."""
        broker = self._broker
        if route.discarded:
            broker.counters.dropped["reserved_topic"] += 1
        else:
            broker.forward(route.topic, payload, qos, retain, route.wire_topic)
        if qos == 2 and isinstance(self._session, DurableSession):
            broker.store.record(Inbound(self._session.row, packet_id, True))
        if not qos:
            broker.store.commit_soon()
            return
        pending = broker.store.pending
        if not pending and not self.receipts:
            if qos == 2:
                self._session.incoming[packet_id] = None
            self._connection.outbox.write(answer)
            return
        receipt = Receipt(self, None, qos, retain, (), answer)
        if qos == 2:
            self._session.incoming[packet_id] = receipt
        self._owe(receipt)
        if pending:
            broker.store.commit(receipt.settle)
        else:
            receipt.verdict = ACCEPTED

    def _first_of(
        self, raw_topic: bytes, qos: int, retain: int, packet_id: int, payload: bytes
    ) -> None:
        """Handle a publish to a topic whose rights are not known yet."""
        topic = decode_topic_name(raw_topic, self._rules)
        route = Route(topic)
        connection, session = self._connection, self._session
        answered = waiting = False

        def decided(allowed: bool) -> None:
            nonlocal answered
            answered = True
            route.allow(allowed)
            if not allowed:
                connection.note_denied(topic)
            if len(raw_topic) <= _LONG_TOPIC:
                if len(self._routes) >= _MAX_ROUTES:
                    self._routes.clear()
                self._routes[raw_topic] = route
            if qos == 2 and packet_id in session.incoming:
                self._repeated(packet_id)  # it came again, on a later connection, meanwhile
            else:
                self._take(route, qos, retain, packet_id, payload)
            if waiting:
                connection.go_on(AUTHORIZING)

        if route.discarded:
            self._take(route, qos, retain, packet_id, payload)
            return
        self._broker.authorization.may_publish(session.principal, session.client_id, topic, decided)
        if not answered:
            # The packets behind this one wait, so that order is kept.
            waiting = True
            connection.hold(AUTHORIZING)

    def _repeated(self, packet_id: int) -> None:
        """A QoS 2 PUBLISH again, before its PUBREL: answer it, route nothing."""
        answer = b"\x50\x02" + packet_id.to_bytes(2, "big")
        original = self._session.incoming[packet_id]
        if original is None and not self.receipts:
            self._connection.outbox.write(answer)
            return
        receipt = Receipt(self, None, 0, 0, (), answer)
        if original is None or original.intake is self:
            receipt.verdict = ACCEPTED  # the original, if waiting still, is before it in this FIFO
        else:
            original.followers = (*original.followers, receipt)
        self._owe(receipt)

    def _owe(self, receipt: Receipt) -> None:
        if self.receipts is _NOTHING:
            self.receipts = deque()
        self.receipts.append(receipt)
        self.waiting += receipt.count
        self.waiting_bytes += receipt.size

    def _recorded(self, receipt: Receipt) -> None:
        """A QoS 2 message is safe: from now on repeats are answered at once."""
        incoming = self._session.incoming
        packet_id = int.from_bytes(receipt.answer[2:], "big")
        if incoming.get(packet_id) is receipt:
            incoming[packet_id] = None
        for follower in receipt.followers:
            follower.settle()
