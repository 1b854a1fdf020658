"""The HTTP server around the API: connections, limits and headers that hold for every request.

Order of concerns as in spec/http-api.md section 1.2: CORS, body limit, security headers, rate
limit, routes. HTTP/1.1 only.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource

from aemos.config.schema import Http
from aemos.errors import BadRequest
from aemos.http import headers
from aemos.http.endpoint import Api
from aemos.http.limits import ClientAddresses, RateLimit, network
from aemos.http.paths import Paths
from aemos.http.render import Answer, PayloadTooLarge, failure, write

_SECRET = re.compile(r"[0-9A-Fa-f]{40,}")  # a token in a path: longer than any uuid

Observe = Callable[[str, str, int, float], object]
"""Told about each answered request: method, route template ("" = none), status, seconds."""


class Channel(HTTPChannel):
    """One connection. A request must be complete within `request_timeout` of its first byte."""

    maxHeaders = 100
    totalHeadersSize = 16 * 1024
    site: Site
    _receiving = False

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

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, fields: Headers) -> None:
        lines = self.requests[0].ready_lines
        if fields.hasHeader("Content-Security-Policy"):
            lines = lines.replace(headers.POLICY, b"")
        super().writeHeaders(version, code, reason + lines, fields)

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

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self.site.gone(self)


class ApiRequest(server.Request):
    """One request: keeps its body within the limit, and what the log says about it."""

    channel: Channel
    site: Site
    template = ""
    network = ""
    ready_lines = b""
    began = 0.0
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

    def getRequestHostname(self) -> bytes:
        """Routes do not depend on the host, and the router fails on what is no host name."""
        return b"localhost"

    def process(self) -> None:
        self.setHeader("Access-Control-Allow-Origin", "*")
        if self.method == b"OPTIONS":
            self._preflight()
        elif self._over(self._received):
            self._answer(failure(PayloadTooLarge("request entity too large")))
        else:
            super().process()

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
        self._answer(Answer(status=204))

    def _answer(self, answer: Answer) -> None:
        self.write(write(self, answer))
        self.finish()


class _Front(Resource):
    """Everything under the API: security headers and rate limit, then the router."""

    isLeaf = True

    def __init__(self, api: Api, addresses: ClientAddresses, limit: RateLimit | None) -> None:
        super().__init__()
        self._router, self._paths = api.resource(), Paths(api.rules)
        self._addresses, self._limit = addresses, limit

    def render(self, request: ApiRequest) -> Any:
        request.ready_lines = headers.SECURITY
        request.setHeader("X-Request-Id", secrets.token_hex(8))
        try:
            segments = self._paths.fold([segment.decode() for segment in request.postpath or ()])
        except UnicodeDecodeError:
            return write(request, failure(BadRequest("the path is not UTF-8")))
        address = self._addresses.of(request)
        request.network = network(address)
        if self._limit is not None and segments and segments[0].lower() == "api":
            allowance = self._limit.count(address)
            now = request.site.reactor.seconds()
            request.ready_lines += headers.rate_limit(allowance, self._limit.window, now)
            if allowance.exceeded:
                body = b"Too many requests, please try again later"
                return write(request, Answer(body, 429, content_type="text/html; charset=utf-8"))
        request.postpath = [segment.encode() for segment in segments]
        return self._router.render(request)


class _Root(Resource):
    """Children by their first path segments, the API for everything else."""

    def __init__(self, front: _Front) -> None:
        super().__init__()
        self._front = front

    def getChild(self, path: bytes, request: ApiRequest) -> IResource:
        request.postpath = [*(request.prepath or ()), *(request.postpath or ())]
        request.prepath = []
        return self._front

    def attach(self, path: str, resource: IResource) -> None:
        """Serve `resource` at an absolute path such as `/ws/v1`."""
        *parents, last = path.strip("/").encode().split(b"/")
        parent: Any = self
        for name in parents:
            if name not in parent.children:
                parent.putChild(name, _Branch(self))
            parent = parent.children[name]
        parent.putChild(last, resource)


class _Branch(Resource):
    """An inner segment of an attached path; what is not attached below it goes to the API."""

    def __init__(self, root: _Root) -> None:
        super().__init__()
        self._root = root

    def getChild(self, path: bytes, request: ApiRequest) -> IResource:
        return self._root.getChild(path, request)

    def render(self, request: ApiRequest) -> Any:
        return self._root.getChild(b"", request).render(request)


class Site(server.Site):
    """The factory of connections; logs each request and can be drained before the server stops."""

    noisy = False
    protocol = Channel  # type: ignore[assignment]
    _log = Logger()

    def __init__(
        self, root: IResource, settings: Http, reactor: IReactorTime, observe: Observe
    ) -> None:
        super().__init__(
            root,
            requestFactory=ApiRequest,
            parsePOSTFormSubmission=False,
            reactor=reactor,
            timeout=settings.request_timeout,
        )
        self.max_body = settings.max_body
        self._observe = observe
        self.connections: WeakSet[Channel] = (
            WeakSet()
        )  # weak: a WebSocket takes its connection over
        self.draining = False
        self._drained: Deferred[None] | None = None

    def acceptableProtocols(self) -> list[bytes]:
        """For TLS endpoints (ALPN)."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """No log file, and no timer for the time stamps in it."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def log(self, request: Any) -> None:
        """Log an answered request without its query, and tell the observer."""
        seconds = self.reactor.seconds() - request.began
        method = request.method.decode("ascii", "replace")
        self._log.info(
            "{method} {path} {status} {ms} ms",
            method=method,
            path=_SECRET.sub("...", request.path.decode("ascii", "replace")),
            status=request.code,
            ms=round(seconds * 1000, 1),
        )
        self._observe(method, getattr(request, "template", ""), request.code, seconds)

    def drain(self) -> Deferred[None]:
        """Let requests in progress be answered, closing each connection after that.

        @return: fires when the last connection is closed; cancel it to cut off what is left.
        """
        self.draining = True
        self._drained = Deferred(lambda _: self._cut_off())
        for channel in list(self.connections):
            if channel.transport is None:
                self.connections.discard(channel)
            else:
                channel.close_when_idle()
        self._check_drained()
        return self._drained

    def gone(self, channel: Channel) -> None:
        """A connection is closed."""
        self.connections.discard(channel)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._drained is not None and not self._drained.called and not self.connections:
            self._drained.callback(None)

    def _cut_off(self) -> None:
        for channel in list(self.connections):
            transport: Any = channel.transport
            if transport is not None:
                transport.abortConnection()


def build_site(
    api: Api,
    settings: Http,
    reactor: IReactorTime,
    *,
    children: Mapping[str, IResource] | None = None,
    observe: Observe = lambda method, template, status, seconds: None,
) -> Site:
    """Build the site around the API.

    @param children: further resources by absolute path, e.g. `{"/ws/v1": ...}`; they answer without
        security headers and rate limit.
    """
    limit = RateLimit(settings, reactor) if settings.rate_limit else None
    root = _Root(_Front(api, ClientAddresses(settings.trusted_proxies), limit))
    for path, resource in (children or {}).items():
        root.attach(path, resource)
    return Site(root, settings, reactor, observe)
