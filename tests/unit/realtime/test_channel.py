"""The conversation on `/ws/v1`, on a socket in memory."""

from __future__ import annotations

import pytest

from aemos.services.events import UserChanged
from tests.unit.realtime.stage import NOON, Wire, World, reading, user


def opened(world: World, token: str = "") -> Wire:
    wire = Wire(world)
    wire.channel.opened(token)
    return wire


def subscribed(world: World) -> Wire:
    wire = opened(world)
    wire.say(type="authenticate", token="ada")
    wire.say(type="subscribe", rooms=["telemetry-1", "telemetry-2"])
    return wire


def test_authenticate_subscribe_hear_unsubscribe():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 3600)
    wire = opened(world)
    assert wire.say(type="authenticate", token="ada", ref=1) == [
        {
            "type": "authenticated",
            "ref": 1,
            "user": {"id": 7, "email": "user7@example.org", "administrator": False},
            "organizations": [10],
            "expires": "2027-01-15T09:00:00.000Z",
        }
    ]
    [answer] = wire.say(type="subscribe", rooms=["telemetry-1", "telemetry-9"], ref="a")
    assert (answer["type"], answer["ref"]) == ("subscribed", "a")
    assert answer["rooms"] == ["telemetry-1"]
    assert answer["refused"] == [
        {"room": "telemetry-9", "code": "forbidden", "message": "no such room for you"}
    ]
    world.store(reading(1))
    [event] = wire.hear()
    assert (event["type"], event["event"], event["room"]) == (
        "event",
        "new-datastream",
        "telemetry-1",
    )
    assert event["data"]["dataStream"]["value"] == "20.5"
    assert event["id"]
    assert wire.say(type="unsubscribe", rooms=["telemetry-1", "telemetry-2"]) == [
        {"type": "unsubscribed", "rooms": ["telemetry-1"]}
    ]
    world.store(reading(1))
    assert wire.hear() == []


def test_a_token_of_the_handshake_authenticates_and_a_bad_one_closes():
    world = World()
    [answer] = opened(world, "ada").hear()
    assert answer["type"] == "authenticated"
    wire = opened(world, "forged")
    assert wire.hear()[0]["code"] == "unauthenticated"
    assert wire.closed == (4401, "unauthenticated")


def test_a_bad_token_in_a_message_is_an_error_and_may_be_tried_again():
    wire = opened(World())
    [error] = wire.say(type="authenticate", token="forged", ref=5)
    assert (error["type"], error["code"], error["ref"]) == ("error", "unauthenticated", 5)
    assert wire.say(type="authenticate", token="ada")[0]["type"] == "authenticated"


def test_ping_is_answered_before_and_after_authentication():
    wire = opened(World())
    assert wire.say(type="ping", ref="x") == [
        {"type": "pong", "ref": "x", "time": "2027-01-15T08:00:00.000Z"}
    ]


@pytest.mark.parametrize(
    ("payload", "code", "ref"),
    [
        (b"", "malformed_json", None),
        (b"\xff", "malformed_json", None),
        (b"{", "malformed_json", None),
        (b'{"type":"ping","x":' + b"[" * 60_000, "malformed_json", None),
        (b"[]", "wrong_shape", None),
        (b"null", "wrong_shape", None),
        (b'{"ref":3}', "wrong_shape", 3),
        (b'{"type":"destroy","ref":"r"}', "wrong_shape", "r"),
        (b'{"type":"subscribe","ref":"r"}', "wrong_shape", "r"),
        (b'{"type":"subscribe","rooms":"telemetry-1"}', "wrong_shape", None),
        (b'{"type":"subscribe","rooms":[1]}', "wrong_shape", None),
        (b'{"type":"subscribe","rooms":["%s"]}' % (b"x" * 101), "wrong_shape", None),
        (b'{"type":"ping","ref":{}}', "wrong_shape", None),
        (b'{"type":"ping","ref":"%s"}' % (b"x" * 65), "wrong_shape", None),
        (b'{"type":"authenticate","token":null}', "wrong_shape", None),
    ],
)
def test_malformed_messages_are_answered_and_the_connection_lives_on(payload, code, ref):
    wire = opened(World())
    [error] = wire.say_raw(payload)
    assert (error["type"], error["code"], error.get("ref")) == ("error", code, ref)
    assert error["message"]
    assert wire.say(type="ping")[0]["type"] == "pong"


def test_unknown_keys_of_newer_clients_are_passed_over():
    assert opened(World()).say(type="ping", colour="blue")[0]["type"] == "pong"


def test_who_says_nothing_in_time_is_closed():
    world = World(authenticate_timeout=10.0)
    wire = opened(world)
    world.clock.advance(9.9)
    assert wire.closed is None
    world.clock.advance(0.2)
    assert wire.closed == (4408, "authenticate_timeout")
    assert wire.sent[-1]["code"] == "authenticate_timeout"


def test_an_anonymous_member_of_a_room_may_stay():
    world = World(anonymous=("10",), authenticate_timeout=10.0)
    wire = opened(world)
    assert wire.say(type="subscribe", rooms=["telemetry-1"])[0]["rooms"] == ["telemetry-1"]
    world.clock.advance(11)
    assert wire.closed is None


def test_expiry_and_logout_are_told_before_the_close():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 60)
    expiring, leaving = subscribed(world), opened(world, "bob")
    world.clock.advance(60)
    assert expiring.hear()[-1]["code"] == "token_expired"
    assert expiring.closed == (4401, "token_expired")
    del world.tokens.principals["bob"]
    world.events.publish(UserChanged(8))
    assert leaving.hear()[-1]["code"] == "unauthenticated"
    assert leaving.closed == (4401, "unauthenticated")


def test_rights_that_were_taken_are_told():
    world = World()
    wire = subscribed(world)
    world.tokens.principals["ada"] = user(7, 20)
    world.events.publish(UserChanged(7))
    [told] = wire.hear()
    assert (told["type"], told["code"]) == ("unsubscribed", "forbidden")
    assert sorted(told["rooms"]) == ["telemetry-1", "telemetry-2"]
    assert wire.closed is None


def test_all_events_of_a_reactor_turn_leave_in_one_write():
    world = World()
    wire = subscribed(world)
    writes: list[int] = []
    write = wire.write

    def counted(octets: bytes) -> None:
        writes.append(len(octets))
        write(octets)

    wire.write = counted
    world.store(reading(1), reading(2, id=101))
    world.store(reading(1, id=102))
    assert [each["data"]["dataStream"]["id"] for each in wire.hear()] == [100, 101, 102]
    assert len(writes) == 1


def test_a_slow_client_gets_the_latest_of_each_variable_and_a_count_of_the_rest():
    world = World(max_buffer=2000)
    wire = subscribed(world)
    wire.channel.writable(False)
    assert not wire.reading
    for number in range(500):
        world.store(reading(1, f"{number}", number + 1), reading(2, f"{number}", number + 1001))
    assert wire.hear() == []
    wire.channel.writable(True)
    heard = wire.hear()
    assert wire.reading
    assert [each["data"]["dataStream"]["value"] for each in heard[:-1]] == ["499", "499"]
    assert heard[-1] == {"type": "dropped", "count": 998}
    assert wire.channel.traffic.dropped == world.sessions.dropped == 998


def test_nothing_is_read_while_a_message_waits_for_its_answer():
    world = World()
    wire = opened(world)
    wire.say(type="authenticate", token="ada")
    world.rights.held = []
    assert wire.say(type="subscribe", rooms=["telemetry-1"]) == []
    assert not wire.reading
    world.rights.release()
    assert wire.hear()[0]["type"] == "subscribed"
    assert wire.reading


def test_a_silent_client_is_asked_and_then_dropped():
    world = World(ping_interval=25.0, anonymous=("10",))
    wire = opened(world)
    wire.say(type="subscribe", rooms=["telemetry-1"])
    world.clock.advance(25)
    assert wire.pings == 1
    wire.channel.heard()
    world.clock.advance(25)
    world.clock.advance(24.9)
    assert not wire.aborted
    world.clock.advance(0.2)
    assert wire.aborted


def test_a_connection_waiting_for_the_database_is_not_dropped_for_silence():
    world = World(ping_interval=25.0)
    wire = opened(world)
    wire.say(type="authenticate", token="ada")
    world.rights.held = []
    wire.say(type="subscribe", rooms=["telemetry-1"])
    for _ in range(10):
        world.clock.advance(25)
    assert not wire.aborted


def test_a_fault_of_ours_is_an_error_message_without_details(hygiene):
    world = World()
    world.tokens.fault = RuntimeError("secret detail")
    wire = opened(world)
    [error] = wire.say(type="authenticate", token="ada", ref=1)
    [logged] = hygiene
    assert "secret detail" in logged
    hygiene.clear()
    assert error == {"type": "error", "ref": 1, "code": "internal", "message": "internal error"}


def test_closing_leaves_no_timer_and_no_member():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 60)
    wire = subscribed(world)
    wire.channel.closed("gone")
    assert (world.clock.getDelayedCalls(), world.hub.rooms, len(world.sessions)) == ([], 0, 0)
    world.store(reading(1))
    wire.channel.flush()
    assert wire.hear() == []
