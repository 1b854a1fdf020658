"""Engine.IO protocol 4: packets and payloads as bytes (spec/realtime.md section 6.1).

https://socket.io/docs/v4/engine-io-protocol/
"""

from __future__ import annotations

import binascii
import enum
from base64 import b64decode, b64encode
from collections.abc import Iterable

import attrs

from aemos import json
from aemos.errors import BadRequest

PROTOCOL = "4"

SEPARATOR = b"\x1e"
"""Between the packets of one body of long polling. JSON never holds it unescaped."""


class MalformedPacket(BadRequest):
    """Bytes that are no packet."""

    code = "malformed_packet"


class PacketType(enum.IntEnum):
    """What the first character of a packet says."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


class Problem(enum.Enum):
    """Why a request is refused: number and text of the JSON answer, and its HTTP status."""

    TRANSPORT_UNKNOWN = (0, "Transport unknown", 400)
    SESSION_UNKNOWN = (1, "Session ID unknown", 400)
    BAD_METHOD = (2, "Bad handshake method", 400)
    BAD_REQUEST = (3, "Bad request", 400)
    FORBIDDEN = (4, "Forbidden", 403)
    UNSUPPORTED_VERSION = (5, "Unsupported protocol version", 400)

    @property
    def status(self) -> int:
        return self.value[2]

    def body(self) -> bytes:
        """@return: the JSON text of the answer."""
        number, text, _ = self.value
        return json.encode({"code": number, "message": text})


@attrs.frozen(slots=True)
class Packet:
    """One packet; only a message can be binary."""

    type: PacketType
    data: str | bytes = ""

    def encode(self) -> bytes:
        """@return: the packet as text, which long polling needs, and WebSocket takes but for binary
        messages: their frame is the data.
        """
        if isinstance(self.data, bytes):
            return b"b" + b64encode(self.data)
        return b"%d%b" % (self.type, self.data.encode())


CLOSE = Packet(PacketType.CLOSE).encode()
PING = Packet(PacketType.PING).encode()
NOOP = Packet(PacketType.NOOP).encode()
PROBE_ANSWER = Packet(PacketType.PONG, "probe").encode()

PROBE = Packet(PacketType.PING, "probe")
"""The first packet on a WebSocket that a session is to move to."""


def decode(raw: bytes) -> Packet:
    """Read one packet that came as text.

    @raise MalformedPacket: it is none.
    """
    if raw.startswith(b"b"):
        try:
            return Packet(PacketType.MESSAGE, b64decode(raw[1:], validate=True))
        except binascii.Error:
            raise MalformedPacket("a binary packet that is not base64") from None
    if not b"0" <= raw[:1] <= b"6":
        raise MalformedPacket("the type of a packet is one of 0 to 6")
    try:
        return Packet(PacketType(int(raw[:1])), raw[1:].decode())
    except UnicodeDecodeError:
        raise MalformedPacket("text that is not UTF-8") from None


def decode_payload(body: bytes) -> list[Packet]:
    """Read the packets in one body of long polling.

    @raise MalformedPacket: one of them is none; the others do not count then.
    """
    return [decode(raw) for raw in body.split(SEPARATOR)]


def encode_payload(packets: Iterable[bytes]) -> bytes:
    """@return: one body of long polling with these encoded packets."""
    return SEPARATOR.join(packets)


def handshake(
    sid: str, upgrades: Iterable[str], ping_interval: int, ping_timeout: int, max_payload: int
) -> bytes:
    """@return: the OPEN packet. Times are milliseconds, `max_payload` is bytes."""
    told = {
        "sid": sid,
        "upgrades": list(upgrades),
        "pingInterval": ping_interval,
        "pingTimeout": ping_timeout,
        "maxPayload": max_payload,
    }
    return Packet(PacketType.OPEN, json.encode(told).decode()).encode()
