"""Engine.IO and Socket.IO packets, with the packet classes of python-socketio as the oracle."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable

import pytest
from engineio.packet import Packet as TheirPacket
from engineio.payload import Payload as TheirPayload
from hypothesis import given
from hypothesis import strategies as st
from socketio.packet import Packet as TheirSocketPacket

from aemos.realtime import engineio, socketio
from aemos.realtime.engineio import MalformedPacket, Problem

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMESPACES = st.sampled_from(["/", "/api/v1", "/admin"])
IDS = st.none() | st.integers(0, 10**14)


def feed(decoder: socketio.Decoder, messages: Iterable[str | bytes]) -> None:
    for message in messages:
        decoder.feed(message)


def theirs(packet: socketio.Packet) -> str:
    return TheirSocketPacket(
        packet.type.value, packet.data, packet.namespace, packet.id, binary=False
    ).encode()


@given(st.sampled_from(list(engineio.PacketType)), TEXT)
def test_an_engine_packet_is_written_and_read_as_theirs(kind, text):
    packet = engineio.Packet(kind, text)
    assert packet.encode().decode() == TheirPacket(kind.value, text).encode()
    assert engineio.decode(packet.encode()) == packet


@given(st.binary(max_size=40))
def test_a_binary_message_is_base64_in_a_body(data):
    packet = engineio.Packet(engineio.PacketType.MESSAGE, data)
    assert packet.encode().decode() == TheirPacket(4, data).encode(b64=True)
    assert engineio.decode(packet.encode()) == packet


@given(
    st.lists(st.binary(max_size=9) | TEXT.filter(lambda t: "\x1e" not in t), min_size=1, max_size=9)
)
def test_a_body_of_several_packets_is_written_and_read_as_theirs(messages):
    packets = [engineio.Packet(engineio.PacketType.MESSAGE, data) for data in messages]
    body = engineio.encode_payload(packet.encode() for packet in packets)
    assert body.decode() == TheirPayload([TheirPacket(4, data) for data in messages]).encode()
    assert engineio.decode_payload(body) == packets


@given(st.binary(max_size=60))
def test_any_bytes_are_packets_or_malformed(raw):
    with contextlib.suppress(MalformedPacket):
        engineio.decode_payload(raw)


@pytest.mark.parametrize("raw", [b"", b"7", b"x", b"b***", b"b\xff", b"4\xff", b"2\x1e", b"\x1e2"])
def test_what_is_no_packet_is_malformed(raw):
    with pytest.raises(MalformedPacket):
        engineio.decode_payload(raw)


def test_the_handshake_is_that_of_the_original():
    packet = engineio.handshake("lv_VI97HAXpY6yYWAAAC", ["websocket"], 10000, 5000, 1000000)
    assert packet == (
        b'0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":10000,'
        b'"pingTimeout":5000,"maxPayload":1000000}'
    )


@pytest.mark.parametrize(
    ("problem", "status", "body"),
    [
        (Problem.TRANSPORT_UNKNOWN, 400, {"code": 0, "message": "Transport unknown"}),
        (Problem.SESSION_UNKNOWN, 400, {"code": 1, "message": "Session ID unknown"}),
        (Problem.BAD_METHOD, 400, {"code": 2, "message": "Bad handshake method"}),
        (Problem.BAD_REQUEST, 400, {"code": 3, "message": "Bad request"}),
        (Problem.FORBIDDEN, 403, {"code": 4, "message": "Forbidden"}),
        (Problem.UNSUPPORTED_VERSION, 400, {"code": 5, "message": "Unsupported protocol version"}),
    ],
)
def test_a_refused_request_is_told_its_number(problem, status, body):
    assert (problem.status, json.loads(problem.body())) == (status, body)


@given(
    NAMESPACES, IDS, st.lists(VALUES, max_size=3), TEXT.filter(lambda t: t not in socketio.RESERVED)
)
def test_an_event_is_written_and_read_as_theirs(namespace, number, arguments, name):
    packet = socketio.Packet(socketio.PacketType.EVENT, namespace, [name, *arguments], number)
    read_by_them = TheirSocketPacket(encoded_packet=packet.encode())
    assert (read_by_them.packet_type, read_by_them.namespace or "/") == (2, namespace)
    assert (read_by_them.data, read_by_them.id) == (packet.data, number)
    assert socketio.Decoder().feed(theirs(packet)) == packet
    assert socketio.Decoder().feed(packet.encode()) == packet


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0", socketio.Packet(socketio.PacketType.CONNECT)),
        ('0{"token":"x"}', socketio.Packet(socketio.PacketType.CONNECT, data={"token": "x"})),
        ("0/api/v1", socketio.Packet(socketio.PacketType.CONNECT, "/api/v1")),
        ("0/admin,{}", socketio.Packet(socketio.PacketType.CONNECT, "/admin", {})),
        ("0/admin?a=b,{}", socketio.Packet(socketio.PacketType.CONNECT, "/admin", {})),
        ("1", socketio.Packet(socketio.PacketType.DISCONNECT)),
        ("1/api/v1,", socketio.Packet(socketio.PacketType.DISCONNECT, "/api/v1")),
        ('21["e",{"x":1}]', socketio.Packet(socketio.PacketType.EVENT, "/", ["e", {"x": 1}], 1)),
        ("30[]", socketio.Packet(socketio.PacketType.ACK, "/", [], 0)),
        ('50-["x"]', socketio.Packet(socketio.PacketType.BINARY_EVENT, "/", ["x"])),
    ],
)
def test_what_clients_send_is_read(text, packet):
    assert socketio.Decoder().feed(text) == packet


@given(NAMESPACES, IDS, st.lists(st.binary(max_size=9), min_size=1, max_size=4))
def test_a_binary_event_is_put_together_again(namespace, number, attachments):
    data = ["x", {"all": list(attachments), "first": attachments[0]}]
    text, *messages = TheirSocketPacket(2, data, namespace, number).encode()
    decoder = socketio.Decoder()
    *waiting, packet = [decoder.feed(text), *map(decoder.feed, messages)]
    assert waiting == [None] * len(messages)
    assert packet == socketio.Packet(socketio.PacketType.BINARY_EVENT, namespace, data, number)


MESSAGES = st.text(max_size=30) | st.binary(max_size=5)
SIMILAR = st.text(st.sampled_from('0123456-/,?[]{}":x"'), max_size=30)


@given(st.lists(MESSAGES | SIMILAR, max_size=5))
def test_any_messages_are_packets_or_malformed(messages):
    decoder = socketio.Decoder()
    with contextlib.suppress(MalformedPacket):
        feed(decoder, messages)


@pytest.mark.parametrize(
    "messages",
    [
        [""],
        ["7"],
        ["2"],
        ["2{}"],
        ["2[]"],
        ["2[true]"],
        ['2["connect"]'],
        ['2["x"'],
        ["0[]"],
        ["0null"],
        ['1"bye"'],
        ["3[]"],
        ["4"],
        [b"x"],
        ['5["x"]'],
        ['21-["x"]'],
        ['511-["x"]'],
        ['51-["x"]', '2["y"]'],
        ['51-["x",{"_placeholder":true,"num":1}]', b"x"],
        ['51-["x",{"_placeholder":true,"num":-1}]', b"x"],
        ['51-["x",{"_placeholder":true,"num":"0"}]', b"x"],
        ['2["x",' + "[" * 100_000],
        ["2" + "1" * 16 + '["x"]'],
    ],
)
def test_what_breaks_the_protocol_is_malformed(messages):
    decoder = socketio.Decoder()
    with pytest.raises(MalformedPacket):
        feed(decoder, messages)
