"""Serves declared routes: authenticate, validate, ask for the permission, call the handler, render.

The order is that of spec/http-api.md section 1.6. Whatever a handler raises becomes an answer here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException

from aemos.errors import AemosError, Forbidden, NotFound
from aemos.http.auth import Authenticator
from aemos.http.render import Shape, failure, write
from aemos.http.routing import Auth, Call, Endpoint, Group, Route, table
from aemos.http.schemas import decode_body, decode_query, row_id
from aemos.http.streaming import Stream, send
from aemos.services.access import require_somewhere


class Api:
    """The Klein app made of the route groups; `endpoints` is the table it was made from."""

    _log = Logger()

    def __init__(self, groups: Iterable[Group], authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self.endpoints = table(groups)
        app = Klein()
        app.url_map.merge_slashes = False  # a redirect would lose the body of a POST
        for endpoint in self.endpoints:
            for rule in endpoint.rules:
                name = f"{endpoint.route.method} {rule}"
                app.route(rule, methods=[endpoint.route.method], endpoint=name)(
                    self._server(endpoint)
                )
        app.handle_errors(HTTPException)(_unknown)  # type: ignore[arg-type]
        self._app = app

    @property
    def rules(self) -> set[str]:
        """Every absolute path pattern that is served."""
        return {rule for endpoint in self.endpoints for rule in endpoint.rules}

    def resource(self) -> IResource:
        """@return: the leaf resource that routes by path and method."""
        return self._app.resource()

    def _server(self, endpoint: Endpoint) -> Any:
        def serve(request: Request, **parameters: str) -> Deferred[bytes]:
            request.template = endpoint.template  # type: ignore[attr-defined]
            answered: Deferred[bytes] = Deferred()
            # Klein cancels what it was given when the client goes away. Work that has begun goes
            # on all the same: a committed change must still be told to the rest of the server.
            work = ensureDeferred(self._answer(endpoint, request, parameters))
            work.addBoth(answered.callback)
            return answered

        return serve

    async def _answer(
        self, endpoint: Endpoint, request: Request, parameters: dict[str, str]
    ) -> bytes:
        route = endpoint.route
        if request.content is None:  # only before it was received
            raise RuntimeError("the request has no content")
        content = request.content.read()  # now: the file is closed when the client goes away
        shape = Shape.E2 if route.auth is Auth.DEVICE else Shape.E1
        try:
            principal = await self._authenticator.principal(request, route.auth)
            shape = Shape.E1
            if route.permission and route.permission_first:
                require_somewhere(principal, route.permission)
            arguments = _validated(route, request, content)
            if route.permission:
                require_somewhere(principal, route.permission)
            shape = route.errors
            for name, text in parameters.items():
                arguments[name] = row_id(text) if route.parameters[name] is int else text
            answer = await endpoint.handler(Call(request, principal, content), **arguments)
            if isinstance(answer, Stream):
                return await send(request, answer, route.status)
        except AemosError as error:
            if error.status == 500:
                self._log.failure("{route} failed", route=endpoint.template)
            # Where a permission is declared, a guard refuses, not the handler.
            guarded = route.permission and isinstance(error, Forbidden)
            answer = failure(error, Shape.E1 if guarded else shape)
        except Exception:
            self._log.failure(
                "{method} {route} failed, request {id}",
                method=route.method,
                route=endpoint.template,
                id=request.responseHeaders.getRawHeaders("X-Request-Id", [""])[0],
            )
            answer = failure(AemosError(), shape)
        return write(request, answer, route.status)


def _validated(route: Route, request: Request, content: bytes) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if route.query is not None:
        arguments["query"] = decode_query(request.args or {}, route.query)
    if route.body is not None:
        content_type = request.getHeader("Content-Type") or ""
        arguments["body"] = decode_body(content, content_type, route.body)
    return arguments


def _unknown(request: Request, _: Failure) -> bytes:
    """Compat: a path that exists for other methods only is unknown too (404, not 405)."""
    url = request.uri.decode("ascii", "replace")
    return write(request, failure(NotFound(f"Cannot find {url} on this server!"), Shape.E2))
