"""Rooms and live events."""

from __future__ import annotations

import json

import pytest
from twisted.internet.task import Clock

from aemos.config.schema import Realtime
from aemos.model import Instant
from aemos.realtime.feed import Feed
from aemos.realtime.hub import Event, Hub, is_room
from aemos.services.events import (
    AlarmChanged,
    BroadcastSent,
    CommandChanged,
    Events,
    NotificationSent,
    ReadingChanged,
    ReadingDeleted,
    StatusStored,
)
from tests.unit.realtime.stage import NOON, Listener, World, changed_state, reading


def test_a_stored_reading_reaches_the_room_of_its_variable_in_the_documented_shape():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-1")
    world.store(reading(1), reading(2, id=101))
    [(event, room)] = listener.heard
    assert (event.name, room, event.organization_id) == ("new-datastream", "telemetry-1", 10)
    assert json.loads(event.json()) == {
        "dataStream": {
            "id": 100,
            "value": "20.5",
            "telemetryDataId": 1,
            "recievedAt": "2026-01-01T00:00:00.000Z",
        },
        "timestamp": Instant.of(NOON).iso(),
    }


def test_a_sensor_room_hears_all_variables_of_the_sensor_and_no_other_sensor():
    world, listener = World(), Listener()
    world.hub.join(listener, "device-uuid-s-1")
    world.store(reading(1), reading(2, id=101))
    world.store(reading(9), uuid="s-9", organization=20)
    assert [room for _, room in listener.heard] == ["device-uuid-s-1"] * 2


def test_a_member_of_two_matching_rooms_hears_an_event_once():
    world, listener = World(), Listener()
    world.hub.join(listener, "device-uuid-s-1")
    world.hub.join(listener, "telemetry-1")
    world.store(reading(1))
    assert [room for _, room in listener.heard] == ["telemetry-1"]


def test_a_repeat_that_was_not_stored_again_is_no_event():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-1")
    world.store(reading(id=None))
    assert listener.heard == []


def test_nobody_hears_after_leaving_and_an_empty_room_is_forgotten_after_a_while():
    world, listener = World(replay_seconds=60.0), Listener()
    world.hub.join(listener, "telemetry-1")
    world.hub.leave(listener, "telemetry-1")
    world.hub.leave(listener, "telemetry-1")
    world.store(reading())
    assert (listener.heard, world.hub.rooms, world.hub.replayable) == ([], 0, 1)
    world.clock.advance(60)
    world.store(reading())
    world.store(reading())
    assert (world.hub.replayable, list(world.hub.heard)) == (2, [])


def test_all_members_share_one_encoding_per_form_and_room():
    world, listeners = World(), [Listener() for _ in range(3)]
    for listener in listeners:
        world.hub.join(listener, "telemetry-1")
    made: list[str] = []

    def form(event: Event, room: str) -> bytes:
        made.append(room)
        return event.json()

    world.store(reading())
    encoded = {id(event.encoded(form, room)) for each in listeners for event, room in each.heard}
    assert (len(encoded), made) == (1, ["telemetry-1"])


def test_one_failing_member_takes_nothing_from_the_others(hygiene):
    world, last = World(), Listener()

    class Broken(Listener):
        def deliver(self, event: Event, room: str) -> None:
            raise RuntimeError("broken")

    world.hub.join(Broken(), "telemetry-1")
    world.hub.join(last, "telemetry-1")
    world.store(reading())
    assert len(last.heard) == 1
    [logged] = hygiene
    assert "broken" in logged
    hygiene.clear()


def test_a_member_may_leave_while_it_is_told():
    world, last = World(), Listener()

    class Once(Listener):
        def deliver(self, event: Event, room: str) -> None:
            super().deliver(event, room)
            world.hub.leave(self, room)

    once = Once()
    world.hub.join(once, "telemetry-1")
    world.hub.join(last, "telemetry-1")
    world.store(reading(), reading(id=101))
    assert (len(once.heard), len(last.heard)) == (1, 2)


def test_ids_increase_within_a_microsecond_when_the_clock_stands_and_over_restarts():
    ids = []
    for start in (NOON, NOON + 1):
        clock, events, listener = Clock(), Events(), Listener()
        clock.advance(start)
        hub = Hub(clock, Realtime())
        Feed(hub, events, clock)
        hub.join(listener, "device-uuid-s-1")
        for _ in range(3):
            events.publish(StatusStored("s-1", 10, "active", None, Instant(0)))
        ids += [event.id for event, _ in listener.heard]
    assert len(set(ids)) == 6
    assert ids == sorted(ids)


def test_an_edited_and_a_deleted_reading_are_events_of_their_own():
    world, listener = World(), Listener()
    world.hub.join(listener, "telemetry-1")
    row = {"id": 5, "value": "3", "telemetryDataId": 1, "recievedAt": Instant(0), "createdAt": 1}
    world.events.publish(ReadingChanged(row, 10))
    world.events.publish(ReadingDeleted(5, 1, 10))
    changed, deleted = (event for event, _ in listener.heard)
    assert (changed.name, deleted.name) == ("update-datastream", "delete-datastream")
    assert set(changed.data["dataStream"]) == {"id", "value", "telemetryDataId", "recievedAt"}
    assert deleted.data["dataStream"] == {"id": 5, "telemetryDataId": 1, "deleted": True}


def test_a_status_reaches_the_room_of_its_device():
    world, listener = World(), Listener()
    world.hub.join(listener, "device-uuid-s-1")
    world.events.publish(StatusStored("s-1", 10, "active", {"battery": 85}, Instant(0)))
    [(event, _)] = listener.heard
    assert json.loads(event.json()) == {
        "deviceUuid": "s-1",
        "status": "active",
        "metadata": {"battery": 85},
        "timestamp": "1970-01-01T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("telemetry-1", True),
        ("device-77", True),
        ("organization-4", True),
        ("7", True),
        ("0", False),
        ("organization-", False),
        ("device-uuid-3f1c9e0e-7b52-4a1d-9a53-0d6f6f6f0a11", True),
        ("telemetry-0", False),
        ("telemetry-1x", False),
        ("telemetry-\u0661", False),
        ("device-uuid-", False),
        ('device-uuid-"', False),
        ("telemetry-1\n", False),
        ("", False),
    ],
)
def test_only_room_names_are_room_names(name, good):
    assert is_room(name) is good


def test_a_new_state_is_told_once_to_a_member_of_both_rooms_of_the_device():
    world = World()
    one, other = Listener(), Listener()
    world.hub.join(one, "device-uuid-p-1")
    world.hub.join(one, "device-7")
    world.hub.join(other, "device-7")
    world.hub.join(other, "device-8")
    world.events.publish(changed_state())
    assert [len(one.heard), len(other.heard)] == [1, 1]
    data = json.loads(one.heard[0][0].json())
    assert data == {
        "title": "Device State Changed",
        "message": "power changed to on",
        "type": "device-state-change",
        "deviceType": "actuator",
        "deviceId": 7,
        "deviceUuid": "p-1",
        "priority": "high",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "metadata": {
            "deviceId": 7,
            "deviceUuid": "p-1",
            "deviceName": "Pump",
            "deviceType": "actuator",
            "isCritical": False,
            "stateName": "power",
            "oldValue": "off",
            "newValue": "on",
            "initiatedBy": "user",
            "initiatorId": 3,
        },
    }


def test_a_state_that_a_rule_changed_names_the_rule_instead_of_a_user():
    world = World()
    member = Listener()
    world.hub.join(member, "device-7")
    rule = {"ruleChainId": 2, "ruleChainName": "Dry", "nodeId": 9}
    world.events.publish(changed_state(initiated_by="rule_chain", initiator_id=None, rule=rule))
    metadata = json.loads(member.heard[0][0].json())["metadata"]
    assert metadata["ruleChainDetails"] == rule
    assert metadata["triggeredBy"] == "rule_chain"
    assert "initiatorId" not in metadata


def test_what_becomes_of_a_command_is_told_in_the_room_of_its_device():
    world, listener = World(), Listener()
    world.hub.join(listener, "device-uuid-p-1")
    shown = {"commandId": "c-1", "command": "open"}
    world.events.publish(
        CommandChanged(5, "c-1", "p-1", 10, "confirmed", Instant(0), "done", shown)
    )
    [(event, _)] = listener.heard
    assert (event.name, event.permission, event.organization_id) == ("command", "device.view", 10)
    assert json.loads(event.json()) == {
        "deviceUuid": "p-1",
        "status": "confirmed",
        "detail": "done",
        "command": shown,
        "timestamp": "1970-01-01T00:00:00.000Z",
    }


def test_a_broadcast_is_told_to_its_organization():
    world, member, other = World(), Listener(), Listener()
    world.hub.join(member, "organization-10")
    world.hub.join(other, "organization-11")
    world.events.publish(BroadcastSent(10, {"text": "frost"}, Instant(0)))
    [(event, _)] = member.heard
    assert (event.name, event.permission, event.organization_id) == ("broadcast", "device.view", 10)
    assert json.loads(event.json()) == {
        "organizationId": 10,
        "message": {"text": "frost"},
        "timestamp": "1970-01-01T00:00:00.000Z",
    }
    assert other.heard == []


def test_an_alarm_is_told_to_its_organization_and_in_the_room_of_its_sensor():
    world, member, neighbour = World(), Listener(), Listener()
    world.hub.join(member, "organization-10")
    world.hub.join(neighbour, "device-uuid-s-1")
    shown = {"id": 4, "state": "active"}
    world.events.publish(AlarmChanged("raised", 10, "s-1", Instant(0), "", shown))
    for listener in (member, neighbour):
        [(event, _)] = listener.heard
        assert (event.name, event.permission, event.organization_id) == ("alarm", "sensor.view", 10)
        assert json.loads(event.json()) == {
            "change": "raised",
            "comment": "",
            "alarm": shown,
            "timestamp": "1970-01-01T00:00:00.000Z",
        }


def test_a_notification_goes_to_its_organization_if_its_channel_is_a_live_one():
    world, member = World(), Listener()
    world.hub.join(member, "organization-10")
    content = {"change": "raised", "timestamp": "1970-01-01T00:00:00.000Z"}
    for kind in ("mqtt", "realtime"):
        world.events.publish(NotificationSent(kind, 10, content))
    [(event, _)] = member.heard
    assert (event.name, event.organization_id) == ("notification", 10)
    assert json.loads(event.json()) == content
