"""The HTTP server around the API: makes connections, logs what they ask, lets them end.

Order of concerns as in spec/http-api.md section 1.2: CORS and body limit (`connection`), security
headers and rate limit (`front`), routes (`endpoint`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web import server
from twisted.web.resource import IResource, Resource

from aemos.config.schema import Http
from aemos.http.connection import ApiRequest, Channel
from aemos.http.endpoint import Api
from aemos.http.front import Front
from aemos.http.limits import ClientAddresses, RateLimit

_SECRET = re.compile(r"[0-9A-Fa-f]{40,}")  # a token in a path: longer than any uuid

Observe = Callable[[str, str, int, float], object]
"""Told about each answered request: method, route template ("" = none), status, seconds."""


class Site(server.Site):
    """The factory of connections; logs each request and can be drained before the server stops."""

    noisy = False
    protocol = Channel  # type: ignore[assignment]
    _log = Logger()

    def __init__(
        self,
        front: Front,
        children: Mapping[str, IResource],
        settings: Http,
        reactor: IReactorTime,
        observe: Observe,
    ) -> None:
        """@param children: resources by absolute path; all else is for `front`.

        One with a true attribute `answers_options` is asked for preflights, too.
        """
        super().__init__(
            _tree(children),
            requestFactory=ApiRequest,
            parsePOSTFormSubmission=False,
            reactor=reactor,
            timeout=settings.request_timeout,
        )
        self.front = front
        self._attached = frozenset(path.encode() for path in children)
        self._below = tuple(path + b"/" for path in self._attached if path != b"/")
        self.answers_options = tuple(
            f"{path}/".encode()
            for path, child in children.items()
            if getattr(child, "answers_options", False)
        )
        self.max_body = settings.max_body
        self.answer_timeout = settings.answer_timeout
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

    def is_attached(self, path: bytes) -> bool:
        """@return: whether a resource of its own serves this path, or what is below it."""
        return path in self._attached or path.startswith(self._below)

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
        if not getattr(request, "held", False):
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
    front = Front(api, ClientAddresses(settings.trusted_proxies), limit, reactor)
    return Site(front, children or {}, settings, reactor, observe)


def _tree(children: Mapping[str, IResource]) -> Resource:
    """@return: the resources, each at its path."""
    root = Resource()
    for path, resource in children.items():
        *parents, last = path.strip("/").encode().split(b"/")
        parent: Any = root
        for name in parents:
            if name not in parent.children:
                parent.putChild(name, Resource())
            parent = parent.children[name]
        parent.putChild(last, resource)
    return root
