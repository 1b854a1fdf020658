"""Reading from a socket stops while too much of what it sent is not stored yet (promise P3)."""

from __future__ import annotations

import pytest

from aemos.mqtt.packets import Connect, PingReq, PingResp, PubAck, Publish, Subscribe
from tests.mqtt_stage import Client, Stage


def qos1(packet_id: int, payload: bytes = b"{}") -> Publish:
    # On two topics in turn: what comes together on one is answered together.
    return Publish(f"devices/u{packet_id % 2}/datastream", payload, 1, packet_id=packet_id)


def paused(client: Client) -> bool:
    return client.transport.producerState == "paused"


def test_reading_stops_at_the_limit_of_unacknowledged_messages_and_goes_on_below_it() -> None:
    stage = Stage(max_unacknowledged=10)
    client = stage.client("c")
    stage.router.door.later = True
    client.send(*(qos1(n) for n in range(1, 26)))
    assert paused(client)
    assert len(stage.router.handled) == 10
    stage.router.door.open(4)
    stage.turn()
    assert paused(client)
    assert len(stage.router.handled) == 10  # not for every single one: from half of the limit on
    stage.router.door.open(1)
    stage.turn()
    assert len(stage.router.handled) == 15
    while stage.router.door.waiting:
        stage.router.door.open()
        stage.turn()
    assert not paused(client)
    assert client.packets() == [PubAck(n) for n in range(1, 26)]


def test_reading_stops_at_the_limit_of_unacknowledged_bytes() -> None:
    stage = Stage(max_unacknowledged_bytes=1000)
    client = stage.client("c")
    stage.router.door.later = True
    client.send(*(qos1(n, b"x" * 400) for n in range(1, 6)))
    assert len(stage.router.handled) == 3
    assert paused(client)
    while stage.router.door.waiting:
        stage.router.door.open()
        stage.turn()
    assert not paused(client)
    assert len(client.packets()) == 5


def test_other_clients_are_read_on() -> None:
    stage = Stage(max_unacknowledged=1)
    busy, other = stage.client("busy"), stage.client("other")
    stage.router.door.later = True
    busy.send(qos1(1), qos1(2))
    other.send(PingReq(), Publish("x", b"", 1, packet_id=3))
    assert other.packets() == [PingResp(), PubAck(3)]
    stage.router.door.open()
    stage.turn()
    stage.router.door.open()
    stage.turn()


def test_full_writer_stops_those_who_publish_until_there_is_room() -> None:
    stage = Stage()
    busy, idle = stage.client("busy"), stage.client("idle")
    stage.router.door.later = True
    stage.room.full = True
    busy.send(qos1(1))
    idle.send(PingReq())
    assert paused(busy)
    assert not paused(idle)
    stage.router.door.open()
    stage.turn()
    assert busy.packets() == [PubAck(1)]
    assert paused(busy)
    stage.room.full = False
    assert not paused(busy)


@pytest.mark.parametrize("limit", [1, 1000])
def test_keep_alive_stands_still_while_nothing_is_read(limit: int) -> None:
    stage = Stage(max_unacknowledged=limit)
    client = stage.client("c", keep_alive=2)
    stage.router.door.later = True
    stage.room.full = limit != 1
    client.send(qos1(1))
    for _ in range(20):
        stage.clock.advance(5)
    assert not client.closed
    stage.router.door.open()
    stage.turn()
    stage.room.full = False
    assert not paused(client)
    stage.clock.advance(2.9)
    assert not client.closed
    stage.clock.advance(2)
    stage.clock.advance(2)
    assert client.closed


def test_connected_devices_stay_while_nothing_can_be_stored() -> None:
    """P6: the database is away, pings are answered, nothing is acknowledged."""
    stage = Stage()
    client = stage.client("c", keep_alive=10)
    stage.router.door.later = True
    client.send(qos1(1))
    for _ in range(30):
        stage.clock.advance(10)
        client.send(PingReq())
    assert client.packets() == [PingResp()] * 30
    stage.router.door.open()
    stage.turn()
    assert client.packets() == [PubAck(1)]


def test_packets_wait_while_it_is_decided_who_the_client_is() -> None:
    stage = Stage()
    stage.login.door.later = True
    client = stage.open()
    client.send(Connect("c"), PingReq(), Subscribe(1, (("a", 0),)))
    assert paused(client)
    assert client.take() == b""
    client.feed(b"\xc0\x00")
    stage.login.door.open()
    assert not paused(client)
    assert client.take().hex() == "20020000d0009003000100d000"


def test_packet_that_comes_alone_while_the_client_is_not_decided_waits_too() -> None:
    stage = Stage()
    stage.login.door.later = True
    client = stage.open()
    client.send(Connect("c"))
    client.feed(b"\xc0\x00")
    assert not client.closed
    stage.login.door.open()
    assert client.take().hex() == "20020000d000"


def test_client_that_leaves_before_it_is_decided_leaves_nothing_behind() -> None:
    stage = Stage()
    stage.login.door.later = True
    client = stage.open()
    client.send(Connect("c", clean_session=False))
    client.drop()
    stage.login.door.open()
    assert stage.broker.clients() == []
    assert list(stage.broker.store.sessions()) == []
    assert stage.broker.connections == set()


def test_packets_wait_in_order_while_it_is_decided_what_a_client_may_do() -> None:
    stage = Stage()
    client, other = stage.client("c"), stage.client("other")
    stage.rights.door.later = True
    client.send(
        Publish("a", b"", 1, packet_id=1), Subscribe(2, (("x", 0), ("denied", 0))), PingReq()
    )
    assert paused(client)
    other.send(PingReq())
    assert other.packets() == [PingResp()]
    stage.rights.door.open(1)
    assert client.packets() == [PubAck(1)]
    stage.rights.door.open(1)
    assert client.packets() == []
    stage.rights.door.open(1)
    assert client.take().hex() == "900400020080d000"
    assert not paused(client)


def test_packet_must_be_complete_in_time_however_lively_the_client_is() -> None:
    stage = Stage(packet_timeout=60)
    client = stage.client("c", keep_alive=10)
    client.feed(b"\x30\xff\x01")
    for _ in range(8):
        stage.clock.advance(9)
        if not client.closed:
            client.feed(b"\0")
    assert client.closed


def test_client_that_does_not_take_its_answers_is_not_read() -> None:
    stage = Stage(max_output=100)
    client = stage.client("c")
    client.protocol.transport.producer.pauseProducing()  # type: ignore[union-attr]
    for _ in range(30):
        client.send(PingReq(), PingReq())
    (info,) = stage.broker.clients()
    assert info.unsent < 110
    assert paused(client)
    client.protocol.transport.producer.resumeProducing()  # type: ignore[union-attr]
    assert client.packets() == [PingResp()] * 60
    assert not paused(client)


def test_many_answers_at_once_do_not_stop_a_client_that_takes_them() -> None:
    stage = Stage(max_output=100)
    client = stage.client("c")
    client.send(*[PingReq()] * 1000)
    assert not paused(client)
    assert client.packets() == [PingResp()] * 1000
