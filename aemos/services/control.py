"""The control socket: how another process tells a running server what it changed.

A UNIX socket in the data folder that only its owner can open. Each line is one JSON object, such
as `{"event": "identity-changed", "uuid": "..."}` or `{"event": "user-changed", "userId": 5}`, and
gets a line back: `{"ok": true}` once it was published, else `{"ok": false, "message": "..."}`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorUNIX, ITransport
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from aemos import json
from aemos.config.schema import Settings
from aemos.errors import AemosError, BadRequest, StartError, Unavailable
from aemos.services.events import Events, IdentityChanged, UserChanged

_LONGEST_LINE = 4096
_LONGEST_PATH = 103  # bytes that fit into a socket address on every system we know
_PATIENCE = 5.0  # seconds until the server must have answered


def socket_path(settings: Settings) -> str:
    """@return: where the control socket of a server with these settings is."""
    return os.path.abspath(os.path.join(settings.data_dir, "control.sock"))


class ControlSocket:
    """The server's end: publishes on the bus what other processes tell."""

    _log = Logger()

    def __init__(self, reactor: IReactorUNIX, path: str, events: Events) -> None:
        self._reactor, self._path, self._events = reactor, path, events
        self._port: IListeningPort | None = None

    def start(self) -> None:
        """Listen.

        @raise StartError: another server uses this data folder, or the socket cannot be made.
        """
        if len(os.fsencode(self._path)) > _LONGEST_PATH:
            self._log.warn(
                "{path} is too long for a socket: changes by the aemos command are noticed later",
                path=self._path,
            )
            return
        try:
            if _is_served(self._path):
                folder = os.path.dirname(self._path)
                raise StartError(f"another server is running on the data folder {folder}")
            if os.path.exists(self._path):
                os.unlink(self._path)  # of a server that was killed
            self._port = self._reactor.listenUNIX(self._path, _Control(self._events), mode=0o600)
        except OSError as error:
            raise StartError(f"{self._path}: {error.strerror or error}") from error

    def stop(self) -> Deferred[None]:
        """Stop listening; the socket is gone afterwards."""
        port, self._port = self._port, None
        stopped = port.stopListening() if port else None
        return stopped if isinstance(stopped, Deferred) else succeed(None)


async def tell(reactor: Any, path: str, events: Sequence[IdentityChanged | UserChanged]) -> bool:
    """Tell the server behind `path` what was changed in its database.

    @param reactor: IReactorUNIX and IReactorTime.
    @return: False when no server is running there.
    @raise Unavailable: it did not take the news.
    """
    endpoint = UNIXClientEndpoint(reactor, path, timeout=_PATIENCE)
    try:
        caller = await connectProtocol(endpoint, _Caller())
    except (ConnectError, OSError):
        return False
    try:
        for event in events:
            await caller.call(_line(event)).addTimeout(_PATIENCE, reactor)
    except Exception as error:
        raise Unavailable(f"the running server was not told: {error}") from error
    finally:
        caller.transport.loseConnection()
    return True


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


def _line(event: IdentityChanged | UserChanged) -> bytes:
    if isinstance(event, IdentityChanged):
        return json.encode({"event": "identity-changed", "uuid": event.uuid})
    return json.encode({"event": "user-changed", "userId": event.user_id})


def _identity_changed(told: dict[str, Any]) -> object:
    uuid = told.get("uuid")
    if not isinstance(uuid, str):
        raise BadRequest("uuid must be text")
    return IdentityChanged(uuid)


def _user_changed(told: dict[str, Any]) -> object:
    user_id = told.get("userId")
    if not isinstance(user_id, int):
        raise BadRequest("userId must be a number")
    return UserChanged(user_id)


_EVENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "identity-changed": _identity_changed,
    "user-changed": _user_changed,
}


class _Control(Factory):
    """Makes the server's end of each connection."""

    noisy = False

    def __init__(self, events: Events) -> None:
        self._events = events

    def buildProtocol(self, addr: IAddress | None) -> _Served:
        """Take a connection."""
        return _Served(self._events)


class _Served(LineOnlyReceiver):
    """One connection of another process."""

    transport: ITransport
    delimiter = b"\n"
    MAX_LENGTH = _LONGEST_LINE

    def __init__(self, events: Events) -> None:
        self._events = events

    def lineReceived(self, line: bytes) -> None:
        """Publish and answer."""
        try:
            told = json.decode(line)
            event = told.get("event") if isinstance(told, dict) else None
            if not isinstance(event, str) or event not in _EVENTS:
                raise BadRequest("there is no such event")
            self._events.publish(_EVENTS[event](told))
        except AemosError as error:
            answer = {"ok": False, "message": str(error)}
        else:
            answer = {"ok": True}
        self.transport.write(json.encode(answer) + self.delimiter)


class _Caller(LineOnlyReceiver):
    """The other process's end: one question at a time."""

    transport: ITransport
    delimiter = b"\n"

    def __init__(self) -> None:
        self._waiting: Deferred[None] | None = None

    def call(self, line: bytes) -> Deferred[None]:
        """Send a line. @return: fires when it was taken, fails when it was refused."""
        self._waiting = Deferred()
        self.transport.write(line + self.delimiter)
        return self._waiting

    def lineReceived(self, line: bytes) -> None:
        """Take the answer."""
        answer = json.decode(line)
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if answer.get("ok") is True:
            waiting.callback(None)
        else:
            waiting.errback(Unavailable(str(answer.get("message"))))

    def connectionLost(self, reason: Failure | None = None) -> None:
        """No answer will come."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(Unavailable("it closed the connection"))
