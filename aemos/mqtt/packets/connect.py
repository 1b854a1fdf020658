"""CONNECT and CONNACK (MQTT 3.1.1 sections 3.1 and 3.2, MQTT 3.1 likewise)."""

from __future__ import annotations

import attrs

from aemos.mqtt.packets.fields import (
    DEFAULT_RULES,
    LEVEL_3_1,
    LEVEL_3_1_1,
    MalformedPacket,
    Rules,
    decode_text,
    decode_topic_name,
    fixed_header,
    read_binary,
    read_number,
    write_binary,
    write_number,
    write_text,
)

ACCEPTED = 0
UNACCEPTABLE_LEVEL = 1
IDENTIFIER_REJECTED = 2
SERVER_UNAVAILABLE = 3
BAD_CREDENTIALS = 4
NOT_AUTHORIZED = 5

_NAMES = {b"MQTT": LEVEL_3_1_1, b"MQIsdp": LEVEL_3_1}

_USER, _PASSWORD, _WILL_RETAIN, _WILL, _CLEAN, _RESERVED = 0x80, 0x40, 0x20, 0x04, 0x02, 0x01


@attrs.frozen
class Will:
    """What the server publishes when the connection ends without DISCONNECT."""

    topic: str
    payload: bytes = b""
    qos: int = 0
    retain: bool = False


@attrs.frozen
class Connect:
    """The first packet of a client. `keep_alive` is in seconds, 0 = off."""

    client_id: str = ""
    level: int = LEVEL_3_1_1
    clean_session: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = attrs.field(default=None, repr=False)

    def encode(self) -> bytes:
        flags = _CLEAN if self.clean_session else 0
        payload = [write_text(self.client_id)]
        if self.will is not None:
            flags |= _WILL | self.will.qos << 3 | (_WILL_RETAIN if self.will.retain else 0)
            payload += [write_text(self.will.topic), write_binary(self.will.payload)]
        if self.username is not None:
            flags |= _USER
            payload.append(write_text(self.username))
        if self.password is not None:
            flags |= _PASSWORD
            payload.append(write_binary(self.password))
        name = b"MQTT" if self.level == LEVEL_3_1_1 else b"MQIsdp"
        head = write_binary(name) + bytes((self.level, flags)) + write_number(self.keep_alive)
        body = head + b"".join(payload)
        return fixed_header(0x10, len(body)) + body

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> Connect:
        """The level is read from the packet; of `rules` only the limits count.

        @raise MalformedPacket: with `return_code` 1 when the level is one we do not speak.
        """
        name, at = read_binary(body, 0)
        if name not in _NAMES:
            raise MalformedPacket("unknown protocol name", "MQTT-3.1.2-1")
        level = body[at] if at < len(body) else 0
        if level != _NAMES[name]:
            # The rest of the packet may be laid out in another way: it is not looked at.
            raise MalformedPacket(f"protocol level {level}", "MQTT-3.1.2-2", UNACCEPTABLE_LEVEL)
        if at + 6 > len(body):
            raise MalformedPacket("CONNECT ends before its payload", "MQTT-3.1.3-3")
        connect_flags = body[at + 1]
        rules = Rules(level, rules.strict_text, rules.max_levels)
        keep_alive, at = read_number(body, at + 2)
        _check_flags(flags, connect_flags, rules)
        raw, at = read_binary(body, at)
        client_id = decode_text(raw, rules)
        will = None
        if connect_flags & _WILL:
            raw, at = read_binary(body, at)
            topic = decode_topic_name(raw, rules)
            payload, at = read_binary(body, at)
            will = Will(topic, payload, connect_flags >> 3 & 3, bool(connect_flags & _WILL_RETAIN))
        username = password = None
        # MQTT 3.1 lets a flagged user name or password be missing when the packet ends there.
        lenient = level == LEVEL_3_1
        if connect_flags & _USER and not (lenient and at == len(body)):
            raw, at = read_binary(body, at)
            username = decode_text(raw, rules)
        if connect_flags & _PASSWORD and not (lenient and at == len(body)):
            password, at = read_binary(body, at)
        if at != len(body):
            raise MalformedPacket("bytes after the last field of CONNECT", "MQTT-3.1.2-18")
        return cls(
            client_id, level, bool(connect_flags & _CLEAN), keep_alive, will, username, password
        )

    @property
    def identifier_allowed(self) -> bool:
        """Whether the client id follows the rules of its level [MQTT-3.1.3-7], [MQTT-3.1.3-8]."""
        if self.level == LEVEL_3_1:
            return 1 <= len(self.client_id) <= 23
        return bool(self.client_id) or self.clean_session


def _check_flags(flags: int, connect_flags: int, rules: Rules) -> None:
    if rules.level == LEVEL_3_1_1:
        if flags:
            raise MalformedPacket("CONNECT with reserved header flags", "MQTT-2.2.2-2")
        if connect_flags & _RESERVED:
            raise MalformedPacket("reserved connect flag", "MQTT-3.1.2-3")
    will_qos = connect_flags >> 3 & 3
    if connect_flags & _WILL:
        if will_qos == 3:
            raise MalformedPacket("will QoS 3", "MQTT-3.1.2-14")
    elif will_qos:
        raise MalformedPacket("will QoS without a will", "MQTT-3.1.2-13")
    elif connect_flags & _WILL_RETAIN:
        raise MalformedPacket("will retain without a will", "MQTT-3.1.2-15")
    if connect_flags & _PASSWORD and not connect_flags & _USER:
        raise MalformedPacket("password without user name", "MQTT-3.1.2-22")


@attrs.frozen
class ConnAck:
    """The server's answer to CONNECT; `return_code` 0 accepts."""

    return_code: int = ACCEPTED
    session_present: bool = False

    def encode(self) -> bytes:
        return bytes((0x20, 2, self.session_present, self.return_code))

    @classmethod
    def decode(cls, flags: int, body: bytes, rules: Rules = DEFAULT_RULES) -> ConnAck:
        if flags or len(body) != 2 or body[0] > 1:
            raise MalformedPacket("CONNACK needs flags 0 and two bytes", "MQTT-2.2.2-2")
        if body[0] and body[1]:
            raise MalformedPacket("a refusal has no session present", "MQTT-3.2.2-4")
        return cls(body[1], bool(body[0]))
