"""Start, expiry, stop, limits, and what is kept between connections."""

from __future__ import annotations

import gc
import weakref

import pytest

from aemos.mqtt.counters import CloseReason
from aemos.mqtt.packets import Connect, PingReq, PubAck, Publish, PubRec, Will
from tests.mqtt_stage import Stage, sensor

TOPIC = "devices/u/datastream"


@pytest.mark.parametrize("topic", [TOPIC, "plain"])
@pytest.mark.parametrize("qos", [1, 2])
def test_retained_message_is_acknowledged_when_it_is_safe(topic: str, qos: int) -> None:
    stage = Stage()
    stage.database.door.later = True
    client = stage.client("c")
    client.send(Publish(topic, b"x", qos, True, packet_id=1))
    assert client.packets() == []
    stage.database.door.open()
    client.send(Publish(topic, b"y", qos, packet_id=2))
    answer = PubAck if qos == 1 else PubRec
    assert client.packets() == [answer(1), answer(2)]


def test_absent_session_is_forgotten_after_its_time() -> None:
    stage = Stage(session_expiry=3600)
    stage.start()
    client = stage.client("p", clean=False)
    client.subscribe(("a", 1))
    client.drop()
    stage.clock.advance(3000)
    stage.client("p", clean=False, present=True).drop()
    for _ in range(58):
        stage.clock.advance(60)
    assert stage.broker.has_subscribers("a")
    for _ in range(4):
        stage.clock.advance(60)
    assert not stage.broker.has_subscribers("a")
    stage.client("p", clean=False, present=False)
    stage.broker.close_all()


def test_expiry_0_keeps_sessions_for_ever() -> None:
    stage = Stage(session_expiry=0)
    stage.start()
    stage.client("p", clean=False).drop()
    for _ in range(100):
        stage.clock.advance(86400)
    stage.client("p", clean=False, present=True)
    stage.broker.close_all()


def test_stored_sessions_are_limited() -> None:
    stage = Stage(max_sessions=1)
    stage.client("p", clean=False)
    client = stage.open()
    client.send(Connect("q", clean_session=False))
    assert client.take().hex() == "20020003"
    stage.client("q", clean=True)
    stage.client("p", clean=False, present=True)


def test_device_with_too_many_sessions_gives_up_the_one_that_was_absent_longest() -> None:
    stage = Stage(max_sessions_per_device=2, max_sessions=4)
    stage.login.known = {name: sensor(name) for name in ("u", "v")}
    stage.client("other", clean=False, user="v").drop()
    for client_id in ("here", "first", "second", "third"):
        client = stage.client(client_id, clean=False, user="u")
        if client_id != "here":
            client.drop()
    stage = Stage(stage.database, max_sessions_per_device=2, max_sessions=4)
    stage.login.known = {name: sensor(name) for name in ("u", "v")}
    assert {session.client_id for session in stage.broker.store.sessions()} == {
        *("other", "here", "third")
    }
    stage.client("third", clean=False, present=True, user="u")
    stage.client("here", clean=False, present=True, user="u")
    stage.client("fourth", clean=False, user="u")  # none is absent
    stage.client("other", clean=False, present=True, user="v")


def test_anonymous_clients_are_not_one_device() -> None:
    stage = Stage(max_sessions_per_device=1)
    for client_id in ("a", "b"):
        stage.client(client_id, clean=False).drop()
    stage.client("a", clean=False, present=True)


def test_connections_are_limited_and_the_place_of_one_that_left_is_free() -> None:
    stage = Stage(max_connections=2)
    first = stage.client("a")
    stage.open()
    assert stage.factory.buildProtocol(None) is None
    assert stage.broker.totals().turned_away == 1
    first.drop()
    stage.client("c")


def test_stopping_waits_for_every_acknowledgement_and_takes_nothing_new() -> None:
    stage = Stage()
    stage.start()
    stage.router.door.later = True
    busy, idle = stage.client("busy", will=Will("will", b"x", 0, True)), stage.client("idle")
    idle.subscribe(("will", 0))
    busy.send(Publish(TOPIC, b"1", 1, packet_id=1))
    stage.broker.stop_accepting()
    assert stage.factory.buildProtocol(None) is None
    busy.send(Publish(TOPIC, b"2", 1, packet_id=2))
    assert busy.transport.producerState == "paused"
    ended: list[None] = []
    stage.broker.drain().addCallback(ended.append)
    assert not ended
    stage.router.door.open()
    stage.turn()
    assert ended == [None]
    assert busy.packets() == [PubAck(1)]
    assert len(stage.router.handled) == 1
    gone: list[None] = []
    stage.broker.close_all().addCallback(gone.append)
    assert gone == [None]
    assert busy.closed
    assert idle.closed
    assert len(stage.broker.store.retained) == 0  # clients come back: no wills
    assert stage.clock.getDelayedCalls() == []


def test_stopping_an_idle_server_is_immediate() -> None:
    stage = Stage()
    ended: list[None] = []
    stage.broker.drain().addCallback(ended.append)
    stage.broker.close_all().addCallback(ended.append)
    assert ended == [None, None]


def test_peer_that_does_not_take_the_end_is_cut_off() -> None:
    stage = Stage()
    client = stage.client("c")
    client.transport.lingering = True
    gone: list[None] = []
    stage.broker.close_all().addCallback(gone.append)
    assert client.transport.disconnecting
    assert not gone
    stage.clock.advance(5.1)
    assert gone == [None]
    assert stage.clock.getDelayedCalls() == []


def test_no_timer_and_no_trace_is_left_of_clients_that_came_and_went() -> None:
    stage = Stage()
    for number in range(50):
        client = stage.client(f"c{number}", keep_alive=60)
        client.subscribe((f"t/{number}", 1))
        client.send(Publish("x", b"", 2, packet_id=1))
        client.drop()
    assert stage.clock.getDelayedCalls() == []
    assert stage.broker.connections == set()
    assert stage.broker.clients() == []
    assert stage.broker.subscription_count == 0
    assert not stage.broker._by_identity


def test_totals_add_up_over_connections_that_are_gone_and_here() -> None:
    stage = Stage()
    for client in (stage.client("a"), stage.client("b")):
        client.subscribe(("t", 0))
    publisher = stage.client("c")
    publisher.send(Publish("t", b"1"))
    publisher.drop()
    stage.client("d").send(Publish("t", b"2"), b"\x00\x00")
    totals = stage.broker.totals()
    assert (totals.messages_received, totals.messages_sent, totals.accepted) == (2, 4, 4)
    assert totals.closed == {CloseReason.LOST: 1, CloseReason.MALFORMED: 1}
    assert totals.bytes_received > 0
    assert totals.bytes_sent > 0


def test_list_of_clients_tells_who_is_here() -> None:
    stage = Stage()
    client = stage.client("c", user="root", keep_alive=30)
    client.subscribe(("a", 1))
    client.send(Publish("a", b"x", 1, packet_id=1), PingReq())
    (info,) = stage.broker.clients()
    assert (info.client_id, info.principal, info.keep_alive) == ("c", "user:root@x.example", 30)
    assert (info.subscriptions, info.in_flight, info.messages_received) == (1, 1, 1)
    assert info.peer == "192.168.1.1:54321"
    assert info.connected_at == stage.broker.now()


def test_longest_keep_alive_can_be_limited() -> None:
    stage = Stage(max_keep_alive=10)
    for asked in (0, 60000, 10):
        client = stage.client("c", keep_alive=asked)
        stage.clock.advance(14.9)
        assert not client.closed
        stage.clock.advance(0.2)
        assert client.closed


def test_publishing_for_a_service_never_raises(hygiene: list[str]) -> None:
    stage = Stage()
    stage.client("c").subscribe(("a", 0))
    stage.broker.publish("a", None)  # type: ignore[arg-type]
    hygiene.clear()


def test_connection_that_is_lost_is_freed_without_the_garbage_collector() -> None:
    stage = Stage()
    client = stage.client("c", keep_alive=10)
    client.subscribe(("a", 1))
    client.send(Publish("a", b"x", 1, packet_id=1))
    (connection,) = map(weakref.ref, stage.broker.connections)
    gc.disable()
    try:
        client.drop()
        del client
        assert connection() is None
    finally:
        gc.enable()


def test_silent_client_keeps_no_queues_and_gets_them_back_when_it_speaks() -> None:
    """An empty deque takes 700 bytes: seven megabytes for ten thousand idle clients."""
    stage = Stage()
    client = stage.client("c", keep_alive=10)
    (connection,) = stage.broker.connections
    message = Publish("devices/u/status", b"{}", 1, packet_id=1)
    assert connection.intake is not None
    idle = connection.intake.receipts
    client.send(message)
    assert client.packets() == [PubAck(1)]
    assert connection.intake.receipts is not idle
    stage.clock.advance(14)
    client.send(PingReq())
    stage.clock.advance(2)
    assert connection.intake.receipts is idle
    client.take()
    client.send(message)
    assert client.packets() == [PubAck(1)]
