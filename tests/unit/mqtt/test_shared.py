"""Shared subscriptions: each message goes to one member of the group, and none is lost."""

from __future__ import annotations

import pytest

from aemos.mqtt.packets import PubAck, SubAck, Unsubscribe
from aemos.mqtt.shared import inner_filter
from aemos.services.events import IdentityChanged
from tests.mqtt_stage import Client, Stage, sensor

SHARED = "$share/workers/a/#"


def group(stage: Stage, *names: str, qos: int = 1, clean: bool = True) -> list[Client]:
    """Members of one shared subscription."""
    clients = [stage.client(name, clean=clean) for name in names]
    for client in clients:
        client.subscribe((SHARED, qos))
    return clients


def send(stage: Stage, *payloads: bytes, qos: int = 1) -> None:
    for payload in payloads:
        stage.broker.publish("a/b", payload, qos=qos)


def got(client: Client) -> list[bytes]:
    """The payloads that came, all acknowledged."""
    publishes = client.publishes()
    for publish in publishes:
        if publish.qos == 1:
            client.send(PubAck(publish.packet_id))
    return [publish.payload for publish in publishes]


@pytest.mark.parametrize(
    ("filter", "inner"),
    [
        ("$share/g/a/#", "a/#"),
        ("$share/g//", "/"),
        ("$share/g/$SYS/#", "$SYS/#"),
        ("a/b", "a/b"),
        ("$shared/g/a", "$shared/g/a"),
        ("$share/g", ""),
        ("$share/g/", ""),
        ("$share//a", ""),
        ("$share/+/a", ""),
        ("$share/#", ""),
        ("$share/g/$share/g/a", ""),
    ],
)
def test_the_filter_is_what_follows_the_name_of_the_group(filter: str, inner: str) -> None:
    assert inner_filter(filter) == inner


def test_members_take_turns() -> None:
    stage = Stage()
    one, two, three = group(stage, "one", "two", "three")
    send(stage, *[b"%d" % n for n in range(6)])
    assert [got(one), got(two), got(three)] == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


def test_every_group_and_every_plain_subscriber_gets_its_own_copy() -> None:
    stage = Stage()
    one, two = group(stage, "one", "two", qos=0)
    other, plain = stage.client("other"), stage.client("plain")
    other.subscribe(("$share/others/a/+", 1))
    plain.subscribe(("a/#", 1), ("$share/others/a/+", 0))
    send(stage, b"x", b"y")
    assert [got(one), got(two)] == [[b"x"], [b"y"]]
    assert [got(other), got(plain)] == [[b"x"], [b"x", b"y", b"y"]]


def test_the_qos_is_that_of_the_member() -> None:
    stage = Stage()
    (one,), (two,) = group(stage, "one", qos=0), group(stage, "two", qos=1)
    send(stage, b"x", b"y", qos=2)
    assert [publish.qos for publish in one.publishes() + two.publishes()] == [0, 1]


def test_a_malformed_or_denied_shared_filter_is_refused() -> None:
    client = Stage().client()
    assert client.subscribe(("$share/g/", 1), ("$share/g/denied/x", 1), ("$share/g/a", 1)) == [
        SubAck(1, (0x80, 0x80, 1))
    ]


def test_retained_messages_are_not_for_groups() -> None:
    stage = Stage()
    stage.broker.publish("a/b", b"x", retain=True)
    (one,) = group(stage, "one")
    assert got(one) == []


def test_who_leaves_the_group_gets_nothing_more() -> None:
    stage = Stage()
    one, two = group(stage, "one", "two")
    one.send(Unsubscribe(2, (SHARED,)))
    one.packets()
    send(stage, b"x", b"y")
    assert [got(one), got(two)] == [[], [b"x", b"y"]]
    two.send(Unsubscribe(2, (SHARED,)))
    assert stage.broker.subscription_count == stage.broker.shared_subscription_count == 0
    assert not stage.broker.has_subscribers("a/b")


def test_absent_durable_members_collect_nothing() -> None:
    stage = Stage()
    one, two = group(stage, "one", "two", clean=False)
    one.drop()
    send(stage, b"x", b"y")
    assert got(two) == [b"x", b"y"]
    assert got(stage.client("one", clean=False, present=True)) == []
    send(stage, b"z", b"w")
    assert got(two) != []


def test_without_connected_members_a_message_is_dropped_and_counted() -> None:
    stage = Stage()
    (one,) = group(stage, "one", clean=False)
    one.drop()
    send(stage, b"x")
    assert stage.broker.totals().dropped == {"no_shared_member": 1}
    assert got(stage.client("one", clean=False, present=True)) == []


@pytest.mark.parametrize("clean", [True, False])
def test_what_a_lost_member_has_not_acknowledged_goes_to_another(clean: bool) -> None:
    stage = Stage(max_inflight=2)
    (one,) = group(stage, "one", clean=clean)
    send(stage, b"0", b"1", b"2", b"3")
    (two,) = group(stage, "two")
    first = one.publishes()
    assert [publish.payload for publish in first] == [b"0", b"1"]
    one.send(PubAck(first[0].packet_id))
    one.drop()
    taken = got(two)
    while more := got(two):
        taken += more
    assert taken == [b"1", b"2", b"3"]
    if not clean:
        assert got(stage.client("one", clean=False, present=True)) == []


def test_a_sent_qos_2_message_is_not_sent_to_another_member() -> None:
    stage = Stage()
    (one,) = group(stage, "one", qos=2, clean=False)
    send(stage, b"x", qos=2)
    (two,) = group(stage, "two", qos=2)
    one.drop()
    assert got(two) == []
    back = stage.client("one", clean=False, present=True)
    assert [(publish.payload, publish.dup) for publish in back.publishes()] == [(b"x", True)]


def test_without_another_member_a_durable_one_keeps_what_it_was_sent() -> None:
    stage = Stage()
    (one,) = group(stage, "one", clean=False)
    send(stage, b"x")
    one.drop()
    assert got(stage.client("one", clean=False, present=True)) == [b"x"]


def test_the_last_connected_member_leaves_its_messages_to_an_absent_one() -> None:
    stage = Stage()
    (durable,) = group(stage, "durable", clean=False)
    durable.drop()
    (last,) = group(stage, "last")
    send(stage, b"x")
    last.drop()
    assert got(stage.client("durable", clean=False, present=True)) == [b"x"]


def test_a_member_that_is_behind_is_passed_over() -> None:
    stage = Stage(max_inflight=1)
    one, two = group(stage, "one", "two")
    send(stage, b"0", b"1", b"2")
    assert got(two) == [b"1"]
    send(stage, b"3", b"4")
    assert [publish.payload for publish in one.publishes()] == [b"0"]
    assert got(two) == [b"3"]
    assert got(two) == [b"4"]


def test_a_topic_that_one_member_may_not_receive_goes_to_another() -> None:
    stage = Stage()
    one, two = group(stage, "one", "two")
    allowed = stage.rights.may_receive
    stage.rights.receive_denied.add("a/secret")
    stage.rights.may_receive = lambda principal, client_id, topic: (  # type: ignore[method-assign]
        client_id == "two" or allowed(principal, client_id, topic)
    )
    for payload in (b"x", b"y"):
        stage.broker.publish("a/secret", payload)
    assert [got(one), got(two)] == [[], [b"x", b"y"]]


def test_a_member_whose_rights_end_leaves_the_group() -> None:
    stage = Stage()
    stage.login.known |= {"v": sensor("v")}
    reader = stage.client("c", user="v")
    reader.subscribe(("$share/g/devices/pump/#", 1), ("$share/g/devices/v/#", 1))
    stage.rights.subscribe_denied.add("pump")
    stage.events.publish(IdentityChanged("pump"))
    stage.broker.publish("devices/pump/state", b"1")
    stage.broker.publish("devices/v/state", b"2")
    assert got(reader) == [b"2"]


def test_stopping_moves_nothing_from_member_to_member() -> None:
    stage = Stage()
    members = group(stage, "one", "two", "three")
    send(stage, b"x", b"y", b"z")
    for member in members:
        assert len(member.publishes()) == 1
    stage.broker.close_all()
    assert [member.publishes() for member in members] == [[], [], []]
