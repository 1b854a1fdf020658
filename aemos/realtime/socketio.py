"""Socket.IO protocol 5: the packets inside Engine.IO messages (spec/realtime.md section 6.2).

https://socket.io/docs/v4/socket-io-protocol/
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Any

import attrs

from aemos import json
from aemos.realtime.engineio import MalformedPacket

_MAX_ATTACHMENTS = 10
_HEAD = re.compile(
    r"(?P<type>[0-6])"
    r"(?:(?P<attachments>[0-9]{1,4})-)?"
    r"(?:(?P<namespace>/[^,?]{0,100})(?:\?[^,]{0,1000})?(?:,|\Z))?"
    r"(?P<id>[0-9]{1,15})?",
    re.ASCII,
)

RESERVED = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)
"""Names that an event cannot have: clients mean something else by them."""


class PacketType(enum.IntEnum):
    """What the first character of a message says."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


_WITH_ATTACHMENTS = (PacketType.BINARY_EVENT, PacketType.BINARY_ACK)


@attrs.frozen(slots=True)
class Packet:
    """One packet. `data` is what its JSON says (None = it has none), `id` the number of an ack."""

    type: PacketType
    namespace: str = "/"
    data: Any = None
    id: int | None = None

    def encode(self) -> str:
        """@return: the text of a packet without binary data."""
        number = "" if self.id is None else self.id
        data = "" if self.data is None else json.encode(self.data).decode()
        return f"{self.type:d}{prefix(self.namespace)}{number}{data}"


def prefix(namespace: str) -> str:
    """@return: how a packet names its namespace; the main one is left out."""
    return "" if namespace == "/" else f"{namespace},"


class Decoder:
    """Puts packets together from the messages of one client, text and binary."""

    def __init__(self) -> None:
        self._unfinished: Packet | None = None
        self._wanted = 0
        self._attachments: list[bytes] = []

    def feed(self, message: str | bytes) -> Packet | None:
        """Take the next message.

        @return: the packet that it completes; None = binary messages are to follow.
        @raise MalformedPacket: no packet, or not what has to follow; the client is lost then.
        """
        if isinstance(message, bytes):
            return self._attach(message)
        if self._unfinished is not None:
            raise MalformedPacket("text where a binary attachment has to follow")
        packet, attachments = _decode(message)
        if packet.type not in _WITH_ATTACHMENTS:
            return packet
        self._unfinished, self._wanted = packet, attachments
        return self._complete()

    def _attach(self, message: bytes) -> Packet | None:
        if self._unfinished is None:
            raise MalformedPacket("a binary message that no packet announced")
        self._attachments.append(message)
        return self._complete()

    def _complete(self) -> Packet | None:
        packet, attachments = self._unfinished, self._attachments
        if packet is None or len(attachments) < self._wanted:
            return None
        self._unfinished, self._attachments = None, []
        try:
            return attrs.evolve(packet, data=_filled_in(packet.data, attachments))
        except RecursionError:
            raise MalformedPacket("nested too deeply") from None


def _decode(text: str) -> tuple[Packet, int]:
    """@return: the packet, and how many attachments follow it."""
    head = _HEAD.match(text)
    if head is None:
        raise MalformedPacket("the type of a packet is one of 0 to 6")
    kind, number = PacketType(int(head["type"])), head["id"]
    attachments = int(head["attachments"] or 0)
    if attachments > _MAX_ATTACHMENTS:
        raise MalformedPacket(f"more than {_MAX_ATTACHMENTS} attachments")
    if (head["attachments"] is None) is (kind in _WITH_ATTACHMENTS):
        raise MalformedPacket("binary packets, and no others, name the number of attachments")
    rest = text[head.end() :]
    try:
        data = json.decode(rest) if rest else None
    except json.MalformedJson as error:
        raise MalformedPacket(str(error)) from None
    packet = Packet(kind, head["namespace"] or "/", data, None if number is None else int(number))
    if not _fits(packet, bool(rest)):
        raise MalformedPacket(f"this is no data for {kind.name}")
    return packet, attachments


def _fits(packet: Packet, has_data: bool) -> bool:
    """@return: whether the data suits the type."""
    data = packet.data
    match packet.type:
        case PacketType.CONNECT:
            return not has_data or isinstance(data, dict)
        case PacketType.DISCONNECT:
            return not has_data
        case PacketType.CONNECT_ERROR:
            return isinstance(data, (str, dict))
        case PacketType.EVENT | PacketType.BINARY_EVENT:
            if not isinstance(data, list) or not data:
                return False
            name = data[0]
            if isinstance(name, str):
                return name not in RESERVED
            return isinstance(name, (int, float)) and not isinstance(name, bool)
        case PacketType.ACK | PacketType.BINARY_ACK:
            return isinstance(data, list) and packet.id is not None


def _filled_in(data: Any, attachments: Sequence[bytes]) -> Any:
    """Put the attachments where their placeholders are."""
    if isinstance(data, list):
        return [_filled_in(item, attachments) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get("_placeholder") is not True:
        return {key: _filled_in(value, attachments) for key, value in data.items()}
    number = data.get("num")
    if type(number) is not int or not 0 <= number < len(attachments):
        raise MalformedPacket("a placeholder without its attachment")
    return attachments[number]
