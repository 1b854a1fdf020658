"""Messages that come together on one topic: judged together, but never seen as one from outside."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aemos.model import Burst, BurstDone
from aemos.mqtt.packets import (
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
)
from tests.mqtt_stage import Client, MemoryRoom, MemoryRouter, Packet, Stage

TOPIC = "devices/u/datastream"


class Watched(MemoryRouter):
    """Remembers how many messages came together."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.events)
        self.bursts: list[int] = []
        stage.broker.router = self
        stage.router = self

    def handle_burst(self, burst: Burst, done: BurstDone) -> None:
        self.bursts.append(len(burst.payloads))
        super().handle_burst(burst, done)


def reading(number: int, topic: str = TOPIC, qos: int = 1, payload: bytes = b"") -> Publish:
    return Publish(topic, payload or b"%d" % number, qos, packet_id=number if qos else 0)


def known(stage: Stage, *topics: str) -> Client:
    """@return: a client whose rights on these topics were asked for before."""
    client = stage.client("c")
    for topic in topics or (TOPIC,):
        client.send(Publish(topic, b"first"))
    stage.router.handled.clear()
    return client


def payloads(stage: Stage) -> list[bytes]:
    return [message.payload for message in stage.router.handled]


def test_what_comes_together_is_judged_together_and_acknowledged_one_by_one() -> None:
    stage = Stage()
    router = Watched(stage)
    client = known(stage)
    client.send(*(reading(n) for n in range(1, 6)))
    assert router.bursts == [5]
    assert payloads(stage) == [b"1", b"2", b"3", b"4", b"5"]
    assert client.packets() == [PubAck(n) for n in range(1, 6)]
    (info,) = stage.broker.clients()
    assert info.messages_received == 6
    assert info.unacknowledged == 0
    client.drop()
    assert stage.broker.counters.packets_sent == 6


def test_nothing_is_acknowledged_before_all_of_it_is_stored() -> None:
    stage = Stage()
    client = known(stage)
    stage.router.door.later = True
    client.send(reading(1), reading(2))
    (info,) = stage.broker.clients()
    assert info.unacknowledged == 2
    stage.router.door.open(1)
    assert client.packets() == []
    stage.router.door.open(1)
    assert client.packets() == [PubAck(1), PubAck(2)]


@pytest.mark.parametrize(
    "behind",
    [
        reading(9, "devices/v/datastream"),
        reading(9, "devices/u/status"),
        reading(9, "devices/u/datastreams"),
        Publish(TOPIC, b"9", 1, retain=True, packet_id=9),
        Publish(TOPIC, b"9", 1, dup=True, packet_id=9),
        reading(9, qos=2),
        reading(9, qos=0),
    ],
)
def test_what_goes_another_way_does_not_overtake(behind: Publish) -> None:
    stage = Stage()
    router = Watched(stage)
    client = known(stage, TOPIC, behind.topic)
    stage.router.handled.clear()
    client.send(reading(1), reading(2), behind, reading(3), reading(4))
    assert router.bursts == [2, 2]
    expected = [b"1", b"2", b"9", b"3", b"4"]
    if behind.topic == "devices/u/datastreams":
        expected.remove(b"9")  # only routed
    assert payloads(stage) == expected
    answers = [packet.packet_id for packet in client.packets() if hasattr(packet, "packet_id")]
    assert answers == ([1, 2, 9, 3, 4] if behind.qos else [1, 2, 3, 4])


def test_other_packets_do_not_overtake() -> None:
    stage = Stage()
    router = Watched(stage)
    client = known(stage)
    client.send(reading(1), reading(2), PingReq(), reading(3), reading(4), PubRel(77), reading(5))
    assert router.bursts == [2, 2]
    assert payloads(stage) == [b"1", b"2", b"3", b"4", b"5"]
    acks = [packet for packet in client.packets() if not isinstance(packet, PingResp)]
    assert acks == [*map(PubAck, (1, 2, 3, 4)), PubComp(77), PubAck(5)]


def test_a_refused_one_is_acknowledged_and_not_forwarded() -> None:
    stage = Stage()
    client = known(stage)
    stage.router.door.later = True
    client.send(reading(1), reading(2, payload=b"refuse"), reading(3))
    listener = stage.client("l")
    listener.subscribe(("devices/u/datastream", 1))
    stage.router.door.open()
    assert client.packets() == [PubAck(1), PubAck(2), PubAck(3)]
    assert [publish.payload for publish in listener.publishes()] == [b"1", b"3"]


def test_who_subscribes_while_they_wait_gets_them_in_order() -> None:
    stage = Stage()
    client = known(stage)
    stage.router.door.later = True
    client.send(reading(1), reading(2), reading(3))
    first, second = stage.client("l1"), stage.client("l2")
    first.subscribe(("#", 0))
    second.subscribe(("devices/+/datastream", 1))
    stage.router.door.open()
    assert client.packets() == [PubAck(1), PubAck(2), PubAck(3)]
    for listener, qos in ((first, 0), (second, 1)):
        heard = [(publish.payload, publish.qos) for publish in listener.publishes()]
        assert heard == [(b"1", qos), (b"2", qos), (b"3", qos)]


def test_subscribers_get_what_comes_together_one_by_one() -> None:
    stage = Stage()
    router = Watched(stage)
    client, listener = known(stage), stage.client("l")
    listener.subscribe((TOPIC, 0))
    client.send(*(reading(n) for n in range(1, 4)))
    assert router.bursts == []
    assert [publish.payload for publish in listener.publishes()] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "broken",
    [
        b"\x32\x19\x00\x14devices/u/datastream\x00\x00x",  # packet id 0
        b"\x32\x17\x00\x14devices/u/datastream\x05",  # ends within the packet id
        b"\x32\x0a\x00\x14devices/",  # ends within the topic
        b"\x36\x19\x00\x14devices/u/datastream\x00\x05x",  # QoS 3
        b"\xf0\x00",
        b"\x32\xff\xff\xff\xff\x01",
    ],
)
def test_what_came_before_a_malformed_packet_is_taken(broken: bytes) -> None:
    stage = Stage()
    client = known(stage)
    client.send(reading(1), reading(2), broken)
    assert payloads(stage) == [b"1", b"2"]
    assert client.closed


def test_what_came_before_disconnect_is_taken() -> None:
    stage = Stage()
    client = known(stage)
    client.send(reading(1), reading(2), Disconnect())
    assert payloads(stage) == [b"1", b"2"]
    assert client.closed


def test_no_more_come_together_than_one_batch_of_the_writer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemoryRoom, "max_batch", 1)
    stage = Stage()
    router = Watched(stage)
    client = known(stage)
    client.send(*(reading(n) for n in range(1, 6)))
    assert router.bursts == []
    assert len(payloads(stage)) == 5


def test_no_more_come_together_than_may_wait() -> None:
    stage = Stage(max_unacknowledged=4)
    router = Watched(stage)
    client = known(stage)
    stage.router.door.later = True
    client.send(*(reading(n) for n in range(1, 8)))
    assert router.bursts == [2, 2]
    assert len(payloads(stage)) == 4
    stage.router.door.open(2)
    stage.turn()
    assert payloads(stage) == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_bytes_that_may_wait_are_counted_while_messages_gather() -> None:
    stage = Stage(max_unacknowledged_bytes=1000)
    router = Watched(stage)
    client = known(stage)
    stage.router.door.later = True
    client.send(*(reading(n, payload=b"x" * 400) for n in range(1, 6)))
    assert router.bursts == [3]
    assert client.transport.producerState == "paused"
    stage.router.door.open()
    stage.turn()
    stage.router.door.open()
    stage.turn()
    assert client.packets() == [PubAck(n) for n in range(1, 6)]


_PACKETS = st.lists(
    st.tuples(
        st.sampled_from([TOPIC, TOPIC, TOPIC, "devices/v/datastream", "devices/u/status", "plain"]),
        st.sampled_from([0, 1, 1, 1, 2]),
        st.sampled_from([b"", b"ok", b"refuse", b"x" * 200]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(packets=_PACKETS, cuts=st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_how_the_stream_is_cut_makes_no_difference(
    packets: Sequence[tuple[str, int, bytes, bool]], cuts: Sequence[int]
) -> None:
    stream = [
        Publish(topic, payload, qos, dup=dup and qos > 0, packet_id=number if qos else 0).encode()
        for number, (topic, qos, payload, dup) in enumerate(packets, 1)
    ]
    raw = b"".join(stream)
    pieces, at = [], 0
    while at < len(raw):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(raw[at : at + size])
        at += size
    assert _outcome(pieces) == _outcome(stream)


def _outcome(reads: Sequence[bytes]) -> tuple[list[tuple[str, bytes, int]], list[Packet]]:
    stage = Stage()
    client = stage.client("c")
    for read in reads:
        client.protocol.dataReceived(read)
    stage.turn()
    handled = [(message.topic, message.payload, message.qos) for message in stage.router.handled]
    answers = [packet for packet in client.packets() if isinstance(packet, (PubAck, PubRec))]
    return handled, answers
