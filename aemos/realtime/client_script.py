"""The client library for browsers, at the addresses where servers of Socket.IO have it."""

from __future__ import annotations

from pathlib import Path

from twisted.web.resource import Resource
from twisted.web.server import Request

import aemos

SCRIPTS = Path(aemos.__file__).parent / "web" / "vendor" / "socketio"
"""Where `make web` puts the files of the npm package `socket.io-client`."""

_NAMES = frozenset(
    f"socket.io{form}.js{end}"
    for form in ("", ".min", ".esm.min", ".msgpack.min")
    for end in ("", ".map")
)


class ClientScripts(Resource):
    """The scripts and their source maps; files are read when somebody asks for them."""

    def __init__(self, folder: Path = SCRIPTS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Part of `IResource`."""
        name = path.decode("ascii", "replace")
        return _Script(self._folder / name if name in _NAMES else None)


class _Script(Resource):
    isLeaf = True

    def __init__(self, path: Path | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._path = path

    def render_GET(self, request: Request) -> bytes:
        """Part of `IResource`; HEAD comes here, too."""
        try:
            content = self._path.read_bytes() if self._path is not None else None
        except OSError:
            content = None
        kind = "text/plain" if content is None else "text/javascript"
        if self._path is not None and self._path.suffix == ".map":
            kind = "application/json"
        request.setHeader("Content-Type", f"{kind}; charset=utf-8")
        if content is None:
            request.setResponseCode(404)
            return b"there is no such script here: the browser libraries come with `make web`"
        request.setHeader("Cache-Control", "no-cache")
        return content
