"""MQTT 3.1.1 chapters 2, 4 and 7 over the whole door: framing, violations, state.

Each test names in its docstring the statements it checks; docs/conformance.rst is made from them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aemos.mqtt.counters import CloseReason
from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    Will,
)
from tests.mqtt_stage import Stage
from tests.wire.table import BAD, GOOD, Bad, Good, h


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_violation_closes_that_connection_publishes_its_will_and_disturbs_no_other(
    case: Bad,
) -> None:
    """[MQTT-4.8.0-1] [MQTT-2.2.2-2] [MQTT-3.14.1-1] [MQTT-3.1.2-8]"""
    stage = Stage()
    other = stage.client("other")
    other.subscribe(("will", 0))
    client = stage.client("c", will=Will("will"))
    client.send(PingReq(), case.raw, PingReq())
    assert client.packets() == [PingResp()]
    assert client.closed
    other.send(PingReq())
    assert other.packets() == [Publish("will"), PingResp()]
    assert stage.broker.counters.closed[CloseReason.MALFORMED] == 1


@pytest.mark.parametrize(
    "case", [c for c in GOOD if c.raw[0] >> 4 in (2, 9, 11, 13)], ids=lambda case: case.name
)
def test_packet_that_only_a_server_sends_closes(case: Good) -> None:
    """[MQTT-4.8.0-1]"""
    client = Stage().client()
    client.send(case.raw)
    assert client.closed
    assert client.take() == b""


def test_conversation_works_byte_by_byte() -> None:
    """[MQTT-7.1.1-1] Packets are found however the stream is cut."""
    stage = Stage()
    client = stage.open()
    talk = [
        Connect("c"),
        Subscribe(1, (("a", 2),)),
        Publish("a", b"1", 1, packet_id=2),
        Publish("a", b"2", 2, packet_id=3),
        PubRel(3),
        PubAck(1),
        PubRec(2),
        PubComp(2),
        PingReq(),
    ]
    raw = b"".join(packet.encode() for packet in talk)
    for byte in raw:
        client.feed(bytes((byte,)))
    # The own message comes before the acknowledgement: it is forwarded first.
    assert client.take() == h(
        "20020000 9003000102 3206000161000131 40020002 3406000161000232 50020003 70020003"
        "62020002 d000"
    )
    assert not client.closed


def test_large_packet_in_many_pieces_arrives() -> None:
    """[MQTT-7.1.1-1]"""
    stage = Stage()
    sub = stage.client("sub")
    sub.subscribe(("a", 0))
    pub = stage.client("pub")
    raw = Publish("a", b"z" * 500_000).encode()
    for at in range(0, len(raw), 1400):
        pub.feed(raw[at : at + 1400])
    assert sub.publishes() == [Publish("a", b"z" * 500_000)]


def test_packet_beyond_the_limit_closes_from_its_header() -> None:
    """Section 2.2.3: nothing is read of what was announced."""
    stage = Stage(max_packet=1000)
    client = stage.client()
    client.send(Publish("a", b"x" * 997))
    assert not client.closed
    client.send(h("30e907"))
    assert client.closed


def test_state_lasts_as_long_as_the_connection() -> None:
    """[MQTT-4.1.0-1] [MQTT-4.1.0-2] However long it lasts."""
    stage = Stage(session_expiry=60)
    stage.start()
    client = stage.client("p", clean=False)
    client.subscribe(("a", 1))
    for _ in range(50):
        stage.clock.advance(60)
    stage.client("pub").send(Publish("a", b"x"))
    assert client.publishes() == [Publish("a", b"x")]
    stage.broker.close_all()


def test_client_with_nothing_but_the_standard_gets_along() -> None:
    """[MQTT-7.0.0-2]"""
    stage = Stage()
    client = stage.open()
    client.send(Connect(""), PingReq())
    assert client.packets() == [ConnAck(), PingResp()]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_no_bytes_bring_down_more_than_their_own_connection(
    pieces: list[bytes], connected: bool
) -> None:
    """[MQTT-4.8.0-1]"""
    stage = Stage()
    other = stage.client("other")
    client = stage.client("c") if connected else stage.open()
    for piece in pieces:
        if not client.closed:
            client.feed(piece)
    assert stage.broker.counters.closed[CloseReason.FAULT] == 0
    other.send(PingReq())
    assert other.packets()[-1:] == [PingResp()]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_packets_bring_down_no_more_than_their_own_connection(data: st.DataObject) -> None:
    """[MQTT-4.8.0-1]"""
    stage = Stage()
    client = stage.client("c")
    for _ in range(data.draw(st.integers(1, 5))):
        raw = bytearray(data.draw(st.sampled_from([c.raw for c in GOOD if len(c.raw) < 500])))
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        if not client.closed:
            client.feed(bytes(raw))
    assert stage.broker.counters.closed[CloseReason.FAULT] == 0
    assert not stage.client("other").closed
