"""PUBLISH (MQTT 3.1.1 section 3.3), as a value and as the fast path that makes no object."""

from __future__ import annotations

import attrs

from aemos.mqtt.packets.fields import (
    DEFAULT_RULES,
    MalformedPacket,
    Rules,
    decode_topic_name,
    fixed_header,
    write_number,
    write_text,
)

DUP, RETAIN = 0x08, 0x01
"""Flags of byte 1; bits 1 and 2 are the QoS."""


def split_publish(first: int, buffer: bytes, start: int, end: int) -> tuple[int, bytes, int, bytes]:
    """Take a PUBLISH apart without decoding its topic.

    @param first: byte 1 of the fixed header; buffer[start:end] is the rest after the header.
    @return: QoS, raw topic, packet id (0 for QoS 0), payload.
    """
    if end - start < 2:
        raise MalformedPacket("PUBLISH without a topic", "MQTT-3.3.2-1")
    at = start + 2 + (buffer[start] << 8 | buffer[start + 1])
    qos = first >> 1 & 3
    if qos == 0:
        if at > end:
            raise MalformedPacket("the topic runs past the end of the packet", "MQTT-3.3.2-1")
        if first & DUP:
            raise MalformedPacket("DUP with QoS 0", "MQTT-3.3.1-2")
        return 0, buffer[start + 2 : at], 0, buffer[at:end]
    if qos == 3:
        raise MalformedPacket("QoS 3", "MQTT-3.3.1-4")
    if at + 2 > end:
        raise MalformedPacket("PUBLISH ends before its packet id", "MQTT-2.3.1-1")
    packet_id = buffer[at] << 8 | buffer[at + 1]
    if not packet_id:
        raise MalformedPacket("packet id 0", "MQTT-2.3.1-1")
    return qos, buffer[start + 2 : at], packet_id, buffer[at + 2 : end]


@attrs.frozen
class Publish:
    """One application message on the wire; `packet_id` is 0 exactly when `qos` is."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0

    def encode(self) -> bytes:
        packet_id = write_number(self.packet_id) if self.qos else b""
        body = write_text(self.topic) + packet_id + self.payload
        flags = (DUP if self.dup else 0) | self.qos << 1 | (RETAIN if self.retain else 0)
        return fixed_header(0x30 | flags, len(body)) + body

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Publish:
        qos, topic, packet_id, payload = split_publish(flags, body, 0, len(body))
        return cls(
            decode_topic_name(topic, rules),
            payload,
            qos,
            bool(flags & RETAIN),
            bool(flags & DUP),
            packet_id,
        )
