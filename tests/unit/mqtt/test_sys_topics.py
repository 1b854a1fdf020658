"""What the server tells about itself below $SYS."""

from __future__ import annotations

import pytest

from aemos import json
from aemos.mqtt.packets import Publish, Unsubscribe
from aemos.mqtt.sys_topics import Load, SysTopics
from tests.mqtt_stage import Client, Stage


def texts(client: Client) -> dict[str, str]:
    """What came, by topic; of several on one topic the last."""
    return {publish.topic: publish.payload.decode() for publish in client.publishes()}


def started(**settings: float) -> Stage:
    return begun(**settings)[0]


def begun(**settings: float) -> tuple[Stage, SysTopics]:
    stage = Stage(**settings)
    topics = SysTopics(stage.broker, stage.events, stage.clock)
    topics.start()
    return stage, topics


def test_a_new_subscriber_gets_all_figures_as_retained_messages() -> None:
    stage = started()
    reader = stage.client("reader")
    answers = reader.subscribe(("$SYS/broker/#", 2))
    figures = [answer for answer in answers if isinstance(answer, Publish)]
    assert len(figures) == len(answers) - 1
    assert all(figure.retain for figure in figures)
    topics = {figure.topic.removeprefix("$SYS/broker/"): figure.payload for figure in figures}
    assert topics["version"].startswith(b"aemos version ")
    assert topics["uptime"] == b"0 seconds"
    for name in (
        "clients/connected",
        "clients/disconnected",
        "clients/expired",
        "clients/maximum",
        "clients/total",
        "messages/received",
        "messages/sent",
        "messages/stored",
        "bytes/received",
        "bytes/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "subscriptions/count",
        "retained messages/count",
    ):
        assert topics[name].isdigit(), name
    assert topics["load/publish/received/15min"] == b"0.00"


def test_figures_are_those_of_the_broker() -> None:
    stage = started()
    reader = stage.client("reader")
    reader.subscribe(("$SYS/broker/#", 0))
    durable = stage.client("durable", clean=False)
    durable.subscribe(("a/#", 1))
    durable.drop()
    sender = stage.client("sender")
    sender.send(Publish("b", b"12345", 1, retain=True, packet_id=1))
    sender.send(Publish("a/b", b"", 0), b"\xc0\x00")
    stage.clock.advance(10)
    told = texts(reader)
    name = "$SYS/broker/"
    assert told[f"{name}uptime"] == "10 seconds"
    assert told[f"{name}clients/connected"] == "2"
    assert told[f"{name}clients/disconnected"] == "1"
    assert told[f"{name}clients/total"] == "3"
    assert told[f"{name}clients/maximum"] == "2"
    assert told[f"{name}publish/messages/received"] == "2"
    # CONNECT and SUBSCRIBE of two, the CONNECT of the sender, two PUBLISH and a PINGREQ.
    assert told[f"{name}messages/received"] == "8"
    assert told[f"{name}retained messages/count"] == "1"
    assert told[f"{name}subscriptions/count"] == "2"
    assert int(told[f"{name}bytes/received"]) > 50


def test_only_figures_that_changed_are_told_again() -> None:
    stage = started()
    reader = stage.client("reader")
    reader.subscribe(("$SYS/broker/clients/#", 0))
    stage.clock.advance(10)
    first = texts(reader)
    assert first == {
        "$SYS/broker/clients/total": "1",
        "$SYS/broker/clients/connected": "1",
        "$SYS/broker/clients/active": "1",
        "$SYS/broker/clients/maximum": "1",
    }
    stage.clock.advance(10)
    assert texts(reader) == {}


def test_figures_are_no_retained_messages_of_clients() -> None:
    stage = started()
    assert len(stage.broker.store.retained) == 0
    reader = stage.client("reader")
    assert len(reader.subscribe(("#", 0))) == 1


def test_load_is_the_moving_average_per_minute() -> None:
    load = Load(10)
    assert load.update({"x": 0})["x/1min"] == "0.00"
    # 10 in ten seconds are 60 a minute; a share of 1 - e**(-1/6) of that is seen at once.
    assert load.update({"x": 10}) == {"x/1min": "9.21", "x/5min": "1.97", "x/15min": "0.66"}
    for total in range(20, 2000, 10):
        shown = load.update({"x": total})
    assert shown["x/1min"] == "60.00"


def test_who_comes_subscribes_and_goes_is_told_as_aedes_does() -> None:
    stage = started()
    reader = stage.client("reader")
    reader.subscribe(("$SYS/aemos/#", 0))
    reader.packets()
    other = stage.client("other")
    other.subscribe(("a/+", 1))
    other.send(Unsubscribe(2, ("a/+",)))
    other.drop()
    told = texts(reader)
    assert told["$SYS/aemos/new/clients"] == "other"
    assert told["$SYS/aemos/disconnect/clients"] == "other"
    assert json.decode(told["$SYS/aemos/new/subscribers"].encode()) == {
        "clientId": "other",
        "subs": [{"topic": "a/+", "qos": 1}],
    }
    assert json.decode(told["$SYS/aemos/new/unsubscribers"].encode()) == {
        "clientId": "other",
        "subs": ["a/+"],
    }
    stage.clock.advance(60)
    assert texts(reader)["$SYS/aemos/heartbeat"] == "aemos"


@pytest.mark.parametrize("filter", ["$SYS/#", "$SYS/broker/uptime"])
def test_without_an_interval_nothing_is_told(filter: str) -> None:
    stage = started(sys_interval=0)
    reader = stage.client("reader")
    assert len(reader.subscribe((filter, 0))) == 1
    stage.clock.advance(100)
    assert reader.publishes() == []


def test_stopped_it_tells_nothing_any_more() -> None:
    stage, topics = begun()
    reader = stage.client("reader")
    reader.subscribe(("$SYS/#", 0))
    topics.stop()
    reader.packets()
    stage.clock.advance(100)
    assert reader.publishes() == []
