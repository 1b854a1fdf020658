"""Bytes to packets and back: the table, and whatever Hypothesis thinks of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aemos.mqtt.packets import (
    PACKETS,
    ConnAck,
    Connect,
    MalformedPacket,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Rules,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    decode,
)
from aemos.mqtt.wire import Splitter
from aemos.topics import InvalidTopic, check_filter, check_name
from tests.wire.table import ALSO_DECODED, BAD, CONN, GOOD, Bad, Good

BIG = 4 * 1024 * 1024


def name(case: Good | Bad) -> str:
    return case.name


def read(raw: bytes, *, level: int = 4, step: int | None = None, limit: int = BIG) -> list[Packet]:
    """Feed `raw` in pieces of `step` bytes (None: at once) and decode what comes out."""
    splitter, found = Splitter(limit), []
    for at in range(0, len(raw), step or max(len(raw), 1)):
        if splitter.feed(raw[at : at + (step or len(raw))]):
            for first, buffer, start, end in splitter.packets():
                found.append(decode(first, buffer[start:end], Rules(level)))
    return found


@pytest.mark.parametrize("case", GOOD, ids=name)
def test_packet_is_written_in_the_only_form(case: Good) -> None:
    assert case.packet.encode() == case.raw


@pytest.mark.parametrize("case", [*GOOD, *ALSO_DECODED], ids=name)
def test_packet_is_read(case: Good) -> None:
    assert read(case.raw, level=case.level) == [case.packet]


@pytest.mark.parametrize("case", [*GOOD, *ALSO_DECODED], ids=name)
def test_packet_is_read_byte_by_byte(case: Good) -> None:
    if len(case.raw) < 1000:
        assert read(case.raw, level=case.level, step=1) == [case.packet]
    else:
        assert read(case.raw, level=case.level, step=1000) == [case.packet]


@pytest.mark.parametrize("case", [*GOOD, *ALSO_DECODED], ids=name)
def test_two_packets_in_one_read_are_two_packets(case: Good) -> None:
    assert read(case.raw + case.raw, level=case.level) == [case.packet, case.packet]


@pytest.mark.parametrize("case", BAD, ids=name)
@pytest.mark.parametrize("step", [None, 1])
def test_malformed_bytes_are_refused_with_the_clause(case: Bad, step: int | None) -> None:
    with pytest.raises(MalformedPacket) as caught:
        read(case.raw, level=case.level, step=step)
    assert caught.value.clause == case.clause


def test_unknown_level_asks_for_return_code_1_and_a_wrong_name_for_none() -> None:
    for raw, code in [(CONN.replace(b"\4\2\0", b"\6\2\0"), 1), (CONN.replace(b"MQ", b"MX"), None)]:
        with pytest.raises(MalformedPacket) as caught:
            read(raw)
        assert caught.value.return_code == code


def test_control_characters_pass_when_the_rules_are_not_strict() -> None:
    raw = Publish("a\x07\uffff").encode()
    assert decode(0x30, raw[2:], Rules(strict_text=False)) == Publish("a\x07\uffff")


def test_level_limit_is_that_of_the_rules() -> None:
    raw = Publish("a/b/c").encode()
    assert decode(0x30, raw[2:], Rules(max_levels=3)) == Publish("a/b/c")
    with pytest.raises(MalformedPacket):
        decode(0x30, raw[2:], Rules(max_levels=2))


def test_too_long_packet_is_refused_from_its_header_alone() -> None:
    splitter = Splitter(limit=100)
    splitter.feed(b"\x30\x65")
    with pytest.raises(MalformedPacket, match="limit 100"):
        list(splitter.packets())


def test_packet_of_exactly_the_limit_is_taken() -> None:
    assert read(Publish("a", b"x" * 97).encode(), limit=100) == [Publish("a", b"x" * 97)]


def test_whoever_stops_between_packets_gets_the_rest_later() -> None:
    splitter = Splitter()
    splitter.feed(b"\xc0\x00\xe0\x00\xc0")
    first = next(splitter.packets())
    assert first[0] == 0xC0
    assert splitter.waiting
    splitter.feed(b"\x00")
    assert [packet[0] for packet in splitter.packets()] == [0xE0, 0xC0]
    assert not splitter.waiting


def test_announced_length_takes_no_memory() -> None:
    splitter = Splitter(limit=BIG)
    splitter.feed(b"\x30\x80\x80\x80\x01")
    assert list(splitter.packets()) == []
    assert splitter._partial is not None
    assert len(splitter._partial) == 5


# ------------------------------------------------------------------ properties


def valid(check: object, text: str) -> bool:
    try:
        check(text)  # type: ignore[operator]
    except InvalidTopic:
        return False
    return True


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufffe\uffff"),
    max_size=20,
)
names = texts.filter(lambda text: valid(check_name, text))
filters = (
    st.lists(st.sampled_from(["a", "+", "", "é", "$x"]), min_size=1, max_size=5)
    .map("/".join)
    .filter(lambda text: valid(check_filter, text))
)
ids = st.integers(1, 0xFFFF)
qos = st.integers(0, 2)
binary = st.binary(max_size=200)

connects = st.builds(
    lambda client_id, clean, keep, will, login: Connect(client_id, 4, clean, keep, will, *login),
    texts,
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.none() | st.builds(Will, names, binary, qos, st.booleans()),
    st.just((None, None)) | st.tuples(texts, st.none() | binary),
)
publishes = st.builds(Publish, names, binary, st.just(0), st.booleans()) | st.builds(
    Publish, names, binary, st.integers(1, 2), st.booleans(), st.booleans(), ids
)
packets = st.one_of(
    connects,
    publishes,
    st.builds(ConnAck, st.just(0), st.booleans()),
    *(st.builds(kind, ids) for kind in (PubAck, PubRec, PubRel, PubComp, UnsubAck)),
    st.builds(Subscribe, ids, st.lists(st.tuples(filters, qos), min_size=1).map(tuple)),
    st.builds(SubAck, ids, st.lists(st.sampled_from([0, 1, 2, 0x80]), min_size=1).map(tuple)),
    st.builds(Unsubscribe, ids, st.lists(filters, min_size=1).map(tuple)),
)


@given(st.lists(packets, max_size=5), st.integers(1, 50))
def test_any_packets_come_back_however_the_stream_is_cut(sent: list[Packet], step: int) -> None:
    assert read(b"".join(packet.encode() for packet in sent), step=step) == sent


@given(st.sampled_from(sorted(PACKETS)), st.integers(0, 15), st.binary(), st.sampled_from([3, 4]))
def test_any_body_gives_a_packet_or_the_one_error(
    kind: int, flags: int, body: bytes, level: int
) -> None:
    try:
        packet = decode(kind << 4 | flags, body, Rules(level))
    except MalformedPacket:
        return
    again = packet.encode()
    assert read(again, level=level) == [packet]


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_stream_gives_packets_or_the_one_error(raw: bytes, step: int) -> None:
    try:
        read(raw, step=step)
    except MalformedPacket:
        return


@given(packets, st.data())
def test_packet_with_one_byte_changed_gives_a_packet_or_the_one_error(
    packet: Packet, data: st.DataObject
) -> None:
    raw = bytearray(packet.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(raw))
    except MalformedPacket:
        return
