"""A client that does not read its answers costs the server no memory (promise P3)."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from aemos.config.schema import Http
from aemos.http.auth import Authenticator
from aemos.http.endpoint import Api
from aemos.http.render import Answer, success
from aemos.http.routing import Auth, Call, route
from aemos.http.site import Site, build_site

_TIMEOUT = 30.0
_ROOM = 64 * 1024  # as much as Twisted's transports keep before they ask for a pause
REQUEST = b"GET /api/v1/long HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HTTP/1.1 200 "


class Long:
    """Gives answers that are longer than what a transport keeps."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/long",)

    @route("GET", "", auth=Auth.OPEN)
    async def long(self, call: Call) -> Answer:
        """Much text."""
        return success(data="x" * _ROOM)


class Unread(StringTransport):
    """The transport of a client that reads only when it is told to; asks for pauses as TCP does."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > _ROOM and self.producer is not None:
            self.producer.pauseProducing()

    def read(self) -> bytes:
        """@return: what was waiting; there is room again."""
        found = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return found


def opened() -> tuple[Site, Any, Unread, Clock]:
    clock = Clock()
    api = Api([Long()], Authenticator(cast(Any, None), cast(Any, None), clock))
    site = build_site(api, Http(rate_limit=False, request_timeout=_TIMEOUT), clock)
    channel, transport = site.buildProtocol(None), Unread()
    channel.makeConnection(transport)
    return site, channel, transport, clock


def test_requests_that_were_sent_ahead_wait_until_the_client_reads() -> None:
    _, channel, transport, _ = opened()
    channel.dataReceived(REQUEST * 20)
    answers = 0
    while transport.value():
        assert transport.value().count(HEAD) == 1
        transport.read()
        answers += 1
    assert answers == 20
    channel.dataReceived(REQUEST)
    assert transport.read().startswith(HEAD)
    channel.connectionLost(Failure(ConnectionDone()))


def test_a_client_that_never_reads_is_let_go_in_time() -> None:
    _, channel, transport, clock = opened()
    channel.dataReceived(REQUEST * 20)
    clock.advance(_TIMEOUT - 1)
    assert not transport.disconnecting
    clock.advance(1)
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    assert not clock.getDelayedCalls()


def test_a_server_that_stops_lets_the_answer_leave_and_takes_no_more_requests() -> None:
    site, channel, transport, _ = opened()
    channel.dataReceived(REQUEST * 20)
    drained = site.drain()
    assert not transport.disconnecting
    assert transport.read().count(HEAD) == 1
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    assert drained.called
