"""The HTTP side of `/socket.io`: handshakes, refusals, CORS, polling, WebSockets and scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from aemos.realtime.connection import (
    Connection,
    ConnectionFactory,
    Upgrade,
    asks_for_websocket,
    bearer,
)
from aemos.realtime.engine import Engine, EngineSession
from aemos.realtime.engineio import (
    PROTOCOL,
    MalformedPacket,
    Packet,
    PacketType,
    Problem,
    decode,
)
from aemos.realtime.frames import text_frame
from aemos.realtime.polling import Polling, answer, refuse

_NORMAL = 1000
_GOING_AWAY = 1001


class EngineSocket(Connection):
    """A transport: one packet is one frame."""

    name = "websocket"
    factory: EngineSockets
    _aemos_sid = ""
    _aemos_address = ""
    _aemos_token = ""
    _aemos_session: EngineSession | None = None
    _aemos_takes = True
    _aemos_wanted = True

    # What Autobahn and the transport tell

    def onConnect(self, request: Any) -> str | None:
        """Take the first subprotocol, if some are offered: browsers want one of them chosen."""
        self._aemos_token = bearer(request.headers.get("authorization"))
        return next(iter(request.protocols), None)

    def onOpen(self) -> None:
        """The handshake is done: begin a session, or offer to carry one that there is."""
        engine = self.factory.engine
        if not self._aemos_sid:
            self._aemos_session = engine.begin(self, self._aemos_address, self._aemos_token)
            return
        session = engine.find(self._aemos_sid)
        if session is not None and session.offer(self):
            self._aemos_session = session
        else:
            self.end()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """One packet is complete."""
        session = self._aemos_session
        if session is None:
            return
        try:
            packet = Packet(PacketType.MESSAGE, payload) if isBinary else decode(payload)
        except MalformedPacket as error:
            session.lost(self, f"parse error, {error}")
            self.end()
            return
        session.received(packet, self)

    def writable(self, ready: bool) -> None:
        """Part of `Connection`."""
        self._aemos_takes = ready
        self.read(self._aemos_wanted)
        if ready and self._aemos_session is not None:
            self._aemos_session.carrier_ready(self)

    def goodbye(self) -> None:
        """Part of `Connection`: not a disconnect from the namespace, so that clients come back."""
        session, self._aemos_session = self._aemos_session, None
        if session is not None:
            session.flush()
        if self.state == self.STATE_OPEN:
            self.close(_GOING_AWAY, "")
        if session is not None:
            session.lost(self, "the server is stopping")

    def gone(self, reason: str) -> None:
        """Part of `Connection`."""
        session, self._aemos_session = self._aemos_session, None
        if session is not None:
            session.lost(self, f"transport close, {reason}")

    # What the session asks for: `engine.Transport`

    @property
    def ready(self) -> bool:
        """Part of `Transport`."""
        return self._aemos_takes and self.state == self.STATE_OPEN

    def write(self, packets: Sequence[bytes]) -> None:
        """Part of `Transport`."""
        self.send(b"".join(map(text_frame, packets)))

    def read(self, wanted: bool) -> None:
        """Part of `Transport`: nor is anything read from a client that does not read."""
        self._aemos_wanted = wanted
        super().read(wanted and self._aemos_takes)

    def end(self) -> None:
        """Part of `Transport`."""
        if self.state == self.STATE_OPEN:
            self.close(_NORMAL, "")


class EngineSockets(ConnectionFactory):
    """Makes the WebSockets of `/socket.io`."""

    protocol = EngineSocket  # type: ignore[assignment]  # Autobahn wants a class, not a callable

    def __init__(self, engine: Engine, reactor: IReactorTime) -> None:
        super().__init__(reactor, engine.settings.socket_io.max_payload)
        self.engine = engine


@attrs.frozen
class _Asked:
    """Makes the one WebSocket that a request asked for."""

    factory: EngineSockets
    sid: str
    address: str

    def buildProtocol(self, peer: IAddress) -> Any:
        """Part of `IProtocolFactory`."""
        made: Any = self.factory.buildProtocol(peer)
        made._aemos_sid, made._aemos_address = self.sid, self.address
        return made


class EngineResource(Resource):
    """Everything below `/socket.io`."""

    isLeaf = True
    answers_options = True

    def __init__(
        self,
        engine: Engine,
        sockets: EngineSockets,
        address_of: Callable[[Request], str],
        scripts: IResource,
    ) -> None:
        """@param address_of: tells where a request comes from. @param scripts: has the scripts as
        children by their names.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        settings = engine.settings.socket_io
        self._engine, self._sockets = engine, sockets
        self._address_of, self._scripts = address_of, scripts
        self._origins = settings.cors or settings.cors_origin
        self._max_payload = settings.max_payload

    def render(self, request: Any) -> bytes | int:
        """Part of `IResource`."""
        request.template = "/socket.io"
        self._allow_origin(request)
        # Long polls wait on purpose: how long says nothing about the server.
        request.held = True
        if request.method == b"OPTIONS":
            _preflight(request)
        elif name := b"/".join(request.postpath or ()):
            script: IResource = self._scripts.getChildWithDefault(name, request)
            result: bytes | int = script.render(request)
            return result
        elif asks_for_websocket(request):
            return self._upgrade(request)
        else:
            self._poll(request)
        return NOT_DONE_YET

    def _poll(self, request: Request) -> None:
        sid = _argument(request, b"sid")
        session = self._engine.find(sid) if sid else None
        problem = _problem(request, session, "polling")
        if problem is not None:
            refuse(request, problem)
        elif session is None and self._engine.full:
            _refuse_for_now(request)
        elif session is None:
            transport = Polling(self._max_payload)
            token = bearer(request.getHeader("Authorization"))
            transport.session = self._engine.begin(transport, self._address_of(request), token)
            transport.poll(request)
        elif isinstance(session.carrier, Polling):  # as _problem has made sure
            take = session.carrier.poll if request.method == b"GET" else session.carrier.post
            take(request)

    def _upgrade(self, request: Request) -> bytes | int:
        sid = _argument(request, b"sid")
        session = self._engine.find(sid) if sid else None
        problem = _problem(request, session, "websocket")
        if problem is not None:
            refuse(request, problem)
        elif session is None and self._engine.full:
            _refuse_for_now(request)
        else:
            asked = _Asked(self._sockets, sid, self._address_of(request))
            return Upgrade(asked).render(request)  # type: ignore[no-untyped-call]
        return NOT_DONE_YET

    def _allow_origin(self, request: Any) -> None:
        """Let pages of the configured origins read the answer."""
        origin = request.getHeader("Origin") or ""
        request.cors = b""  # of the site, where every origin may read what the API answers
        if "*" in self._origins:
            request.setHeader("Access-Control-Allow-Origin", "*")
        else:
            request.setHeader("Vary", "Origin")
            if origin in self._origins:
                request.setHeader("Access-Control-Allow-Origin", origin)
        request.setHeader("Access-Control-Allow-Credentials", "true")


def _problem(request: Request, session: EngineSession | None, arrived: str) -> Problem | None:
    """Judge a request in the order of the original.

    @param arrived: what the request is by itself: `polling` or `websocket`.
    """
    transport = _argument(request, b"transport")
    if transport not in ("polling", "websocket"):
        return Problem.TRANSPORT_UNKNOWN
    if _argument(request, b"sid"):
        if session is None:
            return Problem.SESSION_UNKNOWN
        if transport != arrived:
            return Problem.BAD_REQUEST
        if arrived == "polling" and (
            session.carrier.name != "polling" or request.method not in (b"GET", b"POST")
        ):
            return Problem.BAD_REQUEST
        return None
    if request.method != b"GET":
        return Problem.BAD_METHOD
    if transport != arrived:
        return Problem.BAD_REQUEST
    return None if _argument(request, b"EIO") == PROTOCOL else Problem.UNSUPPORTED_VERSION


def _argument(request: Request, name: bytes) -> str:
    values: list[bytes] = (request.args or {}).get(name, [b""])
    return values[0].decode("ascii", "replace")


def _refuse_for_now(request: Request) -> None:
    request.setHeader("Retry-After", "5")
    answer(request, 503, "text/plain; charset=UTF-8", b"no more realtime connections just now")


def _preflight(request: Request) -> None:
    request.setHeader("Access-Control-Allow-Methods", "GET,POST")
    if wanted := request.getHeader("Access-Control-Request-Headers"):
        request.setHeader("Access-Control-Allow-Headers", wanted)
    request.setResponseCode(204)
    request.setHeader("Content-Length", "0")
    request.finish()
