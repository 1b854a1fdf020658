"""Packets and their bytes: one table for decoding, encoding and tests of a live connection."""

from __future__ import annotations

import attrs

from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
)


@attrs.frozen
class Good:
    """A packet and the only bytes that the server would write for it."""

    name: str
    raw: bytes
    packet: Packet
    level: int = 4


@attrs.frozen
class Bad:
    """Bytes that are no packet, and the clause that says so."""

    name: str
    raw: bytes
    clause: str
    level: int = 4


def h(text: str) -> bytes:
    """Read hexadecimal digits, blanks ignored."""
    return bytes.fromhex(text)


CONN = h("100d 0004 4d515454 04 02 003c 0001 61")


def connect(flags: int, fields: bytes, level: int = 4) -> bytes:
    """@return: a CONNECT with these connect flags and payload fields, keep-alive 60."""
    name = b"\0\4MQTT" if level == 4 else b"\0\6MQIsdp"
    body = name + bytes((level, flags)) + b"\0\x3c" + fields
    return bytes((0x10, len(body))) + body


GOOD = [
    Good("CONNECT, clean", CONN, Connect("a", keep_alive=60)),
    Good("CONNECT, empty id", connect(2, h("0000")), Connect("", keep_alive=60)),
    Good(
        "CONNECT with everything",
        connect(0xEE, h("0001 61 0001 77 0002 00ff 0001 75 0002 c328")),
        Connect("a", 4, True, 60, Will("w", b"\0\xff", 1, True), "u", b"\xc3\x28"),
    ),
    Good(
        "CONNECT, persistent, will QoS 2, empty will payload",
        connect(0x14, h("0001 61 0001 77 0000")),
        Connect("a", 4, False, 60, Will("w", b"", 2)),
    ),
    Good("CONNECT 3.1", connect(2, h("0001 61"), 3), Connect("a", 3, keep_alive=60), 3),
    Good("CONNACK", h("2002 0000"), ConnAck()),
    Good("CONNACK, session present", h("2002 0100"), ConnAck(0, True)),
    Good("CONNACK, refused", h("2002 0005"), ConnAck(5)),
    Good("PUBLISH QoS 0", h("3005 0001 61 7879"), Publish("a", b"xy")),
    Good("PUBLISH QoS 0, retain, empty", h("3103 0001 61"), Publish("a", retain=True)),
    Good("PUBLISH QoS 1", h("3205 0001 61 1234"), Publish("a", b"", 1, packet_id=0x1234)),
    Good("PUBLISH QoS 1, DUP", h("3a05 0001 61 0001"), Publish("a", b"", 1, False, True, 1)),
    Good("PUBLISH QoS 2", h("3406 0001 61 ffff 78"), Publish("a", b"x", 2, packet_id=0xFFFF)),
    Good("PUBLISH QoS 2, all flags", h("3d05 0001 61 0001"), Publish("a", b"", 2, True, True, 1)),
    Good("PUBLISH, BOM kept", h("3006 0004 efbbbf61"), Publish("\ufeffa")),
    Good("PUBLISH, 321 bytes", h("30c102 0001 61") + b"z" * 318, Publish("a", b"z" * 318)),
    Good("PUBLISH, 128 bytes", h("308001 0001 61") + b"z" * 125, Publish("a", b"z" * 125)),
    Good("PUBLISH, 16384 bytes", h("30808001 0001 61") + b"z" * 16381, Publish("a", b"z" * 16381)),
    Good(
        "PUBLISH, 2 MiB",
        h("3080808001 0001 61") + b"z" * 2097149,
        Publish("a", b"z" * 2097149),
    ),
    Good("PUBACK", h("4002 1234"), PubAck(0x1234)),
    Good("PUBREC", h("5002 0001"), PubRec(1)),
    Good("PUBREL", h("6202 0001"), PubRel(1)),
    Good("PUBCOMP", h("7002 ffff"), PubComp(0xFFFF)),
    Good("SUBSCRIBE", h("8206 0001 0001 61 00"), Subscribe(1, (("a", 0),))),
    Good(
        "SUBSCRIBE, several filters",
        h("8210 0002 0003 612f23 01 0001 2b 02 0001 23 00"),
        Subscribe(2, (("a/#", 1), ("+", 2), ("#", 0))),
    ),
    Good("SUBACK", h("9006 0001 00010280"), SubAck(1, (0, 1, 2, 0x80))),
    Good("UNSUBSCRIBE", h("a20b 0001 0003 612f62 0002 2f2b"), Unsubscribe(1, ("a/b", "/+"))),
    Good("UNSUBACK", h("b002 ffff"), UnsubAck(0xFFFF)),
    Good("PINGREQ", h("c000"), PingReq()),
    Good("PINGRESP", h("d000"), PingResp()),
    Good("DISCONNECT", h("e000"), Disconnect()),
]

ALSO_DECODED = [
    Good("padded remaining length", h("c08000"), PingReq()),
    Good("3.1: PUBREL with DUP", h("6a02 0001"), PubRel(1), 3),
    Good("3.1: SUBSCRIBE with DUP", h("8a06 0001 0001 61 00"), Subscribe(1, (("a", 0),)), 3),
    Good("3.1: UNSUBSCRIBE with DUP", h("aa05 0001 0001 61"), Unsubscribe(1, ("a",)), 3),
    Good("3.1: PINGREQ with flags", h("c100"), PingReq(), 3),
    Good("3.1: DISCONNECT with flags", h("e200"), Disconnect(), 3),
    Good(
        "3.1: CONNECT with DUP", h("18") + connect(2, h("000161"), 3)[1:], Connect("a", 3, True, 60)
    ),
    Good("3.1: reserved connect flag", connect(3, h("000161"), 3), Connect("a", 3, True, 60)),
    Good("3.1: flagged user missing", connect(0x82, h("000161"), 3), Connect("a", 3, True, 60)),
    Good(
        "3.1: flagged password missing",
        connect(0xC2, h("000161 000175"), 3),
        Connect("a", 3, True, 60, None, "u"),
    ),
]
"""Accepted from a client, though the server would write other bytes."""

_SUB = "8206 0001 0001"

BAD = [
    Bad("type 0", h("0000"), "MQTT-2.2.1"),
    Bad("type 15", h("f000"), "MQTT-2.2.1"),
    # CONNECT
    Bad("CONNECT with header flags", h("11") + CONN[1:], "MQTT-2.2.2-2"),
    Bad("protocol name MQTU", CONN.replace(b"MQTT", b"MQTU"), "MQTT-3.1.2-1"),
    Bad("protocol name mqtt", CONN.replace(b"MQTT", b"mqtt"), "MQTT-3.1.2-1"),
    Bad("protocol name MQT", h("100c 0003 4d5154 04 02 003c 0001 61"), "MQTT-3.1.2-1"),
    Bad("protocol name empty", h("1009 0000 04 02 003c 0001 61"), "MQTT-3.1.2-1"),
    Bad("level 6", h("100d 0004 4d515454 06 02 003c 0001 61"), "MQTT-3.1.2-2"),
    Bad("level 5", h("100e 0004 4d515454 05 02 003c 00 0001 61"), "MQTT-3.1.2-2"),
    Bad("MQTT with level 3", h("100d 0004 4d515454 03 02 003c 0001 61"), "MQTT-3.1.2-2"),
    Bad("MQIsdp with level 4", h("100f 0006 4d514973 6470 04 02 003c 0001 61"), "MQTT-3.1.2-2"),
    Bad("reserved connect flag", connect(0x03, h("0001 61")), "MQTT-3.1.2-3"),
    Bad("will flag without will", connect(0x06, h("0001 61")), "MQTT-4.8.0-1"),
    Bad("will QoS without will", connect(0x0A, h("0001 61")), "MQTT-3.1.2-13"),
    Bad("will QoS 2 without will", connect(0x12, h("0001 61")), "MQTT-3.1.2-13"),
    Bad("will QoS 3", connect(0x1E, h("0001 61 0001 77 0000")), "MQTT-3.1.2-14"),
    Bad("will retain without will", connect(0x22, h("0001 61")), "MQTT-3.1.2-15"),
    Bad("extra string", connect(0x02, h("0001 61 0001 75")), "MQTT-3.1.2-18"),
    Bad("user missing", connect(0x82, h("0001 61")), "MQTT-4.8.0-1"),
    Bad("extra string after user", connect(0x82, h("0001 61 0001 75 0001 70")), "MQTT-3.1.2-18"),
    Bad("password missing", connect(0xC2, h("0001 61 0001 75")), "MQTT-4.8.0-1"),
    Bad("password without user", connect(0x42, h("0001 61 0001 70")), "MQTT-3.1.2-22"),
    Bad("no client id", h("100a 0004 4d515454 04 02 003c"), "MQTT-3.1.3-3"),
    Bad("client id not UTF-8", connect(2, h("0001 ff")), "MQTT-1.5.3-1"),
    Bad("client id with U+0000", connect(2, h("0001 00")), "MQTT-1.5.3-2"),
    Bad("client id with a control character", connect(2, h("0001 07")), "MQTT-1.5.3"),
    Bad("client id with a non-character", connect(2, h("0003 efbfbf")), "MQTT-1.5.3"),
    Bad("will topic a surrogate", connect(6, h("000161 0003 eda080 0000")), "MQTT-1.5.3-1"),
    Bad("will topic with U+0000", connect(6, h("000161 0001 00 0000")), "MQTT-1.5.3-2"),
    Bad("will topic empty", connect(6, h("000161 0000 0000")), "MQTT-4.7.3-1"),
    Bad("will topic a wildcard", connect(6, h("000161 0001 2b 0000")), "MQTT-3.3.2-2"),
    Bad("user not UTF-8", connect(0x82, h("000161 0002 c328")), "MQTT-1.5.3-1"),
    Bad("user with U+0000", connect(0x82, h("000161 0001 00")), "MQTT-1.5.3-2"),
    Bad("CONNECT cut in the name", h("1003 0004 4d"), "MQTT-4.8.0-1"),
    Bad("3.1: trailing bytes", connect(2, h("0001 61 00"), 3), "MQTT-3.1.2-18"),
    # CONNACK, as a client reads it
    Bad("CONNACK too long", h("2003 000000"), "MQTT-2.2.2-2"),
    Bad("CONNACK, refused with session", h("2002 0105"), "MQTT-3.2.2-4"),
    # PUBLISH
    Bad("QoS 3", h("3605 0001 61 0001"), "MQTT-3.3.1-4"),
    Bad("DUP with QoS 0", h("3803 0001 61"), "MQTT-3.3.1-2"),
    Bad("no topic", h("3000"), "MQTT-3.3.2-1"),
    Bad("half a topic length", h("3001 00"), "MQTT-3.3.2-1"),
    Bad("topic past the end", h("3003 0002 61"), "MQTT-3.3.2-1"),
    Bad("no packet id", h("3203 0001 61"), "MQTT-2.3.1-1"),
    Bad("half a packet id", h("3404 0001 61 00"), "MQTT-2.3.1-1"),
    Bad("packet id 0", h("3205 0001 61 0000"), "MQTT-2.3.1-1"),
    Bad("QoS 2, packet id 0", h("3405 0001 61 0000"), "MQTT-2.3.1-1"),
    Bad("empty topic", h("3002 0000"), "MQTT-4.7.3-1"),
    Bad("topic a/+", h("3005 0003 612f2b"), "MQTT-3.3.2-2"),
    Bad("topic #", h("3003 0001 23"), "MQTT-3.3.2-2"),
    Bad("topic a+b", h("3005 0003 612b62"), "MQTT-3.3.2-2"),
    Bad("topic a surrogate", h("3005 0003 eda080"), "MQTT-1.5.3-1"),
    Bad("topic overlong", h("3004 0002 c080"), "MQTT-1.5.3-1"),
    Bad("topic five-byte form", h("3007 0005 f888808080"), "MQTT-1.5.3-1"),
    Bad("topic a cut sequence", h("3003 0001 c3"), "MQTT-1.5.3-1"),
    Bad("topic with U+0000", h("3003 0001 00"), "MQTT-1.5.3-2"),
    Bad("topic with a control character", h("3003 0001 1f"), "MQTT-1.5.3"),
    # acknowledgements
    Bad("PUBACK with flags", h("4102 0001"), "MQTT-2.2.2-2"),
    Bad("PUBACK with id 0", h("4002 0000"), "MQTT-2.3.1-1"),
    Bad("PUBACK too short", h("4001 00"), "MQTT-4.8.0-1"),
    Bad("PUBACK too long", h("4003 000100"), "MQTT-4.8.0-1"),
    Bad("PUBREC with flags", h("5202 0001"), "MQTT-2.2.2-2"),
    Bad("PUBREL with flags 0000", h("6002 0001"), "MQTT-3.6.1-1"),
    Bad("PUBREL with flags 0011", h("6302 0001"), "MQTT-3.6.1-1"),
    Bad("PUBREL with flags 0110", h("6602 0001"), "MQTT-3.6.1-1"),
    Bad("PUBREL with flags 1010", h("6a02 0001"), "MQTT-3.6.1-1"),
    Bad("PUBCOMP with flags", h("7102 0001"), "MQTT-2.2.2-2"),
    Bad("UNSUBACK too long", h("b003 000100"), "MQTT-4.8.0-1"),
    # SUBSCRIBE
    Bad("SUBSCRIBE flags 0000", h(f"80{_SUB[2:]} 61 00"), "MQTT-3.8.1-1"),
    Bad("SUBSCRIBE flags 0011", h(f"83{_SUB[2:]} 61 00"), "MQTT-3.8.1-1"),
    Bad("SUBSCRIBE flags 0110", h(f"86{_SUB[2:]} 61 00"), "MQTT-3.8.1-1"),
    Bad("SUBSCRIBE flags 1010", h(f"8a{_SUB[2:]} 61 00"), "MQTT-3.8.1-1"),
    Bad("SUBSCRIBE id 0", h("8206 0000 0001 61 00"), "MQTT-2.3.1-1"),
    Bad("SUBSCRIBE without filter", h("8202 0001"), "MQTT-3.8.3-3"),
    Bad("SUBSCRIBE without id", h("8200"), "MQTT-4.8.0-1"),
    Bad("SUBSCRIBE without QoS", h("8205 0001 0001 61"), "MQTT-3.8.3-3"),
    Bad("SUBSCRIBE QoS 3", h(f"{_SUB} 61 03"), "MQTT-3.8.3-4"),
    Bad("SUBSCRIBE QoS 4", h(f"{_SUB} 61 04"), "MQTT-3.8.3-4"),
    Bad("SUBSCRIBE QoS 80", h(f"{_SUB} 61 80"), "MQTT-3.8.3-4"),
    Bad("filter not UTF-8", h(f"{_SUB} ff 00"), "MQTT-1.5.3-1"),
    Bad("filter with U+0000", h(f"{_SUB} 00 00"), "MQTT-1.5.3-2"),
    Bad("filter empty", h("8205 0001 0000 00"), "MQTT-4.7.3-1"),
    Bad("filter a#", h("8207 0001 0002 6123 00"), "MQTT-4.7.1-2"),
    Bad("filter #/a", h("8208 0001 0003 232f61 00"), "MQTT-4.7.1-2"),
    Bad("filter a+", h("8207 0001 0002 612b 00"), "MQTT-4.7.1-3"),
    Bad("filter past the end", h("8206 0001 0005 61 00"), "MQTT-4.8.0-1"),
    Bad("SUBACK with code 3", h("9003 0001 03"), "MQTT-3.9.3-2"),
    # UNSUBSCRIBE
    Bad("UNSUBSCRIBE flags 0000", h("a005 0001 0001 61"), "MQTT-3.10.1-1"),
    Bad("UNSUBSCRIBE flags 0011", h("a305 0001 0001 61"), "MQTT-3.10.1-1"),
    Bad("UNSUBSCRIBE flags 0110", h("a605 0001 0001 61"), "MQTT-3.10.1-1"),
    Bad("UNSUBSCRIBE flags 1010", h("aa05 0001 0001 61"), "MQTT-3.10.1-1"),
    Bad("UNSUBSCRIBE id 0", h("a205 0000 0001 61"), "MQTT-2.3.1-1"),
    Bad("UNSUBSCRIBE without filter", h("a202 0001"), "MQTT-3.10.3-2"),
    Bad("UNSUBSCRIBE filter not UTF-8", h("a205 0001 0001 ff"), "MQTT-1.5.3-1"),
    Bad("UNSUBSCRIBE filter a#", h("a206 0001 0002 6123"), "MQTT-4.7.1-2"),
    # the bare ones
    Bad("PINGREQ with flags", h("c100"), "MQTT-2.2.2-2"),
    Bad("PINGREQ with a body", h("c00100"), "MQTT-4.8.0-1"),
    Bad("PINGRESP with a body", h("d00100"), "MQTT-4.8.0-1"),
    Bad("DISCONNECT with flags 0001", h("e100"), "MQTT-3.14.1-1"),
    Bad("DISCONNECT with flags 0010", h("e200"), "MQTT-3.14.1-1"),
    Bad("DISCONNECT with a body", h("e00100"), "MQTT-4.8.0-1"),
    # framing
    Bad("remaining length of five bytes", h("3080808080 01"), "MQTT-2.2.3"),
    Bad("remaining length never ending", h("30ffffffff"), "MQTT-2.2.3"),
]
