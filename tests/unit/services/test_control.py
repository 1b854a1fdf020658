"""The control socket: who may use it, and what becomes of what is said there."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from aemos import json
from aemos.config.schema import Settings
from aemos.errors import StartError, Unavailable
from aemos.services.control import ControlSocket, socket_path, tell
from aemos.services.events import Events, IdentityChanged, UserChanged


class Server:
    """A control socket and what it published."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.heard: list[object] = []
        events = Events()
        events.subscribe(IdentityChanged, self.heard.append)
        events.subscribe(UserChanged, self.heard.append)
        self.control = ControlSocket(reactor, path, events)


@pytest_twisted.async_yield_fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(socket_path(Settings(data_dir=str(tmp_path))))
    server.control.start()
    yield server
    await server.control.stop()


class Talk(LineOnlyReceiver):
    """Says one line and waits for the answer."""

    delimiter = b"\n"

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        self.answer.callback(line)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.answer.called:
            self.answer.errback(reason)


async def say(path: str, line: bytes) -> object:
    talk = await connectProtocol(UNIXClientEndpoint(reactor, path), Talk())
    talk.sendLine(line)
    answer = json.decode(await talk.answer)
    talk.transport.loseConnection()
    return answer


async def test_what_another_process_tells_is_published_in_order(server: Server) -> None:
    assert await tell(reactor, server.path, [IdentityChanged("u-1"), UserChanged(5)])
    identity, user = server.heard
    assert isinstance(identity, IdentityChanged)
    assert identity.uuid == "u-1"
    assert isinstance(user, UserChanged)
    assert user.user_id == 5


async def test_only_the_owner_may_open_it(server: Server) -> None:
    mode = os.stat(server.path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b'{"event":"shutdown"}',
        b'{"event":["user-changed"]}',
        b'{"event":"user-changed"}',
        b'{"event":"user-changed","userId":"5"}',
        b'{"event":"identity-changed","uuid":5}',
        b"\xff",
    ],
)
async def test_nonsense_is_answered_and_publishes_nothing(server: Server, line: bytes) -> None:
    answer = await say(server.path, line)
    assert isinstance(answer, dict)
    assert answer["ok"] is False
    assert answer["message"]
    assert server.heard == []


async def test_without_a_server_nobody_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    assert await tell(reactor, path, [UserChanged(5)]) is False


async def test_after_stopping_the_socket_is_gone(tmp_path: Path) -> None:
    server = Server(str(tmp_path / "control.sock"))
    server.control.start()
    await server.control.stop()
    assert os.listdir(os.path.dirname(server.path)) == []
    assert await tell(reactor, server.path, [UserChanged(5)]) is False


async def test_a_second_server_on_the_same_folder_does_not_start(server: Server) -> None:
    with pytest.raises(StartError, match="another server is running"):
        ControlSocket(reactor, server.path, Events()).start()
    assert await tell(reactor, server.path, [UserChanged(5)])


async def test_the_socket_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    server = Server(path)
    server.control.start()
    assert await tell(reactor, path, [UserChanged(5)])
    await server.control.stop()


async def test_a_folder_with_a_very_long_name_has_no_socket_and_still_starts(
    tmp_path: Path,
) -> None:
    folder = tmp_path / ("f" * 120)
    folder.mkdir()
    server = Server(str(folder / "control.sock"))
    server.control.start()
    assert os.listdir(os.path.dirname(server.path)) == []
    await server.control.stop()


class Closing(Protocol):
    """Hangs up when it is spoken to."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


async def test_a_server_that_closes_without_an_answer_did_not_take_the_news(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "control.sock")
    port = reactor.listenUNIX(path, Factory.forProtocol(Closing))
    with pytest.raises(Unavailable, match="not told"):
        await tell(reactor, path, [UserChanged(5)])
    await port.stopListening()
