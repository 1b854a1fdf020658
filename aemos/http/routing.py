"""Declares routes: each once, with all that serving, documenting and testing it needs.

A route group is a class in `aemos.http.routes`; its methods carry `@route`. From the
declarations `aemos.http.endpoint` builds the Klein app, and they are the table from which a
description of the API or a test of every route can be generated (`table`).
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

import attrs
import msgspec
from twisted.web.server import Request

from aemos.http.render import Answer, Shape
from aemos.http.streaming import Stream
from aemos.model import ANONYMOUS, Principal

API = "/api/v1"


class Auth(enum.Enum):
    """Who may call a route (spec/http-api.md section 1.5)."""

    OPEN = "open"
    USER = "user"  # Authorization: Bearer <JWT>, or an API key
    DEVICE = "device"  # Authorization: Bearer <device token>


@attrs.frozen(eq=False)
class Call:
    """One request as its handler sees it: who asks, and the raw request for what is rare."""

    request: Request
    principal: Principal = ANONYMOUS
    content: bytes = b""

    @property
    def network(self) -> str:
        """Where it comes from: the address of the client, of an IPv6 client its /64."""
        return str(getattr(self.request, "network", ""))

    def may_take(self, seconds: float) -> None:
        """Let the answer take so much longer than `http.answer_timeout`."""
        self.request.patience = seconds  # type: ignore[attr-defined]

    @property
    def bearer(self) -> str | None:
        """The token of `Authorization: Bearer <token>`; None for another scheme or none."""
        return bearer(self.request)


def bearer(request: Request) -> str | None:
    """@return: the token of the `Authorization` header if its scheme is Bearer."""
    scheme, _, token = (request.getHeader("Authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


@attrs.frozen(eq=False)
class Route:
    """One declared route. Paths are below the group's prefix, `<name>` marks a parameter."""

    method: str
    path: str
    auth: Auth
    permission: str
    permission_first: bool
    keys: bool
    status: int
    data: object
    errors: Shape
    failures: tuple[int, ...]
    aliases: tuple[str, ...]
    name: str
    summary: str
    parameters: Mapping[str, type]
    query: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None
    consumes: tuple[str, ...]
    produces: tuple[str, ...]


class Group(Protocol):
    """A class with routes; the first prefix is the one documented, the others are aliases."""

    prefixes: ClassVar[tuple[str, ...]]


Handler = Callable[..., Awaitable[Answer | Stream]]
H = TypeVar("H", bound=Handler)


def route(
    method: str,
    path: str,
    *,
    auth: Auth = Auth.USER,
    permission: str = "",
    permission_first: bool = False,
    keys: bool = True,
    status: int = 200,
    data: object = None,
    errors: Shape = Shape.E1,
    failures: tuple[int, ...] = (),
    aliases: tuple[str, ...] = (),
    consumes: tuple[str, ...] = (),
    produces: tuple[str, ...] = (),
) -> Callable[[H], H]:
    """Declare a method of a group as the handler of a route.

    The handler is `async def f(self, call: Call, <path parameters>, query: Q, body: B) -> Answer`;
    parameters, query and body only where it has them. Their annotations count: a path parameter is
    `int` (a row id; other text is not found) or `str`, query and body are structs of
    `aemos.http.schemas`.

    @param permission: must be held in some organization before the handler runs; the service then
        asks for it in the organization that owns the resource.
    @param permission_first: ask for it before query and body are looked at (Compat: a few do).
    @param keys: whether an API key may call it, too, where users may.
    @param status: of a success.
    @param data: what `data` holds in a success, for the description of the API: a table name, a
        list of one, or a mapping of keys to these.
    @param errors: the shape of errors from the handler. Those of authentication and validation are
        E1 (E2 for device tokens).
    @param failures: statuses of errors that not every route has, for the description of the API.
    @param aliases: further absolute paths.
    @param consumes: content types of a body that the handler reads itself.
    @param produces: content types of a success that is not JSON.
    """

    def declare(handler: H) -> H:
        hints = get_type_hints(handler)
        parameters = {
            name: hints[name]
            for name in inspect.signature(handler).parameters
            if name not in ("self", "call", "query", "body")
        }
        declared = Route(
            method=method,
            path=path,
            auth=auth,
            permission=permission,
            permission_first=permission_first,
            keys=keys,
            status=status,
            data=data,
            errors=errors,
            failures=failures,
            aliases=aliases,
            name=handler.__qualname__,
            summary=inspect.cleandoc(handler.__doc__ or "").partition("\n")[0],
            parameters=parameters,
            query=hints.get("query"),
            body=hints.get("body"),
            consumes=consumes,
            produces=produces,
        )
        vars(handler)["route"] = declared
        return handler

    return declare


@attrs.frozen(eq=False)
class Endpoint:
    """A declared route bound to its group: `rules` are its paths, the documented one first."""

    route: Route
    rules: tuple[str, ...]
    handler: Handler

    @property
    def template(self) -> str:
        """The documented path as metrics and logs name it: `/api/v1/devices/:id/states/:stateId`.

        What the group itself is about has the name `id`.
        """
        rule = self.rules[0]
        prefix = rule.removesuffix(self.route.path.rstrip("/"))
        return prefix + _PARAMETER.sub(_wire_name, _OWN.sub("/:id", rule[len(prefix) :]))


_OWN = re.compile(r"^/<\w+_id>")
_PARAMETER = re.compile(r"<(\w+)>")


def _wire_name(parameter: re.Match[str]) -> str:
    first, *others = parameter[1].split("_")
    return f":{first}{''.join(map(str.capitalize, others))}"


def table(groups: Iterable[Group]) -> list[Endpoint]:
    """@return: every route of the groups, in order of declaration."""
    endpoints = []
    for group in groups:
        for name, member in vars(type(group)).items():
            declared: Any = getattr(member, "route", None)
            if isinstance(declared, Route):
                rules = [prefix + declared.path.rstrip("/") for prefix in group.prefixes]
                endpoints.append(
                    Endpoint(declared, (*rules, *declared.aliases), getattr(group, name))
                )
    return endpoints
