"""What clients publish: judged, acknowledged in order, forwarded without tokens, or refused."""

from __future__ import annotations

import pytest

from aemos import json
from aemos.model import Code, Instant, Kind, Verdict
from aemos.mqtt.packets import PubAck, PubComp, Publish, PubRec, PubRel, SubAck, Will
from aemos.services.events import ReadingsCommitted, ReadingsStored
from aemos.storage.readings import Reading
from tests.mqtt_stage import Client, Stage, sensor

TOPIC = "devices/u/datastream"


def watcher(stage: Stage, filter: str = "#") -> Client:
    client = stage.client("watcher")
    client.subscribe((filter, 2))
    return client


def qos1(
    payload: bytes, packet_id: int = 1, topic: str = TOPIC, *, retain: bool = False
) -> Publish:
    return Publish(topic, payload, 1, retain, packet_id=packet_id)


@pytest.mark.parametrize(
    ("topic", "kind", "subject"),
    [
        ("devices/u/datastream", Kind.DATASTREAM, "u"),
        ("devices/u/status", Kind.STATUS, "u"),
        ("devices/u/state", Kind.STATE, "u"),
        ("devices/u/commands", Kind.COMMAND, "u"),
        ("organizations/7/broadcast", Kind.BROADCAST, "7"),
        ("organizations/7/rule-chains", Kind.RULE_CHAINS, "7"),
    ],
)
def test_topic_says_what_a_message_is_about(topic: str, kind: Kind, subject: str) -> None:
    stage = Stage()
    stage.login.known["u"] = sensor("u")
    stage.client("c", user="u").send(qos1(b"{}", topic=topic))
    (message,) = stage.router.handled
    assert (message.kind, message.subject, message.topic) == (kind, subject, topic)
    assert (message.payload, message.door, message.qos) == (b"{}", "mqtt", 1)
    assert message.principal == sensor("u")
    assert message.received_at == Instant.of(stage.clock.seconds())


@pytest.mark.parametrize(
    "topic",
    [
        "devices/u/datastreams",
        "devices/u/commands/acks",
        "devices//datastream",
        "devices/u",
        "devices/u/x/datastream",
        "organizations/7/datastream",
        "Devices/u/datastream",
        "/devices/u/datastream",
        "organizations//broadcast",
    ],
)
def test_every_other_topic_is_only_routed(topic: str) -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    client.send(qos1(b"x", topic=topic))
    assert stage.router.handled == []
    assert client.packets() == [PubAck(1)]
    assert [p.topic for p in watch.publishes()] == [topic]


def test_nothing_is_acknowledged_or_forwarded_before_the_verdict() -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    stage.router.door.later = True
    client.send(qos1(b"1", 1), Publish(TOPIC, b"2", 2, packet_id=2), Publish(TOPIC, b"3"))
    assert client.packets() == []
    assert watch.publishes() == []
    stage.router.door.open()
    assert client.packets() == [PubAck(1), PubRec(2)]
    assert [p.payload for p in watch.publishes()] == [b"1", b"2", b"3"]


def test_refused_message_is_acknowledged_but_neither_forwarded_nor_retained() -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    client.send(qos1(b"refuse", 1, retain=True), Publish(TOPIC, b"refuse", 2, packet_id=2))
    assert client.packets() == [PubAck(1), PubRec(2)]
    assert watch.publishes() == []
    assert len(stage.broker.store.retained) == 0


def test_refused_message_waits_for_the_accepted_ones_before_it() -> None:
    stage = Stage()
    client = stage.client("c")
    stage.router.door.later = True
    client.send(qos1(b"1", 1), qos1(b"refuse", 2), qos1(b"3", 3))
    first, second, third = stage.router.door.waiting
    second()
    third()
    stage.turn()
    assert client.packets() == []
    first()
    assert client.packets() == [PubAck(1), PubAck(2), PubAck(3)]
    stage.router.door.waiting.clear()


def test_sensor_is_told_on_its_errors_topic_why_a_message_was_refused() -> None:
    stage = Stage()
    stage.login.known["u"] = sensor("u")
    client = stage.client("c", user="u")
    client.subscribe(("devices/u/errors", 1))
    client.send(qos1(b"refuse"))
    answer, report = sorted(client.packets(), key=lambda packet: isinstance(packet, Publish))
    assert answer == PubAck(1)
    assert isinstance(report, Publish)
    assert report.topic == "devices/u/errors"
    assert json.decode(report.payload) == {
        "code": "INVALID_DATA_STREAM",
        "message": "no such reading",
        "topic": TOPIC,
        "timestamp": Instant.of(stage.clock.seconds()).iso(),
    }


def test_denied_device_message_is_noted_with_its_code() -> None:
    stage = Stage()
    stage.login.known["u"] = sensor("u")
    client = stage.client("c", user="u")
    client.subscribe(("devices/u/errors", 0))
    client.send(qos1(b"{}", topic="devices/denied/datastream"))
    assert [message.topic for message in stage.router.denied] == ["devices/denied/datastream"]
    reports = [packet for packet in client.packets() if isinstance(packet, Publish)]
    assert [json.decode(report.payload)["code"] for report in reports] == ["NOT_AUTHORIZED"]


@pytest.mark.parametrize("retain", [False, True])
def test_a_denied_message_on_any_other_topic_is_noted_too(retain: bool) -> None:
    stage = Stage()
    stage.login.known["u"] = sensor("u")
    client = stage.client("c", user="u")
    client.subscribe(("devices/u/errors", 0))
    client.send(qos1(b"", topic="somewhere/denied", retain=retain))
    (message,) = stage.router.denied
    assert (message.kind, message.topic) == (Kind.OTHER, "somewhere/denied")
    assert stage.broker.totals().denied == 1
    reports = [packet for packet in client.packets() if isinstance(packet, Publish)]
    assert [json.decode(report.payload)["topic"] for report in reports] == ["somewhere/denied"]


def test_empty_payload_clears_what_was_retained_without_being_judged() -> None:
    """[MQTT-3.3.1-10], also on a topic whose messages are stored."""
    stage = Stage()
    stage.login.known["u"] = sensor("u")
    client = stage.client("c", user="u")
    client.send(qos1(b"{}", 1, retain=True))
    assert len(stage.broker.store.retained) == 1
    client.send(qos1(b"", 2, retain=True))
    assert len(stage.broker.store.retained) == 0
    assert len(stage.router.handled) == 1


def test_token_is_removed_before_a_payload_is_forwarded_retained_or_queued() -> None:
    stage = Stage()
    watch = watcher(stage)
    away = stage.client("away", clean=False)
    away.subscribe(("#", 1))
    away.drop()
    client = stage.client("c", will=Will("will/c", b'{"token":"s3cret","left":1}', 1))
    client.send(qos1(b'{"token":"s3cret","value":1}', retain=True))
    client.send(qos1(b'{"accessToken":"s"}', 2, "x"))
    client.drop()
    expected = [b'{"value":1}', b"{}", b'{"left":1}']
    assert [p.payload for p in watch.publishes()] == expected
    assert [
        p.payload for p in stage.client("away", clean=False, present=True).publishes()
    ] == expected
    kept = stage.client("later").subscribe((TOPIC, 0))[1:]
    assert kept == [Publish(TOPIC, b'{"value":1}', retain=True)]
    assert stage.router.handled[0].payload == b'{"token":"s3cret","value":1}'


def test_token_is_removed_at_every_qos_and_every_time() -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    for qos in (0, 0, 1, 2):
        client.send(Publish("x", b'{"token":"s","v":1}', qos, packet_id=qos))
    assert {p.payload for p in watch.publishes()} == {b'{"v":1}'}


def test_padded_lengths_are_not_passed_on() -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    for raw in ("3004000178 79", "30840000 0178 79", "3004000178 79", "30848000000178 79"):
        client.send(bytes.fromhex(raw))
    assert watch.take() == bytes.fromhex("3004000178 79") * 4


def test_payload_without_token_passes_byte_for_byte() -> None:
    stage = Stage()
    watch = watcher(stage)
    payload = b'{ "value" : 1.50,\r\n "x":"\\u00e9" }\xff'
    stage.client("c").send(Publish("x", payload))
    assert watch.publishes() == [Publish("x", payload)]


def test_state_of_a_device_is_judged_but_not_forwarded_as_it_came() -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    client.send(qos1(b'{"stateName":"power","value":"on"}', topic="devices/u/state", retain=True))
    assert client.packets() == [PubAck(1)]
    assert len(stage.router.handled) == 1
    assert watch.publishes() == []
    assert len(stage.broker.store.retained) == 0


def test_message_is_forwarded_though_its_publisher_left_before_the_verdict() -> None:
    stage = Stage()
    watch = watcher(stage)
    client = stage.client("c")
    stage.router.door.later = True
    client.send(qos1(b"1"))
    client.drop()
    stage.router.door.open()
    stage.turn()
    assert [p.payload for p in watch.publishes()] == [b"1"]


def test_qos_2_repeated_before_its_verdict_is_answered_on_the_current_connection() -> None:
    stage = Stage()
    watch = watcher(stage)
    stage.router.door.later = True
    publish = Publish(TOPIC, b"1", 2, packet_id=5)
    old = stage.client("c", clean=False)
    old.send(publish, publish)
    old.drop()
    new = stage.client("c", clean=False, present=True)
    new.send(publish, qos1(b"2", 6, "plain"))
    assert new.packets() == []
    stage.router.door.open()
    assert new.packets() == [PubRec(5), PubAck(6)]
    assert [p.payload for p in watch.publishes()] == [b"2", b"1"]
    assert len(stage.router.handled) == 1
    new.send(publish, PubRel(5), publish)
    stage.router.door.open()
    assert [p for p in new.packets() if isinstance(p, PubRec)] == [PubRec(5), PubRec(5)]
    assert len(stage.router.handled) == 2


def test_qos_2_repeat_on_the_same_connection_is_answered_twice_after_one_verdict() -> None:
    stage = Stage()
    stage.router.door.later = True
    client = stage.client("c")
    publish = Publish(TOPIC, b"1", 2, packet_id=5)
    client.send(publish, publish)
    assert client.packets() == []
    stage.router.door.open()
    assert client.packets() == [PubRec(5), PubRec(5)]
    assert len(stage.router.handled) == 1


def test_unreleased_qos_2_ids_are_limited() -> None:
    stage = Stage(max_unreleased=3)
    client = stage.client("c")
    client.send(*(Publish("x", b"", 2, packet_id=n) for n in (1, 2, 3)))
    assert not client.closed
    client.send(Publish("x", b"", 2, packet_id=3))
    assert not client.closed
    client.send(Publish("x", b"", 2, packet_id=4))
    assert client.closed


def test_will_goes_the_way_of_every_publish() -> None:
    stage = Stage()
    watch = watcher(stage, "devices/+/status")
    stage.login.known["u"] = sensor("u")
    stage.client("a", user="u", will=Will("devices/u/status", b"offline", 1)).drop()
    stage.client("b", user="u", will=Will("devices/u/status", b"refuse", 1)).drop()
    stage.client("c", user="u", will=Will("devices/denied/status", b"x", 1)).drop()
    stage.client("d", user="u", will=Will("denied", b"x", 1)).drop()
    stage.client("e", user="u", will=Will("$SYS/x", b"x", 1)).drop()
    stage.turn()
    assert [m.payload for m in stage.router.handled] == [b"offline", b"refuse"]
    assert [m.topic for m in stage.router.denied] == ["devices/denied/status", "denied"]
    assert [p.payload for p in watch.publishes()] == [b"offline"]


def reading(value: str, id: int | None) -> Reading:
    return Reading(value, 3, "t", Instant(1_700_000_000_123), id=id, duplicate=id is None)


def test_stored_readings_are_announced_one_message_each_and_repeats_are_not() -> None:
    stage = Stage()
    watch = watcher(stage, "devices/u/#")
    readings = [reading("25.6", 123), reading("25.7", None), reading("25.8", 124)]
    message = ReadingsStored(1, "u", 1, readings, 2, "http")
    stage.events.publish(ReadingsCommitted([message]))
    first, second = watch.publishes()
    assert (first.topic, first.qos, first.retain) == (TOPIC, 1, False)
    assert json.decode(first.payload) == {
        "type": "data_stream",
        "deviceUuid": "u",
        "telemetryDataId": 3,
        "value": "25.6",
        "timestamp": "2023-11-14T22:13:20.123Z",
        "metadata": {"id": 123},
    }
    assert json.decode(second.payload)["metadata"] == {"id": 124}


def test_readings_from_coap_are_not_announced_over_mqtt() -> None:
    stage = Stage()
    watch = watcher(stage)
    message = ReadingsStored(1, "u", 1, [reading("1", 1)], 1, "coap")
    stage.events.publish(ReadingsCommitted([message]))
    assert watch.publishes() == []


def test_verdict_that_names_a_repeat_counts_as_accepted() -> None:
    stage = Stage()
    watch = watcher(stage)
    stage.router.handle = lambda message, done: done(Verdict(Code.DUPLICATE))  # type: ignore[method-assign]
    stage.client("c").send(qos1(b"1"))
    assert len(watch.publishes()) == 1


def test_what_clears_a_retained_message_waits_for_the_messages_before_it() -> None:
    """[MQTT-3.3.1-10] [MQTT-4.6.0-5]"""
    stage = Stage()
    watch = stage.client("watch")
    watch.subscribe(("#", 1))
    stage.router.door.later = True
    client = stage.client()
    client.send(Publish(TOPIC, b"1", 1, retain=True, packet_id=1))
    client.send(Publish(TOPIC, b"", 1, retain=True, packet_id=2))
    assert watch.publishes() == []
    stage.router.door.open()
    assert [p.payload for p in watch.publishes()] == [b"1", b""]
    assert client.packets() == [PubAck(1), PubAck(2)]
    assert stage.client("late").subscribe((TOPIC, 1)) == [SubAck(1, (1,))]


def test_qos_2_message_that_waits_for_its_rights_is_not_taken_again_on_reconnect() -> None:
    """[MQTT-4.3.3-2]"""
    stage = Stage()
    watch = stage.client("watch")
    watch.subscribe(("#", 2))
    stage.rights.door.later = True
    client = stage.client("pub", clean=False)
    client.send(Publish("a", b"x", 2, packet_id=7))
    client.drop()
    client = stage.client("pub", clean=False, present=True)
    client.send(Publish("a", b"x", 2, dup=True, packet_id=7))
    stage.rights.door.open()
    assert client.packets() == [PubRec(7)]
    assert len(watch.publishes()) == 1


def test_pubrel_for_an_unknown_id_asks_nothing_of_the_database() -> None:
    """[MQTT-4.3.3-2] A client that sends nothing else must not fill the writer's queue."""
    stage = Stage()
    client = stage.client("c", clean=False)
    units = stage.database.units
    client.send(PubRel(1), PubRel(2))
    assert client.packets() == [PubComp(1), PubComp(2)]
    assert stage.database.units == units
