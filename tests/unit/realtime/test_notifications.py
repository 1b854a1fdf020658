"""What Socket.IO clients hear of readings, and when."""

from __future__ import annotations

from typing import Any

import pytest

from aemos.model import Instant, Principal, PrincipalKind
from aemos.services.events import ReadingChanged, ReadingDeleted
from tests.unit.realtime.socketio_stage import SocketIoWorld
from tests.unit.realtime.stage import NOON, changed_state, reading


def watching(world: SocketIoWorld, *rooms: str, token: str = "ada") -> Any:
    wire = world.client(token)
    if rooms:
        wire.join(*rooms)
    return wire


def told(wire: Any) -> list[tuple[str, Any]]:
    """@return: name and value (or count) of each event."""
    return [
        (name, data["count"] if "count" in data else data["dataStream"]["value"])
        for name, data in wire.events()
    ]


def test_the_first_reading_of_an_idle_variable_is_told_at_once_in_the_documented_shape():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(reading(1, "25.4", 123))
    assert wire.events() == [
        (
            "new-datastream",
            {
                "dataStream": {
                    "id": 123,
                    "value": "25.4",
                    "telemetryDataId": 1,
                    "recievedAt": "2026-01-01T00:00:00.000Z",
                },
                "timestamp": Instant.of(NOON).iso(),
            },
        )
    ]


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_that_follow_are_told_one_by_one_at_the_tick(count):
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(*(reading(1, str(number), number) for number in range(1, count + 2)))
    assert told(wire) == [("new-datastream", "1")]
    world.clock.advance(0.99)
    assert told(wire) == []
    world.clock.advance(0.01)
    assert told(wire) == [("new-datastream", str(2 + number)) for number in range(count)]


def test_three_that_follow_are_a_batch_and_the_latest_comes_by_itself_too():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(*(reading(1, value, 5) for value in ("0", "9", "1.5", "x", "2.1")))
    told(wire)
    world.clock.advance(1)
    [(batch, data), (name, latest)] = wire.events()
    assert (batch, name) == ("datastream-batch", "new-datastream")
    assert data == {
        "telemetryDataId": 1,
        "count": 4,
        "latest": latest["dataStream"],
        "min": 1.5,
        "max": 9,
        "avg": pytest.approx(4.2),
        "timestamp": Instant.of(NOON + 1).iso(),
    }
    assert latest["dataStream"]["value"] == "2.1"


@pytest.mark.parametrize("value", ["on", "nan", "inf", "1_0", ""])
def test_a_batch_without_numbers_has_neither_minimum_nor_maximum_nor_average(value):
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(*(reading(1, value) for _ in range(4)))
    world.clock.advance(1)
    [data] = [data for name, data in wire.events() if name == "datastream-batch"]
    assert (data["min"], data["max"], data["avg"]) == (None, None, None)


def test_the_latest_of_a_batch_is_the_newest_by_its_own_time():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    late = reading(1, "late")
    late.at = Instant(1000)
    world.store(reading(1, "0"), reading(1, "1"), reading(1, "2"), late)
    told(wire)
    world.clock.advance(1)
    assert told(wire) == [("datastream-batch", 3), ("new-datastream", "2")]


def test_an_urgent_reading_overtakes_those_that_wait():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    urgent = reading(1, "99")
    urgent.urgent = True
    world.store(reading(1, "0"), reading(1, "1"), urgent)
    assert told(wire) == [("new-datastream", "0"), ("new-datastream", "99")]
    world.clock.advance(1)
    assert told(wire) == [("new-datastream", "1")]


def test_a_variable_that_was_silent_for_a_tick_is_idle_again():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(reading(1, "1"))
    world.clock.advance(1)
    world.store(reading(1, "2"))
    assert told(wire) == [("new-datastream", "1"), ("new-datastream", "2")]


def test_variables_are_gathered_by_themselves():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1", "telemetry-2")
    world.store(reading(1, "a"), reading(2, "b"), reading(1, "c"), reading(2, "d"))
    assert told(wire) == [("new-datastream", "a"), ("new-datastream", "b")]
    world.clock.advance(1)
    assert told(wire) == [("new-datastream", "c"), ("new-datastream", "d")]


def test_beyond_the_buffer_the_newer_half_is_kept():
    world = SocketIoWorld(notification_buffer=10)
    wire = watching(world, "telemetry-1")
    world.store(*(reading(1, str(number)) for number in range(12)))
    told(wire)
    world.clock.advance(1)
    [(name, data), _] = wire.events()
    assert (name, data["count"], data["min"]) == ("datastream-batch", 5, 7)


def test_repeats_of_stored_readings_are_not_told():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(reading(1, "1", None))
    assert told(wire) == []


def test_nothing_is_gathered_and_no_timer_runs_where_nobody_listens():
    world = SocketIoWorld()
    world.store(reading(1))
    wire = watching(world, "telemetry-1")
    world.store(reading(2), uuid="s-2")
    assert wire.events() == []
    assert world.door.notifications._busy == {}


def test_what_waits_belongs_to_the_organization_that_the_sensor_was_in():
    world = SocketIoWorld()
    world.rights.organizations["telemetry-1"] = 10
    wire = watching(world, "telemetry-1")
    world.store(reading(1, "1"), reading(1, "2"))
    world.store(reading(1, "3"), organization=20)
    world.clock.advance(1)
    assert told(wire) == [("new-datastream", "1"), ("new-datastream", "2")]


def test_many_busy_variables_leave_messages_their_turn():
    world = SocketIoWorld()
    rooms = [f"telemetry-{number}" for number in range(1, 451)]
    world.rights.organizations |= dict.fromkeys(rooms, 10)
    wire = watching(world, *rooms)
    everything = [reading(number, "x") for number in range(1, 451)]
    world.store(*everything, *everything)
    wire.hear()
    wire.writes = 0
    world.clock.advance(1)
    assert len(wire.hear()) == 450
    assert wire.writes > 1  # one at the end of each reactor turn


EDITED = {"id": 5, "value": "7", "telemetryDataId": 1, "recievedAt": Instant(0)}


def test_an_edit_is_an_event_of_its_own_and_one_that_clients_know():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.events.publish(ReadingChanged(EDITED, 10, "s-1"))
    (first, changed), (second, known) = wire.events()
    assert (first, second) == ("update-datastream", "new-datastream")
    assert changed["dataStream"] == known["dataStream"]
    assert (known["dataStream"]["id"], known["dataStream"]["value"]) == (5, "7")


def test_an_edit_of_a_busy_variable_waits_for_its_turn():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.store(reading(1, "1"))
    world.events.publish(ReadingChanged(EDITED, 10, "s-1"))
    assert [name for name, _ in wire.events()] == ["new-datastream", "update-datastream"]
    world.clock.advance(1)
    assert told(wire) == [("new-datastream", "7")]


def test_a_deletion_is_an_event_of_its_own():
    world = SocketIoWorld()
    wire = watching(world, "telemetry-1")
    world.events.publish(ReadingDeleted(5, 1, 10, "s-1"))
    [(name, data)] = wire.events()
    assert name == "delete-datastream"
    gone = {"id": 5, "telemetryDataId": 1, "deleted": True}
    assert data == {**gone, "dataStream": gone, "timestamp": data["timestamp"]}


def test_with_broadcasting_everybody_hears_what_is_theirs():
    world = SocketIoWorld(anonymous=("10",), broadcast_all=True)
    world.tokens.principals["root"] = Principal(PrincipalKind.USER, "r@x", 1, administrator=True)
    told_of = [watching(world, token=token) for token in ("ada", "root", None)]
    other = watching(world, token="bob")
    world.store(*(reading(1, str(number)) for number in range(4)))
    world.clock.advance(1)
    for wire in told_of:
        [(first, created), (second, batch)] = wire.events()
        assert (first, second) == ("datastreams-update",) * 2
        assert (created["type"], created["dataStream"]["value"]) == ("create", "0")
        assert (batch["type"], batch["telemetryDataId"], batch["count"]) == ("batch", 1, 3)
    world.events.publish(ReadingDeleted(5, 1, 10, "s-1"))
    for wire in told_of:
        [(name, deleted)] = wire.events()
        assert (name, deleted["type"]) == ("datastreams-update", "delete")
        assert deleted["dataStream"] == {"id": 5, "telemetryDataId": 1, "deleted": True}
    assert other.events() == []


def test_with_broadcasting_changes_of_states_go_to_all_who_may_see_the_device():
    world = SocketIoWorld(anonymous=("10",), broadcast_all=True)
    world.tokens.principals["root"] = Principal(PrincipalKind.USER, "r@x", 1, administrator=True)
    root, stranger = watching(world, token="root"), watching(world, token=None)
    world.events.publish(changed_state())
    assert [name for name, _ in root.events()] == ["device-state-change"]
    assert stranger.events() == []


def test_without_broadcasting_nobody_is_told_outside_the_rooms():
    world = SocketIoWorld()
    wire = watching(world)
    world.store(reading(1))
    world.events.publish(changed_state())
    assert wire.events() == []


def test_the_room_of_a_sensor_and_of_an_organization_hear_the_same():
    world = SocketIoWorld()
    world.rights.organizations["organization-10"] = 10
    wire = watching(world, "telemetry-1", "device-uuid-s-1", "organization-10")
    world.store(reading(1, "1"), reading(2, "2"))
    assert told(wire) == [("new-datastream", "1"), ("new-datastream", "2")]
