"""A client of `/ws/v1` for tests: sends messages, hands out what it hears one by one."""

from __future__ import annotations

import json
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint

_WAIT = 15.0  # seconds


class LiveClient(WebSocketClientProtocol):
    """One connection; what is waited for comes within seconds, or the test fails."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: DeferredQueue[dict[str, Any]] = DeferredQueue()
        self.opened: Deferred[LiveClient] = Deferred()
        self.gone: Deferred[tuple[int | None, str]] = Deferred()
        self.refused = ""

    def onOpen(self) -> None:
        self.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.put(json.loads(payload))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if not self.opened.called:
            self.opened.errback(ConnectionError(reason))
        self.gone.callback((code, reason or ""))

    def say(self, **message: Any) -> None:
        self.sendMessage(json.dumps(message).encode())

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and wait for the next one that comes."""
        self.say(**message)
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        """Wait for the next message."""
        message: dict[str, Any] = await self.heard.get().addTimeout(_WAIT, reactor)
        return message

    async def closed(self) -> tuple[int | None, str]:
        """Wait until the server closes. @return: the status and reason of its close frame."""
        return await self.gone.addTimeout(_WAIT, reactor)

    async def leave(self) -> None:
        """Close the connection and wait until it is gone."""
        self.sendClose(1000)
        await self.closed()


async def connect(
    port: int, *protocols: str, query: str = "", headers: dict[str, str] | None = None
) -> LiveClient:
    """Open a connection to this machine.

    @raise ConnectionError: the server did not take it; the text tells its HTTP status.
    """
    factory = WebSocketClientFactory(
        f"ws://127.0.0.1:{port}/ws/v1{query}",
        protocols=list(protocols),
        headers=headers,
        reactor=reactor,
    )
    factory.protocol = LiveClient
    # No timers of the library: tests wait for what happens, and want none left behind.
    factory.setProtocolOptions(
        openHandshakeTimeout=0, closeHandshakeTimeout=0, serverConnectionDropTimeout=0
    )
    client = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    return await client.opened.addTimeout(_WAIT, reactor)
