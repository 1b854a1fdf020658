"""HTTP connections and the requests on them: time-outs, limits, and how answers leave.

HTTP/1.1 only. Where a request goes is decided in `process`: to a resource that is attached to the
site, or to the API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, AnyStr

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers

from aemos.errors import AemosError, BadRequest, Unavailable
from aemos.http import headers
from aemos.http.bodies import PayloadTooLarge
from aemos.http.render import Answer, failure, write

if TYPE_CHECKING:
    from aemos.http.site import Site

_NO_ANSWER = Unavailable("The server has no answer yet: what was asked for may be done, or not")
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)


class Channel(HTTPChannel):
    """One connection. A request must be complete within `request_timeout` of its first byte."""

    maxHeaders = 100
    totalHeadersSize = 16 * 1024
    site: Site
    _receiving = False
    # The request whose answer has not left yet, while the next one waits for that.
    _answered: Any = None

    def connectionMade(self) -> None:
        self.site.connections.add(self)
        super().connectionMade()

    def resetTimeout(self) -> None:
        # The base class starts its clock again with each byte, so a trickle would hold a connection
        # for ever. Ours starts with the first byte of a request.
        if not self._receiving:
            self._receiving = True
            super().resetTimeout()

    def allContentReceived(self) -> None:
        self._receiving = False
        super().allContentReceived()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.write(headers.TOO_LONG)
        self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The base class has no other hook. Its own answer has neither a length nor a body.
        self.write(headers.MALFORMED)
        self.loseConnection()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, fields: Headers) -> None:
        self.write(self.requests[0].head())

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        if self.site.draining:
            request.setHeader("Connection", "close")
            return False
        return bool(super().checkPersistence(request, version))

    def close_when_idle(self) -> None:
        """Close now, or after the answer to the request that is in progress."""
        if self.requests:
            self.persistent = 0
        else:
            self.loseConnection()

    def requestDone(self, request: Any) -> None:
        # The base class would go on with what the client has sent ahead, and keep all answers of a
        # client that does not read them.
        if self._waitingForTransport and self.persistent:
            self._answered = request
            self.setTimeout(self._savedTimeOut)
        else:
            super().requestDone(request)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        request, self._answered = self._answered, None
        if request is not None:
            super().requestDone(request)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        if self._answered is not None:
            self.requests.remove(self._answered)
        super().connectionLost(reason)
        self.site.gone(self)


class ApiRequest(server.Request):
    """One request: keeps its body within the limit, and what the log says about it.

    `cors` and `ready_lines` are header lines of its answer as sent, each beginning with CRLF;
    `template` is the path of its route as logs and metrics name it, `address` that of the client,
    `network` what counts as one client; `id` finds it in the log. `held` is set where the client
    waits on purpose, and the time says nothing about the server; `patience` is what is left to do
    so, in seconds beyond `answer_timeout`.
    """

    channel: Channel
    site: Site
    template = ""
    address = ""
    network = ""
    id = ""
    held = False
    patience = 0.0
    cors = headers.CORS
    ready_lines = b""
    defaultContentType = None
    began = 0.0
    _log = Logger()
    _received = 0

    def gotLength(self, length: int | None) -> None:
        self.site = self.channel.site
        self.began = self.site.reactor.seconds()
        # What is over the limit is read to the end and dropped: closing at once would cost the
        # client the answer. The time-out of the channel bounds it.
        super().gotLength(0 if length is not None and self._over(length) else length)

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if not self._over(self._received):
            super().handleContentChunk(data)

    def _over(self, size: int) -> bool:
        return size > self.site.max_body

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """@return: the last value of that header; what is no UTF-8 in it is replaced in text."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        value = super().getHeader(key.encode())
        return None if value is None else value.decode("utf-8", "replace")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # A server must take the absolute form of the target, too (RFC 9112 section 3.2.2).
        if not path.startswith(b"/") and (absolute := _ABSOLUTE.match(path)):
            path = path[absolute.end() :]
            path = path if path.startswith(b"/") else b"/" + path
        super().requestReceived(command, path, version)

    def process(self) -> None:
        site = self.site
        path = self.path + b"/"
        if not self._names_host():
            self.answer(failure(BadRequest("the request must have one Host header")))
        elif self.method == b"OPTIONS" and not path.startswith(site.answers_options):
            self._preflight()
        elif self._over(self._received):
            self.answer(failure(PayloadTooLarge("request entity too large")))
        elif site.is_attached(self.path):
            super().process()
        else:
            try:
                site.front.serve(self)
            except Exception:
                self.processingFailed(Failure())

    def _names_host(self) -> bool:
        """@return: whether there is one Host header; HTTP/1.0 may do without (RFC 9112 3.2)."""
        hosts = self.requestHeaders.getRawHeaders(b"Host", [])
        return len(hosts) == 1 or (not hosts and self.clientproto != b"HTTP/1.1")

    def render(self, resrc: Any) -> None:
        self.responseHeaders.removeHeader("Server")
        super().render(resrc)

    def _preflight(self) -> None:
        self.setHeader("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE")
        wanted = self.getHeader("Access-Control-Request-Headers")
        if wanted:
            self.setHeader("Access-Control-Allow-Headers", wanted)
        self.setHeader("Vary", "Access-Control-Request-Headers")
        self.setHeader("Content-Length", "0")
        self.answer(Answer(status=204))

    def answer_in_time(self, work: Deferred[None]) -> None:
        """See to it that the client gets an answer even if `work` takes too long to give one.

        The work goes on: what it has changed must still be told to the rest of the server.
        """
        clock = self.site.reactor
        timer: IDelayedCall

        def late() -> None:
            nonlocal timer
            more, self.patience = self.patience, 0.0
            if more:
                timer = clock.callLater(more, late)
            elif self.channel is not None and not self.startedWriting:
                if self.producer is not None:
                    self.unregisterProducer()
                # Without Retry-After, which says that nothing was done.
                self.answer(attrs.evolve(failure(_NO_ANSWER), headers={}))

        def ended(result: None) -> None:
            if timer.active():
                timer.cancel()

        timer = clock.callLater(self.site.answer_timeout, late)
        work.addCallback(ended)

    def answer(self, answer: Answer, status: int = 200) -> None:
        """Send an answer in one piece and finish.

        A client that has gone, or has been answered because this one took too long, gets none.

        @param status: the one for an answer that names none.
        """
        channel = None if self.finished else self.channel
        if channel is not None:
            body = write(self, answer, status)
            self.startedWriting = 1
            channel.write(self.head() + body)
            self.finish()

    def head(self) -> bytes:
        """@return: the status line and all headers, as they are sent."""
        lines = self.ready_lines
        if self.responseHeaders.hasHeader(b"Content-Security-Policy"):
            lines = lines.replace(headers.POLICY, b"")
        status = b"%b %d %b" % (self.clientproto, self.code, self.code_message)
        parts = [status, self.cors, lines]
        for name, values in self.responseHeaders.getAllRawHeaders():
            for value in values:
                parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\n\r\n")
        return b"".join(parts)

    def processingFailed(self, reason: Failure) -> None:
        """Log a fault of the server and answer that there was one, or cut off what was begun."""
        self._log.failure("a request failed", failure=reason)
        if not self.startedWriting:
            self.answer(failure(AemosError()))
        elif self.channel is not None:
            self.channel.forceAbortClient()
