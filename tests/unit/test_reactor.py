"""The event loop without a log context still looks after errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from twisted.internet import epollreactor, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from aemos.reactor import spare_log_context


class Faulty(Protocol):
    """Fails on what it receives."""

    def dataReceived(self, data: bytes) -> None:
        raise ValueError("a fault in a protocol")


class Client(Protocol):
    """Tells when it is cut off."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)


@pytest.fixture
def _without_context() -> Iterator[None]:
    before = epollreactor.log
    spare_log_context()
    yield
    epollreactor.log = before


@pytest.mark.usefixtures("_without_context")
async def test_a_fault_in_a_protocol_is_logged_and_costs_only_its_connection(
    hygiene: list[str],
) -> None:
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        Factory.forProtocol(Faulty)
    )
    client = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    first = await connectProtocol(client, Client())
    second = await connectProtocol(client, Client())
    first.transport.write(b"x")
    await first.lost
    assert hygiene  # the fault was logged
    hygiene.clear()
    assert not second.lost.called
    second.transport.loseConnection()
    await second.lost
    await port.stopListening()


def test_a_system_without_epoll_will_do() -> None:
    """macOS and the BSDs, say."""
    program = (
        "import select\n"
        "for name in [name for name in dir(select) if 'EPOLL' in name.upper()]:\n"
        "    delattr(select, name)\n"
        "import aemos.server, aemos.reactor\n"
        "aemos.reactor.spare_log_context()\n"
        "from twisted.internet import reactor\n"
        "print(type(reactor).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "PollReactor\n", done.stderr
