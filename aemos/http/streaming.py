"""Answers that are written bit by bit, as fast as the client takes them."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from aemos.errors import AemosError, Unavailable
from aemos.http.connection import ApiRequest
from aemos.http.render import accepted, compressor

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

    Nothing is written when the request was answered already, because this took too long. When a
    chunk cannot be had the connection is cut: the client must not take a part for the whole.

    @raise AemosError: the first chunk cannot be had, so that there is an answer to give yet.
    """
    if request.finished:
        await stream.chunks.aclose()
        return
    stream = _coded(request, stream)
    valve, head_at = _Valve(), request.site.reactor.seconds()
    request.notifyFinish().addBoth(lambda _: valve.stopProducing())
    try:
        if request.method != b"HEAD":
            request.registerProducer(valve, True)
            if stream.endless:  # who waits for events knows that it is heard
                _begin(request, stream, status)
            await _pour(request, stream, status, valve)
        if not valve.closed:
            _begin(request, stream, status)
    except Exception as error:
        if not valve.closed and not request.startedWriting and isinstance(error, AemosError):
            request.unregisterProducer()
            raise
        _broke_off(request, error)
    finally:
        await stream.chunks.aclose()
    if stream.endless:
        request.began += request.site.reactor.seconds() - head_at
    if not valve.closed:
        if request.producer is not None:
            request.unregisterProducer()
        request.finish()


def _coded(request: ApiRequest, stream: Stream) -> Stream:
    """@return: the stream, compressed if the client takes that; events stay as they are."""
    if stream.endless:
        return stream
    headers = {**stream.headers, "Vary": "Accept-Encoding"}
    coding = accepted(request.getHeader("Accept-Encoding") or "")
    if coding is None:
        return attrs.evolve(stream, headers=headers)
    headers["Content-Encoding"] = coding
    return attrs.evolve(stream, chunks=_compressed(stream.chunks, coding), headers=headers)


async def _compressed(
    chunks: AsyncGenerator[bytes, None], coding: str
) -> AsyncGenerator[bytes, None]:
    compress = compressor(coding)
    try:
        async for chunk in chunks:
            # Nothing is kept back: the client sees each chunk when it is there.
            yield compress.compress(chunk) + compress.flush(zlib.Z_SYNC_FLUSH)
        yield compress.flush()
    finally:
        await chunks.aclose()


def _begin(request: ApiRequest, stream: Stream, status: int) -> None:
    """Write the head, if that was not done."""
    if not request.startedWriting:
        for name, value in stream.headers.items():
            request.setHeader(name, value)
        request.setHeader("Content-Type", stream.content_type)
        request.setResponseCode(status)
        request.write(b"")


async def _pour(request: ApiRequest, stream: Stream, status: int, valve: _Valve) -> None:
    async for chunk in stream.chunks:
        if not valve.closed:
            _begin(request, stream, status)
            request.write(chunk)
            await valve.opened()
        if valve.closed:
            return


def _broke_off(request: ApiRequest, error: Exception) -> None:
    if isinstance(error, Unavailable):
        _log.warn("an answer broke off, request {id}: {error}", id=request.id, error=error)
    else:
        _log.failure("an answer broke off, request {id}", Failure(error), id=request.id)
    if not request.finished and request.channel is not None:
        transport: Any = request.channel.transport
        transport.abortConnection()


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
