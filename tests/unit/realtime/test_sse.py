"""A stream of Server-Sent Events, on a clock."""

from __future__ import annotations

import pytest
from twisted.internet.defer import ensureDeferred

from aemos.errors import Unauthenticated, Unavailable
from aemos.realtime.sse import EventStream, EventStreams
from aemos.realtime.tickets import LIFETIME
from tests.unit.realtime.stage import NOON, World, reading, user


class Client:
    """Takes each chunk as soon as it is there, unless it is `busy`."""

    def __init__(self, stream: EventStream) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        self._body = stream.chunks()
        self.take()

    def take(self) -> None:
        """Ask for the next chunk."""
        next_chunk = ensureDeferred(self._body.__anext__())
        next_chunk.addCallbacks(self._taken, self._end)

    def _taken(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.take()

    def _end(self, failure: object) -> None:
        self.ended = True


def opened(world: World, **wish: object) -> EventStream:
    streams = EventStreams(world.sessions)
    found: list[EventStream] = []
    opening = ensureDeferred(streams.open("ada", "", ["telemetry-1"], wish))
    opening.addCallback(found.append)
    return found[0]


def test_a_stream_that_is_silent_shows_that_it_lives():
    world = World(ping_interval=25.0)
    client = Client(opened(world))
    assert len(client.chunks) == 1
    world.clock.advance(25)
    world.clock.advance(25)
    assert client.chunks[1:] == [b":\n\n"] * 2


def test_all_events_of_a_turn_are_one_chunk():
    world = World()
    client = Client(opened(world))
    world.store(reading(), reading())
    world.store(reading())
    assert len(client.chunks) == 1
    world.clock.advance(0)
    assert client.chunks[1].count(b"event: new-datastream\n") == 3


def test_a_stream_ends_when_its_token_expires_and_leaves_nothing_behind():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 60)
    client = Client(opened(world))
    world.clock.advance(25)
    world.clock.advance(35)
    world.clock.advance(0)
    assert client.ended
    assert b'"code":"token_expired"' in client.chunks[-1]
    assert (len(world.sessions), world.hub.rooms) == (0, 0)
    assert world.clock.getDelayedCalls() == []


def test_nothing_is_held_for_a_client_that_is_gone():
    world = World()
    stream = opened(world, every=1000)
    Client(stream)
    world.store(reading(), reading())
    stream.end()
    world.clock.advance(0)
    assert world.clock.getDelayedCalls() == []


def test_a_ticket_is_good_for_one_stream_and_for_a_moment():
    world = World()
    streams = EventStreams(world.sessions)

    def opening(ticket: str) -> object:
        results: list[object] = []
        ensureDeferred(streams.open("", ticket, ["telemetry-1"], {})).addBoth(results.append)
        return getattr(results[0], "value", results[0])

    ticket, expires = streams.ticket("ada")
    assert expires == (NOON + LIFETIME) * 1000
    assert isinstance(opening(ticket), EventStream)
    assert isinstance(opening(ticket), Unauthenticated)
    late, _ = streams.ticket("ada")
    world.clock.advance(LIFETIME)
    assert isinstance(opening(late), Unauthenticated)
    assert len(world.sessions) == 1


@pytest.mark.parametrize("why", ["full", "stopping"])
def test_no_stream_is_opened_where_there_is_no_room(why):
    world = World(max_connections=1)
    streams = EventStreams(world.sessions)
    if why == "full":
        opened(world)
    else:
        streams.stop()
    results: list[object] = []
    ensureDeferred(streams.open("ada", "", ["telemetry-1"], {})).addBoth(results.append)
    assert isinstance(results[0].value, Unavailable)  # type: ignore[attr-defined]
