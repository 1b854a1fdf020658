"""How a client gets in: signed in, within the limits, with its session stored before CONNACK.

A session is taken over, found again or new.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from aemos.errors import AemosError, StorageUnavailable, Unauthenticated, Unavailable
from aemos.model import Principal, PrincipalKind
from aemos.mqtt.collaborators import Login
from aemos.mqtt.counters import CloseReason
from aemos.mqtt.durable import DurableSession
from aemos.mqtt.holds import CONNECTING
from aemos.mqtt.packets import Connect
from aemos.mqtt.packets.connect import NOT_AUTHORIZED, SERVER_UNAVAILABLE
from aemos.mqtt.session import Session, TransientSession
from aemos.services.events import ClientConnected

if TYPE_CHECKING:
    from aemos.mqtt.broker import Broker
    from aemos.mqtt.connection import Connection


class Admission:
    """Answers every CONNECT."""

    _log = Logger()

    def __init__(self, broker: Broker, login: Login) -> None:
        self._broker, self._login = broker, login

    def sign_in(self, connection: Connection, packet: Connect) -> None:
        """End in `accept` or `refuse` of the connection, now or later."""
        clock, peer = self._broker.clock, connection.peer
        asked = clock.seconds()

        def answered(result: Principal | AemosError) -> None:
            if connection.closed:
                return
            if isinstance(result, AemosError):
                delay = self._lateness(connection, packet, result, clock.seconds() - asked)
                self.turn_away(connection, result, delay)
            elif reason := self._objection(connection, result):
                self.turn_away(connection, Unavailable(reason))
            else:
                self._admit(connection, packet, result)

        identified = self._broker.settings.tls.client_certificates == "identity"
        name = peer.certified() if identified else ""
        if name:
            self._login.certified(name, packet.username, answered)
        else:
            self._login.authenticate(packet.username, packet.password, peer.private, answered)

    def turn_away(self, connection: Connection, error: AemosError, delay: float = 0.0) -> None:
        """Refuse a client. @param delay: seconds until it is told."""
        self._broker.counters.refused += 1
        unavailable = isinstance(error, Unavailable)
        code = SERVER_UNAVAILABLE if unavailable else NOT_AUTHORIZED
        if delay:
            connection.refuse_later(delay, code, str(error))
        else:
            connection.refuse(code, str(error))

    def _lateness(
        self, connection: Connection, packet: Connect, error: AemosError, took: float
    ) -> float:
        """@return: seconds to wait before a refusal, whose time must not tell if a name exists."""
        if not isinstance(error, Unauthenticated) or not packet.username:
            return 0.0
        broker, name, secret = self._broker, packet.username, packet.password or b""
        delay = broker.guard.failed(connection.peer.host, name, secret)
        return max(delay, broker.settings.refusal_time - took, 0.0)

    def _objection(self, connection: Connection, principal: Principal) -> str:
        broker, client_id = self._broker, connection.client_id
        if principal.kind is PrincipalKind.ANONYMOUS:
            others = 0
        else:
            known = broker.connections_of(principal)
            others = sum(1 for other in known if other.client_id != client_id)
        return broker.guard.refusal(principal, client_id, connection.peer.host, others)

    def _admit(self, connection: Connection, packet: Connect, principal: Principal) -> None:
        """End in `accept` or `refuse` of the connection, now or when the database has answered."""
        broker, store = self._broker, self._broker.store
        key = (principal.key, connection.client_id)
        before = broker.live.get(key)
        if before is not None:
            before.close(CloseReason.TAKEN_OVER, f"by {connection.outbox.peer}")
        broker.live[key] = connection
        session = store.find(key)
        if packet.clean_session:
            enter = partial(self._enter_clean, connection, packet, principal)
            if session is None:
                enter()
            else:
                broker.end(session)
                store.commit(enter)
        elif session is not None:
            store.resume(session, partial(self._resumed, connection, packet, session, principal))
        else:
            self._create(connection, packet, principal)

    def _create(self, connection: Connection, packet: Connect, principal: Principal) -> None:
        broker, store = self._broker, self._broker.store
        surplus = store.surplus(principal)
        if surplus is not None:
            self._log.info(
                "MQTT session {client_id!r} is given up: {principal} has too many",
                client_id=surplus.client_id,
                principal=principal.key,
            )
            broker.counters.expired += 1
            broker.end(surplus)
        if store.full:
            del broker.live[principal.key, connection.client_id]
            store.commit_soon()
            self.turn_away(connection, Unavailable("too many stored sessions"))
            return
        session = store.create(principal, connection.client_id)
        broker.remember(session)
        store.commit(partial(self._created, connection, packet, session))

    def _enter_clean(self, connection: Connection, packet: Connect, principal: Principal) -> None:
        broker, client_id = self._broker, connection.client_id
        if self._still_here(connection, (principal.key, client_id)):
            session = TransientSession(principal, client_id, broker.settings, broker.counters)
            broker.remember(session)
            self._enter(connection, packet, session, present=False)

    def _created(self, connection: Connection, packet: Connect, session: DurableSession) -> None:
        if not self._still_here(connection, session.key):
            return
        if session.row.id:
            self._enter(connection, packet, session, present=False)
            return
        broker = self._broker
        del broker.live[session.key]
        broker.end(session)
        broker.store.commit_soon()
        self.turn_away(connection, Unavailable("the session cannot be stored"))

    def _resumed(
        self,
        connection: Connection,
        packet: Connect,
        session: DurableSession,
        principal: Principal,
        error: StorageUnavailable | None,
    ) -> None:
        broker = self._broker
        if not self._still_here(connection, session.key):
            return
        if error is not None:
            del broker.live[session.key]
            broker.store.left(session)
            self.turn_away(connection, error)
            return
        broker.forget(session)
        session.principal = principal
        broker.remember(session)

        def checked() -> None:
            if self._still_here(connection, session.key):
                self._enter(connection, packet, session, present=True)

        broker.recheck(session, checked)

    def _enter(
        self, connection: Connection, packet: Connect, session: Session, *, present: bool
    ) -> None:
        broker = self._broker
        broker.counters.accepted += 1
        connection.accept(packet, session, present)
        session.resume(connection.outbox)
        broker.events.publish(ClientConnected(connection.info()))
        if session.subscriptions:
            broker.handover.announce(session)
        connection.go_on(CONNECTING)

    def _still_here(self, connection: Connection, key: tuple[str, str]) -> bool:
        """Whether the client waited for its session, and no other connection has taken it over."""
        broker = self._broker
        if broker.live.get(key) is not connection:
            return False
        if connection.closed:
            del broker.live[key]
            session = broker.store.find(key)
            if session is not None:
                broker.store.left(session)
            return False
        return True
