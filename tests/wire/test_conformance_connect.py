"""MQTT 3.1.1 sections 3.1, 3.2, 3.12 and 3.14 over the whole door: connecting, wills, keep-alive.

Each test names in its docstring the statements it checks; docs/conformance.rst is made from them.
"""

from __future__ import annotations

import string

import pytest

from aemos.errors import StorageUnavailable
from aemos.mqtt.counters import CloseReason
from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    Subscribe,
    Will,
)
from tests.mqtt_stage import Client, Stage
from tests.wire.table import BAD, CONN, Bad, connect, h

WILL = Will("will/c", b"gone")


def watcher(stage: Stage, topic: str = "will/#") -> Client:
    """@return: a client that sees wills."""
    client = stage.client("watcher")
    client.subscribe((topic, 2))
    return client


def refused(raw: bytes) -> bytes:
    """@return: what a fresh connection gets for these bytes, which must close it."""
    client = Stage().open()
    client.send(raw)
    assert client.closed
    return client.take()


def malformed_connects() -> list[Bad]:
    return [case for case in BAD if case.raw[0] >> 4 == 1 and case.clause != "MQTT-3.1.2-2"]


@pytest.mark.parametrize("case", malformed_connects(), ids=lambda case: case.name)
def test_malformed_connect_is_closed_without_a_word(case: Bad) -> None:
    """[MQTT-3.1.4-1] [MQTT-3.1.2-1] [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11]
    [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15] [MQTT-3.1.2-18] [MQTT-3.1.2-19]
    [MQTT-3.1.2-20] [MQTT-3.1.2-21] [MQTT-3.1.2-22] [MQTT-3.1.3-3] [MQTT-3.1.3-4]
    [MQTT-3.1.3-10] [MQTT-3.1.3-11] [MQTT-2.2.2-2] [MQTT-1.5.3-1] [MQTT-1.5.3-2]"""
    assert refused(case.raw) == b""


@pytest.mark.parametrize("raw", ["c000", "30030001 61", "e000", "0000", "47455420"])
def test_first_packet_must_be_connect(raw: str) -> None:
    """[MQTT-3.1.0-1]"""
    assert refused(h(raw)) == b""


def test_other_first_byte_is_not_waited_for() -> None:
    """[MQTT-3.1.0-1] A length of 256 MiB is announced, one byte decides."""
    assert refused(h("30ffffff7f")) == b""


def test_second_connect_closes_and_publishes_the_will() -> None:
    """[MQTT-3.1.0-2]"""
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c", will=WILL)
    client.send(CONN)
    assert client.closed
    assert client.take() == b""
    assert watch.publishes() == [Publish("will/c", b"gone")]


@pytest.mark.parametrize(
    "case", [c for c in BAD if c.clause == "MQTT-3.1.2-2"], ids=lambda c: c.name
)
def test_level_that_is_not_spoken_gets_return_code_1(case: Bad) -> None:
    """[MQTT-3.1.2-2] [MQTT-3.2.2-4] [MQTT-3.2.2-5]"""
    assert refused(case.raw) == h("20020001")


def test_persistent_session_is_resumed_with_its_subscriptions() -> None:
    """[MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.2.2-3]"""
    stage = Stage()
    client = stage.client("p", clean=False, present=False)
    client.subscribe(("a", 1))
    client.send(Disconnect())
    client = stage.client("p", clean=False, present=True)
    stage.client("pub").send(Publish("a", b"1"))
    assert client.publishes() == [Publish("a", b"1")]


def test_empty_persistent_session_is_present_too() -> None:
    """[MQTT-3.2.2-2] Also after a drop instead of a DISCONNECT."""
    stage = Stage()
    stage.client("p", clean=False).drop()
    stage.client("p", clean=False, present=True)


def test_qos_1_and_2_messages_wait_for_an_absent_session() -> None:
    """[MQTT-3.1.2-5] [MQTT-3.2.0-1] CONNACK comes first; QoS 0 is not kept."""
    stage = Stage()
    client = stage.client("p", clean=False)
    client.subscribe(("a/#", 2))
    client.drop()
    publisher = stage.client("pub")
    for qos in (0, 1, 2):
        publisher.send(Publish(f"a/{qos}", b"x", qos, packet_id=qos))
    client = stage.open()
    client.send(Connect("p", clean_session=False))
    assert client.packets() == [
        ConnAck(0, True),
        Publish("a/1", b"x", 1, packet_id=1),
        Publish("a/2", b"x", 2, packet_id=2),
    ]


def test_clean_session_wipes_what_was_stored_and_leaves_nothing() -> None:
    """[MQTT-3.1.2-6] [MQTT-3.2.2-1]"""
    stage = Stage()
    client = stage.client("p", clean=False)
    client.subscribe(("a", 1))
    client.drop()
    stage.client("pub").send(Publish("a", b"old", 1, packet_id=1))
    stage.client("p", clean=True, present=False).send(Disconnect())
    client = stage.client("p", clean=False, present=False)
    stage.client("pub").send(Publish("a", b"new", 1, packet_id=1))
    assert client.publishes() == []


def test_subscriptions_of_a_clean_session_end_with_the_connection() -> None:
    """[MQTT-3.1.2-6]"""
    stage = Stage()
    client = stage.client("p")
    client.subscribe(("a", 1))
    client.drop()
    assert stage.broker.subscription_count == 0
    assert not stage.broker.has_subscribers("a")


def test_retained_messages_outlive_the_session_that_made_them() -> None:
    """[MQTT-3.1.2-7]"""
    stage = Stage()
    publisher = stage.client("p")
    publisher.send(Publish("a", b"kept", retain=True), Disconnect())
    assert stage.client("q").subscribe(("a", 0))[1:] == [Publish("a", b"kept", retain=True)]


@pytest.mark.parametrize("clean", [True, False])
def test_will_is_published_when_the_connection_drops(clean: bool) -> None:
    """[MQTT-3.1.2-8]"""
    stage = Stage()
    watch = watcher(stage)
    stage.client("c", clean=clean, will=Will("will/c", b"gone", 2)).drop()
    assert watch.publishes() == [Publish("will/c", b"gone", 2, packet_id=1)]


def test_will_with_an_empty_payload_is_published() -> None:
    """[MQTT-3.1.2-8] [MQTT-3.1.3-1]"""
    stage = Stage()
    watch = watcher(stage)
    stage.client("c", will=Will("will/c", b"")).drop()
    assert watch.publishes() == [Publish("will/c", b"")]


@pytest.mark.parametrize(("level", "code"), [(3, b"\2"), (4, b"\5")])
def test_connect_whose_fields_are_as_long_as_fields_can_be_is_read(level: int, code: bytes) -> None:
    """[MQTT-3.1.3-1] It is answered for what it says: a long client id in 3.1, a wrong password."""
    longest = "x" * 0xFFFF
    will = Will(longest, longest.encode())
    packet = Connect(longest, level, True, 0, will, longest, longest.encode())
    assert refused(packet.encode()) == b"\x20\2\0" + code


def test_disconnect_removes_the_will_for_good() -> None:
    """[MQTT-3.1.2-10] [MQTT-3.14.4-3]"""
    stage = Stage()
    watch = watcher(stage)
    stage.client("c", clean=False, will=WILL).send(Disconnect())
    stage.client("c", clean=False, present=True).drop()
    assert watch.publishes() == []


def test_will_is_published_once() -> None:
    """[MQTT-3.1.2-10]"""
    stage = Stage()
    watch = watcher(stage)
    stage.client("c", clean=False, will=WILL).drop()
    stage.client("c", clean=False, present=True).drop()
    assert len(watch.publishes()) == 1


def test_without_a_will_nothing_is_published() -> None:
    """[MQTT-3.1.2-12]"""
    stage = Stage()
    watch = watcher(stage, "#")
    stage.client("c").drop()
    assert watch.publishes() == []


@pytest.mark.parametrize("retain", [False, True])
def test_will_is_retained_if_it_says_so(retain: bool) -> None:
    """[MQTT-3.1.2-16] [MQTT-3.1.2-17]"""
    stage = Stage()
    watch = watcher(stage)
    stage.client("c", will=Will("will/c", b"gone", 1, retain)).drop()
    assert watch.publishes() == [Publish("will/c", b"gone", 1, packet_id=1)]
    later = stage.client("later").subscribe(("will/#", 1))[1:]
    assert later == ([Publish("will/c", b"gone", 1, True, packet_id=1)] if retain else [])


def test_all_fields_of_connect_are_read_in_their_order() -> None:
    """[MQTT-3.1.3-1] [MQTT-3.1.2-19] [MQTT-3.1.2-21] [MQTT-3.2.2-4] [MQTT-3.1.4-4]"""
    stage = Stage()
    watch = watcher(stage)
    client = stage.open()
    client.send(connect(0xC6, h("0001 63 0006") + b"will/c" + h("0001 6d 0004") + b"root\0\2pw"))
    assert client.take() == h("20020000")
    assert [c.principal for c in stage.broker.clients() if c.client_id == "c"] == [
        "user:root@x.example"
    ]
    client.drop()
    assert watch.publishes() == [Publish("will/c", b"m")]


def test_client_id_names_the_session() -> None:
    """[MQTT-3.1.3-2]"""
    stage = Stage()
    one, two = stage.client("one"), stage.client("two")
    one.subscribe(("a", 0))
    stage.client("pub").send(Publish("a", b"x"))
    assert (len(one.publishes()), len(two.publishes())) == (1, 0)


@pytest.mark.parametrize(
    "client_id",
    [
        *(string.digits + string.ascii_letters)[::13],
        string.ascii_lowercase[:23],
        string.ascii_uppercase[:23],
        string.digits,
        "x" * 65535,
    ],
)
def test_client_ids_of_letters_and_digits_are_accepted(client_id: str) -> None:
    """[MQTT-3.1.3-5] Longer ones too."""
    Stage().client(client_id)


def test_clients_without_an_id_get_their_own_and_stay_side_by_side() -> None:
    """[MQTT-3.1.3-6] [MQTT-3.1.3-7]"""
    stage = Stage()
    one, two = stage.client(""), stage.client("")
    assert not one.closed
    assert not two.closed
    assert len({client.client_id for client in stage.broker.clients()}) == 2


def test_empty_id_with_a_persistent_session_gets_return_code_2() -> None:
    """[MQTT-3.1.3-8] [MQTT-3.1.3-9] [MQTT-3.2.2-4] [MQTT-3.2.2-5]"""
    assert refused(connect(0, h("0000"))) == h("20020002")


@pytest.mark.parametrize("client_id", ["", "x" * 24])
def test_level_3_1_client_ids_have_1_to_23_characters(client_id: str) -> None:
    """[MQTT-3.1.3-9]"""
    assert refused(Connect(client_id, 3).encode()) == h("20020002")
    Stage().client("x" * 23, level=3)


def test_session_present_is_never_told_to_a_3_1_client() -> None:
    """The byte is reserved there (MQTT 3.1 section 3.2)."""
    stage = Stage()
    stage.client("p", clean=False, level=3).drop()
    stage.client("p", clean=False, level=3, present=False)


@pytest.mark.parametrize("clean", [True, False])
def test_second_connection_with_the_id_takes_over(clean: bool) -> None:
    """[MQTT-3.1.4-2] [MQTT-3.1.4-3] The old one is closed first and its will published."""
    stage = Stage()
    watch = watcher(stage)
    old = stage.client("c", clean=clean, will=WILL)
    new = stage.client("c", clean=clean, present=not clean)
    assert old.closed
    assert not new.closed
    assert old.take() == b""
    assert watch.publishes() == [Publish("will/c", b"gone")]
    old.drop()
    new.send(PingReq())
    assert new.packets() == [PingResp()]


def test_take_over_with_clean_session_drops_the_old_state() -> None:
    """[MQTT-3.1.4-3]"""
    stage = Stage()
    stage.client("c", clean=False).subscribe(("a", 1))
    new = stage.client("c", clean=True, present=False)
    stage.client("pub").send(Publish("a", b"x", 1, packet_id=1))
    assert new.publishes() == []


def test_nothing_after_a_refused_connect_is_looked_at() -> None:
    """[MQTT-3.1.4-5] [MQTT-3.2.2-5] No stored session is shown either [MQTT-3.2.2-4]."""
    stage = Stage()
    stage.client("c", clean=False, user="root").drop()
    watch = watcher(stage, "#")
    client = stage.open()
    wrong = Connect("c", clean_session=False, username="root", password=b"no")
    client.send(wrong, Publish("a", b"x"), Publish("a", b"x", 1, packet_id=1))
    assert client.take() == h("20020005")
    assert client.closed
    assert watch.publishes() == []


def test_refused_login_does_not_disturb_the_client_that_is_connected() -> None:
    """[MQTT-3.1.4-2] Take over only after authentication."""
    stage = Stage()
    here = stage.client("c", user="root")
    stage.open().send(Connect("c", username="root", password=b"no"))
    assert not here.closed


def test_packets_sent_before_the_connack_are_handled_after_it() -> None:
    """[MQTT-3.2.0-1] Clients need not wait for CONNACK (section 3.1.4)."""
    stage = Stage()
    client = stage.open()
    client.send(CONN, Subscribe(1, (("a", 0),)), Publish("a", b"x"), PingReq())
    assert client.take() == h("20020000 9003000100 3004000161 78 d000")


def test_unavailable_database_is_return_code_3() -> None:
    """[MQTT-3.2.2-5] [MQTT-3.2.2-4]"""
    stage = Stage()
    stage.login.failure = StorageUnavailable("away")
    client = stage.open()
    client.send(CONN)
    assert client.take() == h("20020003")
    assert client.closed


def test_internal_failure_during_connect_closes_without_connack(hygiene: list[str]) -> None:
    """[MQTT-3.2.2-6]"""
    stage = Stage()
    stage.login.authenticate = None  # type: ignore[method-assign, assignment]
    client = stage.open()
    client.send(CONN)
    assert client.take() == b""
    assert client.closed
    assert stage.broker.counters.closed[CloseReason.FAULT] == 1
    hygiene.clear()


def test_silent_client_is_dropped_after_one_and_a_half_keep_alives() -> None:
    """[MQTT-3.1.2-24] Its will is published."""
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c", keep_alive=2, will=WILL)
    stage.clock.advance(2.9)
    assert not client.closed
    stage.clock.advance(0.2)
    assert client.closed
    assert watch.publishes() == [Publish("will/c", b"gone")]


def test_what_a_client_sent_while_the_server_stood_still_counts() -> None:
    """[MQTT-3.1.2-24]"""
    stage = Stage()
    client = stage.client("c", keep_alive=2)
    stage.clock.callLater(9.9, client.feed, PingReq().encode())  # read after the timers
    stage.clock.advance(10)
    assert client.packets() == [PingResp()]
    assert not client.closed
    stage.clock.advance(3.1)
    assert client.closed


@pytest.mark.parametrize("packet", [PingReq(), Publish("a"), PubAck(9), b"\x30\x05\0"])
def test_whatever_a_client_sends_keeps_it_alive(packet: PingReq | bytes) -> None:
    """[MQTT-3.1.2-24] Bytes of a packet that is still on its way count too."""
    stage = Stage()
    client = stage.client("c", keep_alive=2)
    for _ in range(5 if not isinstance(packet, bytes) else 1):
        stage.clock.advance(2.5)
        client.send(packet)
    stage.clock.advance(2.9)
    assert not client.closed
    stage.clock.advance(0.2)
    assert client.closed


def test_what_the_server_sends_does_not_keep_a_client_alive() -> None:
    """[MQTT-3.1.2-24]"""
    stage = Stage()
    client = stage.client("c", keep_alive=2)
    client.subscribe(("a", 0))
    stage.clock.advance(2)
    stage.client("pub").send(Publish("a"))
    stage.clock.advance(1.1)
    assert client.closed


def test_keep_alive_0_waits_for_ever() -> None:
    """[MQTT-3.1.2-24]"""
    stage = Stage()
    client = stage.client("c", keep_alive=0)
    for _ in range(100):
        stage.clock.advance(3600)
    assert not client.closed


def test_ping_is_answered() -> None:
    """[MQTT-3.12.4-1]"""
    client = Stage().client()
    client.send(h("c000"))
    assert client.take() == h("d000")


@pytest.mark.parametrize("raw", ["e100", "e200", "e00100"])
def test_malformed_disconnect_closes_and_publishes_the_will(raw: str) -> None:
    """[MQTT-3.14.1-1]"""
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c", will=WILL)
    client.send(h(raw))
    assert client.closed
    assert len(watch.publishes()) == 1


def test_server_closes_after_disconnect_and_looks_at_nothing_behind_it() -> None:
    """[MQTT-3.14.4-1] [MQTT-3.14.4-2]"""
    stage = Stage()
    watch = watcher(stage, "#")
    client = stage.client("c")
    client.send(Disconnect(), Publish("a", b"x"))
    assert client.closed
    assert watch.publishes() == []


def test_connection_without_connect_is_closed_after_the_time_limit() -> None:
    """Section 3.1: within a reasonable time."""
    stage = Stage(connect_timeout=10)
    client = stage.open()
    client.feed(b"\x10")
    stage.clock.advance(9.9)
    assert not client.closed
    stage.clock.advance(0.2)
    assert client.closed
    assert client.take() == b""
