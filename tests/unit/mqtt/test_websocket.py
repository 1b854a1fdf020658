"""MQTT over WebSocket: frames in, frames out, the same rules below (MQTT 3.1.1 chapter 6)."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from aemos.mqtt.counters import CloseReason
from aemos.mqtt.packets import PingReq, PubAck, Publish
from aemos.mqtt.websocket import MqttWebSocketFactory
from tests.mqtt_stage import Stage
from tests.wire.table import CONN, connect, h

BINARY, TEXT, CLOSE, PING, PONG, CONTINUATION = 2, 1, 8, 9, 10, 0


def frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """@return: a masked frame as a client sends it (RFC 6455 section 5.2)."""
    mask = b"\x11\x22\x33\x44"
    size = len(payload)
    header = bytes((0x80 * fin | opcode, 0x80 | size)) if size < 126 else b""
    if not header:
        header = bytes((0x80 * fin | opcode, 0xFE)) + size.to_bytes(2, "big")
    return header + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def frames(raw: bytes) -> list[tuple[int, bytes]]:
    """@return: (opcode, payload) of the server's unmasked frames."""
    found = []
    while raw:
        size, at = raw[1], 2
        assert raw[0] & 0x80
        if size == 126:
            size, at = int.from_bytes(raw[2:4], "big"), 4
        found.append((raw[0] & 15, raw[at : at + size]))
        raw = raw[at + size :]
    return found


class Transport(StringTransport):
    """A transport that has what Autobahn asks for, and ends when it is told to."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self.protocol: Any = MqttWebSocketFactory(stage.broker).buildProtocol(self.getPeer())
        self.protocol.makeConnection(self)

    def loseConnection(self) -> None:
        super().loseConnection()
        self.end()

    def unregisterProducer(self) -> None:
        self.producer = None

    def end(self) -> None:
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def feed(self, data: bytes) -> bytes:
        """@return: what the server answers."""
        self.protocol.dataReceived(data)
        return self.take()

    def take(self) -> bytes:
        self._stage.turn()
        raw = self.value()
        self.clear()
        return raw


def upgrade(protocols: str = "mqtt", path: str = "/") -> bytes:
    offer = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    ).encode()


def opened(stage: Stage) -> Transport:
    transport = Transport(stage)
    assert transport.feed(upgrade()).startswith(b"HTTP/1.1 101")
    return transport


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("x, mqttv3.1, mqtt", "mqttv3.1")],
)
@pytest.mark.parametrize("path", ["/", "/mqtt", "/any/where?x=1"])
def test_subprotocol_is_echoed_on_any_path(offered: str, chosen: str, path: str) -> None:
    """[MQTT-6.0.0-4]"""
    answer = Transport(Stage()).feed(upgrade(offered, path))
    assert answer.startswith(b"HTTP/1.1 101")
    assert f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".lower().encode() in answer.lower()


@pytest.mark.parametrize("offered", ["", "chat"])
def test_client_that_offers_no_mqtt_is_refused(offered: str) -> None:
    """[MQTT-6.0.0-3]"""
    transport = Transport(Stage())
    assert transport.feed(upgrade(offered)).startswith(b"HTTP/1.1 400")
    assert transport.disconnecting


def test_browser_is_told_that_there_are_no_pages_and_nothing_about_the_server() -> None:
    answer = Transport(Stage()).feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 426")
    assert b"Autobahn" not in answer


def test_handshake_is_not_gathered_without_end() -> None:
    line = b"Cookie: " + b"x" * 7000 + b"\r\n"
    request, end = upgrade()[:-2], b"\r\n"
    assert Transport(Stage()).feed(request + line + end).startswith(b"HTTP/1.1 101")
    transport = Transport(Stage())
    assert transport.feed(request + line) == transport.feed(line) == b""
    assert transport.feed(line).startswith(b"HTTP/1.1 431")
    assert not transport.connected


def test_packets_need_not_line_up_with_frames() -> None:
    """[MQTT-6.0.0-2]"""
    transport = opened(Stage())
    for at in range(len(CONN)):
        answer = transport.feed(frame(CONN[at : at + 1]))
    assert frames(answer) == [(BINARY, h("20020000"))]
    several = PingReq().encode() + Publish("a", b"x", 1, packet_id=7).encode() + h("c000")
    answers = frames(transport.feed(frame(several)))
    assert b"".join(payload for _, payload in answers) == h("d000 40020007 d000")


def test_fragmented_message_is_one_stream() -> None:
    """[MQTT-6.0.0-2]"""
    transport = opened(Stage())
    transport.feed(frame(CONN[:5], fin=False))
    transport.feed(frame(b"", PING))
    transport.feed(frame(CONN[5:9], CONTINUATION, fin=False))
    assert frames(transport.feed(frame(CONN[9:], CONTINUATION))) == [(BINARY, h("20020000"))]


def test_text_frame_closes_with_1003() -> None:
    """[MQTT-6.0.0-1]"""
    stage = Stage()
    transport = opened(stage)
    transport.feed(frame(CONN))
    assert frames(transport.feed(frame(b"hello", TEXT))) == [(CLOSE, b"\x03\xeb")]
    assert transport.disconnecting
    assert stage.broker.connections == set()


def test_unmasked_frame_is_refused() -> None:
    transport = opened(Stage())
    transport.feed(b"\x82\x02\xc0\x00")
    assert transport.disconnecting


def test_bytes_behind_a_violation_are_not_looked_at() -> None:
    stage = Stage()
    watch = stage.client("w")
    watch.subscribe(("#", 0))
    transport = opened(stage)
    transport.feed(frame(CONN) + frame(h("0000")) + frame(Publish("a", b"x").encode()))
    assert transport.disconnecting
    assert watch.publishes() == []
    assert stage.broker.counters.closed[CloseReason.MALFORMED] == 1


def test_control_frames_do_not_keep_an_mqtt_client_alive() -> None:
    stage = Stage()
    transport = opened(stage)
    transport.feed(frame(CONN.replace(b"\0\x3c", b"\0\2")))
    for _ in range(5):
        stage.clock.advance(0.7)
        if not transport.disconnecting:
            assert frames(transport.feed(frame(b"?", PING))) in ([(PONG, b"?")], [])
    assert transport.disconnecting
    assert stage.broker.counters.closed[CloseReason.KEEP_ALIVE] == 1


def test_client_that_takes_nothing_gets_the_pong_of_its_newest_ping_later() -> None:
    transport = opened(Stage())
    assert frames(transport.feed(frame(b"1", PING))) == [(PONG, b"1")]
    transport.producer.pauseProducing()
    assert transport.feed(frame(b"2", PING) + frame(b"3", PING)) == b""
    transport.producer.resumeProducing()
    assert frames(transport.take()) == [(PONG, b"3")]
    transport.producer.pauseProducing()
    transport.producer.resumeProducing()
    assert transport.take() == b""


def test_handshake_and_connect_must_come_in_time() -> None:
    stage = Stage(connect_timeout=10)
    silent, half = Transport(stage), opened(stage)
    stage.clock.advance(10.1)
    assert silent.disconnecting
    assert half.disconnecting
    assert stage.broker.connections == set()
    assert stage.clock.getDelayedCalls() == []


def test_close_of_the_client_ends_the_session_and_publishes_its_will() -> None:
    stage = Stage()
    watch = stage.client("w")
    watch.subscribe(("will", 0))
    transport = opened(stage)
    transport.feed(frame(connect(0x06, h("0001 61 0004 77696c6c 0000"))))
    transport.feed(frame(b"\x03\xe8", CLOSE))
    assert transport.disconnecting
    assert [p.topic for p in watch.publishes()] == ["will"]


def test_reading_stops_while_too_much_is_unacknowledged() -> None:
    stage = Stage(max_unacknowledged=1)
    stage.router.door.later = True
    transport = opened(stage)
    transport.feed(frame(CONN))
    publishes = [Publish("devices/u/status", b"{}", 1, packet_id=n).encode() for n in (1, 2)]
    transport.feed(frame(publishes[0]) + frame(publishes[1]))
    assert transport.producerState == "paused"
    assert len(stage.router.handled) == 1
    for _ in range(2):
        stage.router.door.open()
        stage.turn()
    assert transport.producerState == "producing"
    answers = frames(transport.take())
    assert b"".join(p for _, p in answers) == PubAck(1).encode() + PubAck(2).encode()


def test_large_frame_passes_through_piece_by_piece() -> None:
    stage = Stage(max_packet=2000)
    watch = stage.client("w")
    watch.subscribe(("#", 0))
    transport = opened(stage)
    transport.feed(frame(CONN))
    transport.feed(frame(Publish("a", b"x" * 100).encode() * 500))
    assert len(watch.publishes()) == 500


def test_limit_of_connections_holds_here_too() -> None:
    stage = Stage(max_connections=1)
    stage.client("c")
    assert MqttWebSocketFactory(stage.broker).buildProtocol(StringTransport().getPeer()) is None
