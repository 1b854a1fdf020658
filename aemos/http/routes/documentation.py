"""`/openapi.json` and `/docs`: the API as a document for programs and as a page for people."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property
from typing import ClassVar

from aemos import json
from aemos.errors import NotFound
from aemos.http import openapi
from aemos.http.pages import WEB
from aemos.http.render import Answer
from aemos.http.routing import API, Auth, Call, Group, route, table

_PAGE = {
    # The page shows what this server tells and nothing else. The library styles its parts inline.
    "Content-Security-Policy": "default-src 'none';base-uri 'none';form-action 'none';"
    "frame-ancestors 'none';connect-src 'self';img-src 'self' data:;script-src 'self';"
    "style-src 'unsafe-inline'",
    "Cache-Control": "no-cache",
}


class DocumentationRoutes:
    """What this API is."""

    prefixes: ClassVar[tuple[str, ...]] = (API,)

    def __init__(self, groups: Iterable[Group]) -> None:
        """@param groups: all that are served; read when asked, so that this one may be in it."""
        self._groups = groups

    @route("GET", "/openapi.json", auth=Auth.OPEN)
    async def document(self, call: Call) -> Answer:
        """Describe every route (OpenAPI 3.1)."""
        return Answer(self._document)

    @route("GET", "/docs", auth=Auth.OPEN, produces=("text/html",))
    async def page(self, call: Call) -> Answer:
        """Show the description as a page to read and to try requests on."""
        return Answer(read("docs.html"), content_type="text/html; charset=utf-8", headers=_PAGE)

    @route(
        "GET",
        "/docs/rapidoc-min.js",
        auth=Auth.OPEN,
        produces=("text/javascript",),
        failures=(404,),
    )
    async def library(self, call: Call) -> Answer:
        """Serve the library that draws the page."""
        try:
            script = read("vendor/rapidoc-min.js")
        except FileNotFoundError:
            raise NotFound("not installed: `make web` copies it") from None
        return Answer(script, content_type="text/javascript; charset=utf-8", headers=_PAGE)

    @cached_property
    def _document(self) -> bytes:
        return json.encode(openapi.describe(table(self._groups)))


@cache
def read(name: str) -> bytes:
    """@return: a file below `WEB`. @raise FileNotFoundError: it is not installed."""
    return (WEB / name).read_bytes()
