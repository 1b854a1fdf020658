"""`/ws/v1` over real sockets, below a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import Site

from aemos.realtime.websocket import ChannelFactory, ChannelResource
from aemos.tls import TlsContext, TlsFiles
from tests.certificates import Authority
from tests.live import connect
from tests.unit.realtime.stage import World, reading


@attrs.define
class Server:
    world: World
    channels: ChannelFactory
    port: int


@asynccontextmanager
async def serving(
    clock: Clock | None = None, tls: TlsFiles | None = None, **settings: object
) -> AsyncIterator[Server]:
    world = World(clock=clock or reactor, **settings)
    channels = ChannelFactory(world.sessions, world.clock)
    root, branch = Resource(), Resource()
    root.putChild(b"ws", branch)
    branch.putChild(b"v1", ChannelResource(channels))
    site = Site(root)
    site.doStart, site.doStop = lambda: None, lambda: None  # no log file, no timer for it
    factory = site if tls is None else TLSMemoryBIOFactory(TlsContext(tls), False, site)
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    try:
        yield Server(world, channels, listening.getHost().port)
    finally:
        stopped = channels.stop()
        if clock is not None:
            clock.advance(5)
        await stopped
        await listening.stopListening()


async def test_a_token_as_second_subprotocol_signs_in_and_events_arrive():
    async with serving() as server:
        client = await connect(server.port, "aemos.v1", "ada")
        assert client.websocket_protocol_in_use == "aemos.v1"
        assert (await client.hear())["type"] == "authenticated"
        answer = await client.ask(type="subscribe", rooms=["telemetry-1"])
        assert answer["rooms"] == ["telemetry-1"]
        server.world.store(reading(1))
        assert (await client.hear())["data"]["dataStream"]["id"] == 100
        await client.leave()


async def test_a_token_in_a_message_signs_in():
    async with serving() as server:
        client = await connect(server.port)
        assert (await client.ask(type="authenticate", token="ada"))["organizations"] == [10]
        await client.leave()


@pytest.mark.parametrize("protocols", [(), ("aemos.v1",)])
async def test_a_bearer_token_of_the_handshake_signs_in(protocols):
    async with serving() as server:
        client = await connect(server.port, *protocols, headers={"Authorization": "Bearer ada"})
        assert (await client.hear())["organizations"] == [10]
        await client.leave()


async def test_the_compression_that_browsers_offer_is_declined():
    async with serving() as server:
        offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
        client = await connect(server.port, headers=offer)
        assert client.websocket_extensions_in_use == []
        assert (await client.ask(type="ping"))["type"] == "pong"
        await client.leave()


async def test_a_forged_token_of_the_handshake_closes_with_4401_without_waiting_for_a_timer():
    async with serving(Clock()) as server:
        client = await connect(server.port, "aemos.v1", "forged")
        assert (await client.hear())["code"] == "unauthenticated"
        assert await client.closed() == (4401, "unauthenticated")


@pytest.mark.parametrize(
    ("payload", "binary", "status"),
    [
        (b"{}", True, 1003),
        (b'{"type":"ping","ref":"' + b"x" * 1100 + b'"}', False, 1009),
        (b'{"type":"\xff"}', False, 1007),
    ],
)
async def test_what_is_no_text_message_closes_that_connection_only(payload, binary, status):
    async with serving(max_message=1000) as server:
        bystander = await connect(server.port)
        client = await connect(server.port)
        client.sendMessage(payload, isBinary=binary)
        code, _ = await client.closed()
        assert code == status
        assert (await bystander.ask(type="ping"))["type"] == "pong"
        await bystander.leave()


async def test_a_token_in_the_address_is_refused():
    async with serving() as server:
        with pytest.raises(ConnectionError, match="400"):
            await connect(server.port, query="?token=ada")


async def test_too_many_connections_are_refused_and_a_left_one_makes_room():
    async with serving(max_connections=1) as server:
        first = await connect(server.port)
        with pytest.raises(ConnectionError, match="503"):
            await connect(server.port)
        await first.leave()
        second = await connect(server.port)
        await second.leave()


async def test_a_plain_request_is_told_to_upgrade():
    async with serving() as server:
        response = await treq.get(f"http://127.0.0.1:{server.port}/ws/v1", persistent=False)
        assert (response.code, response.phrase) == (426, b"Upgrade Required")
        assert (await response.json())["statusCode"] == 426


async def test_stopping_says_goodbye_and_refuses_newcomers():
    async with serving() as server:
        client = await connect(server.port)
        stopped = server.channels.stop()
        assert (await client.hear())["code"] == "going_away"
        assert await client.closed() == (1001, "going_away")
        await stopped
        with pytest.raises(ConnectionError, match="503"):
            await connect(server.port)


class Deaf(Protocol):
    """A client that asks for a WebSocket, and then reads only when it wants to."""

    def __init__(self) -> None:
        self.answered: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.octets = 0

    def connectionMade(self) -> None:
        self.transport.write(
            b"GET /ws/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Protocol: aemos.v1, ada\r\n\r\n"
        )

    def dataReceived(self, data: bytes) -> None:
        self.octets += len(data)
        if not self.answered.called:
            self.transport.pauseProducing()
            self.answered.callback(None)

    def connectionLost(self, reason: object = None) -> None:
        self.gone.callback(None)


async def deaf(port: int, authority: Authority | None = None) -> Deaf:
    """@param authority: of the server's certificate, if it speaks TLS."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    if authority is not None:
        trusted = trustRootFromCertificates([Certificate.loadPEM(Path(authority.path).read_text())])
        endpoint = wrapClientTLS(optionsForClientTLS("127.0.0.1", trusted), endpoint)
    client = await endpoint.connect(Factory.forProtocol(Deaf))
    await client.answered
    return client


async def test_a_client_that_does_not_answer_the_goodbye_is_cut_off_after_two_seconds():
    clock = Clock()
    async with serving(clock) as server:
        client = await deaf(server.port)
        stopped = server.channels.stop()
        clock.advance(1.9)
        assert not stopped.called
        clock.advance(0.2)
        await stopped
        client.transport.resumeProducing()
        await client.gone


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_client_that_does_not_read_costs_a_bounded_buffer(encrypted, tmp_path):
    authority, files = None, None
    if encrypted:
        authority = Authority(tmp_path)
        pair = authority.issue("server")
        files = TlsFiles(pair.cert_path, pair.key_path)
    async with serving(tls=files, max_buffer=10_000) as server:
        client = await deaf(server.port, authority)
        [connection] = server.channels.connections
        member = connection.channel._session
        await member.join(["telemetry-1"])
        for _ in range(5000):
            if connection.channel._writable:  # until the buffers of the system are full
                server.world.store(reading(1, "x" * 5000))
                connection.channel.flush()
        assert not connection.channel._writable
        for number in range(1000):
            server.world.store(reading(1, "x" * 50, number + 1))
            connection.channel.flush()
        assert connection.channel._outbox.size <= 10_000
        assert connection.channel._outbox.dropped > 0
        pongs: list[bytes] = []
        connection.sendPong = pongs.append
        for number in range(1000):
            connection.onPing(b"%d" % number)
        assert pongs == []
        client.transport.resumeProducing()
        reached: Deferred[None] = Deferred()
        flush = connection.channel.writable

        def writable(ready: bool) -> None:
            flush(ready)
            if ready and not reached.called:
                reached.callback(None)

        connection.channel.writable = writable
        await reached
        assert pongs == [b"999"]
        assert connection.channel.traffic.dropped > 0
        client.transport.loseConnection()
        await client.gone
