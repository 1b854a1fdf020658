"""MQTT 3.1.1 sections 3.3 to 3.7 and 4.3 to 4.6 over the whole door: publishing and delivering.

Each test names in its docstring the statements it checks; docs/conformance.rst is made from them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aemos.mqtt.packets import (
    Connect,
    Disconnect,
    Packet,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Unsubscribe,
)
from tests.mqtt_stage import Client, Stage
from tests.wire.table import BAD, Bad, h


def publish(qos: int, packet_id: int = 1, payload: bytes = b"x", topic: str = "a") -> Publish:
    """@return: a PUBLISH as a client sends it."""
    return Publish(topic, payload, qos, packet_id=packet_id if qos else 0)


def subscriber(stage: Stage, filter: str = "#", qos: int = 2, *, clean: bool = True) -> Client:
    client = stage.client("sub", clean=clean)
    client.subscribe((filter, qos))
    return client


def back(stage: Stage) -> Client:
    """@return: the persistent subscriber, connected again."""
    return stage.client("sub", clean=False, present=True)


@pytest.mark.parametrize("case", [c for c in BAD if c.raw[0] >> 4 == 3], ids=lambda c: c.name)
def test_malformed_publish_closes_the_connection_and_reaches_nobody(case: Bad) -> None:
    """[MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-2.3.1-1] [MQTT-4.7.1-1]
    [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-4.8.0-1]"""
    stage = Stage()
    sub = subscriber(stage)
    client = stage.client("c")
    client.send(case.raw)
    assert client.closed
    assert client.take() == b""
    assert sub.publishes() == []


def test_byte_order_mark_is_part_of_the_topic() -> None:
    """[MQTT-1.5.3-3]"""
    stage = Stage()
    plain, marked = stage.client("plain"), stage.client("marked")
    plain.subscribe(("a", 0))
    marked.subscribe(("\ufeffa", 0))
    stage.client("pub").send(h("30060004efbbbf61"))
    assert plain.publishes() == []
    assert marked.take() == h("30060004efbbbf61")


def test_every_qos_has_its_own_answer_with_the_id_of_the_publish() -> None:
    """[MQTT-3.3.4-1] [MQTT-2.3.1-6] [MQTT-2.2.2-1] [MQTT-4.3.1-1]"""
    client = Stage().client()
    client.send(publish(0))
    assert client.take() == b""
    client.send(publish(1, 0x1234))
    assert client.take() == h("40021234")
    client.send(publish(2, 0x1234))
    assert client.take() == h("50021234")
    client.send(PubRel(0x1234))
    assert client.take() == h("70021234")


def test_delivery_at_qos_0_has_no_packet_id_and_no_dup() -> None:
    """[MQTT-2.3.1-5] [MQTT-3.3.1-2] [MQTT-4.3.1-1]"""
    stage = Stage()
    sub = subscriber(stage, qos=0)
    stage.client("pub").send(publish(2))
    assert sub.take() == h("3004 0001 61 78")


def test_server_counts_its_packet_ids_from_1() -> None:
    """[MQTT-2.3.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]"""
    stage = Stage()
    sub = subscriber(stage)
    pub = stage.client("pub")
    for qos in (1, 2, 1):
        pub.send(publish(qos, 7))
    assert [p.packet_id for p in sub.publishes()] == [1, 2, 3]


def test_packet_ids_go_round_and_skip_those_in_flight() -> None:
    """[MQTT-2.3.1-4] [MQTT-2.3.1-2]"""
    stage = Stage(max_inflight=65535, max_output=1 << 30)
    sub = subscriber(stage)
    pub = stage.client("pub")
    pub.send(*[publish(1)] * 65534)
    assert [p.packet_id for p in sub.publishes()] == list(range(1, 65535))
    sub.send(PubAck(2), PubAck(5))
    pub.send(*[publish(1)] * 3)
    assert [p.packet_id for p in sub.publishes()] == [65535, 2, 5]


def test_unacknowledged_messages_are_sent_again_with_dup_and_their_ids_in_order() -> None:
    """[MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-2.3.1-3] [MQTT-4.6.0-1] [MQTT-4.3.2-1]"""
    stage = Stage()
    sub = subscriber(stage, clean=False)
    pub = stage.client("pub")
    for number in range(5):
        pub.send(publish(1 + number % 2, 9 + number, b"%d" % number))
    first = sub.publishes()
    sub.drop()
    pub.send(publish(1, 9, b"new"))
    again = back(stage).publishes()
    assert [(p.packet_id, p.payload, p.dup) for p in again] == [
        *((p.packet_id, p.payload, True) for p in first),
        (6, b"new", False),
    ]


def test_acknowledged_message_is_not_sent_again() -> None:
    """[MQTT-4.3.2-1] [MQTT-2.3.1-3]"""
    stage = Stage()
    sub = subscriber(stage, clean=False)
    stage.client("pub").send(publish(1))
    sub.send(PubAck(sub.publishes()[0].packet_id), Disconnect())
    assert back(stage).publishes() == []


def test_qos_2_after_pubrec_sends_pubrel_again_and_never_the_publish() -> None:
    """[MQTT-4.3.3-1] [MQTT-4.4.0-1] [MQTT-4.6.0-4] PUBRELs in the order of the PUBRECs."""
    stage = Stage()
    sub = subscriber(stage, clean=False)
    stage.client("pub").send(*(publish(2, number) for number in (1, 2, 3, 4)))
    assert len(sub.publishes()) == 4
    sub.send(PubRec(2), PubRec(1), PubRec(3))
    assert sub.packets() == [PubRel(2), PubRel(1), PubRel(3)]
    sub.drop()
    sub = back(stage)
    assert sub.take() == h("62020002 62020001 62020003 3c0600016100 04 78")
    sub.send(PubComp(2), PubComp(1), PubComp(3), PubRec(4), PubComp(4), Disconnect())
    assert back(stage).packets() == []


def test_dup_of_the_publisher_is_not_passed_on() -> None:
    """[MQTT-3.3.1-3]"""
    stage = Stage()
    sub = subscriber(stage)
    stage.client("pub").send(Publish("a", b"x", 1, dup=True, packet_id=1))
    assert sub.take()[0] == 0x32


def test_message_queued_while_away_is_sent_without_dup() -> None:
    """[MQTT-3.3.1-1] [MQTT-3.3.1-9]"""
    stage = Stage()
    subscriber(stage, clean=False).drop()
    stage.client("pub").send(Publish("a", b"x", 1, True, packet_id=1))
    assert back(stage).take()[0] == 0x32


def test_qos_1_receiver_forgets_the_id_with_the_puback() -> None:
    """[MQTT-4.3.2-2] [MQTT-2.3.1-3] DUP does not make it a repeat."""
    stage = Stage()
    sub = subscriber(stage)
    pub = stage.client("pub")
    pub.send(publish(1, 5), Publish("a", b"x", 1, dup=True, packet_id=5))
    assert pub.packets() == [PubAck(5), PubAck(5)]
    assert len(sub.publishes()) == 2


def test_qos_2_is_routed_once_however_often_it_is_repeated() -> None:
    """[MQTT-4.3.3-2]"""
    stage = Stage()
    sub = subscriber(stage)
    pub = stage.client("pub")
    again = Publish("a", b"other", 2, dup=True, packet_id=5)
    pub.send(publish(2, 5), again, again, publish(2, 5), PubRel(5))
    pub.send(publish(2, 5), PubRel(5))
    assert pub.packets() == [PubRec(5)] * 4 + [PubComp(5), PubRec(5), PubComp(5)]
    assert [p.payload for p in sub.publishes()] == [b"x", b"x"]


def test_qos_2_id_is_remembered_across_connections() -> None:
    """[MQTT-4.3.3-2] [MQTT-4.4.0-1]"""
    stage = Stage()
    sub = subscriber(stage)
    pub = stage.client("pub", clean=False)
    pub.send(publish(2, 5))
    pub.drop()
    pub = stage.client("pub", clean=False, present=True)
    pub.send(Publish("a", b"x", 2, dup=True, packet_id=5), PubRel(5), PubRel(5))
    assert pub.packets() == [PubRec(5), PubComp(5), PubComp(5)]
    assert len(sub.publishes()) == 1


def test_qos_2_ids_of_a_clean_session_are_forgotten_with_it() -> None:
    """[MQTT-3.1.2-6]"""
    stage = Stage()
    sub = subscriber(stage)
    for _ in range(2):
        pub = stage.client("pub")
        pub.send(publish(2, 5))
        pub.drop()
    assert len(sub.publishes()) == 2


def test_client_may_have_every_packet_id_under_way() -> None:
    """[MQTT-2.3.1-2] [MQTT-2.3.1-6]"""
    client = Stage().client()
    ids = range(1, 0x10000)
    client.send(*(Publish("a", b"", 2, packet_id=packet_id) for packet_id in ids))
    assert client.take() == b"".join(PubRec(packet_id).encode() for packet_id in ids)
    client.send(*(PubRel(packet_id) for packet_id in ids))
    assert client.take() == b"".join(PubComp(packet_id).encode() for packet_id in ids)


def test_pubrel_and_pubrec_for_unknown_ids_are_answered() -> None:
    """[MQTT-4.3.3-2] The peer ends its flow; other unknown acknowledgements are ignored."""
    client = Stage().client()
    client.send(PubRel(77), PubRec(78), PubAck(79), PubComp(80))
    assert client.packets() == [PubComp(77), PubRel(78)]
    assert not client.closed


@pytest.mark.parametrize(
    ("qos", "answers"),
    [
        (1, [PubRec(1)]),
        (2, [PubAck(1)]),
        (2, [PubComp(1)]),
        (1, [PubComp(1)]),
        (2, [PubRec(1), PubAck(1)]),
    ],
)
def test_acknowledgement_of_the_wrong_kind_closes(qos: int, answers: list[Packet]) -> None:
    """[MQTT-4.8.0-1]"""
    stage = Stage()
    sub = subscriber(stage)
    stage.client("pub").send(publish(qos))
    sub.send(*answers)
    assert sub.closed


@pytest.mark.parametrize("case", [c for c in BAD if 4 <= c.raw[0] >> 4 <= 7], ids=lambda c: c.name)
def test_malformed_acknowledgement_closes(case: Bad) -> None:
    """[MQTT-3.6.1-1] [MQTT-2.2.2-2] [MQTT-2.3.1-1]"""
    client = Stage().client()
    client.send(case.raw)
    assert client.closed
    assert client.take() == b""


@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_keep_the_order_of_arrival(qos: int) -> None:
    """[MQTT-4.6.0-2] [MQTT-4.6.0-3] Also when some are judged at once and others later."""
    stage = Stage()
    pub = stage.client("pub")
    stage.router.door.later = True
    kinds = ("devices/u/datastream", "plain", "devices/u/commands", "$SYS/x", "denied")
    pub.send(*(publish(qos, 1 + n, b"x", kinds[n % len(kinds)]) for n in range(50)))
    assert pub.take() == b""
    stage.router.door.open(3)
    stage.router.door.open()
    answer = PubAck if qos == 1 else PubRec
    assert pub.packets() == [answer(1 + n) for n in range(50)]


def test_retained_message_is_replaced_by_one_of_qos_0() -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-7] [MQTT-3.3.1-8]"""
    stage = Stage()
    pub = stage.client("pub")
    pub.send(Publish("r", b"x", 1, True, packet_id=1), Publish("r", b"y", 0, True))
    assert stage.client("q").subscribe(("r", 2))[1:] == [Publish("r", b"y", 0, True)]


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_delivery_is_at_the_lower_of_both_qos(published: int, granted: int) -> None:
    """[MQTT-3.8.4-6] [MQTT-3.3.1-5] Live, retained and from the queue."""
    stage = Stage()
    sub = subscriber(stage, "a", granted, clean=False)
    pub = stage.client("pub")
    pub.send(Publish("a", b"x", published, True, packet_id=1 if published else 0))
    assert [p.qos for p in sub.publishes()] == [min(published, granted)]
    fresh = stage.client("q").subscribe(("a", granted))[1:]
    assert [p.qos for p in fresh if isinstance(p, Publish)] == [min(published, granted)]
    sub.drop()
    pub.send(PubRel(1), publish(published, 1, b"queued"))
    queued = [p.qos for p in back(stage).publishes() if p.payload == b"queued"]
    assert queued == ([min(published, granted)] if min(published, granted) else [])


def test_existing_subscription_gets_retain_0() -> None:
    """[MQTT-3.3.1-9]"""
    stage = Stage()
    sub = subscriber(stage)
    stage.client("pub").send(Publish("a", b"x", retain=True))
    assert sub.take() == h("3004 0001 61 78")


def test_empty_retained_message_is_forwarded_and_deletes() -> None:
    """[MQTT-3.3.1-10] [MQTT-3.3.1-11]"""
    stage = Stage()
    sub = subscriber(stage, "r")
    pub = stage.client("pub")
    pub.send(h("31030001 72"))
    pub.send(Publish("r", b"x", retain=True), h("31030001 72"))
    assert sub.take() == h("30030001 72 30040001 72 78 30030001 72")
    assert stage.client("q").subscribe(("r", 0))[1:] == []
    assert len(stage.broker.store.retained) == 0


def test_message_without_retain_leaves_the_stored_one_alone() -> None:
    """[MQTT-3.3.1-12]"""
    stage = Stage()
    stage.client("pub").send(Publish("r", b"x", retain=True), Publish("r", b"y"), Publish("r", b""))
    assert stage.client("q").subscribe(("r", 0))[1:] == [Publish("r", b"x", retain=True)]


def test_subscriber_gets_the_topic_that_was_published() -> None:
    """[MQTT-3.3.2-3]"""
    stage = Stage()
    sub = subscriber(stage, "a/+")
    stage.client("pub").send(Publish("a/b", b"x"), Publish("a/b/c", b"x"), Publish("b", b"x"))
    assert sub.publishes() == [Publish("a/b", b"x")]


@pytest.mark.parametrize("granted", [(2, 1, 0), (0, 1, 2), (0, 2, 1), (1, 0, 2)])
def test_overlapping_filters_give_one_copy_at_the_highest_qos(granted: tuple[int, ...]) -> None:
    """[MQTT-3.3.5-1]"""
    stage = Stage()
    client = stage.client("sub")
    client.subscribe(*zip(("a/#", "a/+", "a/b"), granted, strict=True))
    pub = stage.client("pub")
    for qos in (2, 1, 0):
        pub.send(publish(qos, 1, b"x", "a/b"))
    assert [p.qos for p in client.publishes()] == [2, 1, 0]


@pytest.mark.parametrize("topic", ["denied", "devices/denied/datastream"])
def test_denied_publish_is_acknowledged_and_goes_nowhere(topic: str) -> None:
    """[MQTT-3.3.5-2]"""
    stage = Stage()
    stage.rights.subscribe_denied.clear()
    sub = subscriber(stage)
    pub = stage.client("pub")
    pub.send(
        publish(0, topic=topic),
        publish(1, 1, topic=topic),
        Publish(topic, b"x", 2, True, packet_id=2),
        PubRel(2),
    )
    assert pub.packets() == [PubAck(1), PubRec(2), PubComp(2)]
    assert sub.publishes() == []
    assert stage.router.handled == []
    assert len(stage.broker.store.retained) == 0
    assert stage.broker.totals().denied == 3


def test_publisher_that_subscribes_gets_its_own_messages() -> None:
    """[MQTT-4.5.0-1] There is no "no local" in 3.1.1."""
    client = subscriber(Stage())
    client.send(publish(0))
    assert client.publishes() == [publish(0)]


def test_message_goes_to_every_matching_session_here_or_away() -> None:
    """[MQTT-4.5.0-1]"""
    stage = Stage()
    here, away = stage.client("here"), stage.client("away", clean=False)
    for client in (here, away):
        client.subscribe(("a", 1))
    away.drop()
    stage.client("pub").send(publish(1))
    assert len(here.publishes()) == 1
    assert len(stage.client("away", clean=False, present=True).publishes()) == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_of_each_publisher_arrive_in_their_order(qos: int) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6]"""
    stage = Stage(max_inflight=7, max_unacknowledged=5000)
    sub = subscriber(stage)
    pubs = [stage.client(f"pub{n}") for n in range(3)]
    got: list[Publish] = []
    for start in range(0, 500, 50):
        for index, pub in enumerate(pubs):
            pub.send(
                *(publish(qos, 1 + n, b"%d %d" % (index, n)) for n in range(start, start + 50))
            )
        got += take_all(stage, sub)
    for index in range(3):
        mine = [p.payload for p in got if p.payload.startswith(b"%d " % index)]
        assert mine == [b"%d %d" % (index, n) for n in range(500)]


def take_all(stage: Stage, client: Client) -> list[Publish]:
    """Take and acknowledge until nothing comes any more."""
    found: list[Publish] = []
    while True:
        packets = client.packets()
        if not packets:
            return found
        for packet in packets:
            if isinstance(packet, Publish):
                found.append(packet)
                if packet.qos:
                    ack = PubAck if packet.qos == 1 else PubRec
                    client.send(ack(packet.packet_id))
            elif isinstance(packet, PubRel):
                client.send(PubComp(packet.packet_id))


def test_qos_0_does_not_overtake_what_waits_in_the_queue() -> None:
    """[MQTT-4.6.0-6] More than the standard asks for: one order for all QoS."""
    stage = Stage(max_inflight=1)
    sub = subscriber(stage)
    pub = stage.client("pub")
    pub.send(publish(1, 1, b"1"), publish(1, 1, b"2"), publish(0, 0, b"3"))
    assert [p.payload for p in take_all(stage, sub)] == [b"1", b"2", b"3"]


def test_delivery_that_began_is_finished_after_unsubscribe() -> None:
    """[MQTT-3.10.4-3] [MQTT-3.10.4-2]"""
    stage = Stage()
    sub = subscriber(stage, "a", clean=False)
    pub = stage.client("pub")
    pub.send(publish(2, 1))
    sub.publishes()
    sub.send(Unsubscribe(9, ("a",)))
    pub.send(publish(2, 2))
    sub.packets()
    sub.drop()
    sub = back(stage)
    assert [p.packet_id for p in sub.publishes()] == [1]
    sub.send(PubRec(1))
    assert sub.packets() == [PubRel(1)]


def test_store_failure_closes_only_the_connection_concerned(hygiene: list[str]) -> None:
    """[MQTT-4.8.0-2]"""
    stage = Stage()
    other = stage.client("other")
    client = stage.client("c")
    stage.router.handle = None  # type: ignore[method-assign, assignment]
    client.send(publish(1, topic="devices/u/datastream"))
    assert client.closed
    assert client.take() == b""
    other.send(publish(1))
    assert other.packets() == [PubAck(1)]
    hygiene.clear()


def test_topic_of_65535_bytes_and_one_of_200_levels_work() -> None:
    """[MQTT-4.7.3-3]"""
    stage = Stage()
    sub = subscriber(stage)
    for topic in ("t" * 65535, "/".join(["l"] * 200)):
        stage.client("pub").send(publish(0, topic=topic))
        assert sub.publishes() == [Publish(topic, b"x")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 2)),
            st.sampled_from([("drop", 0), ("answer", 1), ("answer", 3), ("restart", 0)]),
        ),
        max_size=40,
    )
)
def test_whatever_happens_qos_2_arrives_exactly_once_and_qos_1_at_least_once(
    steps: list[tuple[str, int]],
) -> None:
    """[MQTT-4.3.2-1] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.4.0-1] [MQTT-4.6.0-1]

    A persistent subscriber drops, comes back and answers as much as it likes.
    """
    stage = Stage(max_inflight=3)
    sub = subscriber(stage, clean=False)
    pub = stage.client("pub")
    sent: list[tuple[int, bytes]] = []
    arrived: list[tuple[int, bytes]] = []
    holding: dict[int, None] = {}  # QoS 2 ids received and not released, as a receiver keeps them
    inbox: list[Packet] = []

    def answer(packet: Packet) -> None:
        if isinstance(packet, Publish) and packet.qos == 2:
            if packet.packet_id not in holding:
                holding[packet.packet_id] = None
                arrived.append((2, packet.payload))
            sub.send(PubRec(packet.packet_id))
        elif isinstance(packet, Publish):
            arrived.append((1, packet.payload))
            sub.send(PubAck(packet.packet_id))
        elif isinstance(packet, PubRel):
            holding.pop(packet.packet_id, None)
            sub.send(PubComp(packet.packet_id))

    for step, number in [*steps, ("drop", 0), ("answer", 10_000)]:
        if step == "publish":
            payload = b"%d" % len(sent)
            sent.append((number, payload))
            pub.send(publish(number, 1 + len(sent), payload), PubRel(1 + len(sent)))
        elif step == "drop":
            sub.drop()
            inbox.clear()
            sub = back(stage)
        elif step == "restart":
            inbox.clear()
            sub = back(stage)  # taken over
        else:
            for _ in range(number):
                inbox += sub.packets()
                if not inbox:
                    break
                answer(inbox.pop(0))
    assert [entry for entry in arrived if entry[0] == 2] == [e for e in sent if e[0] == 2]
    once = list(dict.fromkeys(entry for entry in arrived if entry[0] == 1))
    assert once == [entry for entry in sent if entry[0] == 1]


def test_connect_and_publish_and_disconnect_in_one_segment_count() -> None:
    """[MQTT-4.8.0-1] What came before the end of the stream is handled."""
    stage = Stage()
    sub = subscriber(stage)
    client = stage.open()
    client.send(Connect("c"), publish(0), Disconnect())
    client.drop()
    assert sub.publishes() == [publish(0)]
