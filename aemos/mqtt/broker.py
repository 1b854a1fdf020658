"""Sessions x subscriptions: who is connected, who gets what, and who may stay.

The broker owns no socket and judges no payload. Connections bring it clients and publishes, the
router's verdicts come back through their intakes, services publish through `publish`.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.config.schema import Mqtt
from aemos.errors import AemosError, StorageUnavailable, Unavailable
from aemos.model import Instant, Principal, PrincipalKind, Verdict
from aemos.mqtt.adapter import DENIED, Route
from aemos.mqtt.collaborators import Judge, Login, Rights, Room
from aemos.mqtt.connection import Connection
from aemos.mqtt.counters import CloseReason, Counters
from aemos.mqtt.holds import CONNECTING, STOPPING
from aemos.mqtt.outbox import Turn
from aemos.mqtt.packets import Connect, Rules, Will
from aemos.mqtt.packets.connect import NOT_AUTHORIZED, SERVER_UNAVAILABLE
from aemos.mqtt.publication import Publication, first_byte
from aemos.mqtt.session import Delivery, Session
from aemos.mqtt.shared import Filters, inner_filter
from aemos.mqtt.store import MemoryStore, SessionStore
from aemos.mqtt.subscriptions import RetainedMessages
from aemos.redaction import without_tokens
from aemos.services.events import ClientConnected, Events, IdentityChanged, UserChanged
from aemos.services.interfaces import ClientInfo
from aemos.topics import matches

_EXPIRY_INTERVAL = 60.0
_MAX_SYSTEM = 1000  # topics below $SYS


class Broker:
    """Implements `services.interfaces.Publisher` and `ClientAdmin`."""

    _log = Logger()

    def __init__(
        self,
        *,
        router: Judge,
        login: Login,
        authorization: Rights,
        events: Events,
        settings: Mqtt,
        reactor: IReactorTime,
        writer: Room,
        store: SessionStore | None = None,
        new_client_id: Callable[[], str] = lambda: f"auto-{secrets.token_hex(8)}",
    ) -> None:
        """@param new_client_id: names clients that come without an id; must be unique."""
        self.router, self.authorization, self.writer = router, authorization, writer
        self.settings, self.clock = settings, reactor
        self.new_client_id = new_client_id
        self.rules = Rules(strict_text=settings.strict_text, max_levels=settings.max_topic_levels)
        self.store: SessionStore = store or MemoryStore(
            settings.max_sessions, settings.max_retained, settings.session_expiry
        )
        self.turn = Turn(reactor)
        self.counters = Counters()
        self.events = events
        self.connections: set[Connection] = set()
        # Grows whenever rights may have changed; connections compare it before they trust routes.
        self.rights = 0
        self.draining: Deferred[None] | None = None
        self._owing: set[Connection] = set()
        self._login = login
        self._live: dict[tuple[str, str], Connection] = {}
        self._by_identity: defaultdict[str | int, set[Session]] = defaultdict(set)
        self._filters = Filters(self._may_receive, self.counters)
        # What the server tells about itself: retained, but for this process only.
        self._system = RetainedMessages(_MAX_SYSTEM)
        self._gone: Deferred[None] | None = None
        self._expiry = LoopingCall(self._expire)
        self._expiry.clock = reactor
        events.subscribe(IdentityChanged, self._identity_changed)
        events.subscribe(UserChanged, self._user_changed)

    def now(self) -> Instant:
        """@return: the server's time."""
        return Instant.of(self.clock.seconds())

    # ------------------------------------------------------------------ life of the door

    def start(self) -> None:
        """Take up the stored sessions and begin to watch their expiry."""
        for session in self.store.sessions():
            self._by_identity[_identity(session.principal)].add(session)
            for topic_filter, qos in session.subscriptions.items():
                self._filters.add(topic_filter, session, qos)
        watching = self._expiry.start(_EXPIRY_INTERVAL, now=False)
        watching.addErrback(lambda failure: self._log.failure("session expiry ended", failure))

    def stop_accepting(self) -> None:
        """Take no new client and no further packet of those that are here."""
        if self.draining is None:
            self.draining = Deferred()
            for connection in list(self.connections):
                connection.hold(STOPPING)

    def drain(self) -> Deferred[None]:
        """@return: fires when all acknowledgements that were owed have been sent."""
        self.stop_accepting()
        assert self.draining is not None  # noqa: S101 - only for the type checker
        self._owing = {c for c in self.connections if c.intake is not None and c.intake.receipts}
        drained = self.draining
        self._check_drained()
        return drained

    def acknowledged_all(self, connection: Connection) -> None:
        """Called when a connection is owed nothing any more while draining."""
        self._owing.discard(connection)
        self._check_drained()

    def _check_drained(self) -> None:
        drained = self.draining
        if drained is not None and not drained.called and not self._owing:
            for connection in self.connections:
                connection.outbox.flush()
            drained.callback(None)

    def close_all(self) -> Deferred[None]:
        """Close every connection; no wills: the clients come back to the next server.

        @return: fires when the last transport is gone.
        """
        self.stop_accepting()
        if self._expiry.running:
            self._expiry.stop()
        for connection in list(self.connections):
            connection.close(CloseReason.SHUTDOWN, publish_will=False)
        if not self.connections:
            return succeed(None)
        if self._gone is None:
            self._gone = Deferred()
        return self._gone

    def admits(self, peer: str) -> bool:
        """Whether one more connection may come in; if not, it is counted and logged."""
        if self.draining is None and len(self.connections) < self.settings.max_connections:
            self.counters.opened += 1
            return True
        self.counters.turned_away += 1
        self._log.info(
            "connection from {peer} turned away: {reason}",
            peer=peer,
            reason="stopping" if self.draining is not None else "mqtt.max_connections reached",
        )
        return False

    def gone(self, connection: Connection) -> None:
        """The transport of a connection is gone."""
        self.connections.discard(connection)
        if self.draining is not None:
            self.acknowledged_all(connection)
        if self._gone is not None and not self.connections and not self._gone.called:
            self._gone.callback(None)

    # ------------------------------------------------------------------ clients come and go

    def connect(self, connection: Connection, packet: Connect) -> None:
        """Sign a client in; ends in `accept` or `refuse` of the connection, now or later."""

        def answered(result: Principal | AemosError) -> None:
            if connection.closed:
                return
            if isinstance(result, AemosError):
                self._turn_away(connection, result)
            else:
                self._admit(connection, packet, result)

        self._login.authenticate(
            packet.username, packet.password, connection.peer.private, answered
        )

    def _turn_away(self, connection: Connection, error: AemosError) -> None:
        self.counters.refused += 1
        unavailable = isinstance(error, Unavailable)
        connection.refuse(SERVER_UNAVAILABLE if unavailable else NOT_AUTHORIZED, str(error))

    def _admit(self, connection: Connection, packet: Connect, principal: Principal) -> None:
        key = (principal.key, connection.client_id)
        before = self._live.get(key)
        if before is not None:
            before.close(CloseReason.TAKEN_OVER, f"by {connection.outbox.peer}")
        self._live[key] = connection

        def still_here(session: Session | None) -> bool:
            """Whether the client waited; else leave everything as it was."""
            if self._live.get(key) is not connection:
                return False  # taken over meanwhile
            if connection.closed:
                del self._live[key]
                if session is not None:
                    self.store.left(session, self.now())
                return False
            return True

        def opened(session: Session | None) -> None:
            if not still_here(session):
                return
            if session is not None and not packet.clean_session:
                session.principal = principal
                self._recheck(session, lambda: enter(session, True))
                return
            if session is not None:
                self._end(session)
            if not packet.clean_session and self.store.full:
                del self._live[key]
                self._turn_away(connection, Unavailable("too many stored sessions"))
                return
            fresh = Session(
                principal, connection.client_id, packet.clean_session, self.settings, self.counters
            )
            self._by_identity[_identity(principal)].add(fresh)
            if not fresh.clean:
                self.store.add(fresh)
            enter(fresh, False)

        def enter(session: Session, present: bool) -> None:
            if present and not still_here(session):
                return
            self.counters.accepted += 1
            connection.accept(packet, session, present)
            session.resume(connection.outbox)
            self.events.publish(ClientConnected(connection.info()))
            connection.go_on(CONNECTING)

        self.store.open(key, opened)

    def left(self, connection: Connection, session: Session, publish_will: bool) -> None:
        """An accepted connection is closing."""
        key = session.key
        if self._live.get(key) is connection:
            del self._live[key]
        session.detach()
        if self.draining is None:
            session.hand_over_shared()
        if session.clean:
            self._end(session)
        else:
            self.store.left(session, self.now())
        will, connection.will = connection.will, None
        if will is not None and publish_will:
            self._publish_will(session, will)

    def _end(self, session: Session) -> None:
        for topic_filter in session.subscriptions:
            self._filters.remove(topic_filter, session)
        session.subscriptions.clear()
        identity = _identity(session.principal)
        self._by_identity[identity].discard(session)
        if not self._by_identity[identity]:
            del self._by_identity[identity]
        if not session.clean:
            self.store.discard(session)

    def _expire(self) -> None:
        for session in self.store.expired(self.now()):
            self._log.info("MQTT session {client_id!r} expired", client_id=session.client_id)
            self.counters.expired += 1
            self._end(session)

    # ------------------------------------------------------------------ wills

    def _publish_will(self, session: Session, will: Will) -> None:
        """Publish with the rights that the client has now: a revoked device gets no last word."""
        route, client_id = Route(will.topic), session.client_id

        def refreshed(result: Principal | AemosError) -> None:
            if isinstance(result, StorageUnavailable):
                result = session.principal
            if isinstance(result, AemosError):
                self._log.info(
                    "no will of {client_id!r}: {error}", client_id=client_id, error=result
                )
            elif not route.discarded:
                principal = result
                self.authorization.may_publish(
                    principal, client_id, will.topic, lambda allowed: decided(principal, allowed)
                )

        def decided(principal: Principal, allowed: bool) -> None:
            if route.kind is not None:
                message = route.message(principal, will.payload, will.qos, self.now())
                if allowed:
                    self.router.handle(message, judged)
                else:
                    self.counters.denied += 1
                    self.router.refuse(message, DENIED, judged)
            elif allowed:
                self.forward(will.topic, will.payload, will.qos, will.retain)
            else:
                self.counters.denied += 1

        def judged(verdict: Verdict) -> None:
            if verdict.accepted and route.forwards:
                self.forward(will.topic, will.payload, will.qos, will.retain)

        self._login.refresh(session.principal, refreshed)

    # ------------------------------------------------------------------ subscriptions

    def may_subscribe(
        self, session: Session, topic_filter: str, decided: Callable[[bool], object]
    ) -> None:
        """Ask whether this session may have all that the filter can match."""
        topic_filter = inner_filter(topic_filter)
        if topic_filter:
            self.authorization.may_subscribe(
                session.principal, session.client_id, topic_filter, decided
            )
        else:
            decided(False)

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> bool:
        """Add or replace a granted subscription. @return: False when the session has too many."""
        mine = session.subscriptions
        if topic_filter not in mine and len(mine) >= self.settings.max_subscriptions:
            return False
        mine[topic_filter] = qos
        self._filters.add(topic_filter, session, qos)
        return True

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription, if there is one; what is under way already still arrives."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._filters.remove(topic_filter, session)
            session.stop_stream(topic_filter)

    def send_retained(self, session: Session, topic_filter: str, qos: int) -> None:
        """Start sending the retained messages of a new subscription [MQTT-3.3.1-6]."""
        topics = self.store.retained.topics(topic_filter) + self._system.topics(topic_filter)
        if topics:
            session.stream(topic_filter, self._retained(session, topics, qos))

    def _retained(self, session: Session, topics: list[str], granted: int) -> Iterator[Delivery]:
        # Looked up when its turn comes: a message may have been replaced while others were sent.
        for topic in topics:
            message = self.store.retained.get(topic) or self._system.get(topic)
            if message is not None and self._may_receive(session, topic):
                yield message, first_byte(min(message.qos, granted), retain=True)

    def has_subscribers(self, topic: str) -> bool:
        """@return: whether anybody would get a message on this topic."""
        return bool(self._filters.match(topic))

    # ------------------------------------------------------------------ messages

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish for a service of this server (`services.interfaces.Publisher`)."""
        try:
            self.forward(topic, payload, qos, retain)
        except Exception:
            self._log.failure("publishing to {topic} failed", topic=topic)

    def publish_system(self, topic: str, payload: bytes, *, keep: bool = True) -> None:
        """Tell a figure of the server below `$SYS/`, with QoS 0.

        @param keep: also to those who subscribe later, as long as this process lasts.
        """
        if keep:
            self._system.store(Publication(topic, payload, 0))
        self.publish(topic, payload, qos=0)

    def forward(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: int = False,
        wire_topic: bytes = b"",
        frame: bytes = b"",
    ) -> None:
        """Hand a message to everybody subscribed, and keep it if it is to be retained.

        @param wire_topic: the topic as a length-prefixed field, if at hand.
        @param frame: the whole message as a PUBLISH of QoS 0, if at hand.
        """
        receivers = self._filters.match(topic)
        if not receivers and not retain:
            return
        clean = without_tokens(payload)
        if clean is not payload:
            frame = b""
        publication = Publication(topic, clean, qos, wire_topic, frame)
        if retain and not self.store.retain(publication):
            self.counters.dropped["retained_limit"] += 1
        if self.authorization.filters_delivery:
            # A shared subscription asks for the member that it chooses.
            receivers = tuple(
                (receiver, granted)
                for receiver, granted in receivers
                if not isinstance(receiver, Session) or self._may_receive(receiver, topic)
            )
        for receiver, granted in receivers:
            receiver.deliver(publication, granted)

    def _may_receive(self, session: Session, topic: str) -> bool:
        rights = self.authorization
        return not rights.filters_delivery or rights.may_receive(
            session.principal, session.client_id, topic
        )

    # ------------------------------------------------------------------ rights change

    def _identity_changed(self, event: IdentityChanged) -> None:
        self.rights += 1
        for session in list(self._by_identity.get(event.uuid, ())):
            self.refresh(session)
        # Others may have been reading this device because it was of their organization.
        for session in self._filters.below(("devices", event.uuid)):
            if session.principal.name != event.uuid:
                self._recheck(session)

    def _user_changed(self, event: UserChanged) -> None:
        self.rights += 1
        for session in list(self._by_identity.get(event.user_id, ())):
            self.refresh(session)

    def refresh(self, session: Session) -> None:
        """Find out who the client is by now; close the connection if it is nobody any more."""

        def answered(result: Principal | AemosError) -> None:
            connection = self._live.get(session.key)
            if isinstance(result, StorageUnavailable):
                # Connected devices keep their connection while the database is away.
                result = session.principal
            if isinstance(result, AemosError):
                if connection is not None:
                    connection.close(CloseReason.REVOKED, str(result), publish_will=False)
                return
            session.principal = result
            if connection is None:
                self._recheck(session)
            elif result.expires_at is not None and result.expires_at <= self.now():
                connection.close(CloseReason.REVOKED, "expired", publish_will=False)
            else:
                connection.watch_expiry()
                self._recheck(session)

        self._login.refresh(session.principal, answered)

    def _recheck(self, session: Session, then: Callable[[], object] | None = None) -> None:
        """Ask again about every subscription and end those that are not allowed any more."""
        waiting = len(session.subscriptions)
        ended = False

        def decided(topic_filter: str, allowed: bool) -> None:
            nonlocal waiting, ended
            waiting -= 1
            if not allowed:
                ended = True
                self.unsubscribe(session, topic_filter)
            if not waiting:
                finished()

        def finished() -> None:
            if ended:
                left = [inner_filter(topic_filter) for topic_filter in session.subscriptions]
                session.purge(
                    lambda delivery: any(matches(wanted, delivery[0].topic) for wanted in left)
                )
            if then is not None:
                then()

        if not waiting:
            finished()
        for topic_filter in list(session.subscriptions):
            self.may_subscribe(session, topic_filter, partial(decided, topic_filter))

    # ------------------------------------------------------------------ administration

    def clients(self) -> list[ClientInfo]:
        """@return: everybody connected, in no order."""
        return [connection.info() for connection in self._live.values() if connection.session]

    def kick(self, principal: Principal, reason: str) -> int:
        """Close every session of this principal (`services.interfaces.ClientAdmin`)."""
        sessions = self._by_identity.get(_identity(principal), ())
        found = [self._live[session.key] for session in sessions if session.key in self._live]
        for connection in found:
            connection.close(CloseReason.KICKED, reason)
        return len(found)

    def disconnect(self, principal_key: str, client_id: str, reason: str) -> bool:
        """Close one client's connection. @return: whether there was one."""
        connection = self._live.get((principal_key, client_id))
        if connection is not None:
            connection.close(CloseReason.KICKED, reason)
        return connection is not None

    @property
    def client_count(self) -> int:
        """Clients that are connected."""
        return len(self._live)

    @property
    def session_count(self) -> int:
        """Sessions in all: connected clients, and those that are absent and remembered."""
        return sum(map(len, self._by_identity.values()))

    @property
    def shared_subscription_count(self) -> int:
        """Shared subscriptions; each is one in `subscription_count`, for all of its members."""
        return self._filters.shared_count

    @property
    def subscription_count(self) -> int:
        """Subscriptions of all sessions."""
        return self._filters.count

    def totals(self) -> Counters:
        """@return: a copy of the counters in which live connections are included."""
        counters = self.counters
        live = [(c, c.intake, c.session) for c in self._live.values()]
        return Counters(
            opened=counters.opened,
            accepted=counters.accepted,
            refused=counters.refused,
            turned_away=counters.turned_away,
            messages_received=counters.messages_received
            + sum(intake.received for _, intake, _ in live if intake is not None),
            messages_sent=counters.messages_sent
            + sum(session.sent for _, _, session in live if session is not None),
            packets_received=counters.packets_received
            + sum(connection.packets_received for connection, _, _ in live),
            packets_sent=counters.packets_sent
            + sum(connection.outbox.packets for connection, _, _ in live),
            bytes_received=counters.bytes_received
            + sum(connection.bytes_received for connection, _, _ in live),
            bytes_sent=counters.bytes_sent
            + sum(connection.outbox.sent for connection, _, _ in live),
            denied=counters.denied,
            expired=counters.expired,
            closed=counters.closed.copy(),
            dropped=counters.dropped.copy(),
        )


def _identity(principal: Principal) -> str | int:
    """@return: what events call this principal: a user by its id, everybody else by name."""
    return principal.id if principal.kind is PrincipalKind.USER else principal.name
