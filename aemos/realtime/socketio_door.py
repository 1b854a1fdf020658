"""The door `/socket.io`: its rooms and events, its sessions, and what the HTTP site serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request

from aemos.config.schema import Realtime
from aemos.realtime.client_script import ClientScripts
from aemos.realtime.conversation import Conversations
from aemos.realtime.engine import Engine
from aemos.realtime.engine_web import EngineResource, EngineSockets
from aemos.realtime.hub import Hub
from aemos.realtime.notifications import Notifications
from aemos.realtime.session import Authentication, Authorization, Sessions
from aemos.services.events import Events

PATH = "/socket.io"


class SocketIoDoor:
    """Serves the clients that existing installations have.

    It has a hub of its own: what Socket.IO clients hear of readings is gathered, see
    `notifications`, and those who come back have missed other events than those at `/ws/v1`.
    """

    def __init__(
        self,
        events: Events,
        auth: Authentication,
        authorization: Authorization,
        settings: Realtime,
        clock: IReactorTime,
        address_of: Callable[[Request], str],
    ) -> None:
        """@param address_of: tells where a request comes from."""
        self._enabled = settings.socket_io.enabled
        self.hub = Hub(clock, settings)
        self.notifications = Notifications(self.hub, events, clock, settings.socket_io)
        self.sessions = Sessions(self.hub, auth, authorization, events, settings, clock)
        self.conversations = Conversations(self.sessions)
        self.engine = Engine(settings, clock, self.conversations.begin)
        self.sockets = EngineSockets(self.engine, clock)
        self.resource = EngineResource(self.engine, self.sockets, address_of, ClientScripts())

    def children(self) -> dict[str, IResource]:
        """@return: what the site serves, by path; nothing where this door is switched off."""
        return {PATH: self.resource} if self._enabled else {}

    def figures(self) -> dict[str, Any]:
        """@return: what the health page shows."""
        return {
            "connections": len(self.engine),
            "rooms": self.hub.rooms,
            "events": self.hub.events_sent,
            "deliveries": self.hub.deliveries,
            "dropped": self.engine.dropped,
            "recovered": self.conversations.recovered,
        }

    def stop_polling(self) -> None:
        """Take nobody any more, and let no HTTP request wait."""
        self.engine.stop_polling()

    def stop(self) -> Deferred[None]:
        """Close what is left. @return: fires when all WebSockets are closed."""
        self.engine.stop_polling()
        self.notifications.stop()
        return self.sockets.stop()
