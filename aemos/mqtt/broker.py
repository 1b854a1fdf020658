"""Sessions x subscriptions: who is connected, who gets what, and who may stay.

The broker owns no socket and judges no payload. Connections bring it clients and publishes, the
router's verdicts come back through their intakes, services publish through `publish`.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.config.schema import Mqtt
from aemos.errors import AemosError, StorageUnavailable
from aemos.model import Instant, Principal, PrincipalKind
from aemos.mqtt import wills
from aemos.mqtt.admission import Admission
from aemos.mqtt.collaborators import Judge, Login, Rights, Room
from aemos.mqtt.connection import Connection
from aemos.mqtt.counters import CloseReason, Counters
from aemos.mqtt.durable import DurableSession, StoredCopy
from aemos.mqtt.guard import Guard
from aemos.mqtt.handover import Handover, others
from aemos.mqtt.holds import STOPPING
from aemos.mqtt.limits import Allowances
from aemos.mqtt.outbox import Turn
from aemos.mqtt.packets import Rules
from aemos.mqtt.peer import host_of, peer_name
from aemos.mqtt.publication import Publication, first_byte
from aemos.mqtt.session import Delivery, Session
from aemos.mqtt.shared import Filters, SharedSubscription, inner_filter
from aemos.mqtt.store import SessionStore, Storage
from aemos.mqtt.subscriptions import RetainedMessages
from aemos.redaction import without_tokens
from aemos.services.events import Events, IdentityChanged, UserChanged
from aemos.services.interfaces import ClientInfo
from aemos.storage.mqtt_changes import Change, Retained
from aemos.topics import matches

_EXPIRY_INTERVAL = 60.0
_MAX_SYSTEM = 1000  # topics below $SYS
_MAX_BURST = 100  # messages that are judged and stored together


class Broker:
    """Implements `services.interfaces.Publisher`."""

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
        database: Storage,
        new_client_id: Callable[[], str] = lambda: f"auto-{secrets.token_hex(8)}",
    ) -> None:
        """@param new_client_id: names clients that come without an id; must be unique."""
        self.router, self.authorization, self.writer = router, authorization, writer
        self.settings, self.clock = settings, reactor
        self.new_client_id = new_client_id
        self.rules = Rules(strict_text=settings.strict_text, max_levels=settings.max_topic_levels)
        self.turn = Turn(reactor)
        # A burst is stored by one unit, and no unit ought to be larger than a batch.
        self.max_burst = min(_MAX_BURST, writer.max_batch)
        self.counters = Counters()
        self.guard = Guard(settings, reactor, self.counters)
        self.allowances = Allowances(settings, reactor)
        self.store = SessionStore(database, reactor, settings, self.counters)
        self.events = events
        self.connections: set[Connection] = set()
        # Grows whenever rights may have changed; connections compare it before they trust routes.
        self.rights = 0
        self.draining: Deferred[None] | None = None
        self._owing: set[Connection] = set()
        self._login = login
        self.live: dict[tuple[str, str], Connection] = {}
        self.admission = Admission(self, login)
        self._by_identity: defaultdict[str | int, set[Session]] = defaultdict(set)
        self._filters = Filters(self.may_receive, self.counters)
        self.handover = Handover(self)
        self.hand_over = self.handover.hand_over
        self.match = self._filters.match
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

    async def start(self) -> None:
        """Take up the stored sessions and begin to watch their expiry.

        @raise StorageUnavailable: the database cannot be read.
        """
        await self.store.load()
        for session in self.store.sessions():
            self.remember(session)
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
        self.store.stop()
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

    def admits(self, address: object) -> bool:
        """Whether one more connection may come in; if not, it is counted and logged."""
        host = host_of(address)
        if self.draining is not None:
            reason = "stopping"
        elif len(self.connections) >= self.settings.max_connections:
            reason = "mqtt.max_connections"
        else:
            reason = self.guard.objection(host)
        if reason:
            self.guard.turned_away(peer_name(address), host, reason)
            return False
        self.counters.opened += 1
        return True

    def arrived(self, connection: Connection) -> None:
        """A connection was made."""
        self.connections.add(connection)
        self.guard.opened(connection.peer.host)

    def gone(self, connection: Connection) -> None:
        """The transport of a connection is gone."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.guard.closed(connection.peer.host)
        if self.draining is not None:
            self.acknowledged_all(connection)
        if self._gone is not None and not self.connections and not self._gone.called:
            self._gone.callback(None)

    # ------------------------------------------------------------------ clients come and go

    def when_safe(self, session: Session, done: Callable[[], object]) -> None:
        """Call `done` when what was changed for this session will outlive the process."""
        if session.clean:
            done()
        else:
            self.store.commit(done)

    def left(self, connection: Connection, session: Session, publish_will: bool) -> None:
        """An accepted connection is closing."""
        key = session.key
        if self.live.get(key) is connection:
            del self.live[key]
        if self.draining is None:
            session.hand_over_shared()
        session.detach()
        if isinstance(session, DurableSession):
            self.store.left(session)
        else:
            self.end(session)
        will, connection.will = connection.will, None
        if will is not None and publish_will:
            wills.publish(self, self._login, session, will)

    def end(self, session: Session) -> None:
        """Forget a session and all that it is owed."""
        for topic_filter in session.subscriptions:
            self._filters.remove(topic_filter, session)
        session.subscriptions.clear()
        self.forget(session)
        if isinstance(session, DurableSession):
            self.store.discard(session)

    def remember(self, session: Session) -> None:
        """Find the session from now on when the rights of its principal change."""
        self._by_identity[_identity(session.principal)].add(session)

    def sessions_of(self, identity: str | int) -> list[Session]:
        """@return: those of a sensor, device (by uuid) or user (by id), connected or not."""
        return list(self._by_identity.get(identity, ()))

    def forget(self, session: Session) -> None:
        """Take back `remember`, before the session gets another principal."""
        identity = _identity(session.principal)
        self._by_identity[identity].discard(session)
        if not self._by_identity[identity]:
            del self._by_identity[identity]

    def _expire(self) -> None:
        self.counters.minute += 1
        for session in self.store.expired():
            self._log.info("MQTT session {client_id!r} expired", client_id=session.client_id)
            self.counters.expired += 1
            self.end(session)
        self.store.expire_messages()
        self.store.commit_soon()

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
        # Clients subscribe to the same again whenever they come back.
        if mine.get(topic_filter) != qos:
            mine[topic_filter] = qos
            self._filters.add(topic_filter, session, qos)
            if isinstance(session, DurableSession):
                self.store.subscribed(session, topic_filter, qos)
        return True

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Remove a subscription, if there is one; what is under way already still arrives."""
        if session.subscriptions.pop(topic_filter, None) is not None:
            self._filters.remove(topic_filter, session)
            session.stop_stream(topic_filter)
            if isinstance(session, DurableSession):
                self.store.subscribed(session, topic_filter, None)

    def send_retained(self, session: Session, topic_filter: str, qos: int) -> None:
        """Start sending the retained messages of a new subscription [MQTT-3.3.1-6]."""
        topics = self.store.retained.topics(topic_filter) + self._system.topics(topic_filter)
        # It may have ended while it was stored, or have been made again with another QoS.
        if topics and session.subscriptions.get(topic_filter) == qos:
            session.stream(topic_filter, self._retained(session, topics, qos))

    def _retained(self, session: Session, topics: list[str], granted: int) -> Iterator[Delivery]:
        # Looked up when its turn comes: a message may have been replaced while others were sent.
        for topic in topics:
            message = self.store.retained.get(topic) or self._system.get(topic)
            if message is not None and self.may_receive(session, topic):
                yield message, first_byte(min(message.qos, granted), retain=True)

    def has_subscribers(self, topic: str) -> bool:
        """@return: whether anybody would get a message on this topic."""
        return bool(self._filters.match(topic))

    # ------------------------------------------------------------------ messages

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        spare: str = "",
        done: Callable[[], object] | None = None,
    ) -> None:
        """Publish for a service of this server (`services.interfaces.Publisher`)."""
        try:
            self.forward(topic, payload, qos, retain, spare=spare)
        except Exception:
            self._log.failure("publishing to {topic} failed", topic=topic)
        if done is None:
            self.store.commit_soon()
        else:
            self.store.commit(done)

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
        spare: str = "",
    ) -> None:
        """Hand a message to everybody subscribed, and keep it if it is to be retained.

        Whoever calls has to `commit` what this leaves `pending` in the store.

        @param wire_topic: the topic as a length-prefixed field, if at hand.
        @param frame: the whole message as a PUBLISH of QoS 0, if at hand.
        @param spare: not to the sensor or device of this uuid.
        """
        receivers = self._filters.match(topic)
        if spare:
            receivers = others(receivers, spare)
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
                if not isinstance(receiver, Session) or self.may_receive(receiver, topic)
            )
        for receiver, granted in receivers:
            receiver.deliver(publication, granted)

    def keep(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: int,
        wire_topic: bytes,
        spare: str = "",
    ) -> Sequence[Change]:
        """Prepare what a message of QoS 1 or 2 leaves in the database, if it is accepted.

        The copies stand in their queues from now on and are sent when they are stored; everybody
        else gets the message by `forward_kept`.

        @param spare: as in `forward`.
        """
        receivers = self._filters.match(topic)
        if spare:
            receivers = others(receivers, spare)
        if not receivers and not retain:
            return ()
        changes: list[Change] = []
        publication = Publication(topic, without_tokens(payload), qos, wire_topic)
        for receiver, granted in receivers:
            copy: StoredCopy | None = None
            if isinstance(receiver, SharedSubscription):
                copy = receiver.keep(publication)
            elif (
                granted
                and isinstance(receiver, DurableSession)
                and self.may_receive(receiver, topic)
            ):
                copy = receiver.keep(publication, min(qos, granted))
            if copy is not None:
                changes.append(copy)
        if retain and self.store.retained.takes(topic):
            changes.append(Retained(publication, qos))
        return changes

    def forward_kept(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: int,
        wire_topic: bytes,
        served: Collection[SharedSubscription],
        spare: str = "",
    ) -> None:
        """Forward an accepted message of QoS 1 or 2 to those for whom `keep` did nothing.

        @param served: the groups in which it did something. @param spare: as in `forward`.
        """
        receivers = self._filters.match(topic)
        if spare:
            receivers = others(receivers, spare)
        if not receivers and not retain:
            return
        publication = Publication(topic, without_tokens(payload), qos, wire_topic)
        if retain and not self.store.retain(publication, record=False):
            self.counters.dropped["retained_limit"] += 1
        for receiver, granted in receivers:
            if isinstance(receiver, Session):
                if (receiver.clean or not granted) and self.may_receive(receiver, topic):
                    receiver.deliver(publication, granted)
            elif receiver not in served:
                receiver.deliver(publication, granted)

    def may_receive(self, session: Session, topic: str) -> bool:
        """Whether no rule keeps this topic of a granted filter from the session."""
        rights = self.authorization
        return not rights.filters_delivery or rights.may_receive(
            session.principal, session.client_id, topic
        )

    # ------------------------------------------------------------------ rights change

    def _identity_changed(self, event: IdentityChanged) -> None:
        self.rights += 1
        for session in self.sessions_of(event.uuid):
            self.refresh(session)
        # Others may have been reading this device because it was of their organization.
        for session in self._filters.below(("devices", event.uuid)):
            if session.principal.name != event.uuid:
                self.recheck(session)

    def _user_changed(self, event: UserChanged) -> None:
        self.rights += 1
        for session in self.sessions_of(event.user_id):
            self.refresh(session)

    def rights_changed(self) -> None:
        """Ask again about everything that anybody has subscribed to: the rules are others now."""
        self.rights += 1
        for session in [s for sessions in self._by_identity.values() for s in sessions]:
            self.recheck(session)

    def refresh(self, session: Session) -> None:
        """Find out who the client is by now; close the connection if it is nobody any more."""

        def answered(result: Principal | AemosError) -> None:
            connection = self.live.get(session.key)
            if isinstance(result, StorageUnavailable):
                # Connected devices keep their connection while the database is away.
                result = session.principal
            if isinstance(result, AemosError):
                if connection is not None:
                    connection.close(CloseReason.REVOKED, str(result), publish_will=False)
                return
            session.principal = result
            if connection is None:
                self.recheck(session)
            elif result.expires_at is not None and result.expires_at <= self.now():
                connection.close(CloseReason.REVOKED, "expired", publish_will=False)
            else:
                connection.watch_expiry()
                self.recheck(session)

        self._login.refresh(session.principal, answered)

    def recheck(self, session: Session, then: Callable[[], object] | None = None) -> None:
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
                session.purge(lambda topic: any(matches(wanted, topic) for wanted in left))
                self.store.commit_soon()
            if then is not None:
                then()

        if not waiting:
            finished()
        for topic_filter in list(session.subscriptions):
            self.may_subscribe(session, topic_filter, partial(decided, topic_filter))

    # ------------------------------------------------------------------ figures

    def clients(self) -> list[ClientInfo]:
        """@return: everybody connected, in no order."""
        return [connection.info() for connection in self.live.values() if connection.session]

    def connections_of(self, principal: Principal) -> list[Connection]:
        """@return: all that this principal has, whatever the client id."""
        sessions = self.sessions_of(_identity(principal))
        return [self.live[session.key] for session in sessions if session.key in self.live]

    @property
    def client_count(self) -> int:
        """Clients that are connected."""
        return len(self.live)

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
        live = [(c, c.intake, c.session) for c in self.live.values()]
        return attrs.evolve(
            counters,
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
            closed=counters.closed.copy(),
            dropped=counters.dropped.copy(),
            limited=counters.limited.copy(),
        )


def _identity(principal: Principal) -> str | int:
    """@return: what events call this principal: a user by its id, everybody else by name."""
    return principal.id if principal.kind is PrincipalKind.USER else principal.name
