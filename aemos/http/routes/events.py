"""`/events`: live events as Server-Sent Events, and tickets for browsers (docs/realtime.rst)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated, ClassVar, Protocol

from msgspec import Meta

from aemos.errors import BadRequest, Unauthenticated
from aemos.http.render import Answer, success
from aemos.http.routing import API, Auth, Call, route
from aemos.http.schemas import FreeQuery
from aemos.http.streaming import Stream
from aemos.model import Instant

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather events otherwise
}

List = Annotated[str, Meta(max_length=16_000)]
"""Texts with commas between them."""


class EventQuery(FreeQuery):
    """Which rooms, and which of their events; the lists have commas between their texts."""

    rooms: List
    events: List = ""
    variables: List = ""
    uuids: List = ""
    every: str = ""
    after: str = ""
    ticket: str = ""
    token: str = ""
    access_token: str = ""

    def wish(self) -> Mapping[str, object]:
        """@return: what was given, as the realtime door takes it."""
        lists = {"events": self.events, "variables": self.variables, "uuids": self.uuids}
        wish: dict[str, object] = {name: _texts(given) for name, given in lists.items() if given}
        if self.every:
            wish["every"] = self.every
        if self.after:
            wish["after"] = self.after
        return wish


class LiveStream(Protocol):
    """What this needs of `aemos.realtime.sse.EventStream`."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body of the answer, as it comes."""

    def end(self) -> None:
        """Nobody listens any more; may be called twice."""


class LiveStreams(Protocol):
    """What this needs of `aemos.realtime.sse.EventStreams`."""

    def ticket(self, token: str) -> tuple[str, Instant]:
        """@return: a ticket for this token, and until when it is good."""

    async def open(
        self, token: str, ticket: str, rooms: Sequence[str], wish: Mapping[str, object]
    ) -> LiveStream:
        """@raise AemosError: the stream cannot be opened."""


class EventRoutes:
    """Live events for clients that can do HTTP only; the same as on `/ws/v1`."""

    prefixes: ClassVar[tuple[str, ...]] = (f"{API}/events",)

    def __init__(self, streams: LiveStreams) -> None:
        self._streams = streams

    @route("GET", "", auth=Auth.OPEN, produces=("text/event-stream",))
    async def stream(self, call: Call, query: EventQuery) -> Answer | Stream:
        """Send what happens in some rooms, as it happens.

        Takes the web token as Bearer, or a `ticket` in its place. `Last-Event-ID`, or `after`, is
        the id of the last event that was seen: those missed since come first.
        """
        if query.token or query.access_token:
            raise BadRequest("a token in an address gets into logs: get a ticket for it")
        gone: list[object] = []
        finished = call.request.notifyFinish()
        finished.addBoth(gone.append)
        wish = dict(query.wish())
        if last := call.request.getHeader("Last-Event-ID"):
            wish["after"] = last
        live = await self._streams.open(call.bearer or "", query.ticket, _texts(query.rooms), wish)
        finished.addBoth(lambda _: live.end())
        if gone:
            return Answer()
        return Stream(live.chunks(), "text/event-stream; charset=utf-8", _HEADERS, endless=True)

    @route("POST", "/ticket", keys=False, data={"ticket": str, "expires": str})
    async def ticket(self, call: Call) -> Answer:
        """Get a ticket that opens one stream within 30 seconds: `GET /events?ticket=`."""
        if call.bearer is None:
            raise Unauthenticated("Authentication required")
        ticket, expires = self._streams.ticket(call.bearer)
        return success(data={"ticket": ticket, "expires": expires})


def _texts(given: str) -> list[str]:
    return [text for part in given.split(",") if (text := part.strip())]
