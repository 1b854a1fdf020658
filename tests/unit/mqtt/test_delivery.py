"""What the server owes a subscriber: windows, queues, slow consumers, retained messages."""

from __future__ import annotations

from aemos.mqtt.packets import PubAck, PubComp, Publish, PubRec
from tests.mqtt_stage import Client, Stage


def subscriber(stage: Stage, qos: int = 1, *, clean: bool = True) -> Client:
    client = stage.client("sub", clean=clean)
    client.subscribe(("a/#", qos))
    return client


def payloads(client: Client) -> list[bytes]:
    return [publish.payload for publish in client.publishes()]


def test_no_more_than_the_window_is_in_flight() -> None:
    stage = Stage(max_inflight=2)
    sub = subscriber(stage, 2)
    pub = stage.client("pub")
    pub.send(*(Publish("a/b", b"%d" % n, 1 + n % 2, packet_id=n + 1) for n in range(5)))
    assert payloads(sub) == [b"0", b"1"]
    sub.send(PubAck(1))
    assert payloads(sub) == [b"2"]
    sub.send(PubRec(2))  # received is not completed: the message still takes its place
    assert payloads(sub) == []
    sub.send(PubComp(2))
    assert payloads(sub) == [b"3"]
    (info,) = [client for client in stage.broker.clients() if client.client_id == "sub"]
    assert (info.in_flight, info.queued) == (2, 1)


def test_newest_messages_are_refused_when_the_queue_is_full_and_counted() -> None:
    stage = Stage(max_queued=3)
    subscriber(stage, clean=False).drop()
    pub = stage.client("pub")
    pub.send(*(Publish("a/b", b"%d" % n, 1, packet_id=1) for n in range(5)))
    assert pub.packets() == [PubAck(1)] * 5
    assert stage.broker.totals().dropped["queue_full"] == 2
    assert payloads(stage.client("sub", clean=False, present=True)) == [b"0", b"1", b"2"]


def test_queue_is_bounded_by_bytes_too() -> None:
    stage = Stage(max_queued_bytes=100)
    subscriber(stage, clean=False).drop()
    stage.client("pub").send(*(Publish("a/b", b"x" * 40, 1, packet_id=1) for _ in range(5)))
    assert len(payloads(stage.client("sub", clean=False, present=True))) == 2
    assert stage.broker.totals().dropped["queue_full"] == 3


def test_message_larger_than_the_queue_limit_still_gets_through_alone() -> None:
    stage = Stage(max_queued_bytes=10)
    subscriber(stage, clean=False).drop()
    stage.client("pub").send(Publish("a/b", b"x" * 40, 1, packet_id=1))
    assert len(payloads(stage.client("sub", clean=False, present=True))) == 1


def test_slow_consumer_loses_qos_0_but_never_qos_1() -> None:
    stage = Stage(max_output=1000)
    sub = subscriber(stage)
    pub = stage.client("pub")
    sub.protocol.transport.producer.pauseProducing()  # type: ignore[union-attr]
    for number in range(10):
        pub.send(Publish("a/b", b"0" * 300), Publish("a/b", b"%d" % number * 300, 1, packet_id=1))
    assert pub.packets() == [PubAck(1)] * 10
    (info,) = [client for client in stage.broker.clients() if client.client_id == "sub"]
    assert info.unsent < 2000
    sub.protocol.transport.producer.resumeProducing()  # type: ignore[union-attr]
    got = sub.publishes()
    assert [p.payload[:1] for p in got if p.qos] == [b"%d" % n for n in range(10)]
    lost = 10 - sum(1 for p in got if not p.qos)
    assert lost > 0
    assert stage.broker.totals().dropped["slow_consumer"] == lost == info.dropped


def test_slow_consumer_does_not_hold_up_the_others() -> None:
    stage = Stage(max_output=100)
    slow, quick = stage.client("slow"), stage.client("quick")
    for client in (slow, quick):
        client.subscribe(("a/#", 1))
    slow.protocol.transport.producer.pauseProducing()  # type: ignore[union-attr]
    stage.client("pub").send(*(Publish("a/b", b"x" * 50, packet_id=0) for _ in range(20)))
    assert len(quick.publishes()) == 20


def test_qos_0_leaves_half_of_the_queue_to_what_must_not_be_lost() -> None:
    stage = Stage(max_inflight=1, max_queued=10)
    sub = subscriber(stage)
    pub = stage.client("pub")
    ones = [Publish("a/b", b"one", 1, packet_id=1)] * 2
    pub.send(*ones, *[Publish("a/b", b"zero")] * 20, *ones, *ones)
    assert stage.broker.totals().dropped == {"slow_consumer": 16}
    got = []
    while packets := sub.publishes():
        got += [packet.payload for packet in packets]
        sub.send(*(PubAck(packet.packet_id) for packet in packets if packet.qos))
    assert got == [b"one"] * 2 + [b"zero"] * 4 + [b"one"] * 4


def test_acknowledgements_do_not_fill_the_output_of_a_slow_consumer() -> None:
    stage = Stage(max_output=1000)
    sub = subscriber(stage)
    sub.protocol.transport.producer.pauseProducing()  # type: ignore[union-attr]
    stage.client("pub").send(*[Publish("a/b", b"x" * 300, 1, packet_id=1)] * 10)
    sub.send(PubAck(1), PubAck(2), PubAck(3))
    (info,) = [client for client in stage.broker.clients() if client.client_id == "sub"]
    assert (info.in_flight, info.queued) == (1, 6)
    sub.protocol.transport.producer.resumeProducing()  # type: ignore[union-attr]
    assert len(sub.publishes()) == 10


def test_qos_0_waiting_in_the_queue_is_not_kept_for_an_absent_client() -> None:
    stage = Stage(max_inflight=1)
    sub = subscriber(stage, clean=False)
    one, two, three = (Publish("a/b", b"%d" % n, 1, packet_id=1) for n in (1, 2, 3))
    stage.client("pub").send(one, two, Publish("a/b", b"zero"), three)
    sub.drop()
    sub = stage.client("sub", clean=False, present=True)
    got = []
    while packets := sub.publishes():
        got += [packet.payload for packet in packets]
        sub.send(*(PubAck(packet.packet_id) for packet in packets if packet.qos))
    assert got == [b"1", b"2", b"3"]


def test_retained_messages_beyond_window_and_queue_all_arrive() -> None:
    stage = Stage(max_inflight=5, max_queued=10)
    for number in range(500):
        stage.broker.publish(f"a/{number}", b"x", qos=1, retain=True)
    sub = stage.client("sub")
    got = [p for p in sub.subscribe(("a/#", 1))[1:] if isinstance(p, Publish)]
    assert len(got) == 5
    topics = set()
    while got:
        topics |= {publish.topic for publish in got}
        assert all(publish.retain for publish in got)
        sub.send(*(PubAck(publish.packet_id) for publish in got))
        got = sub.publishes()
    assert len(topics) == 500
    assert stage.broker.totals().dropped.total() == 0


def test_retained_messages_of_qos_0_are_sent_in_turns() -> None:
    stage = Stage()
    for number in range(1000):
        stage.broker.publish(f"a/{number}", b"x", qos=0, retain=True)
    sub = stage.client("sub")
    sub.protocol.dataReceived(b"\x82\x08\0\1\0\3a/#\0")
    (info,) = stage.broker.clients()
    assert info.messages_sent == 100
    assert len(sub.publishes()) == 1000


def test_stream_of_retained_messages_waits_for_a_slow_consumer() -> None:
    stage = Stage()
    for number in range(1000):
        stage.broker.publish(f"a/{number}", b"x" * 1000, qos=0, retain=True)
    sub = stage.client("sub")
    sub.protocol.transport.producer.pauseProducing()  # type: ignore[union-attr]
    sub.send(b"\x82\x08\0\1\0\3a/#\0")
    for _ in range(20):
        stage.turn()
    (info,) = stage.broker.clients()
    assert info.unsent < 110_000
    sub.protocol.transport.producer.resumeProducing()  # type: ignore[union-attr]
    for _ in range(20):
        stage.turn()
    assert len(sub.publishes()) == 1000


def test_retained_message_replaced_while_others_stream_arrives_in_its_new_form() -> None:
    stage = Stage(max_inflight=1)
    for topic in ("a/1", "a/2"):
        stage.broker.publish(topic, b"old", retain=True)
    sub = stage.client("sub")
    got = [p for p in sub.subscribe(("a/#", 1))[1:] if isinstance(p, Publish)]
    late = ({"a/1", "a/2"} - {got[0].topic}).pop()
    stage.broker.publish(late, b"new", qos=0, retain=True)
    sub.send(PubAck(1))
    seen = [(p.topic, p.payload, p.retain) for p in sub.publishes()]
    assert (late, b"old", True) not in seen
    assert seen.count((late, b"new", True)) == 1


def test_unsubscribe_ends_the_stream() -> None:
    stage = Stage(max_inflight=1)
    for number in range(10):
        stage.broker.publish(f"a/{number}", b"x", retain=True)
    sub = subscriber(stage)
    sub.send(b"\xa2\x07\0\2\0\3a/#", PubAck(1))
    assert sub.publishes() == []


def test_stream_of_a_persistent_session_goes_on_after_a_drop() -> None:
    stage = Stage(max_inflight=1)
    for number in range(3):
        stage.broker.publish(f"a/{number}", b"x", retain=True)
    sub = stage.client("sub", clean=False)
    topics = {p.topic for p in sub.subscribe(("a/#", 1)) if isinstance(p, Publish)}
    sub.drop()
    sub = stage.client("sub", clean=False, present=True)
    for _ in range(3):
        for publish in sub.publishes():
            topics.add(publish.topic)
            sub.send(PubAck(publish.packet_id))
    assert topics == {"a/0", "a/1", "a/2"}


def test_subscriptions_of_a_client_are_limited() -> None:
    stage = Stage(max_subscriptions=2)
    client = stage.client("c")
    client.subscribe(("a", 0), ("b", 0))
    answer = client.subscribe(("c", 0), ("a", 1))[0]
    assert answer.codes == (0x80, 1)  # type: ignore[union-attr]


def test_limit_of_retained_messages_forwards_but_does_not_keep() -> None:
    stage = Stage(max_retained=1)
    sub = subscriber(stage)
    stage.client("pub").send(Publish("a/1", b"x", retain=True), Publish("a/2", b"x", retain=True))
    assert len(sub.publishes()) == 2
    assert stage.broker.totals().dropped["retained_limit"] == 1
    assert len(stage.broker.store.retained) == 1


def test_endless_subscribe_asks_for_no_more_rights_than_it_can_get() -> None:
    stage = Stage(max_subscriptions=2)
    asked: list[str] = []
    may_subscribe = stage.rights.may_subscribe

    def counting(principal, client_id, filter, done):  # type: ignore[no-untyped-def]
        asked.append(filter)
        may_subscribe(principal, client_id, filter, done)

    stage.rights.may_subscribe = counting  # type: ignore[method-assign]
    answer = stage.client("c").subscribe(*[(f"t/{n}", 0) for n in range(100)])[0]
    assert answer.codes == (0, 0, *[0x80] * 98)  # type: ignore[union-attr]
    assert asked == ["t/0", "t/1"]
