"""`/socket.io` over real sockets: requests, refusals, polling, WebSockets, CORS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import treq
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.web.client import Agent, HTTPConnectionPool, ResponseNeverReceived
from twisted.web.resource import Resource
from twisted.web.server import Site

from aemos.model import ANONYMOUS
from tests.unit.realtime.socketio_stage import SocketIoWorld
from tests.unit.realtime.stage import reading

POLLING = "EIO=4&transport=polling"


@attrs.define
class Server:
    world: SocketIoWorld
    port: int
    client: HTTPClient

    async def call(
        self, query: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, str, Any]:
        """@return: status, body, headers."""
        url = f"http://127.0.0.1:{self.port}/socket.io/?{query}"
        response = await self.client.request(method, url, data=body, headers=headers)
        return response.code, (await response.content()).decode(), response.headers

    async def poll(self, sid: str) -> str:
        status, body, _ = await self.call(f"{POLLING}&sid={sid}")
        assert status == 200, body
        return body

    async def post(self, sid: str, *packets: str) -> None:
        body = "\x1e".join(packets).encode()
        status, answer, headers = await self.call(f"{POLLING}&sid={sid}", "POST", body)
        assert (status, answer) == (200, "ok")
        assert headers.getRawHeaders("Content-Type") == ["text/html"]

    async def begin(self) -> str:
        """@return: the id of a new session over polling."""
        _, body, _ = await self.call(POLLING)
        sid: str = json.loads(body[1:])["sid"]
        return sid

    async def enter(self, token: str = "ada") -> str:
        """@return: the same, in the main namespace and in telemetry-1."""
        sid = await self.begin()
        await self.post(sid, "40" + json.dumps({"token": token}), '42["join","telemetry-1"]')
        assert (await self.poll(sid)).startswith("40{")
        return sid

    async def connect(self, query: str, *protocols: str, **headers: str) -> Socket:
        """Open a WebSocket. @raise ConnectionError: it was refused; the text has the status."""
        url = f"ws://127.0.0.1:{self.port}/socket.io/?{query}"
        factory = WebSocketClientFactory(url, protocols=protocols, headers=headers, reactor=reactor)
        factory.protocol = Socket
        factory.setProtocolOptions(
            openHandshakeTimeout=0, closeHandshakeTimeout=0, serverConnectionDropTimeout=0
        )
        client = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port).connect(factory)
        return await client.opened.addTimeout(10, reactor)


class Socket(WebSocketClientProtocol):
    """A WebSocket client that hands out what it hears one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: DeferredQueue[str | bytes] = DeferredQueue()
        self.opened: Deferred[Socket] = Deferred()
        self.gone: Deferred[int | None] = Deferred()

    def onOpen(self) -> None:
        self.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.put(payload if isBinary else payload.decode())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if not self.opened.called:
            self.opened.errback(ConnectionError(reason))
        self.gone.callback(code)

    def say(self, packet: str) -> None:
        self.sendMessage(packet.encode())

    async def hear(self) -> str:
        packet: str = await self.heard.get().addTimeout(10, reactor)
        return packet

    async def closed(self) -> int | None:
        return await self.gone.addTimeout(10, reactor)


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Server]:
    world = SocketIoWorld(clock=reactor, **settings)
    root = Resource()
    root.putChild(b"socket.io", world.door.resource)
    site = Site(root, timeout=None)
    site.doStart, site.doStop = lambda: None, lambda: None  # no log file, no timer for it
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
    pool = HTTPConnectionPool(reactor)
    client = HTTPClient(Agent(reactor, pool=pool))
    try:
        yield Server(world, listening.getHost().port, client)
    finally:
        await world.door.stop()
        await listening.stopListening()
        await pool.closeCachedConnections()


REFUSED = [
    ("EIO=4", "GET", 0),
    ("EIO=4&transport=webtransport", "GET", 0),
    ("EIO=4&transport=polling&sid=unknown", "GET", 1),
    ("EIO=4&transport=polling&sid=unknown", "POST", 1),
    ("EIO=4&transport=polling", "POST", 2),
    ("EIO=4&transport=websocket", "GET", 3),
    ("EIO=3&transport=polling", "GET", 5),
    ("EIO=5&transport=polling", "GET", 5),
    ("transport=polling", "GET", 5),
]


@pytest.mark.parametrize(("query", "method", "number"), REFUSED)
async def test_a_bad_request_is_told_why(query, method, number):
    async with serving() as server:
        status, body, headers = await server.call(query, method)
        assert (status, json.loads(body)["code"]) == (400, number)
        assert headers.getRawHeaders("Access-Control-Allow-Origin") == ["*"]


@pytest.mark.parametrize(
    "query", ["EIO=3&transport=websocket", "EIO=4&transport=websocket&sid=unknown", "EIO=4"]
)
async def test_a_bad_upgrade_is_refused_before_the_handshake(query):
    async with serving() as server:
        with pytest.raises(ConnectionError, match="400"):
            await server.connect(query)


async def test_several_packets_in_one_body_are_taken_in_order():
    async with serving() as server:
        sid = await server.begin()
        await server.post(
            sid,
            '40{"token":"ada"}',
            '421["join","telemetry-1"]',
            '452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
            "bAQID",
            "bBAUG",
            '422["leave","telemetry-1"]',
        )
        connected, first, second = (await server.poll(sid)).split("\x1e")
        assert connected.startswith("40{")
        assert first.startswith('431[{"rooms":["telemetry-1"]')
        assert second == '432[{"rooms":["telemetry-1"]}]'


async def test_a_get_waits_for_an_event():
    async with serving() as server:
        sid = await server.enter()
        waiting = ensureDeferred(server.poll(sid))
        server.world.store(reading(1, "1"), reading(1, "2"))
        assert '"value":"1"' in await waiting


async def test_two_gets_at_once_break_the_protocol():
    async with serving() as server:
        sid = await server.begin()
        first = ensureDeferred(server.call(f"{POLLING}&sid={sid}"))
        status, body, _ = await server.call(f"{POLLING}&sid={sid}")
        answers = {(status, body), (await first)[:2]}
        assert answers == {(400, '{"code":3,"message":"Bad request"}'), (200, "1")}
        assert (await server.call(f"{POLLING}&sid={sid}"))[0] == 400


async def test_a_get_that_waits_when_the_client_leaves_is_told_nothing():
    async with serving() as server:
        sid = await server.begin()
        waiting = ensureDeferred(server.poll(sid))
        while not server.world.door.engine.find(sid).carrier.ready:
            await server.call("EIO=4")
        await server.post(sid, "1")
        assert await waiting == "6"
        assert (await server.call(f"{POLLING}&sid={sid}"))[0] == 400


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 400), (b"9", 400), (b"b*", 400), (b"4" * 1025, 413)]
)
async def test_a_body_that_cannot_be_taken_ends_the_session(body, status):
    async with serving(max_payload=1024) as server:
        sid = await server.begin()
        assert (await server.call(f"{POLLING}&sid={sid}", "POST", body))[0] == status
        assert len(server.world.door.engine) == 0


async def test_a_post_is_answered_when_its_packets_are_dealt_with():
    async with serving() as server:
        sid = await server.enter()
        server.world.rights.held = []
        posting = ensureDeferred(server.post(sid, '421["join","telemetry-2"]'))
        while not server.world.rights.held:
            await server.call("EIO=4")  # another exchange: time for the first to arrive
        assert not posting.called
        server.world.rights.release()
        await posting
        assert (await server.poll(sid)).startswith("431[")


async def test_a_client_that_gives_up_its_get_is_gone():
    async with serving() as server:
        sid = await server.enter()
        url = f"http://127.0.0.1:{server.port}/socket.io/?{POLLING}&sid={sid}"
        waiting = treq.get(url, persistent=False)
        session = server.world.door.engine.find(sid)
        while not session.carrier.ready:
            await server.call("EIO=4")
        waiting.cancel()
        with pytest.raises(ResponseNeverReceived):
            await waiting
        for _ in range(100):
            await server.call("EIO=4")
        assert len(server.world.door.engine) == 0


async def entered(server: Server, transport: str, packet: str, **headers: str) -> str:
    """@return: the answer to the first packet of a new session."""
    if transport == "websocket":
        socket = await server.connect("EIO=4&transport=websocket", **headers)
        await socket.hear()
        socket.say(packet)
        return await socket.hear()
    _, opened, _ = await server.call(POLLING, **headers)
    sid = json.loads(opened[1:])["sid"]
    await server.post(sid, packet)
    return await server.poll(sid)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    ("header", "packet", "user"),
    [
        ("Bearer ada", "40", 7),
        ("Bearer forged", '40{"token":"ada"}', 7),
        ("Basic YTpi", "40", ANONYMOUS.id),
    ],
)
async def test_the_token_may_be_in_a_header(transport, header, packet, user):
    async with serving() as server:
        answer = await entered(server, transport, packet, Authorization=header)
        assert answer.startswith("40{")
        [participant] = server.world.door.conversations.recoverable.values()
        assert participant._session.principal.id == user


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_forged_token_in_a_header_is_refused(transport):
    async with serving() as server:
        answer = await entered(server, transport, "40", Authorization="Bearer forged")
        assert answer.startswith('44{"message":"the token is not valid"')


async def test_a_session_over_polling_moves_to_a_websocket():
    async with serving() as server:
        sid = await server.enter()
        socket = await server.connect(f"EIO=4&transport=websocket&sid={sid}")
        waiting = ensureDeferred(server.poll(sid))
        socket.say("2probe")
        assert await socket.hear() == "3probe"
        assert await waiting == "6"
        socket.say("5")
        socket.say('421["leave","x"]')
        assert (await socket.hear()).startswith("431[")
        server.world.store(reading(1))
        assert (await socket.hear()).startswith('42["new-datastream"')
        for method in ("GET", "POST"):
            status, body, _ = await server.call(f"{POLLING}&sid={sid}", method)
            assert (status, json.loads(body)["code"]) == (400, 3)
        socket.sendClose()
        await socket.closed()


async def test_a_second_websocket_for_a_session_is_closed():
    async with serving() as server:
        sid = await server.begin()
        first = await server.connect(f"EIO=4&transport=websocket&sid={sid}")
        second = await server.connect(f"EIO=4&transport=websocket&sid={sid}")
        assert await second.closed() == 1000
        first.say("2probe")
        assert await first.hear() == "3probe"


async def test_a_websocket_from_the_beginning_offers_no_upgrade():
    async with serving() as server:
        socket = await server.connect("EIO=4&transport=websocket")
        assert json.loads((await socket.hear())[1:])["upgrades"] == []
        socket.say("40")
        assert (await socket.hear()).startswith("40{")
        socket.sendMessage(b"\x01", isBinary=True)
        assert await socket.closed() == 1000


@pytest.mark.parametrize(("offered", "chosen"), [((), None), (("a", "b"), "a")])
async def test_a_subprotocol_that_a_browser_asks_for_is_chosen(offered, chosen):
    async with serving() as server:
        socket = await server.connect("EIO=4&transport=websocket", *offered)
        assert socket.websocket_protocol_in_use == chosen


async def test_a_websocket_that_is_not_read_costs_a_bounded_buffer_and_gets_the_newest():
    async with serving(max_buffer=100_000) as server:
        socket = await server.connect("EIO=4&transport=websocket")
        socket.say('40{"token":"ada"}')
        socket.say('421["join","telemetry-1"]')
        while not (await socket.hear()).startswith("431"):
            pass
        socket.transport.pauseProducing()
        [session] = server.world.door.engine._sessions.values()
        for number in range(400):
            stored = reading(1, f"{number} " + "x" * 20_000)
            stored.urgent = True
            server.world.store(stored)
            session.flush()
            assert session._outbox.size <= 100_000
        assert not session.carrier.ready
        socket.transport.resumeProducing()
        newest = 0
        while newest < 399:
            packet = await socket.hear()
            if packet.startswith("42"):
                newest = int(json.loads(packet[2:])[1]["dataStream"]["value"].split()[0])
        assert 0 < session.dropped < 400


@pytest.mark.parametrize(("packet", "status"), [("9", 1000), ("4" * 1025, 1009)])
async def test_a_websocket_that_says_nonsense_is_closed(packet, status):
    async with serving(max_payload=1024) as server:
        socket = await server.connect("EIO=4&transport=websocket")
        socket.say(packet)
        assert await socket.closed() == status
        assert len(server.world.door.engine) == 0


async def test_no_more_than_the_limit_are_taken():
    async with serving(max_connections=1) as server:
        await server.begin()
        assert (await server.call(POLLING))[0] == 503
        with pytest.raises(ConnectionError, match="503"):
            await server.connect("EIO=4&transport=websocket")


async def test_stopping_closes_transports_so_that_clients_come_back():
    async with serving() as server:
        sid = await server.enter()
        waiting = ensureDeferred(server.poll(sid))
        socket = await server.connect("EIO=4&transport=websocket")
        await socket.hear()
        server.world.door.stop_polling()
        assert await waiting == "1"
        stopped = server.world.door.stop()
        assert await socket.closed() == 1001
        await stopped
        assert (await server.call(POLLING))[0] == 503


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://farm.example", ["https://farm.example"]), ("https://evil.example", None)],
)
async def test_only_configured_origins_may_read_answers(origin, allowed):
    async with serving(cors=("https://farm.example",)) as server:
        for method in ("GET", "OPTIONS"):
            _, _, headers = await server.call(POLLING, method, Origin=origin)
            assert headers.getRawHeaders("Access-Control-Allow-Origin") == allowed
            assert headers.getRawHeaders("Vary") == ["Origin"]


async def test_a_preflight_is_answered():
    async with serving(cors_origin=("https://farm.example",)) as server:
        status, _, headers = await server.call(
            POLLING,
            "OPTIONS",
            **{
                "Origin": "https://farm.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )
        assert status == 204
        assert headers.getRawHeaders("Access-Control-Allow-Methods") == ["GET,POST"]
        assert headers.getRawHeaders("Access-Control-Allow-Headers") == ["content-type"]
        assert headers.getRawHeaders("Access-Control-Allow-Credentials") == ["true"]


async def test_a_script_is_looked_for_among_the_known_names_only():
    async with serving() as server:
        for name in ("socket.io.ts", "..%2fsocketio%2fsocket.io.js", "x/y"):
            url = f"http://127.0.0.1:{server.port}/socket.io/{name}"
            assert (await server.client.get(url)).code == 404


async def test_a_session_that_nobody_speaks_for_costs_no_more_than_its_timers():
    async with serving(ping_interval_ms=100, ping_timeout_ms=100) as server:
        sid = await server.begin()
        assert await server.poll(sid) == "2"
        status, body, _ = await server.call(f"{POLLING}&sid={sid}")
        assert (status, body) == (200, "1")
        assert len(server.world.door.engine) == 0
