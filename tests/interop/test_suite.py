"""The server as docs/conformance.rst sets it up for suites of others, and what those look at first.

Clients have no credentials here and use topics and client ids as they like.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pytest
import yaml

from aemos.mqtt.packets import ConnAck, Connect, PingReq, Publish, PubRec, SubAck, Subscribe, Will
from tests.integration.device import REFUSED, Device
from tests.integration.server import ROOT, Server
from tests.integration.wire import PONG, Wire

TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
_EDGES = (127, 128, 16_383, 16_384, 2_097_151, 2_097_152)
"""Remaining lengths around which their encoding grows by a byte."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    page = (ROOT / "docs" / "conformance.rst").read_text("utf-8")
    _, _, rest = page.partition("``conformance.yaml``::\n\n")
    block, _, _ = rest.partition("\nand start it")
    folder = tmp_path_factory.mktemp("suite")
    settings = yaml.safe_load(textwrap.dedent(block))
    server = Server(folder, f"sqlite:///{folder / 'aemos.sqlite'}", **settings)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def connect(server: Server) -> Iterator[object]:
    """Connects clients of paho; those that are there at the end of the test leave."""
    devices: list[Device] = []

    def connect(client_id: str, *, clean: bool = True) -> Device:
        devices.append(Device(server, None, None, client_id=client_id, clean=clean))
        assert devices[-1].connect() == 0
        return devices[-1]

    yield connect
    for device in devices:
        device.leave()


@pytest.mark.parametrize(
    ("topic_filter", "found"),
    [
        ("TopicA/+", {"TopicA/B", "TopicA/C"}),
        ("+/C", {"Topic/C", "TopicA/C"}),
        ("#", set(TOPICS)),
        ("/#", {"/TopicA"}),
        ("/+", {"/TopicA"}),
        ("+/+", {"TopicA/B", "Topic/C", "TopicA/C", "/TopicA"}),
        ("TopicA/#", {"TopicA", "TopicA/B", "TopicA/C"}),
    ],
)
def test_wildcards_select_retained_messages(server, connect, topic_filter, found):
    publisher = connect("publisher")
    for qos, topic in enumerate(TOPICS):
        publisher.publish(topic, b"kept", qos % 3, retain=True)
    reader = connect("reader")
    assert reader.subscribe(topic_filter, 2) == 2
    messages = [reader.hear() for _ in found]
    assert {message.topic for message in messages} == found
    assert all(message.retain for message in messages)
    for topic in TOPICS:
        publisher.publish(topic, b"", 1, retain=True)


def test_qos_1_and_2_wait_for_an_absent_client_and_come_again_until_acknowledged(server, connect):
    greeting = Connect("myclientid", clean_session=False).encode()
    with Wire.to(server) as wire:
        wire.send(greeting, Subscribe(1, (("+/+", 2),)).encode())
        assert wire.read(9) == ConnAck().encode() + SubAck(1, (2,)).encode()
    publisher = connect("publisher")
    for qos, topic in enumerate(TOPICS[1:4]):
        publisher.publish(topic, b"%d" % qos, qos)
    once, twice = (
        Publish("Topic/C", b"1", 1, packet_id=1),
        Publish("TopicA/C", b"2", 2, packet_id=2),
    )
    for dup in (False, True):
        expected = ConnAck(session_present=True).encode() + b"".join(
            Publish(p.topic, p.payload, p.qos, dup=dup, packet_id=p.packet_id).encode()
            for p in (once, twice)
        )
        with Wire.to(server) as wire:
            wire.send(greeting)
            assert wire.read(len(expected)) == expected
    connect("myclientid")  # clean: forgets it


def test_will_is_published_when_a_client_falls_silent(server, connect):
    watcher = connect("myclientid2")
    watcher.subscribe("/TopicA", 2)
    with Wire.to(server) as wire:
        wire.send(Connect("silent", keep_alive=1, will=Will("/TopicA", b"gone", 2)).encode())
        assert wire.rest() == ConnAck().encode()
    message = watcher.hear()
    assert (message.payload, message.qos, message.retain) == (b"gone", 2, False)


def test_filter_that_the_page_denies_is_refused_and_figures_are_not(server, connect):
    client = connect("myclientid")
    assert client.subscribe("test/nosubscribe", 2) == REFUSED
    assert client.subscribe("$SYS/broker/version", 0) == 0
    assert client.hear().payload.startswith(b"aemos")


def test_wildcards_do_not_see_topics_that_begin_with_a_dollar(server, connect):
    client = connect("myclientid")
    client.subscribe("+/+", 2)
    client.publish("$TopicA/B", b"hidden", 1)
    client.publish("TopicA/B", b"seen", 2)
    assert client.hear().payload == b"seen"


def test_empty_client_id_needs_a_clean_session(server):
    with Wire.to(server) as wire:
        wire.send(Connect("", clean_session=False).encode())
        assert wire.rest() == ConnAck(2).encode()
    with Wire.to(server) as one, Wire.to(server) as two:
        for wire in (one, two):
            wire.send(Connect("").encode())
            assert wire.read(4) == ConnAck().encode()
        for wire in (one, two):
            wire.check()


@pytest.mark.parametrize("size", _EDGES)
def test_packets_at_the_edges_of_the_length_encoding_arrive(server, size):
    payload = b"x" * (size - 5)
    with Wire.to(server) as wire:
        wire.send(Connect("edges").encode(), Subscribe(1, (("e", 1),)).encode())
        wire.read(9)
        packet = Publish("e", payload, 1, packet_id=1).encode()
        wire.send(packet)
        answer = wire.read(len(packet) + 4)
        assert answer == packet + b"\x40\x02\x00\x01"


def test_what_a_client_sends_behind_its_connect_is_taken_in_order(server):
    with Wire.to(server) as wire:
        wire.send(
            Connect("eager", clean_session=False).encode(),
            Publish("x", b"", 2, packet_id=7).encode(),
            PingReq().encode(),
        )
        answers = ConnAck().encode() + PubRec(7).encode() + PONG
        found = wire.read(len(answers))
        assert found.startswith(ConnAck().encode())
        assert sorted(found) == sorted(answers)
    with Wire.to(server) as wire:
        wire.send(Connect("eager").encode())
        wire.read(4)
