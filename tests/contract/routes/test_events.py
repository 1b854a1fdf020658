"""`GET /events`: live events as Server-Sent Events, through a real HTTP port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from aemos import json
from aemos.model import Instant
from aemos.services.events import ReadingsCommitted, ReadingsStored
from aemos.storage.readings import Reading
from tests.farm import NORTH, SOUTH, UUIDS
from tests.rows import until
from tests.whole import Whole

ROOM = f"telemetry-{NORTH}"


@attrs.define
class Said:
    """One block of a stream."""

    id: str
    name: str
    data: Any


class Listener(Protocol):
    """A client of the stream that shows its head and its blocks as they come."""

    def __init__(self) -> None:
        self.raw = b""
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.raw += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode().lower()

    @property
    def blocks(self) -> list[Said]:
        body, rest = b"", self.raw.partition(b"\r\n\r\n")[2]
        while rest:  # chunks of HTTP/1.1
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        said = []
        for block in body.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                said.append(
                    Said(fields.get("id", ""), fields["event"], json.decode(fields["data"]))
                )
        return said

    @property
    def names(self) -> list[str]:
        return [block.name for block in self.blocks]

    @property
    def values(self) -> list[str]:
        return [
            block.data["data"]["dataStream"]["value"]
            for block in self.blocks
            if block.name == "new-datastream"
        ]

    async def leave(self) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]
        await self.gone


@attrs.define
class Streams:
    """Opens streams, and closes them at the end of the test."""

    whole: Whole
    opened: list[Listener] = attrs.field(factory=list)

    async def open(
        self, query: str, token: str = "", method: str = "GET", **headers: str
    ) -> Listener:
        """@return: a listener when the server has answered."""
        port = int(self.whole.url.rpartition(":")[2])
        listener = Listener()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), listener)
        self.opened.append(listener)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        lines = [f"{method} /api/v1/events?{query} HTTP/1.1", "Host: x"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        listener.transport.write("\r\n".join([*lines, "", ""]).encode())  # type: ignore[union-attr]
        await until(lambda: b"\n\n" in listener.raw or b"}" in listener.raw)
        return listener

    def store(self, *values: str, organization: int = NORTH) -> None:
        readings = [
            Reading(value, organization, "temperature", Instant(0), id=number)
            for number, value in enumerate(values, 1)
        ]
        uuid = UUIDS[organization]
        message = ReadingsStored(organization, uuid, organization, readings, len(readings), "mqtt")
        self.whole.services.events.publish(ReadingsCommitted([message]))


@pytest_twisted.async_yield_fixture
async def streams(whole: Whole) -> AsyncIterator[Streams]:
    opener = Streams(whole)
    yield opener
    for listener in opener.opened:
        if not listener.gone.called:
            await listener.leave()
    await until(lambda: not whole.doors.streams.open_streams)


async def test_events_come_as_they_happen_with_the_ids_of_the_live_channel(
    streams: Streams,
) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    listener = await streams.open(f"rooms={ROOM},telemetry-{SOUTH}", token)
    assert listener.status == 200
    assert "content-type: text/event-stream" in listener.headers
    assert "cache-control: no-store" in listener.headers
    [subscribed] = listener.blocks
    assert subscribed.data["rooms"] == [ROOM]
    assert [refusal["room"] for refusal in subscribed.data["refused"]] == [f"telemetry-{SOUTH}"]
    streams.store("1", "2")
    streams.store("3", organization=SOUTH)
    await until(lambda: len(listener.values) == 2)
    event = listener.blocks[1]
    assert (event.id, event.name) == (event.data["id"], "new-datastream")
    assert (event.data["type"], event.data["room"]) == ("event", ROOM)
    assert event.id > subscribed.id


async def test_filters_and_pace_are_those_of_the_live_channel(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    query = f"rooms=organization-{NORTH}&events=new-datastream&variables={NORTH}&every=50"
    listener = await streams.open(query, token)
    streams.store("1", "2", "3")
    await until(lambda: len(listener.values) == 2)
    assert listener.values == ["1", "3"]


async def test_a_stream_that_broke_goes_on_after_the_last_event_id(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    first = await streams.open(f"rooms={ROOM}", token)
    streams.store("1")
    await until(lambda: first.values)
    await first.leave()
    await until(lambda: not streams.whole.doors.streams.open_streams)
    streams.store("2")
    last = first.blocks[-1].id
    for query, headers in (("", {"Last_Event_ID": last}), (f"&after={last}", {})):
        again = await streams.open(f"rooms={ROOM}{query}", token, **headers)
        await until(lambda again=again: again.values)  # type: ignore[misc]
        assert (again.names, again.values) == (["subscribed", "new-datastream"], ["2"])
    late = await streams.open(f"rooms={ROOM}&after={'0' * 14}", token)
    await until(lambda: len(late.names) > 1)
    assert late.names[1] == "gap"


async def test_a_ticket_opens_one_stream_in_place_of_the_token(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    reply = await streams.whole.call("POST", "/api/v1/events/ticket", token)
    query = f"rooms={ROOM}&ticket={reply.data['ticket']}"
    assert (await streams.open(query)).status == 200
    assert (await streams.open(query)).status == 401
    assert (await streams.open(f"rooms={ROOM}&ticket=made-up")).status == 401


async def test_what_may_not_be_heard_is_an_error_and_no_stream(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    for query, sent, status in (
        (f"rooms={ROOM}", "", 401),
        (f"rooms={ROOM}", "garbage", 401),
        (f"rooms=telemetry-{SOUTH}", token, 403),
        ("rooms=kitchen", token, 400),
        ("", token, 400),
        (f"rooms={ROOM}&token=x", token, 400),
        (f"rooms={ROOM}&every=slow", token, 400),
        (f"rooms={ROOM}&after=yesterday", token, 400),
    ):
        listener = await streams.open(query, sent)
        assert listener.status == status, query
    assert not streams.whole.doors.streams.open_streams
    assert len(streams.whole.doors.sessions) == 0


async def test_a_stream_ends_with_the_sign_in(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    listener = await streams.open(f"rooms={ROOM}", token)
    reply = await streams.whole.call("POST", "/api/v1/auth/logout", token)
    assert reply.status == 200, reply
    await until(lambda: "end" in listener.names)
    assert listener.blocks[-1].data["code"] == "unauthenticated"
    await until(lambda: listener.raw.endswith(b"0\r\n\r\n"))


async def test_when_the_server_stops_the_stream_ends_in_order(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    listener = await streams.open(f"rooms={ROOM}", token)
    streams.whole.doors.streams.stop()
    drained = streams.whole.doors.site.drain()
    await listener.gone
    await drained
    assert listener.blocks[-1].data["code"] == "going_away"


async def test_a_client_that_does_not_read_gets_the_newest_value(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    listener = await streams.open(f"rooms={ROOM}", token)
    listener.transport.pauseProducing()  # type: ignore[union-attr]
    [stream] = streams.whole.doors.streams.open_streams
    for number in range(400):
        streams.store(*(f"{number}-{'x' * 40}" for _ in range(100)))
        if number % 10 == 0:
            await until(lambda: True)
    listener.transport.resumeProducing()  # type: ignore[union-attr]
    await until(lambda: listener.raw.rstrip(b"\r\n").endswith(b"}") and "dropped" in listener.names)
    assert listener.values[-1].startswith("399-")
    assert streams.whole.doors.sessions.dropped > 0
    assert stream in streams.whole.doors.streams.open_streams


async def test_a_head_request_leaves_nothing_open(streams: Streams) -> None:
    token, _ = await streams.whole.sign_in("Viewer")
    port = int(streams.whole.url.rpartition(":")[2])
    reply = await streams.whole.client.request(
        "HEAD",
        f"http://127.0.0.1:{port}/api/v1/events?rooms={ROOM}",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert reply.code == 200
    assert not streams.whole.doors.streams.open_streams
