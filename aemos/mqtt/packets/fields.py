"""The fields that MQTT packets are made of: numbers, text, binary data and the fixed header."""

from __future__ import annotations

import re

import attrs

from aemos.errors import BadRequest
from aemos.topics import MAX_LEVELS, InvalidTopic, check_filter, check_name

LEVEL_3_1 = 3
LEVEL_3_1_1 = 4


class MalformedPacket(BadRequest):
    """Bytes that break a rule of MQTT; the connection they came on must be closed.

    `clause` names the rule ("MQTT-2.2.2-2"). `return_code` is what a CONNACK says before the
    close; None, the usual case, closes without a word.
    """

    code = "malformed_packet"

    def __init__(self, reason: str, clause: str, return_code: int | None = None) -> None:
        super().__init__(f"{reason} [{clause}]")
        self.reason = reason
        self.clause = clause
        self.return_code = return_code


@attrs.frozen
class Rules:
    """What a decoder has to go by: the protocol level of the connection and configured limits."""

    level: int = LEVEL_3_1_1
    strict_text: bool = True
    max_levels: int = MAX_LEVELS


DEFAULT_RULES = Rules()

# Section 1.5.3: the receiver may close on control characters and on Unicode non-characters.
_DISCOURAGED = re.compile(
    "[\x01-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)


def decode_text(raw: bytes, rules: Rules = DEFAULT_RULES) -> str:
    """@raise MalformedPacket: bytes that are no text [MQTT-1.5.3-1], [MQTT-1.5.3-2]."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedPacket("text is not well-formed UTF-8", "MQTT-1.5.3-1") from None
    if "\0" in text:
        raise MalformedPacket("text holds U+0000", "MQTT-1.5.3-2")
    if rules.strict_text and _DISCOURAGED.search(text):
        raise MalformedPacket("text holds a control character or a non-character", "MQTT-1.5.3")
    return text


def decode_topic_name(raw: bytes, rules: Rules = DEFAULT_RULES) -> str:
    """@raise MalformedPacket: not a topic name [MQTT-3.3.2-1], [MQTT-3.3.2-2]."""
    topic = decode_text(raw, rules)
    try:
        check_name(topic, rules.max_levels)
    except InvalidTopic as error:
        raise MalformedPacket(str(error), error.clause) from None
    return topic


def decode_topic_filter(raw: bytes, rules: Rules = DEFAULT_RULES) -> str:
    """@raise MalformedPacket: not a topic filter that the rules allow (section 4.7)."""
    topic_filter = decode_text(raw, rules)
    try:
        check_filter(topic_filter, rules.max_levels)
    except InvalidTopic as error:
        raise MalformedPacket(str(error), error.clause) from None
    return topic_filter


def read_number(body: bytes, at: int) -> tuple[int, int]:
    """Read a two-byte number at `at`. @return: the number and where the next field begins."""
    if at + 2 > len(body):
        raise MalformedPacket("the packet ends inside a field", "MQTT-4.8.0-1")
    return body[at] << 8 | body[at + 1], at + 2


def read_packet_id(body: bytes, at: int) -> tuple[int, int]:
    """Like `read_number`, for an id, which is never 0 [MQTT-2.3.1-1]."""
    packet_id, after = read_number(body, at)
    if not packet_id:
        raise MalformedPacket("packet id 0", "MQTT-2.3.1-1")
    return packet_id, after


def read_binary(body: bytes, at: int) -> tuple[bytes, int]:
    """Read length-prefixed bytes at `at`. @return: them and where the next field begins."""
    length, start = read_number(body, at)
    end = start + length
    if end > len(body):
        raise MalformedPacket("a field runs past the end of the packet", "MQTT-4.8.0-1")
    return body[start:end], end


def write_number(value: int) -> bytes:
    """@return: two bytes, big endian."""
    return value.to_bytes(2, "big")


def write_binary(value: bytes) -> bytes:
    """@return: the value with its two-byte length in front."""
    return len(value).to_bytes(2, "big") + value


def write_text(value: str) -> bytes:
    """@return: UTF-8 with its two-byte length in front."""
    return write_binary(value.encode())


def fixed_header(first: int, length: int) -> bytes:
    """@return: byte 1 and the remaining length in its shortest form (section 2.2.3)."""
    if length < 0x80:
        return bytes((first, length))
    header = bytearray((first,))
    while length >= 0x80:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


def check_packet_id(_instance: object, _attribute: object, value: int) -> None:
    """An attrs validator: 1..65535 [MQTT-2.3.1-1]."""
    if not 1 <= value <= 0xFFFF:
        raise MalformedPacket(f"packet id {value} is not in 1..65535", "MQTT-2.3.1-1")


def check_flags(name: str, flags: int, expected: int, clause: str, rules: Rules) -> None:
    """Flags are exactly as listed in 3.1.1; in 3.1 a repeat may have DUP, others may have any."""
    if flags == expected or (rules.level == LEVEL_3_1 and (not expected or flags == expected | 8)):
        return
    raise MalformedPacket(f"{name} with flags {flags:04b}", clause)
