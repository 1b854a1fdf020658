"""SUBSCRIBE, SUBACK and UNSUBSCRIBE (MQTT 3.1.1 sections 3.8 to 3.10)."""

from __future__ import annotations

import attrs

from aemos.mqtt.packets.fields import (
    DEFAULT_RULES,
    MalformedPacket,
    Rules,
    check_flags,
    check_packet_id,
    decode_topic_filter,
    fixed_header,
    read_binary,
    read_packet_id,
    write_number,
    write_text,
)

FAILURE = 0x80
"""The SUBACK code of a filter that was not granted."""


@attrs.frozen
class Subscribe:
    """Asks for messages; `filters` are (topic filter, highest QoS) in the order of the packet."""

    packet_id: int = attrs.field(validator=check_packet_id)
    filters: tuple[tuple[str, int], ...]

    def encode(self) -> bytes:
        parts = [write_text(filter) + bytes((qos,)) for filter, qos in self.filters]
        body = write_number(self.packet_id) + b"".join(parts)
        return fixed_header(0x82, len(body)) + body

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Subscribe:
        check_flags("SUBSCRIBE", flags, 0x02, "MQTT-3.8.1-1", rules)
        packet_id, at = read_packet_id(body, 0)
        filters = []
        while at < len(body):
            raw, at = read_binary(body, at)
            topic_filter = decode_topic_filter(raw, rules)
            if at == len(body):
                raise MalformedPacket("a filter without its QoS", "MQTT-3.8.3-3")
            qos = body[at]
            if qos > 2:
                raise MalformedPacket(f"QoS byte {qos:#04x} in SUBSCRIBE", "MQTT-3.8.3-4")
            filters.append((topic_filter, qos))
            at += 1
        if not filters:
            raise MalformedPacket("SUBSCRIBE without a filter", "MQTT-3.8.3-3")
        return cls(packet_id, tuple(filters))


@attrs.frozen
class SubAck:
    """Answers SUBSCRIBE with one code per filter, in order: the granted QoS or `FAILURE`."""

    packet_id: int = attrs.field(validator=check_packet_id)
    codes: tuple[int, ...]

    def encode(self) -> bytes:
        body = write_number(self.packet_id) + bytes(self.codes)
        return fixed_header(0x90, len(body)) + body

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> SubAck:
        check_flags("SUBACK", flags, 0, "MQTT-2.2.2-2", rules)
        packet_id, at = read_packet_id(body, 0)
        codes = tuple(body[at:])
        if not codes or any(code not in (0, 1, 2, FAILURE) for code in codes):
            raise MalformedPacket("SUBACK with a reserved code or none", "MQTT-3.9.3-2")
        return cls(packet_id, codes)


@attrs.frozen
class Unsubscribe:
    """Ends subscriptions; filters are compared character by character [MQTT-3.10.4-1]."""

    packet_id: int = attrs.field(validator=check_packet_id)
    filters: tuple[str, ...]

    def encode(self) -> bytes:
        body = write_number(self.packet_id) + b"".join(map(write_text, self.filters))
        return fixed_header(0xA2, len(body)) + body

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Unsubscribe:
        check_flags("UNSUBSCRIBE", flags, 0x02, "MQTT-3.10.1-1", rules)
        packet_id, at = read_packet_id(body, 0)
        filters = []
        while at < len(body):
            raw, at = read_binary(body, at)
            filters.append(decode_topic_filter(raw, rules))
        if not filters:
            raise MalformedPacket("UNSUBSCRIBE without a filter", "MQTT-3.10.3-2")
        return cls(packet_id, tuple(filters))
