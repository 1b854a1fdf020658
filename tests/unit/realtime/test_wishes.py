"""What a subscription on `/ws/v1` asks for: filters, a pace, and what was missed."""

from __future__ import annotations

import pytest

from aemos.model import Instant, PrincipalKind
from aemos.services.events import PresenceChanged, StatusStored
from tests.unit.realtime.stage import NOON, Wire, World, reading, user


def wire(world: World) -> Wire:
    """A client who is signed in."""
    opened = Wire(world)
    opened.channel.opened("ada")
    opened.hear()
    return opened


def events(messages):
    return [message for message in messages if message["type"] == "event"]


def values(messages):
    return [message["data"]["dataStream"]["value"] for message in events(messages)]


@pytest.fixture
def world():
    made = World()
    made.rights.organizations["organization-10"] = 10
    return made


def happen(world: World) -> None:
    """One event of each kind and thing."""
    world.store(reading(1, "1"), reading(2, "2"))
    world.store(reading(3, "3"), uuid="s-2")
    world.events.publish(StatusStored("s-2", 10, "active", None, Instant(0)))


@pytest.mark.parametrize(
    ("wish", "heard"),
    [
        ({}, ["new-datastream"] * 3 + ["device-status"]),
        ({"events": ["device-status"]}, ["device-status"]),
        ({"variables": [2, 3]}, ["new-datastream"] * 2),
        ({"uuids": ["s-2"]}, ["new-datastream", "device-status"]),
        ({"uuids": ["s-2"], "variables": [2]}, []),
    ],
)
def test_only_what_was_asked_for_is_sent(world, wish, heard):
    client = wire(world)
    client.say(type="subscribe", rooms=["organization-10"], **wish)
    happen(world)
    assert [message["event"] for message in client.hear()] == heard


def test_of_an_organization_one_hears_what_one_may_view(world):
    client = wire(world)
    world.tokens.principals["ada"] = user(7, 10)
    client.channel.principal.permissions[10] = frozenset({"sensor.view"})
    client.say(type="subscribe", rooms=["organization-10"])
    world.store(reading())
    for kind in (PrincipalKind.DEVICE, PrincipalKind.SENSOR):
        at = Instant.of(NOON)
        world.events.publish(
            PresenceChanged(kind, 1, f"{kind.value}-1", "", 10, "late", "online", at, at)
        )
    heard = client.hear()
    assert [message["event"] for message in heard] == ["new-datastream", "presence"]
    assert heard[1]["data"]["deviceUuid"] == "sensor-1"


def test_at_a_pace_the_first_value_comes_at_once_and_then_the_newest(world):
    client = wire(world)
    client.say(type="subscribe", rooms=["telemetry-1", "telemetry-2"], every=1000)
    world.store(reading(value="1"), reading(value="2"), reading(2, value="x"))
    assert values(client.hear()) == ["1", "x"]
    world.store(reading(value="3"))
    world.clock.advance(0.999)
    assert client.hear() == []
    world.clock.advance(0.001)
    assert values(client.hear()) == ["3"]
    world.store(reading(value="4"))
    world.clock.advance(1)
    assert values(client.hear()) == ["4"]
    world.clock.advance(5)
    world.store(reading(value="5"))
    assert values(client.hear()) == ["5"]


def test_at_a_pace_each_event_of_other_kinds_comes(world):
    client = wire(world)
    client.say(type="subscribe", rooms=["device-uuid-s-1"], every=1000)
    for status in ("active", "error"):
        world.events.publish(StatusStored("s-1", 10, status, None, Instant(0)))
    assert [message["data"]["status"] for message in client.hear()] == ["active", "error"]


def test_what_is_held_for_a_room_that_was_left_is_not_sent(world):
    client = wire(world)
    client.say(type="subscribe", rooms=["telemetry-1"], every=1000)
    world.store(reading(value="1"), reading(value="2"))
    client.say(type="unsubscribe", rooms=["telemetry-1"])
    world.clock.advance(1)
    assert client.hear() == []


def test_of_rooms_with_one_pace_the_ones_that_stay_get_what_is_held(world):
    client = wire(world)
    client.say(type="subscribe", rooms=["telemetry-1", "telemetry-2"], every=1000)
    for value in ("1", "2"):
        world.store(reading(1, value), reading(2, value))
    client.hear()
    client.say(type="unsubscribe", rooms=["telemetry-1"])
    world.clock.advance(1)
    assert [message["room"] for message in client.hear()] == ["telemetry-2"]


def test_nothing_is_held_for_a_client_that_is_gone(world):
    client = wire(world)
    client.say(type="subscribe", rooms=["telemetry-1"], every=1000)
    world.store(reading(value="1"), reading(value="2"))
    client.hear()
    client.channel.closed("gone")
    assert world.clock.getDelayedCalls() == []


def test_who_comes_back_with_the_last_id_gets_what_was_missed_before_anything_else(world):
    client = wire(world)
    client.say(type="subscribe", rooms=["telemetry-1"])
    world.store(reading(value="1"))
    [last] = client.hear()
    client.channel.closed("network cut")
    world.store(reading(value="2"), reading(value="3"))
    again = wire(world)
    answers = again.say(type="subscribe", rooms=["telemetry-1"], after=last["id"], ref=1)
    assert [answer["type"] for answer in answers] == ["subscribed", "event", "event"]
    assert values(answers) == ["2", "3"]
    world.store(reading(value="4"))
    assert values(again.hear()) == ["4"]


def test_who_has_heard_nothing_yet_comes_back_with_the_id_of_the_answer(world):
    client = wire(world)
    [answer] = client.say(type="subscribe", rooms=["telemetry-1"])
    client.channel.closed("network cut")
    world.store(reading(value="1"))
    again = wire(world)
    assert values(again.say(type="subscribe", rooms=["telemetry-1"], after=answer["last"])) == ["1"]


def test_what_is_not_known_any_more_is_a_gap_with_its_times(world):
    client = wire(world)
    last = f"{int((NOON - 3600) * 1_000_000):014x}"
    answers = client.say(type="subscribe", rooms=["telemetry-1"], after=last)
    assert answers[1] == {
        "type": "gap",
        "rooms": ["telemetry-1"],
        "from": Instant.of(NOON - 3600).iso(),
        "to": Instant.of(NOON).iso(),
    }


def test_a_replay_keeps_to_filters_pace_and_rights(world):
    first = wire(world)
    rooms = ["organization-10", "telemetry-1"]
    [answer] = first.say(type="subscribe", rooms=rooms)
    happen(world)
    world.store(reading(1, "newer"))
    world.store(reading(1, "foreign"), organization=20)
    again = wire(world)
    heard = again.say(
        type="subscribe", rooms=rooms, after=answer["last"], events=["new-datastream"], every=1000
    )
    assert values(heard) == ["1", "2", "3"]
    world.clock.advance(1)
    assert values(again.hear()) == ["newer"]


def test_at_a_pace_the_value_that_was_held_when_the_connection_broke_is_not_lost(world):
    client = wire(world)
    wish = {"type": "subscribe", "rooms": ["telemetry-1", "device-uuid-s-1"], "every": 1000}
    client.say(**wish)
    world.store(reading(value="1"))
    client.hear()
    world.clock.advance(0.2)
    world.store(reading(value="held"))
    world.events.publish(StatusStored("s-1", 10, "active", None, Instant(0)))
    [last] = client.hear()
    client.channel.closed("network cut")
    world.clock.advance(5)
    again = wire(world)
    heard = again.say(**wish, after=last["id"])
    world.clock.advance(1)
    assert "held" in values([*events(heard)[:1], *again.hear()])


@pytest.mark.parametrize("after", ["", "x", "0" * 13, "G" * 14, "0" * 15])
def test_what_is_no_event_id_is_an_error(world, after):
    [error] = wire(world).say(type="subscribe", rooms=["telemetry-1"], after=after, ref=3)
    assert (error["type"], error["ref"]) == ("error", 3)
    assert not world.hub.rooms
