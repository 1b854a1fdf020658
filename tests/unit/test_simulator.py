"""The simulator against a server that acknowledges whatever it gets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol

from aemos import json
from aemos.errors import Unauthenticated, Unavailable
from aemos.mqtt.packets import ConnAck, Connect, PubAck, Publish, decode
from aemos.mqtt.wire import Splitter
from aemos.simulator import Simulator, Totals
from aemos.storage.demo_farm import NewSensor

SENSORS = (
    NewSensor("one", "u-1", "t-1", ("temperature", "humidity")),
    NewSensor("two", "u-2", "t-2", ("ph",)),
)


class Acknowledging(Protocol):
    """Accepts the right tokens and acknowledges every PUBLISH."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._splitter = broker, Splitter()

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self._splitter.feed(data)
        for first, buffer, start, end in self._splitter.packets():
            packet = decode(first, buffer[start:end])
            if isinstance(packet, Connect):
                known = (packet.username, packet.password) in self._broker.known
                self.transport.write(ConnAck(0 if known else 5).encode())
            elif isinstance(packet, Publish):
                self._broker.published.append(packet)
                if len(self._broker.published) == self._broker.breaks_after:
                    self.transport.loseConnection()
                else:
                    self.transport.write(PubAck(packet.packet_id).encode())
                self._broker.listen()


@attrs.define(eq=False)
class Broker(Factory):
    """What the server saw. `listen` is called after each PUBLISH."""

    known: set[tuple[str | None, bytes | None]] = attrs.field(
        factory=lambda: {("u-1", b"t-1"), ("u-2", b"t-2")}
    )
    published: list[Publish] = attrs.field(factory=list)
    breaks_after: int = 0
    listen = staticmethod(lambda: None)
    port: IListeningPort | None = None

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Acknowledging:
        return Acknowledging(self)

    @property
    def number(self) -> int:
        assert self.port is not None
        return self.port.getHost().port


@pytest_twisted.async_yield_fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    broker.port = reactor.listenTCP(0, broker, interface="127.0.0.1")
    yield broker
    await broker.port.stopListening()


async def test_it_publishes_as_many_as_asked_for_and_waits_for_their_acknowledgement(
    broker: Broker,
) -> None:
    totals = await Simulator(reactor, SENSORS, rate=5000, count=60).run("127.0.0.1", broker.number)
    assert totals == Totals(sent=60, acknowledged=60)
    assert {publish.qos for publish in broker.published} == {1}
    by_topic = {
        publish.topic: json.decode(publish.payload)["variableName"] for publish in broker.published
    }
    assert by_topic.keys() == {"devices/u-1/datastream", "devices/u-2/datastream"}
    assert by_topic["devices/u-2/datastream"] == "ph"


async def test_it_stops_when_told_and_leaves_nothing_unacknowledged(broker: Broker) -> None:
    simulator = Simulator(reactor, SENSORS, rate=1000, count=None)
    broker.listen = lambda: simulator.stop() if len(broker.published) == 10 else None
    totals = await simulator.run("127.0.0.1", broker.number)
    assert totals.sent == totals.acknowledged == len(broker.published)
    assert totals.sent >= 10


async def test_a_wrong_token_ends_it(broker: Broker) -> None:
    broker.known = {("u-1", b"t-1")}
    with pytest.raises(Unauthenticated):
        await Simulator(reactor, SENSORS, rate=10, count=1).run("127.0.0.1", broker.number)


async def test_a_lost_connection_ends_it(broker: Broker) -> None:
    broker.breaks_after = 5
    with pytest.raises(Unavailable):
        await Simulator(reactor, SENSORS, rate=1000, count=50).run("127.0.0.1", broker.number)


async def test_without_a_server_it_says_so() -> None:
    port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    number = port.getHost().port
    await port.stopListening()
    with pytest.raises(Unavailable, match=f"127.0.0.1 port {number}: no connection"):
        await Simulator(reactor, SENSORS, rate=10, count=1).run("127.0.0.1", number)
