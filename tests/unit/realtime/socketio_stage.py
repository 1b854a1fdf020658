"""The door `/socket.io` in the small world of the realtime tests, and clients without a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from aemos.config.socketio import SocketIo
from aemos.realtime.engine import EngineSession
from aemos.realtime.engineio import Packet, PacketType, decode
from aemos.realtime.socketio_door import SocketIoDoor
from tests.unit.realtime.stage import World


class SocketIoWorld(World):
    """`World` with the door; keyword arguments are settings of `realtime.socket_io`."""

    def __init__(self, clock: Any = None, anonymous: tuple[str, ...] = (), **settings: Any) -> None:
        common = ("max_buffer", "replay_events")
        more = {name: settings.pop(name) for name in common if name in settings}
        super().__init__(clock, anonymous=anonymous, socket_io=SocketIo(**settings), **more)
        self.door = SocketIoDoor(
            self.events,
            self.tokens,
            self.rights,
            self.settings,
            self.clock,
            lambda request: "192.0.2.1",
        )

    def wire(self, name: str = "websocket") -> Wire:
        """@return: a client whose Engine.IO session has begun."""
        wire = Wire(self, name)
        wire.session = self.door.engine.begin(wire, "192.0.2.1")
        return wire

    def client(self, token: str | None = None, **auth: Any) -> Wire:
        """@return: a client that has entered the main namespace."""
        wire = self.wire()
        wire.enter(token, **auth)
        return wire


class Wire:
    """A transport that keeps what is written, and speaks for the client."""

    session: EngineSession

    def __init__(self, world: SocketIoWorld, name: str) -> None:
        self.world, self.name = world, name
        self.ready, self.reading, self.ended = True, True, False
        self.packets: list[bytes] = []
        self.writes = 0
        self.answer: dict[str, Any] = {}

    def write(self, packets: Sequence[bytes]) -> None:
        assert self.ready
        self.writes += 1
        self.packets += packets

    def read(self, wanted: bool) -> None:
        self.reading = wanted

    def end(self) -> None:
        self.ended = True

    # The client

    def say(self, packet: str) -> list[str]:
        """Send a packet as text. @return: what came back in this reactor turn."""
        self.session.received(decode(packet.encode()), self)
        return self.hear()

    def say_binary(self, data: bytes) -> list[str]:
        self.session.received(Packet(PacketType.MESSAGE, data), self)
        return self.hear()

    def hear(self) -> list[str]:
        """@return: the packets that came since."""
        self.world.clock.advance(0)
        heard, self.packets = self.packets, []
        return [packet.decode() for packet in heard]

    def enter(self, token: str | None = None, namespace: str = "", **auth: Any) -> None:
        """CONNECT to a namespace; the server has to accept."""
        if token is not None:
            auth["token"] = token
        head = f"{namespace}," if namespace else ""
        *_, answer = self.say(f"40{head}{json.dumps(auth)}")
        assert answer.startswith(f"40{head}{{"), answer
        self.answer = json.loads(answer[2 + len(head) :])

    def join(self, *rooms: str) -> None:
        assert self.say("42" + json.dumps(["join", list(rooms)])) == []

    def events(self) -> list[tuple[str, Any]]:
        """@return: names and data of the events that came since."""
        heard = [json.loads(packet[2:]) for packet in self.hear() if packet.startswith("42[")]
        # Handlers of other languages than JavaScript take exactly one argument.
        return [(name, data) for name, data in heard]

    def cut(self) -> None:
        """The network is gone."""
        self.session.lost(self, "transport close")
