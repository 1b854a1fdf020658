"""What those who come back are told of what they missed."""

from __future__ import annotations

from aemos.model import Instant, PrincipalKind
from aemos.realtime.hub import Hub
from aemos.services.events import PresenceChanged
from tests.unit.realtime.stage import NOON, Listener, World, reading


def values(missed):
    return [event.data["dataStream"]["value"] for event, _ in missed.events]


def test_who_comes_back_gets_what_was_stored_since_the_last_event_it_saw():
    world, before, after = World(), Listener(), Listener()
    world.hub.join(before, "telemetry-1")
    world.store(reading(value="1"), reading(value="2"))
    world.hub.leave(before, "telemetry-1")
    world.store(reading(value="3"), reading(2, value="x"))
    last, _ = before.heard[0]
    world.hub.join(after, "telemetry-1")
    missed = world.hub.missed(after, ["telemetry-1"], last.id)
    assert (values(missed), missed.gap) == (["2", "3"], None)


def test_a_room_that_was_joined_again_in_time_stays():
    world, listener = World(replay_seconds=60.0), Listener()
    world.hub.join(listener, "telemetry-1")
    world.hub.leave(listener, "telemetry-1")
    world.clock.advance(30)
    world.hub.join(listener, "telemetry-1")
    world.clock.advance(60)
    world.store(reading(value="1"))
    world.store(reading(value="2"))
    assert [event.data["dataStream"]["value"] for event, _ in listener.heard] == ["1", "2"]


def test_an_event_of_two_rooms_is_missed_once():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-1")
    world.hub.join(listener, "device-uuid-s-1")
    first = world.hub.heard["device-uuid-s-1"].since
    world.store(reading())
    missed = world.hub.missed(listener, ["telemetry-1", "device-uuid-s-1"], first)
    assert [room for _, room in missed.events] == ["telemetry-1"]
    assert missed.gap is None


def test_only_what_is_wanted_was_missed():
    world, listener = World(), Listener()
    world.hub.join(listener, "organization-10", lambda event: event.telemetry_id == 2)
    since = world.hub.heard["organization-10"].since
    world.store(reading(value="1"), reading(2, value="2"))
    assert values(world.hub.missed(listener, ["organization-10"], since)) == ["2"]


def test_before_a_room_was_listened_to_there_is_a_gap():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-2")
    world.store(reading(2, value="1"))
    last, _ = listener.heard[0]
    world.clock.advance(5)
    world.hub.join(listener, "telemetry-1")
    missed = world.hub.missed(listener, ["telemetry-1"], last.id)
    assert missed.gap == (Instant.of(NOON), Instant.of(NOON + 5))


def test_after_a_restart_there_is_a_gap():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-1")
    world.store(reading())
    last, _ = listener.heard[0]
    world.clock.advance(1)
    again = Hub(world.clock, world.settings)
    again.join(listener, "telemetry-1")
    assert again.missed(listener, ["telemetry-1"], last.id).gap is not None


def test_the_oldest_events_give_way_and_leave_a_gap():
    world, listener = World(replay_events=2), Listener()
    world.hub.join(listener, "telemetry-1")
    world.store(*(reading(value=str(number)) for number in range(4)))
    ids = [event.id for event, _ in listener.heard]
    missed = world.hub.missed(listener, ["telemetry-1"], ids[0])
    assert (values(missed), missed.gap is None) == (["2", "3"], False)
    assert world.hub.missed(listener, ["telemetry-1"], ids[1]).gap is None


def test_what_is_kept_is_bounded_in_bytes():
    world, listener = World(replay_bytes=12_000), Listener()
    world.hub.join(listener, "telemetry-1")
    world.store(*(reading(value="x" * 50) for _ in range(50)))
    assert 5 <= world.hub.replayable <= 11


def test_with_a_time_of_zero_nothing_is_kept():
    world, listener = World(replay_seconds=0.0), Listener()
    world.hub.join(listener, "telemetry-1")
    world.store(reading())
    world.hub.leave(listener, "telemetry-1")
    assert (world.hub.replayable, dict(world.hub.heard)) == (0, {})


def test_a_room_of_an_organization_hears_everything_of_it_and_nothing_of_others():
    world, listener = World(), Listener()
    world.hub.join(listener, "organization-10")
    world.store(reading())
    world.store(reading(9), uuid="s-9", organization=20)
    world.events.publish(
        PresenceChanged(
            PrincipalKind.DEVICE,
            7,
            "p-1",
            "Pump",
            10,
            "late",
            "online",
            Instant.of(NOON),
            Instant.of(NOON - 60),
        )
    )
    assert [(event.name, event.uuid) for event, _ in listener.heard] == [
        ("new-datastream", "s-1"),
        ("presence", "p-1"),
    ]


def test_joining_again_changes_what_is_wanted():
    world, listener = World(), Listener()
    world.hub.join(listener, "organization-10", lambda event: False)
    world.store(reading())
    world.hub.join(listener, "organization-10")
    world.store(reading(value="2"))
    assert [event.data["dataStream"]["value"] for event, _ in listener.heard] == ["2"]


def test_what_one_room_brings_unwanted_another_may_bring_wanted():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-1", lambda event: False)
    world.hub.join(listener, "organization-10")
    world.store(reading())
    assert [room for _, room in listener.heard] == ["organization-10"]
