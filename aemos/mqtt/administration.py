"""What administrators see and do through the broker: clients, retained messages, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aemos.model import ANONYMOUS
from aemos.mqtt.broker import Broker
from aemos.mqtt.counters import CloseReason
from aemos.services.interfaces import Ban, ClientInfo, Owed, RetainedInfo


class Administration:
    """Implements `services.interfaces.ClientAdmin`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def clients(self) -> Iterable[ClientInfo]:
        """@return: everybody connected, in no order."""
        return self._broker.clients()

    def client(self, principal: str, client_id: str) -> ClientInfo | None:
        """@return: the client if it is connected."""
        connection = self._broker.live.get((principal, client_id))
        return None if connection is None or connection.session is None else connection.info()

    def owed(self, principal: str, client_id: str) -> Owed | None:
        """@return: what waits for this client; None = it has no stored session."""
        session = self._broker.store.find((principal, client_id))
        if session is None:
            return None
        subscriptions = len(session.subscriptions)
        return Owed(subscriptions, session.in_flight, session.queued, session.queued_bytes)

    def filters(self, principal: str, client_id: str) -> Mapping[str, int]:
        """@return: what its session, live or stored, is subscribed to, with the granted QoS."""
        connection = self._broker.live.get((principal, client_id))
        session = self._broker.store.find((principal, client_id))
        if connection is not None and connection.session is not None:
            return connection.session.subscriptions
        return {} if session is None else session.subscriptions

    def disconnect(self, principal: str, client_id: str, reason: str) -> bool:
        """Close one client's connection. @return: whether there was one."""
        connection = self._broker.live.get((principal, client_id))
        if connection is not None:
            connection.close(CloseReason.KICKED, reason)
        return connection is not None

    def retained(self, topic_filter: str) -> Iterable[RetainedInfo]:
        """@return: the retained messages that a valid filter matches."""
        kept = self._broker.store.retained
        for topic in kept.topics(topic_filter):
            message = kept.get(topic)
            if message is not None:
                yield RetainedInfo(topic, message.payload, message.qos)

    def bans(self) -> Sequence[Ban]:
        """@return: the bans in force, oldest first."""
        return self._broker.guard.bans()

    def lift(self, ban_id: int) -> bool:
        """End a ban. @return: whether it was in force."""
        return self._broker.guard.lift(ban_id)

    def figures(self) -> Mapping[str, object]:
        """@return: the original's `getStats()` (spec/mqtt.md section 7), and what aemos counts."""
        broker, settings = self._broker, self._broker.settings
        clients, totals = broker.clients(), broker.totals()
        return {
            "isInitialized": broker.draining is None,
            "connectedClients": len(clients),
            "authenticatedClients": sum(client.principal != ANONYMOUS.key for client in clients),
            "port": settings.port,
            "host": settings.host,
            "connections": len(broker.connections),
            "maxConnections": settings.max_connections,
            "sessions": broker.session_count,
            "subscriptions": broker.subscription_count,
            "sharedSubscriptions": broker.shared_subscription_count,
            "retainedMessages": len(broker.store.retained),
            "connectionsOpened": totals.opened,
            "connectionsTurnedAway": totals.turned_away,
            "clientsAccepted": totals.accepted,
            "clientsRefused": totals.refused,
            "sessionsExpired": totals.expired,
            "messagesReceived": totals.messages_received,
            "messagesSent": totals.messages_sent,
            "messagesDenied": totals.denied,
            "packetsReceived": totals.packets_received,
            "packetsSent": totals.packets_sent,
            "bytesReceived": totals.bytes_received,
            "bytesSent": totals.bytes_sent,
            "throttled": totals.throttled,
            "banned": totals.banned,
            "limited": dict(totals.limited),
            "dropped": dict(totals.dropped),
            "closed": {reason.value: count for reason, count in totals.closed.items()},
        }
