"""Serves declared routes: authenticate, validate, ask for the permission, call the handler, render.

The order is that of spec/http-api.md section 1.6. Whatever a handler raises becomes an answer here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from klein import Klein
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from aemos.errors import AemosError, Forbidden, NotFound
from aemos.http.auth import Authenticator
from aemos.http.bodies import decode_body, inflated
from aemos.http.connection import ApiRequest
from aemos.http.render import Answer, Shape, failure
from aemos.http.routing import Auth, Call, Endpoint, Group, Route, table
from aemos.http.schemas import Invalid, decode_query, row_id
from aemos.http.streaming import Stream, send
from aemos.model import Principal, PrincipalKind
from aemos.services.access import NotStated, NotThere, require_somewhere
from aemos.storage import audit
from aemos.storage.audit import Actor

_NO_KEYS = "Forbidden: an API key cannot do this"


class _Pattern(Rule):
    """A rule that paths are matched with. Klein's own can also build URLs, which nobody asks for.

    It compiles Python code for that, which for our table takes longer than all other assembling.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        def build(*_: object, **__: object) -> tuple[str, str]:
            raise NotImplementedError

        return build


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
                method = endpoint.route.method
                name = f"{method} {rule}"
                app.url_map.add(_Pattern(rule, methods=[method], endpoint=name))
                app.endpoints[name] = self._server(endpoint)
        self._app = app
        # Klein's own resource binds the map and sets up cancelling for each request; nothing here
        # depends on the host, and work that has begun is finished when the client goes away: a
        # committed change must still be told to the rest of the server.
        self._match = lru_cache(256)(app.url_map.bind("localhost").match)

    @property
    def rules(self) -> set[str]:
        """Every absolute path pattern that is served."""
        return {rule for endpoint in self.endpoints for rule in endpoint.rules}

    def serve(self, request: ApiRequest, path: str) -> None:
        """Find the route and answer. @param path: as a rule writes it."""
        try:
            name, parameters = self._match(path, request.method.decode("ascii", "replace"))
        except HTTPException:
            request.answer(_unknown(request))
        else:
            self._app.execute_endpoint(name, request, **parameters)

    def _server(self, endpoint: Endpoint) -> Any:
        template = endpoint.template

        def serve(_: object, request: ApiRequest, **parameters: str) -> None:
            request.template = template
            work = ensureDeferred(self._answer(endpoint, request, parameters))
            work.addErrback(request.processingFailed)
            if not work.called:
                request.answer_in_time(work)

        return serve

    async def _answer(
        self, endpoint: Endpoint, request: ApiRequest, parameters: dict[str, str]
    ) -> None:
        route = endpoint.route
        if request.content is None:  # only before it was received
            raise RuntimeError("the request has no content")
        content = request.content.read()  # now: the file is closed when the client goes away
        shape = Shape.E2 if route.auth is Auth.DEVICE else Shape.E1
        try:
            principal = await self._authenticator.principal(request, route.auth)
            shape = Shape.E1
            if principal.kind is PrincipalKind.API_KEY and not route.keys:
                raise Forbidden(_NO_KEYS)
            if route.permission and route.permission_first:
                require_somewhere(principal, route.permission)
            coding = request.getHeader("Content-Encoding") or ""
            content = inflated(content, coding, request.site.max_body)
            arguments = _validated(route, request, content)
            if route.permission:
                require_somewhere(principal, route.permission)
            shape = route.errors
            for name, text in parameters.items():
                arguments[name] = row_id(text) if route.parameters[name] is int else text
            with audit.acting(_actor(route, principal, request)):
                answer = await endpoint.handler(Call(request, principal, content), **arguments)
            if isinstance(answer, Stream):
                await send(request, answer, route.status)
                return
        except AemosError as error:
            if error.status == 500:
                self._log.failure("{route} failed", route=endpoint.template)
            # Where a permission is declared, a guard refuses, not the handler.
            guarded = route.permission and isinstance(error, (Forbidden, NotStated, NotThere))
            answer = failure(error, Shape.E1 if guarded or isinstance(error, Invalid) else shape)
        except Exception:
            self._log.failure(
                "{method} {route} failed, request {id}",
                method=route.method,
                route=endpoint.template,
                id=request.id,
            )
            answer = failure(AemosError(), shape)
        request.answer(answer, route.status)


def _actor(route: Route, principal: Principal, request: ApiRequest) -> Actor | None:
    """@return: to whom the audit log ascribes what changes; None = nothing of interest does."""
    if route.method == "GET" or route.auth is Auth.DEVICE:
        return None
    return Actor(
        principal.kind.value, principal.id or None, principal.name, request.address, request.id
    )


def _validated(route: Route, request: ApiRequest, content: bytes) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if route.query is not None:
        arguments["query"] = decode_query(request.args or {}, route.query)
    if route.body is not None:
        content_type = request.getHeader("Content-Type") or ""
        arguments["body"] = decode_body(content, content_type, route.body)
    return arguments


def _unknown(request: ApiRequest) -> Answer:
    """Compat: a path that exists for other methods only is unknown too (404, not 405)."""
    url = request.uri.decode("ascii", "replace")
    return failure(NotFound(f"Cannot find {url} on this server!"), Shape.E2)
