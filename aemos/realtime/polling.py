"""Long polling: the packets of an Engine.IO session in the bodies of HTTP requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.python.failure import Failure
from twisted.web.server import Request

from aemos.realtime.engine import EngineSession
from aemos.realtime.engineio import (
    CLOSE,
    NOOP,
    MalformedPacket,
    PacketType,
    Problem,
    decode_payload,
    encode_payload,
)

_PLAIN = "text/plain; charset=UTF-8"
_JSON = "application/json; charset=utf-8"


class Polling:
    """A transport: answers the GET that waits, and takes what POSTs bring.

    At most one of each is in progress; a client that sends another breaks the protocol.
    """

    name = "polling"

    def __init__(self, max_payload: int) -> None:
        """`session` is to be set before requests come."""
        self.session: EngineSession | None = None
        self._max_payload = max_payload
        self._poll: Request | None = None
        self._post: Request | None = None
        self._reading = True
        self._ended = False

    @property
    def ready(self) -> bool:
        """Part of `Transport`: whether a GET waits."""
        return self._poll is not None

    def write(self, packets: Sequence[bytes]) -> None:
        """Part of `Transport`."""
        request, self._poll = self._poll, None
        if request is not None:
            answer(request, 200, _PLAIN, encode_payload(packets))

    def read(self, wanted: bool) -> None:
        """Part of `Transport`: a client that is to wait does not get its POST answered."""
        self._reading = wanted
        if wanted and self._post is not None:
            request, self._post = self._post, None
            answer(request, 200, "text/html", b"ok")

    def end(self) -> None:
        """Part of `Transport`."""
        self._ended = True
        self.write([CLOSE])
        self.read(True)

    def poll(self, request: Request) -> None:
        """Take a GET; it is answered when there is something to send."""
        if self._poll is not None:
            refuse(request, Problem.BAD_REQUEST)
            self._close("two requests that wait for packets")
            return
        self._poll = request
        self._watch(request)
        if self.session is not None:
            self.session.carrier_ready(self)

    def post(self, request: Request) -> None:
        """Take a POST; it is answered when its packets are dealt with."""
        body = request.content.read()  # type: ignore[union-attr]
        if len(body) > self._max_payload:
            answer(request, 413, _PLAIN, b"")
            self._close("a body larger than maxPayload")
            return
        try:
            packets = decode_payload(body)
        except MalformedPacket as error:
            refuse(request, Problem.BAD_REQUEST)
            self._close(f"parse error, {error}")
            return
        if self._post is not None:
            refuse(request, Problem.BAD_REQUEST)
            self._close("two requests that bring packets")
            return
        self._post = request
        self._watch(request)
        for packet in packets:
            if packet.type is PacketType.CLOSE:
                # It was the client that left: there is nothing to tell the GET that waits.
                self.write([NOOP])
            if self.session is not None:
                self.session.received(packet, self)
        if self._reading:
            self.read(True)

    def _watch(self, request: Request) -> None:
        def aborted(failure: Failure) -> None:
            self._poll = None if self._poll is request else self._poll
            self._post = None if self._post is request else self._post
            self._close("transport error")

        request.notifyFinish().addErrback(aborted)

    def _close(self, reason: str) -> None:
        if self.session is not None and not self._ended:
            self.session.lost(self, reason)


def answer(request: Any, status: int, content_type: str, body: bytes) -> None:
    """Send a whole answer that no cache may keep."""
    request.setResponseCode(status)
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    request.setHeader("Cache-Control", "no-store")
    request.write(body)
    request.finish()


def refuse(request: Request, problem: Problem) -> None:
    """Answer what is wrong with a request."""
    answer(request, problem.status, _JSON, problem.body())
