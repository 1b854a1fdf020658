"""MQTT over TCP and TLS: a Twisted protocol around `Connection`."""

from __future__ import annotations

from contextlib import suppress
from typing import cast

from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from aemos.mqtt.broker import Broker
from aemos.mqtt.connection import Connection
from aemos.mqtt.outbox import Transport, outbox_for
from aemos.mqtt.peer import peer_of


class MqttProtocol(Protocol):
    """Moves bytes between a transport and a `Connection`."""

    def __init__(self, broker: Broker, address: IAddress | None) -> None:
        """@param address: of the client, if it is not the transport's: a balancer is between."""
        self._broker = broker
        self._address = address

    def connectionMade(self) -> None:
        transport = cast(ITransport, self.transport)
        # Acknowledgements are small and gathered already: waiting for more would only delay them.
        with suppress(AttributeError):
            transport.setTcpNoDelay(True)  # type: ignore[attr-defined]
        peer = peer_of(transport, self._address or transport.getPeer())
        outbox = outbox_for(cast(Transport, transport), self._broker.turn, peer.name)
        self._connection = connection = Connection(self._broker, outbox, peer)
        # Every read of every client comes through here: without a method in between.
        self.dataReceived = connection.receive  # type: ignore[method-assign]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connection.lost(reason.getErrorMessage())


class MqttFactory(Factory):
    """Makes a protocol for each client, up to the limit of connections."""

    noisy = False

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def buildProtocol(self, addr: IAddress | None) -> MqttProtocol | None:
        if not self._broker.admits(addr):
            return None
        return MqttProtocol(self._broker, addr)
