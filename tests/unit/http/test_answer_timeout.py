"""Every request has its answer in time, whatever its route waits for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from aemos.config.schema import Http
from aemos.errors import StorageUnavailable
from aemos.http.auth import Authenticator
from aemos.http.endpoint import Api
from aemos.http.render import Answer, success
from aemos.http.routing import Auth, Call, route
from aemos.http.site import build_site
from aemos.http.streaming import Stream

_TIMEOUT = 20.0


class Waits:
    """Routes that wait until the test lets them go on."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/waits",)

    def __init__(self) -> None:
        self.goes_on: Deferred[None] = Deferred()
        self.steps: list[str] = []

    @route("GET", "/now", auth=Auth.OPEN)
    async def now(self, call: Call) -> Answer:
        """Wait for nothing."""
        return success(data="now")

    @route("POST", "/change", auth=Auth.OPEN)
    async def change(self, call: Call) -> Answer:
        """Change something, slowly."""
        await self.goes_on
        self.steps.append("told")
        return success(data="changed")

    @route("GET", "/long", auth=Auth.OPEN)
    async def long(self, call: Call) -> Answer:
        """Wait on purpose."""
        call.may_take(40.0)
        await self.goes_on
        return success(data="long")

    @route("GET", "/rows", auth=Auth.OPEN)
    async def rows(self, call: Call) -> Stream:
        """Give rows of which the first one takes long."""
        return Stream(self._chunks(), "text/plain")

    @route("GET", "/events", auth=Auth.OPEN)
    async def events(self, call: Call) -> Stream:
        """Tell what happens, if anything does."""
        return Stream(self._chunks(), "text/plain", endless=True)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            await self.goes_on
            self.steps.append("first")
            yield b"first"
            self.steps.append("second")
            yield b"second"
        finally:
            self.steps.append("closed")


@attrs.define
class Line:
    """One connection to a site that lives by `clock`."""

    clock: Clock
    waits: Waits
    channel: Any
    transport: StringTransport

    def ask(self, what: str) -> None:
        self.channel.dataReceived(
            f"{what} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def heard(self) -> bytes:
        """@return: what came since the last question."""
        sent = self.transport.value()
        self.transport.clear()
        return sent

    def hang_up(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))
        assert not self.clock.getDelayedCalls()


def open_line() -> Line:
    clock, waits = Clock(), Waits()
    api = Api([waits], Authenticator(cast(Any, None), cast(Any, None), clock))
    settings = Http(rate_limit=False, request_timeout=300, answer_timeout=_TIMEOUT)
    channel, transport = build_site(api, settings, clock).buildProtocol(None), StringTransport()
    channel.makeConnection(transport)
    return Line(clock, waits, channel, transport)


def test_a_request_that_takes_too_long_is_answered_503_and_its_work_goes_on() -> None:
    line = open_line()
    line.ask("POST /api/v1/waits/change")
    line.clock.advance(_TIMEOUT - 1)
    assert line.heard() == b""
    line.clock.advance(1)
    answer = line.heard()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After:" not in answer  # which says that nothing was done
    line.waits.goes_on.callback(None)
    assert line.waits.steps == ["told"]
    assert line.heard() == b""
    line.ask("GET /api/v1/waits/now")
    assert line.heard().startswith(b"HTTP/1.1 200 ")
    line.hang_up()


def test_a_request_that_is_answered_in_time_leaves_no_timer() -> None:
    line = open_line()
    line.ask("POST /api/v1/waits/change")
    line.clock.advance(_TIMEOUT - 1)
    line.waits.goes_on.callback(None)
    assert line.heard().startswith(b"HTTP/1.1 200 ")
    line.hang_up()


def test_a_route_that_waits_on_purpose_gets_its_time_on_top() -> None:
    line = open_line()
    line.ask("GET /api/v1/waits/long")
    line.clock.advance(_TIMEOUT)
    line.clock.advance(39)
    assert line.heard() == b""
    line.clock.advance(1)
    assert line.heard().startswith(b"HTTP/1.1 503 ")
    line.waits.goes_on.callback(None)
    line.hang_up()


def test_rows_that_do_not_begin_in_time_are_not_sent_any_more() -> None:
    line = open_line()
    line.ask("GET /api/v1/waits/rows")
    line.clock.advance(_TIMEOUT)
    assert line.heard().startswith(b"HTTP/1.1 503 ")
    line.waits.goes_on.callback(None)
    assert line.waits.steps == ["first", "closed"]
    assert line.heard() == b""
    line.hang_up()


def test_rows_that_cannot_be_had_after_the_answer_harm_nobody() -> None:
    line = open_line()
    line.ask("GET /api/v1/waits/rows")
    line.clock.advance(_TIMEOUT)
    line.heard()
    line.waits.goes_on.errback(StorageUnavailable("gone"))
    line.ask("GET /api/v1/waits/now")
    assert line.heard().startswith(b"HTTP/1.1 200 ")
    line.hang_up()


def test_who_waits_for_events_has_the_head_at_once_and_no_end() -> None:
    line = open_line()
    line.ask("GET /api/v1/waits/events")
    assert line.heard().startswith(b"HTTP/1.1 200 ")
    line.clock.advance(10 * _TIMEOUT)
    assert line.heard() == b""
    line.waits.goes_on.callback(None)
    assert b"first" in line.heard()
    line.hang_up()


def test_rows_of_which_not_even_the_first_can_be_had_are_answered_503() -> None:
    line = open_line()
    line.ask("GET /api/v1/waits/rows")
    line.waits.goes_on.errback(StorageUnavailable("gone"))
    answer = line.heard()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.lower().count(b"\r\ncontent-type:") == 1
    assert b"database is not available" in answer
    line.hang_up()
