"""How a client gets its session: taken over, found again or new, and stored before CONNACK."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aemos.errors import StorageUnavailable, Unavailable
from aemos.model import Principal
from aemos.mqtt.counters import CloseReason
from aemos.mqtt.durable import DurableSession
from aemos.mqtt.holds import CONNECTING
from aemos.mqtt.packets import Connect
from aemos.mqtt.session import Session, TransientSession
from aemos.services.events import ClientConnected

if TYPE_CHECKING:
    from aemos.mqtt.broker import Broker
    from aemos.mqtt.connection import Connection


class Admission:
    """Lets clients in that have signed in."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def admit(self, connection: Connection, packet: Connect, principal: Principal) -> None:
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
        elif store.full:
            del broker.live[key]
            broker.turn_away(connection, Unavailable("too many stored sessions"))
        else:
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
        broker.turn_away(connection, Unavailable("the session cannot be stored"))

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
            broker.turn_away(connection, error)
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
