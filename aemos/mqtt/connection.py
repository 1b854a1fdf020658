"""One client's connection from accept to close: order of packets, timers, back-pressure.

It takes bytes and writes bytes and knows no socket, so TCP, TLS and WebSocket share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from aemos.mqtt.counters import CloseReason
from aemos.mqtt.holds import (
    AUTHORIZING,
    CLOSED,
    CONNECTING,
    STOPPING,
    UNSENT,
    WRITER_FULL,
)
from aemos.mqtt.intake import Intake
from aemos.mqtt.limits import Meter
from aemos.mqtt.outbox import Outbox
from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    MalformedPacket,
    PingReq,
    PubAck,
    PubComp,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
)
from aemos.mqtt.packets.connect import ACCEPTED, IDENTIFIER_REJECTED, SERVER_UNAVAILABLE
from aemos.mqtt.packets.fields import LEVEL_3_1, Rules
from aemos.mqtt.packets.subscribe import FAILURE
from aemos.mqtt.peer import Peer
from aemos.mqtt.session import Session
from aemos.mqtt.wire import Splitter
from aemos.services.events import ClientGone, ClientSubscribed, ClientUnsubscribed
from aemos.services.interfaces import ClientInfo

if TYPE_CHECKING:
    from aemos.mqtt.broker import Broker

# Of the module, not of the class: a logger bound to each connection would keep it in log buffers.
_log = Logger()

CLOSE_TIMEOUT = 5.0
"""Seconds that a peer has to take what was sent before a close."""

_LATE = 1.0
"""Seconds after which a timer that did not fire says more about the server than about the peer."""

_EXPIRY_STEP = 86400.0  # the end of a credential may be years away: longer than timers should be
_ACKS = frozenset((PubAck.FIRST, PubRec.FIRST, PubRel.FIRST, PubComp.FIRST))
_PINGRESP = b"\xd0\x00"


class Connection:
    """The server's side of one MQTT connection.

    `held` tells why packets are not looked at (bits of `aemos.mqtt.holds`); `heard` is when bytes
    arrived last (reactor time). `session` is None until CONNECT was accepted.
    """

    __slots__ = (
        "__weakref__",
        "_alive_timer",
        "_broker",
        "_connected_at",
        "_expiry_timer",
        "_keep_alive",
        "_meter",
        "_packet_since",
        "_paused",
        "_processing",
        "_rules",
        "_splitter",
        "bytes_received",
        "client_id",
        "denied",
        "heard",
        "held",
        "intake",
        "outbox",
        "packets_received",
        "peer",
        "session",
        "will",
    )

    def __init__(self, broker: Broker, outbox: Outbox, peer: Peer) -> None:
        self.outbox = outbox
        self.peer = peer
        self.held = 0
        self.heard = broker.clock.seconds()
        self.client_id = ""
        self.session: Session | None = None
        self.intake: Intake | None = None
        self.will: Will | None = None
        self.denied: set[str] | None = None
        self._broker = broker
        self._rules = broker.rules
        self._splitter = Splitter()
        self._paused = self._processing = False
        self.bytes_received = self.packets_received = 0
        self._keep_alive = 0.0
        self._meter: Meter | None = None
        self._connected_at = broker.now()
        self._packet_since: float | None = None
        self._expiry_timer: IDelayedCall | None = None
        self._alive_timer: IDelayedCall | None = broker.clock.callLater(
            broker.settings.connect_timeout, self._not_in_time
        )
        broker.arrived(self)
        if broker.draining is not None:
            self.hold(STOPPING)

    # ------------------------------------------------------------------ from the transport

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self.held & CLOSED:
            return
        self.heard = self._broker.clock.seconds()
        self.bytes_received += len(data)
        if self.session is None and not self._may_be_connect(data):
            self.close(CloseReason.MALFORMED, "the first packet is not CONNECT [MQTT-3.1.0-1]")
        elif self._splitter.feed(data) and not self.held:
            self._process()

    def _may_be_connect(self, data: bytes) -> bool:
        """The first byte of all is enough to tell; the rest of the packet is not waited for."""
        return self.held != 0 or self._splitter.waiting or data[:1] == b"" or data[0] >> 4 == 1

    def _not_in_time(self) -> None:
        if self.held & CONNECTING:
            self._broker.counters.refused += 1
            self.refuse(SERVER_UNAVAILABLE, "who it is, or what is owed to it, cannot be read now")
        else:
            self.close(CloseReason.CONNECT_TIMEOUT)

    def lost(self, detail: str = "") -> None:
        """The transport is gone."""
        self.outbox.lost()
        self.close(CloseReason.LOST, detail)
        self._cancel_timers()
        self._broker.gone(self)
        # Receipts that wait for their verdict keep the intake; nobody else needs these any more.
        # Without the cycle a connection is freed at once, not by the garbage collector.
        self.session = self.intake = None

    # ------------------------------------------------------------------ answers to CONNECT

    def accept(self, packet: Connect, session: Session, present: bool) -> None:
        """Called by the broker: the client is in; `session` is attached to this connection next."""
        broker = self._broker
        self.session = session
        self.intake = Intake(broker, self, session, self._rules)
        self.will = packet.will
        allowance = broker.allowances.of(session.principal)
        if allowance is not None:
            self._meter = Meter(self, allowance, broker.counters)
        self._splitter.limit = broker.settings.max_packet
        self._connected_at = broker.now()
        shown = present and packet.level != LEVEL_3_1  # a reserved byte in 3.1
        self.outbox.write(ConnAck(ACCEPTED, shown).encode())
        self.outbox.on_drained = session.pump
        if broker.settings.queue_full == "disconnect":
            session.overrun = partial(self.close, CloseReason.QUEUE_FULL)
        self._set_keep_alive(packet.keep_alive)
        self.watch_expiry()
        _log.info(
            "MQTT client {client_id!r} connected from {peer} as {principal}",
            client_id=self.client_id,
            peer=self.outbox.peer,
            principal=session.principal.key,
            protocol_level=packet.level,
            keep_alive=packet.keep_alive,
            clean_session=session.clean,
            session_present=present,
        )

    def refuse(self, code: int, detail: str) -> None:
        """Called by the broker: the client stays out [MQTT-3.2.2-5]."""
        if not self.held & CLOSED:
            self.outbox.write(ConnAck(code).encode())
            self.close(CloseReason.REFUSED, detail)

    def refuse_later(self, delay: float, code: int, detail: str) -> None:
        """As `refuse`, after some seconds, in place of the time-out for CONNECT."""
        self._cancel(self._alive_timer)
        self._alive_timer = self._broker.clock.callLater(delay, self.refuse, code, detail)

    # ------------------------------------------------------------------ back-pressure

    def hold(self, why: int) -> None:
        """Look at no further packet and read nothing until `go_on(why)`."""
        self.held |= why
        if not self._processing:
            self._adjust_reading()

    def go_on(self, why: int) -> None:
        """A reason to hold is gone; if it was the last, go on with what is there."""
        self.held &= ~why
        if not self.held and not self._processing:
            self._process()

    # ------------------------------------------------------------------ the end

    def close(self, reason: CloseReason, detail: str = "", *, publish_will: bool = True) -> None:
        """End the connection once what is written so far is sent. Only the first call counts."""
        if self.held & CLOSED:
            return
        if self.intake is not None and self.intake.due:
            self.intake.release()
        self.held |= CLOSED
        broker = self._broker
        broker.counters.closed[reason] += 1
        _log.info(
            "MQTT client {client_id!r} from {peer} closed: {reason}{separator}{detail}",
            client_id=self.client_id,
            peer=self.outbox.peer,
            reason=reason.value,
            separator=": " if detail else "",
            detail=detail,
        )
        self._cancel_timers()
        counters, intake, session = broker.counters, self.intake, self.session
        counters.bytes_received += self.bytes_received
        counters.bytes_sent += self.outbox.sent
        counters.packets_received += self.packets_received
        counters.packets_sent += self.outbox.packets
        if intake is not None and session is not None:
            counters.messages_received += intake.received
            counters.messages_sent += session.sent
            gone = ClientGone(self.info(), reason.value, detail, broker.now())
            broker.left(self, session, publish_will)
            broker.events.publish(gone)
        if reason is CloseReason.LOST:
            return
        self._alive_timer = broker.clock.callLater(CLOSE_TIMEOUT, self.outbox.abort)
        self.outbox.close()

    @property
    def closed(self) -> bool:
        """Whether the end has begun."""
        return bool(self.held & CLOSED)

    # ------------------------------------------------------------------ reports

    def info(self) -> ClientInfo:
        """@return: what the list of clients shows. Only for accepted connections."""
        session, intake = self.session, self.intake
        assert session is not None  # noqa: S101 - only for the type checker
        assert intake is not None  # noqa: S101
        return ClientInfo(
            client_id=self.client_id,
            identity=session.principal,
            peer=self.peer.name,
            over=self.peer.over,
            level=self._rules.level,
            clean_session=session.clean,
            keep_alive=round(self._keep_alive),
            connected_at=self._connected_at,
            subscriptions=len(session.subscriptions),
            in_flight=session.in_flight,
            queued=session.queued,
            queued_bytes=session.queued_bytes,
            unacknowledged=intake.waiting,
            unsent=self.outbox.unsent,
            messages_received=intake.received,
            messages_sent=session.sent,
            bytes_received=self.bytes_received,
            bytes_sent=self.outbox.sent,
            dropped=session.dropped,
        )

    def note_denied(self, topic: str) -> None:
        """Log once per topic that this client may not publish there."""
        if self.denied is None:
            self.denied = set()
        topic = topic[:200]
        if topic not in self.denied and len(self.denied) < 100:
            self.denied.add(topic)
            _log.info(
                "MQTT client {client_id!r} may not publish to {topic!r}",
                client_id=self.client_id,
                topic=topic,
            )

    # ------------------------------------------------------------------ packets

    def _process(self) -> None:
        """Handle complete packets until none is left or something holds."""
        intake = self.intake
        if intake is not None and intake.rights != self._broker.rights:
            intake.forget_routes()
        self._processing = True
        try:
            for first, buffer, start, end in self._splitter.packets():
                self.packets_received += 1
                if first & 0xF0 == 0x30 and intake is not None:
                    intake.publish(first, buffer, start, end)
                elif intake is None:
                    self._packet(first, buffer[start:end])
                    intake = self.intake
                else:
                    intake.hand_on()
                    if first in _ACKS and end - start == 2:
                        self._ack(first, buffer[start] << 8 | buffer[start + 1])
                    else:
                        self._packet(first, buffer[start:end])
                if self.held:
                    break
            if intake is not None:
                intake.hand_on()
        except MalformedPacket as error:
            if intake is not None:
                intake.hand_on()
            if error.return_code is not None and self.session is None:
                self.outbox.write(ConnAck(error.return_code).encode())
            self.close(CloseReason.MALFORMED, str(error))
        except Exception:
            _log.failure("handling a packet of {client_id!r} failed", client_id=self.client_id)
            self.close(CloseReason.FAULT)
        finally:
            self._processing = False
        meter = self._meter
        if (
            meter is not None
            and intake is not None
            and (intake.received >= meter.due or self.bytes_received >= meter.due_bytes)
        ):
            meter.pay(intake.received, self._broker.clock)
        if intake is not None and intake.receipts and self._broker.writer.full and not self.held:
            self.held |= WRITER_FULL
            self._broker.writer.when_room(self._room)
        if self.outbox.unsent > self._broker.settings.max_output:
            self._watch_output()
        if self.held or self._paused:
            self._adjust_reading()
        self._packet_since = self.heard if self._splitter.waiting and not self.held else None

    def _watch_output(self) -> None:
        """Take nothing from a client that does not take its answers."""
        session = self.session
        if session is None or self.held & CLOSED:
            return
        if not self.outbox.has_room(self._broker.settings.max_output):
            self.held |= UNSENT
            self.outbox.on_drained = self._taken

    def _taken(self) -> None:
        if self.session is not None:
            self.outbox.on_drained = self.session.pump
            self.session.pump()
            self.go_on(UNSENT)

    def _room(self) -> None:
        self.go_on(WRITER_FULL)

    def _adjust_reading(self) -> None:
        wanted = bool(self.held)
        if wanted != self._paused and not self.held & CLOSED:
            self._paused = wanted
            if wanted:
                self.outbox.pause_reading()
            else:
                self.heard = self._broker.clock.seconds()
                self.outbox.resume_reading()

    def _packet(self, first: int, body: bytes) -> None:
        packet = decode(first, body, self._rules)
        session, intake = self.session, self.intake
        if session is None or intake is None:
            if not isinstance(packet, Connect):
                raise MalformedPacket("the first packet is not CONNECT", "MQTT-3.1.0-1")
            self._connect(packet)
            return
        match packet:
            case PubAck() | PubRec() | PubRel() | PubComp():
                self._ack(packet.FIRST, packet.packet_id)
            case PingReq():
                self.outbox.write(_PINGRESP)
            case Subscribe():
                self._subscribe(session, packet)
            case Unsubscribe():
                for topic_filter in packet.filters:
                    self._broker.unsubscribe(session, topic_filter)
                self._broker.events.publish(ClientUnsubscribed(self.client_id, packet.filters))
                answer = UnsubAck(packet.packet_id).encode()
                self._broker.when_safe(session, partial(self.outbox.write, answer))
            case Disconnect():
                self.will = None  # [MQTT-3.1.2-10]
                self.close(CloseReason.DISCONNECT)
            case Connect():
                raise MalformedPacket("a second CONNECT", "MQTT-3.1.0-2")
            case _:
                raise MalformedPacket(f"{type(packet).__name__} from a client", "MQTT-2.2.1")

    def _ack(self, first: int, packet_id: int) -> None:
        """Handle PUBACK, PUBREC, PUBREL or PUBCOMP; the hot path comes here without an object."""
        session, intake = self.session, self.intake
        if not packet_id or session is None or intake is None:
            raise MalformedPacket("packet id 0", "MQTT-2.3.1-1")
        if first == PubAck.FIRST:
            session.acknowledged(packet_id)
        elif first == PubRec.FIRST:
            session.received(packet_id)
        elif first == PubRel.FIRST:
            intake.released(packet_id)
        else:
            session.completed(packet_id)

    def _connect(self, packet: Connect) -> None:
        broker = self._broker
        if packet.level != self._rules.level:
            self._rules = Rules(packet.level, self._rules.strict_text, self._rules.max_levels)
        self.client_id = packet.client_id
        if not packet.identifier_allowed:
            self.refuse(IDENTIFIER_REJECTED, "client id not allowed [MQTT-3.1.3-9]")
            return
        if not packet.client_id:
            self.client_id = broker.new_client_id()
        # What follows the CONNECT stays where it is until the client is in [MQTT-3.1.4-5].
        self.held |= CONNECTING
        broker.admission.sign_in(self, packet)

    def _subscribe(self, session: Session, packet: Subscribe) -> None:
        broker, filters = self._broker, packet.filters
        granted = [False] * len(filters)
        undecided = len(filters)
        waiting = False

        def decided(index: int, allowed: bool) -> None:
            nonlocal undecided
            granted[index] = allowed
            undecided -= 1
            if not undecided:
                self._subscribed(session, packet, granted)
                if waiting:
                    self.go_on(AUTHORIZING)

        for index, (topic_filter, _) in enumerate(filters):
            if index < broker.settings.max_subscriptions:
                broker.may_subscribe(session, topic_filter, partial(decided, index))
            else:
                decided(index, False)
        if undecided:
            waiting = True
            self.hold(AUTHORIZING)

    def _subscribed(self, session: Session, packet: Subscribe, granted: Sequence[bool]) -> None:
        if self.held & CLOSED:
            return
        codes, taken, denied = [], [], []
        listened = self._broker.handover.listens(session)
        for (topic_filter, qos), allowed in zip(packet.filters, granted, strict=True):
            if allowed and self._broker.subscribe(session, topic_filter, qos):
                taken.append((topic_filter, qos))
                codes.append(qos)
            else:
                denied.append(topic_filter)
                # 3.1 has no failure code: its clients get what they asked for, on paper only.
                codes.append(FAILURE if self._rules.level != LEVEL_3_1 else qos)
        if denied:
            _log.info(
                "MQTT client {client_id!r} may not subscribe to {filters}{more}",
                client_id=self.client_id,
                filters=", ".join(map(repr, denied[:10])),
                more=f" and {len(denied) - 10} more" if len(denied) > 10 else "",
            )
        answer = SubAck(packet.packet_id, tuple(codes)).encode()

        def safe() -> None:
            if self.held & CLOSED:
                return
            self.outbox.write(answer)
            if taken:
                self._broker.events.publish(ClientSubscribed(self.client_id, taken))
            for topic_filter, qos in taken:
                self._broker.send_retained(session, topic_filter, qos)
            if not listened:
                self._broker.handover.announce(session)

        self._broker.when_safe(session, safe)

    # ------------------------------------------------------------------ timers

    def _set_keep_alive(self, asked: int) -> None:
        longest = self._broker.settings.max_keep_alive
        self._keep_alive = float(min(asked or longest, longest) if longest else asked)
        self._cancel(self._alive_timer)
        self._alive_timer = None
        self._watch_peer(self._patience())

    def _patience(self) -> float:
        """Seconds until the peer is looked at again; without keep-alive for slow packets only."""
        if self._keep_alive:
            return self._keep_alive * 1.5
        return self._broker.settings.packet_timeout

    def _watch_peer(self, delay: float) -> None:
        self._alive_timer = self._broker.clock.callLater(delay, self._check_peer)

    def _check_peer(self) -> None:
        """One timer per connection, not one per packet: it looks when the peer was heard last."""
        settings, now = self._broker.settings, self._broker.clock.seconds()
        timer, self._alive_timer = self._alive_timer, None
        if timer is not None and now - timer.getTime() > _LATE:
            # The server stood still: what the peer has sent meanwhile is read in the next turn.
            self._watch_peer(0)
            return
        patience = self._patience()
        silent = now - self.heard
        since = self._packet_since
        if self.intake is not None:
            self.intake.rest()
        if self._paused:
            self._watch_peer(patience)
        elif since is not None and now - since >= settings.packet_timeout:
            self.close(CloseReason.PACKET_TIMEOUT)
        elif self._keep_alive and silent >= patience:
            self.close(CloseReason.KEEP_ALIVE)
        elif self._keep_alive:
            self._watch_peer(patience - silent)
        else:
            self._watch_peer(patience)

    def watch_expiry(self) -> None:
        """Ask for the credentials again when they expire."""
        self._cancel(self._expiry_timer)
        self._expiry_timer = None
        session = self.session
        if session is not None and session.principal.expires_at is not None:
            left = (session.principal.expires_at - self._broker.now()) / 1000
            delay = min(max(left, 0.0), _EXPIRY_STEP)
            self._expiry_timer = self._broker.clock.callLater(delay, self._expired)

    def _expired(self) -> None:
        self._expiry_timer = None
        if self.session is not None:
            self._broker.refresh(self.session)

    def _cancel_timers(self) -> None:
        self._cancel(self._alive_timer)
        self._cancel(self._expiry_timer)
        self._alive_timer = self._expiry_timer = None
        if self._meter is not None:
            self._meter.stop()
            self._meter = None

    @staticmethod
    def _cancel(timer: IDelayedCall | None) -> None:
        if timer is not None and timer.active():
            timer.cancel()
