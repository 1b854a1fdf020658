"""Answers that are written bit by bit, as fast as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from aemos.http.connection import ApiRequest

_log = Logger()


@attrs.frozen
class Stream:
    """What a handler answers instead of an `Answer` when the body is too long for memory.

    The next of `chunks` is asked for when the last one has left; nothing is asked for after the
    client has gone, and the generator is then closed. An `endless` one goes on as long as the
    client likes: how long says nothing about the server.
    """

    chunks: AsyncGenerator[bytes, None]
    content_type: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    endless: bool = False


async def send(request: ApiRequest, stream: Stream, status: int) -> None:
    """Write the head and all chunks, and finish.

    When a chunk cannot be had the connection is cut: the client must not take a part for the whole.
    """
    for name, value in stream.headers.items():
        request.setHeader(name, value)
    request.setHeader("Content-Type", stream.content_type)
    request.setResponseCode(status)
    valve, head_at = _Valve(), request.site.reactor.seconds()
    gone = request.notifyFinish().addErrback(lambda _: valve.stopProducing())
    try:
        if request.method != b"HEAD":
            request.registerProducer(valve, True)
            await _pour(request, stream, valve)
    except Exception:
        _log.failure("an answer broke off, request {id}", id=request.id)
        transport: Any = request.channel and request.channel.transport
        if transport is not None:
            transport.abortConnection()
        await gone
    finally:
        await stream.chunks.aclose()
    if stream.endless:
        request.began += request.site.reactor.seconds() - head_at
    if not valve.closed:
        if request.producer is not None:
            request.unregisterProducer()
        request.finish()


async def _pour(request: ApiRequest, stream: Stream, valve: _Valve) -> None:
    async for chunk in stream.chunks:
        if not valve.closed:
            request.write(chunk)
            await valve.opened()
        if valve.closed:
            return


@implementer(IPushProducer)
class _Valve:
    """Closed for a while when the transport has enough, and for good when the client has gone."""

    def __init__(self) -> None:
        self.closed = False
        self._reopened: Deferred[None] | None = None

    async def opened(self) -> None:
        """Wait until there is room again, or nobody to write for."""
        if self._reopened is not None:
            await self._reopened

    def pauseProducing(self) -> None:
        if self._reopened is None and not self.closed:
            self._reopened = Deferred()

    def resumeProducing(self) -> None:
        reopened, self._reopened = self._reopened, None
        if reopened is not None:
            reopened.callback(None)

    def stopProducing(self) -> None:
        self.closed = True
        self.resumeProducing()
