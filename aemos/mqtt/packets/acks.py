"""The packets that carry a packet id and nothing else (MQTT 3.1.1 sections 3.4 to 3.7 and 3.11)."""

from __future__ import annotations

from typing import ClassVar, Self

import attrs

from aemos.mqtt.packets.fields import (
    DEFAULT_RULES,
    MalformedPacket,
    Rules,
    check_flags,
    check_packet_id,
    read_packet_id,
    write_number,
)


@attrs.frozen
class _Ack:
    """Byte 1 (type and fixed flags), two bytes of packet id."""

    packet_id: int = attrs.field(validator=check_packet_id)

    FIRST: ClassVar[int] = 0
    CLAUSE: ClassVar[str] = "MQTT-2.2.2-2"

    def encode(self) -> bytes:
        return bytes((self.FIRST, 2)) + write_number(self.packet_id)

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Self:
        check_flags(cls.__name__, flags, cls.FIRST & 0x0F, cls.CLAUSE, rules)
        if len(body) != 2:
            raise MalformedPacket(f"{cls.__name__} with {len(body)} bytes", "MQTT-4.8.0-1")
        return cls(read_packet_id(body, 0)[0])


class PubAck(_Ack):
    """Ends a QoS 1 delivery."""

    FIRST = 0x40


class PubRec(_Ack):
    """First answer in a QoS 2 delivery: received."""

    FIRST = 0x50


class PubRel(_Ack):
    """The sender's answer to PUBREC: the id may be forgotten."""

    FIRST = 0x62
    CLAUSE = "MQTT-3.6.1-1"


class PubComp(_Ack):
    """Ends a QoS 2 delivery."""

    FIRST = 0x70


class UnsubAck(_Ack):
    """Answers UNSUBSCRIBE."""

    FIRST = 0xB0
