"""What is no MQTT, sent to the running server over a real socket (MQTT 3.1.1 section 4.8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aemos.mqtt.packets import ConnAck, Disconnect, Publish, Subscribe
from tests.integration.server import Sensor, Server
from tests.integration.wire import PING, PONG, Wire, hello
from tests.wire.table import BAD


@pytest.fixture(scope="module")
def sensor(server: Server) -> Sensor:
    return server.add_sensor()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with Wire.to(server) as wire:
        yield wire


@pytest.fixture(scope="module")
def bystander(server: Server, sensor: Sensor) -> Iterator[Wire]:
    """A client that should notice nothing of all this."""
    with Wire.to(server) as wire:
        wire.send(hello(sensor, "bystander"))
        assert wire.read(4) == ConnAck().encode()
        yield wire


def test_malformed_connects_are_closed(server: Server, bystander: Wire) -> None:
    """[MQTT-3.1.4-1] [MQTT-3.1.2-2] A wrong level is told, nothing else is."""
    for case in (case for case in BAD if case.raw[0] >> 4 == 1):
        with Wire.to(server) as wire:
            wire.send(case.raw)
            told = ConnAck(1).encode() if case.clause == "MQTT-3.1.2-2" else b""
            assert wire.rest() == told, case.name
    bystander.check()


def test_violations_close_after_what_was_due_before_them(
    server: Server, bystander: Wire, sensor: Sensor
) -> None:
    """[MQTT-4.8.0-1] Every entry of the table; nobody else notices."""
    for number, case in enumerate(case for case in BAD if case.level == 4):
        with Wire.to(server) as wire:
            wire.send(hello(sensor, f"violator {number}"), PING, case.raw, PING)
            assert wire.rest() == ConnAck().encode() + PONG, case.name
        bystander.check()


def test_client_id_may_have_65535_bytes(wire: Wire, sensor: Sensor) -> None:
    """[MQTT-3.1.3-5]"""
    wire.send(hello(sensor, "x" * 65535))
    assert wire.read(4) == ConnAck().encode()


def test_topic_may_have_65535_bytes(wire: Wire, sensor: Sensor) -> None:
    """[MQTT-4.7.3-3]"""
    topic = "free/" + "t" * 65530
    published = Publish(topic, b"x").encode()
    wire.send(hello(sensor), Subscribe(1, ((topic, 0),)).encode(), published)
    assert wire.read(9) == ConnAck().encode() + b"\x90\x03\x00\x01\x00"
    assert wire.read(len(published)) == published


def test_level_3_clients_work(wire: Wire, sensor: Sensor) -> None:
    """MQTT 3.1: subscribing, publishing to oneself, leaving."""
    wire.send(hello(sensor, "old", level=3), Subscribe(1, (("free/3", 1),)).encode())
    wire.send(Publish("free/3", b"x", 1, packet_id=7).encode())
    assert wire.read(9) == ConnAck().encode() + b"\x90\x03\x00\x01\x01"
    arrived = wire.read(len(Publish("free/3", b"x", 1, packet_id=1).encode()) + 4)
    assert Publish("free/3", b"x", 1, packet_id=1).encode() in arrived
    assert b"\x40\x02\x00\x07" in arrived
    wire.send(Disconnect().encode())
    assert wire.rest() == b""


def test_nothing_of_this_is_a_fault_of_the_server(server: Server) -> None:
    """[MQTT-4.8.0-2] The last test of this file: the log of all of them."""
    assert "Traceback" not in server.log
