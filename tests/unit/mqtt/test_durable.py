"""What is stored before anybody is told so, and what the next run of the server makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from aemos.mqtt.counters import CloseReason
from aemos.mqtt.packets import (
    ConnAck,
    Connect,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)
from aemos.storage.transaction import Transaction
from tests.mqtt_stage import Client, MemoryDatabase, Stage

DATA = "devices/u/datastream"


def killed(stage: Stage, **settings: Any) -> Stage:
    """@return: the server's next run, on what the database holds."""
    stage.database.door.waiting.clear()
    stage.database.door.later = False
    return Stage(stage.database, **settings)


def subscribed(stage: Stage, qos: int = 2, topic_filter: str = "#") -> Client:
    client = stage.client("sub", clean=False)
    client.subscribe((topic_filter, qos))
    return client


def send(stage: Stage, *payloads: bytes, qos: int = 1, topic: str = "a") -> None:
    """Publish, and see each acknowledged."""
    publisher = stage.client("pub")
    answer = PubAck if qos == 1 else PubRec
    for packet_id, payload in enumerate(payloads, 1):
        publisher.send(Publish(topic, payload, qos, packet_id=packet_id))
        assert publisher.packets() == [answer(packet_id)]
    publisher.drop()


def count(database: MemoryDatabase, table: str) -> int:
    number: int = database.run(lambda tx: tx.value(f"SELECT COUNT(*) FROM {table}"))
    return number


@pytest.mark.parametrize("topic", ["a", DATA])
@pytest.mark.parametrize("qos", [1, 2])
def test_publish_is_acknowledged_when_the_copies_are_stored(topic: str, qos: int) -> None:
    stage = Stage()
    subscribed(stage).drop()
    publisher = stage.client("pub")
    stage.database.door.later = True
    publisher.send(Publish(topic, b"x", qos, packet_id=1))
    assert publisher.packets() == []
    stage.database.door.open()
    assert publisher.packets() == [PubAck(1) if qos == 1 else PubRec(1)]


def test_a_publish_is_one_unit_with_all_its_copies_and_its_payload_once() -> None:
    stage = Stage()
    for name in "abc":
        client = stage.client(name, clean=False)
        client.subscribe(("#", 1))
        client.drop()
    publisher = stage.client("pub", clean=False)
    stage.clock.advance(1)
    before = stage.database.units
    publisher.send(Publish("a", b"x", 2, retain=True, packet_id=1))
    assert stage.database.units == before + 1
    assert count(stage.database, "mqtt_message") == 1
    assert count(stage.database, "mqtt_queue") == 3
    assert count(stage.database, "mqtt_retained") == 1
    assert count(stage.database, "mqtt_inbound") == 1


def test_connack_suback_and_unsuback_wait_for_the_commit_of_what_they_say() -> None:
    stage = Stage()
    stage.database.door.later = True
    client = stage.open()
    client.send(Connect("c", clean_session=False))
    assert client.packets() == []
    stage.database.door.open()
    assert client.packets() == [ConnAck(0, False)]
    client.send(Subscribe(1, (("a", 1),)))
    assert client.packets() == []
    stage.database.door.open()
    assert client.packets() == [SubAck(1, (1,))]
    client.send(Unsubscribe(2, ("a",)))
    assert client.packets() == []
    stage.database.door.open()
    assert client.packets() == [UnsubAck(2)]


def test_clean_sessions_wait_for_no_commit_of_others() -> None:
    stage = Stage()
    subscribed(stage, topic_filter="a")
    bystander = stage.client("bystander")
    bystander.subscribe(("b", 1))
    stage.database.door.later = True
    stage.client("pub").send(Publish("a", b"x", 1, packet_id=1))
    other = stage.client("other")
    other.send(Publish("b", b"y", 2, packet_id=1))
    assert other.packets() == [PubRec(1)]
    assert len(bystander.publishes()) == 1
    bystander.subscribe(("c", 1))


def test_a_durable_session_gets_a_message_after_the_commit_in_order_and_mixed_with_qos_0() -> None:
    stage = Stage()
    subscriber = subscribed(stage)
    publisher = stage.client("pub")
    stage.database.door.later = True
    for number, qos in enumerate((1, 0, 2), 1):
        publisher.send(Publish("a", b"%d" % number, qos, packet_id=number if qos else 0))
    assert subscriber.publishes() == []
    stage.database.door.open()
    assert [p.payload for p in subscriber.publishes()] == [b"1", b"2", b"3"]


def test_session_subscriptions_and_queue_outlive_the_process() -> None:
    stage = Stage()
    subscribed(stage).drop()
    send(stage, b"1", b"2")
    send(stage, b"3", qos=2)
    stage = killed(stage)
    send(stage, b"4")
    back = stage.client("sub", clean=False, present=True)
    came = back.publishes()
    assert [(p.payload, p.qos, p.dup, p.packet_id) for p in came] == [
        (b"1", 1, False, 1),
        (b"2", 1, False, 2),
        (b"3", 2, False, 3),
        (b"4", 1, False, 4),
    ]
    for publish in came:
        stage.finish(back, publish)
    stage.clock.advance(1)
    assert count(stage.database, "mqtt_queue") == count(stage.database, "mqtt_message") == 0


def test_in_flight_messages_are_sent_again_with_dup_and_their_packet_ids() -> None:
    stage = Stage()
    subscriber = subscribed(stage)
    send(stage, b"1", b"2")
    send(stage, b"3", b"4", qos=2)
    assert len(subscriber.publishes()) == 4
    subscriber.send(PubAck(1), PubRec(3))
    stage.clock.advance(1)
    stage = killed(stage)
    back = stage.client("sub", clean=False, present=True)
    packets = back.packets()
    assert packets[0] == PubRel(3)
    assert [(p.payload, p.dup, p.packet_id) for p in packets[1:]] == [  # type: ignore[union-attr]
        (b"2", True, 2),
        (b"4", True, 4),
    ]
    send(stage, b"5", qos=2)
    [publish] = back.publishes()
    assert (publish.payload, publish.packet_id) == (b"5", 1)


def test_a_lost_delete_costs_a_repeat_and_no_more() -> None:
    stage = Stage()
    subscriber = subscribed(stage)
    send(stage, b"1")
    send(stage, b"2", qos=2)
    subscriber.send(PubRec(2))
    assert PubRel(2) in subscriber.packets()
    subscriber.send(PubAck(1), PubComp(2))  # and killed before that is written
    stage = killed(stage)
    back = stage.client("sub", clean=False, present=True)
    assert back.packets() == [PubRel(2), Publish("a", b"1", 1, dup=True, packet_id=1)]


def test_pubrel_waits_until_a_server_that_is_killed_cannot_send_the_publish_again() -> None:
    stage = Stage()
    subscriber = subscribed(stage)
    send(stage, b"1", qos=2)
    [publish] = subscriber.publishes()
    stage.database.door.later = True
    subscriber.send(PubRec(publish.packet_id))
    assert subscriber.packets() == []
    stage.database.door.open()
    assert subscriber.packets() == [PubRel(publish.packet_id)]


def test_qos_2_of_a_full_window_waits_for_the_commit_of_its_packet_id() -> None:
    stage = Stage(max_inflight=1)
    subscriber = subscribed(stage)
    send(stage, b"1", b"2", qos=2)
    assert [p.packet_id for p in subscriber.publishes()] == [1]
    subscriber.send(PubRec(1))
    assert subscriber.packets() == [PubRel(1)]
    stage.database.door.later = True
    subscriber.send(PubComp(1))
    assert subscriber.packets() == []
    stage.database.door.open()
    assert [p.packet_id for p in subscriber.publishes()] == [2]
    back = killed(stage).client("sub", clean=False, present=True)
    assert [(p.payload, p.dup, p.packet_id) for p in back.publishes()] == [(b"2", True, 2)]


def test_a_subscription_made_again_is_not_stored_again_and_waits_for_the_first() -> None:
    stage = Stage()
    client = stage.client("sub", clean=False)
    stage.database.door.later = True
    client.send(Subscribe(1, (("a", 1),)), Subscribe(2, (("a", 1),)))
    assert client.packets() == []
    stage.database.door.open()
    assert client.packets() == [SubAck(1, (1,)), SubAck(2, (1,))]
    units = stage.database.units
    client.send(Subscribe(3, (("a", 1),)))
    assert client.packets() == [SubAck(3, (1,))]
    assert stage.database.units == units
    client.send(Subscribe(4, (("a", 2),)))
    stage.database.door.open()
    assert client.packets() == [SubAck(4, (2,))]
    assert killed(stage).broker.store.find(("anonymous:", "sub")).subscriptions == {"a": 2}


def test_ids_go_by_the_order_of_the_queue_though_its_first_are_not_stored_yet() -> None:
    """Else those behind take the window, and nothing is sent any more."""
    stage = Stage(max_inflight=2)
    subscriber = subscribed(stage)
    send(stage, b"1", b"2")
    assert len(subscriber.publishes()) == 2
    publisher = stage.client("pub")
    stage.database.door.later = True
    for packet_id in (3, 4):
        publisher.send(Publish("a", b"%d" % packet_id, 1, packet_id=packet_id))
    subscriber.send(PubAck(1), PubAck(2))
    for packet_id in (5, 6):
        publisher.send(Publish("a", b"%d" % packet_id, 1, packet_id=packet_id))
    stage.database.door.open()
    assert [(p.payload, p.packet_id) for p in subscriber.publishes()] == [(b"3", 3), (b"4", 4)]
    subscriber.send(PubAck(3), PubAck(4))
    assert [(p.payload, p.packet_id) for p in subscriber.publishes()] == [(b"5", 5), (b"6", 6)]


def test_a_window_that_was_made_smaller_takes_new_messages_when_the_old_are_done() -> None:
    stage = Stage(max_inflight=3)
    subscribed(stage, qos=1)
    send(stage, b"1", b"2", b"3", b"4")
    stage = killed(stage, max_inflight=1)
    subscriber = stage.client("sub", clean=False, present=True)
    assert [p.packet_id for p in subscriber.publishes()] == [1, 2, 3]
    subscriber.send(PubAck(1), PubAck(2))
    assert subscriber.publishes() == []
    subscriber.send(PubAck(3))
    assert [p.payload for p in subscriber.publishes()] == [b"4"]


@pytest.mark.parametrize("topic", ["a", DATA])
def test_a_received_qos_2_message_is_recognised_by_the_next_process(topic: str) -> None:
    stage = Stage()
    watch = subscribed(stage)
    watch.drop()
    publisher = stage.client("pub", clean=False)
    publisher.send(Publish(topic, b"x", 2, packet_id=7))
    assert publisher.packets() == [PubRec(7)]
    stage = killed(stage)
    publisher = stage.client("pub", clean=False, present=True)
    publisher.send(Publish(topic, b"x", 2, dup=True, packet_id=7))
    assert publisher.packets() == [PubRec(7)]
    assert stage.router.handled == []
    assert len(stage.client("sub", clean=False, present=True).publishes()) == 1


def test_pubcomp_waits_until_the_id_is_free_for_the_next_process_too() -> None:
    stage = Stage()
    publisher = stage.client("pub", clean=False)
    publisher.send(Publish("a", b"x", 2, packet_id=7))
    stage.database.door.later = True
    publisher.packets()
    publisher.send(PubRel(7))
    assert publisher.packets() == []
    stage.database.door.open()
    assert publisher.packets() == [PubComp(7)]
    stage = killed(stage)
    publisher = stage.client("pub", clean=False, present=True)
    watch = stage.client("watch")
    watch.subscribe(("#", 2))
    publisher.send(Publish("a", b"new", 2, packet_id=7))
    assert len(watch.publishes()) == 1


def test_a_refused_message_leaves_no_copy_and_holds_up_nobody() -> None:
    stage = Stage()
    subscriber = subscribed(stage)
    stage.router.door.later = True
    stage.client("one").send(Publish(DATA, b"refuse", 1, packet_id=1))
    stage.client("two").send(Publish(DATA, b"fine", 1, packet_id=1))
    stage.router.door.open()
    assert [p.payload for p in subscriber.publishes()] == [b"fine"]
    stage.clock.advance(1)
    assert count(stage.database, "mqtt_queue") == 1


def test_retained_messages_outlive_the_process_and_so_does_their_end() -> None:
    stage = Stage()
    publisher = stage.client("pub")
    for topic in ("a", DATA, "gone"):
        publisher.send(Publish(topic, b"x", 1, retain=True, packet_id=1))
    publisher.send(Publish("gone", b"", 1, retain=True, packet_id=2))
    stage = killed(stage)
    client = stage.client("c")
    client.send(Subscribe(1, (("#", 1),)))
    assert sorted(p.topic for p in client.publishes()) == ["a", DATA]


def test_retained_messages_for_a_durable_session_are_copies_with_stored_packet_ids() -> None:
    stage = Stage(max_inflight=2)
    publisher = stage.client("pub")
    for topic in ("a", "b", "c"):
        publisher.send(Publish(topic, b"x", 2, retain=True, packet_id=ord(topic)))
    client = stage.client("sub", clean=False)
    client.send(Subscribe(1, (("#", 2),)))
    first = client.publishes()
    assert [p.retain for p in first] == [True, True]
    stage = killed(stage, max_inflight=2)
    again = stage.client("sub", clean=False, present=True).publishes()
    assert [(p.topic, p.packet_id, p.retain) for p in again] == [
        (p.topic, p.packet_id, True) for p in first
    ]


def test_a_clean_connect_forgets_the_stored_session_before_it_is_answered() -> None:
    stage = Stage()
    subscribed(stage).drop()
    send(stage, b"1")
    stage.database.door.later = True
    client = stage.open()
    client.send(Connect("sub"))
    assert client.packets() == []
    stage.database.door.open()
    assert client.packets() == [ConnAck(0, False)]
    for table in ("mqtt_session", "mqtt_subscription", "mqtt_queue", "mqtt_message"):
        assert count(stage.database, table) == 0


def test_a_durable_connect_is_refused_when_the_database_stays_away() -> None:
    stage = Stage()
    stage.database.door.later = True
    client = stage.open()
    client.send(Connect("c", clean_session=False))
    stage.clock.advance(stage.settings.connect_timeout)
    assert client.packets() == [ConnAck(3)]
    assert client.closed
    stage.database.door.open()
    stage.database.door.later = False
    stage.client("c", clean=False, present=True)


@pytest.mark.parametrize("absent", [True, False])
def test_drop_oldest_keeps_the_newest_and_counts(absent: bool) -> None:
    stage = Stage(max_queued=2, max_inflight=1, queue_full="drop_oldest")
    subscriber = subscribed(stage, 1)
    if absent:
        subscriber.drop()
    else:
        send(stage, b"0")
    send(stage, b"1", b"2", b"3", b"4")
    stage.clock.advance(1)
    assert stage.broker.totals().dropped["queue_full"] == 2
    if absent:
        subscriber = stage.client("sub", clean=False, present=True)
    else:
        assert [client.dropped for client in stage.broker.clients()] == [2]
    payloads = []
    while came := subscriber.publishes():
        payloads += [p.payload for p in came]
        subscriber.send(*(PubAck(p.packet_id) for p in came))
    assert payloads[-2:] == [b"3", b"4"]
    stage.clock.advance(1)
    assert count(stage.database, "mqtt_queue") == 0


def test_refuse_newest_counts_what_waits_in_the_database() -> None:
    stage = Stage(max_queued=2)
    subscribed(stage, 1).drop()
    send(stage, b"1")
    stage = killed(stage, max_queued=2)
    send(stage, b"2", b"3")
    assert stage.broker.totals().dropped["queue_full"] == 1
    back = stage.client("sub", clean=False, present=True)
    assert [p.payload for p in back.publishes()] == [b"1", b"2"]


@pytest.mark.parametrize("clean", [True, False])
def test_disconnect_ends_the_connection_of_a_client_that_does_not_keep_up(clean: bool) -> None:
    stage = Stage(max_queued=1, max_inflight=1, queue_full="disconnect")
    subscriber = stage.client("sub", clean=clean)
    subscriber.subscribe(("#", 1))
    send(stage, b"1", b"2", b"3")
    assert subscriber.closed
    assert stage.broker.counters.closed[CloseReason.QUEUE_FULL] == 1


def test_bytes_in_the_database_count_for_the_limit() -> None:
    stage = Stage(max_queued_bytes=100)
    subscribed(stage, 1).drop()
    send(stage, b"x" * 60)
    stage = killed(stage, max_queued_bytes=100)
    send(stage, b"y" * 60)
    assert stage.broker.totals().dropped["queue_full"] == 1


def test_messages_expire_in_the_database_and_in_the_queue() -> None:
    stage = Stage(message_expiry=100, max_inflight=1)
    stage.start()
    subscribed(stage, 1).drop()
    send(stage, b"old")
    stage.clock.advance(90)
    send(stage, b"new")
    stage.clock.advance(30)  # the upkeep of the second minute
    assert count(stage.database, "mqtt_queue") == count(stage.database, "mqtt_message") == 1
    back = stage.client("sub", clean=False, present=True)
    assert [p.payload for p in back.publishes()] == [b"new"]
    send(stage, b"waits")
    stage.clock.advance(101)
    back.send(PubAck(1))
    assert back.publishes() == []
    assert stage.broker.totals().dropped["expired"] == 2
    stage.broker.close_all()


def test_a_session_that_was_connected_when_the_server_was_killed_expires_from_then_on() -> None:
    stage = Stage(session_expiry=3600)
    stage.client("p", clean=False)
    stage = killed(stage, session_expiry=3600)
    for _ in range(59):
        stage.clock.advance(60)
    assert stage.broker.session_count == 1
    for _ in range(3):
        stage.clock.advance(60)
    assert stage.broker.session_count == 0
    assert count(stage.database, "mqtt_session") == 0
    stage.broker.close_all()


def test_rows_that_make_no_sense_stop_neither_the_start_nor_the_session() -> None:
    stage = Stage()
    subscribed(stage).drop()
    stage.client("broken", clean=False).drop()
    send(stage, b"1", b"2", b"3", b"4")

    def spoil(tx: Transaction) -> None:
        tx.execute("UPDATE mqtt_session SET principal = 'martian:x' WHERE client_id = 'broken'")
        tx.execute(
            "INSERT INTO mqtt_subscription (session_id, digest, topic_filter, qos, created_at)"
            " SELECT session_id, zeroblob(16), 'a/#/b', 1, 0 FROM mqtt_subscription"
        )
        tx.execute("DELETE FROM mqtt_message WHERE payload = CAST('1' AS BLOB)")
        tx.execute("UPDATE mqtt_queue SET qos = 7 WHERE message_id = 2")
        tx.execute("UPDATE mqtt_queue SET packet_id = 70000 WHERE message_id = 3")
        tx.execute(
            "INSERT INTO mqtt_retained (digest, topic, qos, payload, principal, stored_at)"
            " VALUES (zeroblob(16), 'a/+', 1, CAST('x' AS BLOB), '', 0)"
        )

    stage.database.run(spoil)
    stage = killed(stage)
    back = stage.client("sub", clean=False, present=True)
    assert [p.payload for p in back.publishes()] == [b"4"]
    assert stage.broker.session_count == 1
    stage.clock.advance(1)
    back.drop()
    assert (
        stage.database.run(lambda tx: tx.value("SELECT COUNT(*) FROM mqtt_queue WHERE state = 2"))
        == 3
    )


def test_a_right_lost_while_the_client_is_away_takes_its_stored_messages_along() -> None:
    stage = Stage()
    reader = stage.client("sub", clean=False, user="root")
    reader.subscribe(("secret", 1), packet_id=1)
    reader.subscribe(("open", 1), packet_id=2)
    reader.drop()
    send(stage, b"1", topic="secret")
    send(stage, b"2", topic="open")
    stage = killed(stage)
    stage.rights.subscribe_denied.add("secret")
    back = stage.client("sub", clean=False, present=True, user="root")
    assert [p.payload for p in back.publishes()] == [b"2"]


def test_a_shared_message_goes_with_its_row_to_another_member() -> None:
    stage = Stage()
    for name in ("m1", "m2"):
        member = stage.client(name, clean=False)
        member.subscribe(("$share/g/#", 1))
        if name == "m1":
            first = member
    send(stage, b"x", topic=DATA)
    assert len(first.publishes()) == 1
    first.drop()
    assert [p.payload for p in member.publishes()] == [b"x"]
    stage = killed(stage)
    back = stage.client("m2", clean=False, present=True)
    assert [p.payload for p in back.publishes()] == [b"x"]
    assert stage.client("m1", clean=False, present=True).publishes() == []


def test_what_is_not_stored_yet_is_not_sent_though_the_client_makes_room() -> None:
    stage = Stage()
    subscriber = subscribed(stage, 1)
    send(stage, b"1")
    assert len(subscriber.publishes()) == 1
    stage.database.door.later = True
    stage.client("pub").send(Publish("a", b"2", 1, packet_id=1))
    subscriber.send(PubAck(1))
    assert subscriber.publishes() == []
    stage.database.door.open()
    assert [p.payload for p in subscriber.publishes()] == [b"2"]


def test_a_shared_copy_is_stored_in_one_unit_with_the_message_too() -> None:
    stage = Stage()
    subscribed(stage, 1, "$share/g/#")
    publisher = stage.client("pub", clean=False)
    stage.clock.advance(1)
    before = stage.database.units
    publisher.send(Publish(DATA, b"x", 2, packet_id=1))
    assert stage.database.units == before + 1
    assert count(stage.database, "mqtt_queue") == count(stage.database, "mqtt_inbound") == 1


def test_drop_oldest_drops_no_more_than_it_must_while_it_reads_the_queue() -> None:
    stage = Stage(max_queued=2, queue_full="drop_oldest")
    subscribed(stage, 1).drop()
    send(stage, b"1", b"2", b"3")
    stage.clock.advance(1)
    back = stage.client("sub", clean=False, present=True)
    assert [p.payload for p in back.publishes()] == [b"2", b"3"]
    assert stage.broker.totals().dropped["queue_full"] == 1
