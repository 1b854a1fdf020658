"""The pages for people: files of `aemos/web` and what `make web` put there, ready to send.

They are outside the API: no sign-in, no rate limit. What they show they ask the API for.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

import aemos
from aemos import __version__
from aemos.errors import Forbidden, NotFound
from aemos.http import headers
from aemos.http.connection import ApiRequest
from aemos.http.limits import require_localhost
from aemos.http.render import Answer, Shape, accepted, failure, known, write

WEB = Path(aemos.__file__).parent / "web"
"""Where our pages are, and what `make web` put below `vendor`."""

LIBRARIES = "vendor/LICENSES.txt"
"""What `make web` writes last: without it the pages cannot work."""

GUIDES = "guides/index.html"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WITHIN = ("guides", "scripts", "styles", "vendor")

_POLICY = (
    "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none';"
    "img-src 'self' data:;script-src 'self';style-src 'self';connect-src 'self'"
)
_ANY_SERVER = " ws: wss:"  # a test client connects where its user says

PAGES = {
    "/": ("index.html", _POLICY),
    "/mqttClient.html": ("mqttClient.html", _POLICY + _ANY_SERVER),
    "/socketClient.html": ("socketClient.html", _POLICY + _ANY_SERVER),
    "/deviceSocketClient.html": ("deviceSocketClient.html", _POLICY + _ANY_SERVER),
}
"""Path -> file and policy of each page."""

LOCAL = "/socketClient.html"
"""Compat: for this machine only; `/deviceSocketClient.html` is the same page for everybody."""


@attrs.frozen(eq=False)
class _File:
    content: bytes
    zipped: bytes
    tag: str
    content_type: str
    changed: int  # as the file system says


class Files:
    """Files below a folder in memory; one that has changed is read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}

    def get(self, name: str) -> _File:
        """@param name: relative, with "/". @raise NotFound: it is not there."""
        path = self._folder / name
        try:
            changed = path.stat().st_mtime_ns
            file = self._files.get(name)
            if file is None or file.changed != changed:
                file = self._files[name] = _read(path, changed)
        except OSError:
            raise NotFound(f"there is no {name}") from None
        return file


def _read(path: Path, changed: int) -> _File:
    content = path.read_bytes()
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return _File(
        content,
        compressor.compress(content) + compressor.flush(),
        f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"',
        _TYPES[path.suffix],
        changed,
    )


class _Served(Resource):
    """What all resources of pages have in common: security headers, a name for the figures."""

    template = "/web"

    def __init__(self, policy: str = _POLICY) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._policy = policy

    def begin(self, request: Any) -> None:
        """Set what every answer has."""
        request.template = self.template
        request.ready_lines += headers.SECURITY
        request.setHeader("Content-Security-Policy", self._policy)
        request.setHeader("Cache-Control", "no-cache")

    def send(self, request: Request, file: _File, status: int = 200) -> bytes:
        """@return: the body of an answer with a file."""
        request.setHeader("ETag", file.tag)
        request.setHeader("Vary", "Accept-Encoding")
        if status == 200 and known(request.getHeader("If-None-Match"), file.tag):
            request.setResponseCode(304)
            return b""
        body = file.content
        if accepted(request.getHeader("Accept-Encoding") or "") == "gzip":
            request.setHeader("Content-Encoding", "gzip")
            body = file.zipped
        request.setResponseCode(status)
        request.setHeader("Content-Type", file.content_type)
        request.setHeader("Content-Length", str(len(body)))
        return b"" if request.method == b"HEAD" else body


class _Page(_Served):
    """One HTML file; one that explains itself while the browser libraries are missing."""

    isLeaf = True

    def __init__(self, files: Files, path: str, name: str, policy: str) -> None:
        super().__init__(policy)
        self._files, self._name, self.template = files, name, path

    def render_GET(self, request: ApiRequest) -> bytes:
        """Part of `IResource`; HEAD comes here, too."""
        self.begin(request)
        if self.template == LOCAL:
            try:
                require_localhost(request)
            except Forbidden as error:
                return write(request, failure(error, Shape.E2))
        try:
            self._files.get(LIBRARIES)
        except NotFound:
            return self.send(request, self._files.get("bare.html"), 503)
        return self.send(request, self._files.get(self._name))


class _Guides(_Served):
    """The guides that `make web` rendered, below `/docs`."""

    isLeaf = True
    template = "/docs"

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._files = files

    def render_GET(self, request: ApiRequest) -> bytes:
        """Part of `IResource`; HEAD comes here, too."""
        self.begin(request)
        segments = [segment.decode("ascii", "replace") for segment in request.postpath or ()]
        try:
            self._files.get(GUIDES)
        except NotFound:
            return self.send(request, self._files.get("bare.html"), 503)
        try:
            name = _name(["guides", f"{'/'.join(segments) or 'index'}.html"])
            return self.send(request, self._files.get(name))
        except NotFound as error:
            return write(request, failure(error, Shape.E2))


class _Folder(_Served):
    """Scripts, styles and libraries, below `/web/`."""

    isLeaf = True

    def __init__(self, files: Files, ports: Mapping[str, int]) -> None:
        super().__init__()
        self._files, self._ports = files, ports

    def render_GET(self, request: ApiRequest) -> bytes:
        """Part of `IResource`; HEAD comes here, too."""
        self.begin(request)
        segments = [segment.decode("ascii", "replace") for segment in request.postpath or ()]
        if segments == ["server.json"]:
            return write(request, Answer({"version": __version__, "ports": self._ports}))
        try:
            return self.send(request, self._files.get(_name(segments)))
        except NotFound as error:
            return write(request, failure(error, Shape.E2))


def _name(segments: list[str]) -> str:
    """@return: the name of a file that may be served. @raise NotFound: there can be none."""
    name = "/".join(segments)
    inside = len(segments) == 1 or segments[0] in _WITHIN
    if not inside or not all(map(_SEGMENT.fullmatch, segments)) or Path(name).suffix not in _TYPES:
        raise NotFound(f"there is no {name}")
    return name


def pages(ports: Mapping[str, int], folder: Path = WEB) -> dict[str, IResource]:
    """@return: all pages by absolute path, as `site.build_site` takes them.

    @param ports: TCP ports by the name of their listener; read when somebody asks.
    """
    files = Files(folder)
    served: dict[str, IResource] = {
        path: _Page(files, path, name, policy) for path, (name, policy) in PAGES.items()
    }
    return {**served, "/docs": _Guides(files), "/web": _Folder(files, ports)}
