"""MQTT 3.1.1 sections 3.8 to 3.11 and 4.7 over the whole door: subscriptions and topic matching.

Each test names in its docstring the statements it checks; docs/conformance.rst is made from them.
"""

from __future__ import annotations

import pytest

from aemos.mqtt.packets import (
    Disconnect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from tests.mqtt_stage import Stage
from tests.wire.table import ALSO_DECODED, BAD, Bad, Good, h


@pytest.mark.parametrize("case", [c for c in BAD if c.raw[0] >> 4 in (8, 10)], ids=lambda c: c.name)
def test_malformed_subscribe_or_unsubscribe_closes_and_changes_nothing(case: Bad) -> None:
    """[MQTT-3.8.1-1] [MQTT-3.8.3-1] [MQTT-3.8.3-3] [MQTT-3.8.3-4] [MQTT-3.10.1-1]
    [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT-2.3.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1]"""
    client = Stage().client()
    client.send(case.raw)
    assert client.closed
    assert client.take() == b""


def test_bad_third_filter_spoils_the_two_before_it() -> None:
    """[MQTT-3.8.3-4] A malformed packet changes nothing."""
    stage = Stage()
    stage.client("p", clean=False).send(h("820e 0001 0001 61 00 0001 62 01 0001 63 03"))
    assert stage.broker.subscription_count == 0


def test_suback_carries_the_id_of_the_request() -> None:
    """[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.3.1-7]"""
    client = Stage().client()
    client.send(Subscribe(0xFFFF, (("a", 0),)))
    assert client.take() == h("9003ffff00")


def test_several_filters_get_one_suback_with_a_code_each_in_their_order() -> None:
    """[MQTT-3.8.4-4] [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]"""
    client = Stage().client()
    client.send(Subscribe(1, (("a", 2), ("b", 0), ("denied", 1), ("c", 1))))
    assert client.take() == h("9006 0001 02008001")


def test_denied_filter_delivers_nothing() -> None:
    """[MQTT-3.8.4-5] Neither retained nor live messages."""
    stage = Stage()
    stage.rights.publish_denied.clear()
    pub = stage.client("pub")
    pub.send(Publish("denied", b"x", retain=True))
    client = stage.client("c")
    assert client.subscribe(("denied", 1)) == [SubAck(1, (0x80,))]
    pub.send(Publish("denied", b"y"))
    assert client.packets() == []


def test_3_1_client_is_told_the_requested_qos_for_a_denied_filter() -> None:
    """MQTT 3.1 has no failure code in SUBACK; nothing is delivered all the same."""
    stage = Stage()
    stage.rights.publish_denied.clear()
    client = stage.client("c", level=3)
    assert client.subscribe(("denied", 1)) == [SubAck(1, (1,))]
    stage.client("pub").send(Publish("denied", b"y"))
    assert client.packets() == []


@pytest.mark.parametrize("case", [c for c in ALSO_DECODED if c.level == 3], ids=lambda c: c.name)
def test_3_1_client_may_send_what_3_1_allows(case: Good) -> None:
    """MQTT 3.1: DUP on repeats, reserved bits ignored."""
    stage = Stage()
    if case.raw[0] >> 4 == 1:
        client = stage.open(3)
        client.send(case.raw)
        # Understood, whether or not the credentials are good.
        assert client.take() in (h("20020000"), h("20020005"))
        return
    client = stage.client("c", level=3)
    client.send(case.raw)
    assert client.closed == (case.raw[0] >> 4 == 14)


def test_several_retained_messages_come_with_a_new_subscription() -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-8] SUBACK first."""
    stage = Stage()
    pub = stage.client("pub")
    pub.send(*(Publish(topic, b"x", retain=True) for topic in ("r/1", "r/2", "r/3", "s")))
    answer = stage.client("c").subscribe(("r/#", 0))
    assert isinstance(answer[0], SubAck)
    assert sorted(p.topic for p in answer[1:] if isinstance(p, Publish) and p.retain) == [
        "r/1",
        "r/2",
        "r/3",
    ]
    assert len(answer) == 4


def test_each_filter_of_a_subscribe_sends_its_own_retained_messages() -> None:
    """[MQTT-3.8.4-4]"""
    stage = Stage()
    stage.client("pub").send(Publish("r", b"x", 1, True, packet_id=1))
    got = stage.client("c").subscribe(("r", 0), ("#", 1))[1:]
    assert [p.qos for p in got if isinstance(p, Publish)] == [0, 1]


def test_same_filter_again_replaces_and_sends_retained_again() -> None:
    """[MQTT-3.8.4-3]"""
    stage = Stage()
    pub = stage.client("pub")
    pub.send(Publish("r", b"x", 1, True, packet_id=1))
    client = stage.client("c")
    assert client.subscribe(("r", 0))[1:] == [Publish("r", b"x", 0, True)]
    assert client.subscribe(("r", 1))[1:] == [Publish("r", b"x", 1, True, packet_id=1)]
    pub.send(Publish("r", b"y", 1, packet_id=1))
    assert client.publishes() == [Publish("r", b"y", 1, packet_id=2)]


def test_resuming_a_session_sends_no_retained_messages() -> None:
    """[MQTT-3.3.1-6] Only a SUBSCRIBE does."""
    stage = Stage()
    stage.client("pub").send(Publish("r", b"x", 1, True, packet_id=1))
    client = stage.client("p", clean=False)
    client.subscribe(("r", 1))
    client.send(PubAck(1), Disconnect())
    assert stage.client("p", clean=False, present=True).packets() == []


def test_unsubscribe_compares_filters_as_text() -> None:
    """[MQTT-3.10.4-1]"""
    stage = Stage()
    client = stage.client("c")
    client.subscribe(("a/+", 0))
    client.send(Unsubscribe(2, ("a/b", "a/#", "A/+")))
    stage.client("pub").send(Publish("a/b", b"x"))
    assert client.packets() == [UnsubAck(2), Publish("a/b", b"x")]


def test_nothing_comes_after_unsubscribe() -> None:
    """[MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-6]"""
    stage = Stage()
    client = stage.client("c")
    client.subscribe(("a", 0), ("b", 0))
    client.send(Unsubscribe(0xFFFF, ("a", "b")))
    stage.client("pub").send(Publish("a"), Publish("b"))
    assert client.take() == h("b002ffff")


@pytest.mark.parametrize("clean", [True, False])
def test_retained_messages_do_not_follow_a_subscription_that_has_ended(clean: bool) -> None:
    """[MQTT-3.10.4-2] Also when the SUBSCRIBE before it was not stored yet."""
    stage = Stage(max_inflight=1)
    publisher = stage.client("pub")
    publisher.send(*(Publish(f"a/{number}", b"x", 1, True, packet_id=1) for number in range(3)))
    client = stage.client("c", clean=clean)
    client.send(Subscribe(1, (("a/#", 1),)), Unsubscribe(2, ("a/#",)))
    answers = client.packets()
    assert answers[0] == SubAck(1, (1,))
    assert answers[-1] == UnsubAck(2)
    client.send(PubAck(1))
    assert client.publishes() == []


def test_unknown_filter_is_acknowledged_too() -> None:
    """[MQTT-3.10.4-5]"""
    client = Stage().client()
    client.send(Unsubscribe(1, ("never",)))
    assert client.packets() == [UnsubAck(1)]


@pytest.mark.parametrize(
    ("filter", "sees"),
    [
        ("#", ["a", "a/b", "/a", "a/"]),
        ("+/#", ["a", "a/b", "/a", "a/"]),
        ("+", ["a"]),
        ("+/+", ["a/b", "/a", "a/"]),
        ("a/#", ["a", "a/b", "a/"]),
        ("$SYS/#", ["$SYS/x"]),
        ("$SYS/+", ["$SYS/x"]),
        ("+/x", []),
        ("A", []),
    ],
)
def test_filter_selects(filter: str, sees: list[str]) -> None:
    """[MQTT-4.7.2-1] [MQTT-4.7.3-4] [MQTT-3.8.3-2] Live and retained alike."""
    stage = Stage()
    topics = ["a", "a/b", "/a", "a/", "$SYS/x"]
    client = stage.client("c")
    client.subscribe((filter, 0))
    for topic in topics:
        stage.broker.publish(topic, b"x", retain=True)
    assert [p.topic for p in client.publishes()] == sees
    retained = stage.client("later").subscribe((filter, 0))[1:]
    assert {p.topic for p in retained if isinstance(p, Publish)} == set(sees)


def test_topics_are_compared_byte_by_byte() -> None:
    """[MQTT-4.7.3-4]"""
    stage = Stage()
    client = stage.client("c")
    client.subscribe(("\u00e9", 0), ("a/b", 0))
    stage.client("pub").send(Publish("e\u0301"), Publish("a//b"), Publish("A/b"))
    assert client.packets() == []


def test_clients_cannot_publish_to_dollar_topics() -> None:
    """[MQTT-4.7.2-1] Acknowledged and discarded; the connection stays."""
    stage = Stage()
    client = stage.client("c")
    client.subscribe(("$SYS/#", 0), ("$x", 0))
    client.send(Publish("$SYS/x", b"1", 1, True, packet_id=1), Publish("$x", b"1"))
    assert client.packets() == [PubAck(1)]
    assert not client.closed
    assert len(stage.broker.store.retained) == 0


def test_subscribe_with_as_many_filters_as_a_packet_holds_is_answered_in_a_moment() -> None:
    """[MQTT-3.8.4-5] Those beyond the limit of a client are refused."""
    client = Stage(max_subscriptions=2).client()
    count = 60_000
    [answer] = client.subscribe(*[("a", 0), ("b", 1)], *[("c", 0)] * count)
    assert answer == SubAck(1, (0, 1, *[0x80] * count))
