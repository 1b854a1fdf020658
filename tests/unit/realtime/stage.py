"""A small world for the realtime tests: tokens, rights and a clock, all in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.task import Clock

from aemos.config.schema import Realtime
from aemos.errors import Unauthenticated
from aemos.model import Instant, Principal, PrincipalKind
from aemos.realtime.channel import Channel
from aemos.realtime.feed import Feed
from aemos.realtime.hub import Event, Hub
from aemos.realtime.session import Sessions
from aemos.services.events import (
    DeviceStateChanged,
    Events,
    ReadingsCommitted,
    ReadingsStored,
)
from aemos.storage.readings import Reading

NOON = 1_800_000_000.0


def user(number: int = 7, *organizations: int, expires: float | None = None) -> Principal:
    return Principal(
        PrincipalKind.USER,
        f"user{number}@example.org",
        number,
        {organization: frozenset({"sensor.view", "device.view"}) for organization in organizations},
        expires_at=None if expires is None else Instant.of(expires),
    )


class Tokens:
    """Authentication by a dict."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.fault: Exception | None = None
        self.asked: list[str] = []

    async def principal_for_token(self, token: str) -> Principal:
        self.asked.append(token)
        if self.fault is not None:
            raise self.fault
        try:
            return self.principals[token]
        except KeyError:
            raise Unauthenticated("the token is not valid") from None


class Rights:
    """Authorization by the organization of each room; `hold` lets answers wait."""

    def __init__(self, settings: Realtime) -> None:
        self.organizations: dict[str, int] = {}
        self.held: list[Callable[[], object]] | None = None
        self._settings = settings

    def may_join(self, principal: Principal, room: str, done: Callable[[bool], object]) -> None:
        if room.isdigit():
            done(principal.kind is PrincipalKind.USER and principal.id == int(room))
            return
        organization = self.organizations.get(room)
        if principal.kind is PrincipalKind.ANONYMOUS:
            allowed = room.startswith("telemetry-") and (
                str(organization) in self._settings.anonymous
            )
        else:
            allowed = organization is not None and (
                principal.administrator or organization in principal.organizations
            )
        if self.held is None:
            done(allowed)
        else:
            self.held.append(lambda: done(allowed))

    def release(self) -> None:
        held, self.held = self.held or [], None
        for answer in held:
            answer()


class World:
    """Hub and sessions with two organizations: telemetry 1 and 2 are of 10, telemetry 9 of 20."""

    def __init__(self, clock: Any = None, **settings: Any) -> None:
        if clock is None:
            clock = Clock()
            clock.advance(NOON)
        self.clock = clock
        self.settings = Realtime(**settings)
        self.events = Events()
        self.tokens = Tokens()
        self.rights = Rights(self.settings)
        self.rights.organizations = {
            "telemetry-1": 10,
            "telemetry-2": 10,
            "telemetry-9": 20,
            "device-uuid-s-1": 10,
            "device-uuid-s-9": 20,
        }
        self.tokens.principals = {"ada": user(7, 10), "bob": user(8, 20)}
        self.hub = Hub(self.clock, self.settings)
        self.feed = Feed(self.hub, self.events, self.clock)
        self.sessions = Sessions(
            self.hub, self.tokens, self.rights, self.events, self.settings, self.clock
        )

    def store(self, *readings: Reading, uuid: str = "s-1", organization: int | None = 10) -> None:
        message = ReadingsStored(3, uuid, organization, readings, len(readings), "mqtt")
        self.events.publish(ReadingsCommitted([message]))


def reading(telemetry_id: int = 1, value: str = "20.5", id: int | None = 100) -> Reading:
    return Reading(value, telemetry_id, "temperature", Instant(1_767_225_600_000), id=id)


def changed_state(**changes: object) -> DeviceStateChanged:
    values: dict[str, object] = {
        "device_id": 7,
        "device_uuid": "p-1",
        "device_name": "Pump",
        "device_type": "actuator",
        "critical": False,
        "organization_id": 10,
        "state": "power",
        "old": "off",
        "new": "on",
        "initiated_by": "user",
        "initiator_id": 3,
        "priority": "high",
        "at": Instant.of(NOON),
    }
    return DeviceStateChanged(**{**values, **changes})


class Listener:
    """A member of rooms that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Event, str]] = []

    def deliver(self, event: Event, room: str) -> None:
        self.heard.append((event, room))


class Connection:
    """The door of a session that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.lost: list[str] = []
        self.over: list[str] = []

    def send_event(self, event: Event, room: str) -> None:
        self.events.append((event.name, room))

    def rooms_lost(self, rooms: Sequence[str]) -> None:
        self.lost += rooms

    def session_over(self, code: str, reason: str) -> None:
        self.over.append(code)


class Wire:
    """The socket under a channel: takes frames apart again."""

    peer = "tcp4:127.0.0.1:50000"

    def __init__(self, world: World) -> None:
        self.clock = world.clock
        self.sent: list[dict[str, Any]] = []
        self.reading = True
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.pings = 0
        self.channel = Channel(
            self, world.sessions, lambda channel: self.clock.callLater(0, channel.flush)
        )

    def say(self, **message: Any) -> list[dict[str, Any]]:
        """Send one message; give what came back at the end of the reactor turn."""
        return self.say_raw(json.dumps(message).encode())

    def say_raw(self, payload: bytes) -> list[dict[str, Any]]:
        self.channel.received(payload)
        return self.hear()

    def hear(self) -> list[dict[str, Any]]:
        self.clock.advance(0)
        heard, self.sent = self.sent, []
        return heard

    def write(self, octets: bytes) -> None:
        while octets:
            assert octets[0] == 0x81
            length, start = octets[1], 2
            if length == 126:
                length, start = int.from_bytes(octets[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(octets[2:10], "big"), 10
            self.sent.append(json.loads(octets[start : start + length]))
            octets = octets[start + length :]

    def ping(self) -> None:
        self.pings += 1

    def read(self, wanted: bool) -> None:
        self.reading = wanted

    def close(self, status: int, reason: str) -> None:
        self.closed = (status, reason)

    def abort(self) -> None:
        self.aborted = True
