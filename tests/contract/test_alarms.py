"""Alarms over a real database, with a clock that stands until it is moved (docs/alarms.rst)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from aemos import json
from aemos.config.alarms import Alarms
from aemos.errors import BadRequest, Conflict, Forbidden, StorageUnavailable
from aemos.model import Instant
from aemos.services.alarms import forms
from aemos.services.alarms.machinery import AlarmMachinery
from aemos.services.events import (
    ActuatorStopped,
    ActuatorStuck,
    AlarmChanged,
    Events,
    IdentityChanged,
    ReadingsCommitted,
    ReadingsStored,
)
from aemos.services.outbox import Outbox
from aemos.storage.database import Database, open_database
from aemos.storage.listing import ALL
from aemos.storage.readings import Reading
from aemos.storage.transaction import Transaction
from aemos.webhooks import WebhookSender
from tests.conftest import settings_for
from tests.farm import NORTH, PUMPS, SOUTH, USERS, UUIDS, sow
from tests.mqtt_stage import Stage
from tests.rows import store, until
from tests.yard import Timed

NOON = 1_800_000_000.0
MINUTE = 60.0
ADMIN, STRANGER = USERS["north-admin"], USERS["south-admin"]
RULES = frozenset({"rule.view", "rule.create", "rule.update", "rule.delete"})
OWNER = attrs.evolve(ADMIN, permissions={NORTH: ADMIN.permissions[NORTH] | RULES})
ABOVE_30 = {"type": "threshold", "direction": "above", "level": 30, "clearLevel": 28}


@attrs.define
class World:
    """The alarms of one server; `again` is the server after a restart."""

    database: Database
    clock: Clock
    events: Events
    alarms: AlarmMachinery
    happened: list[AlarmChanged] = attrs.field(factory=list)

    async def again(self) -> World:
        """@return: the server when it is stopped and started."""
        await self.alarms.stop()
        after = open_world(self.database, self.clock)
        await after.alarms.start()
        return after

    async def define(self, condition: Any = ABOVE_30, **values: Any) -> int:
        """@return: the id of a new definition, by default for the variable of `NORTH`."""
        row = {
            "organization_id": NORTH,
            "name": "Hot",
            "severity": "warning",
            "condition_tree": forms.condition_of(condition),
            "hold_seconds": 0.0,
            "clear_hold_seconds": 0.0,
            "message": "{{sensor}} has {{value}}",
            "steps": [],
            "variable_name": "temperature",
            **values,
        }
        made = await self.alarms.definitions.create(OWNER, row)
        return int(made["id"])

    async def say(
        self, value: object, variable: int = NORTH, ago: float = 0, *, told: bool = True
    ) -> None:
        """Store a reading of the sensor of this id, so many seconds old, and tell of it."""
        at = Instant.of(self.clock.seconds() - ago)
        reading = Reading(str(value), variable, "temperature", at)
        assert await store(self.database, reading) is None
        if told:
            stored = ReadingsStored(variable, UUIDS[variable], variable, [reading], 1, "mqtt")
            self.events.publish(ReadingsCommitted([stored]))
            self.clock.advance(0)

    async def kinds(self) -> list[str]:
        """@return: what has happened to alarms since the last question, when all is stored."""
        await until(lambda: self.alarms.watch.waiting == 0)
        await self.alarms.recorder.flush()
        found = [event.kind for event in self.happened]
        self.happened.clear()
        return found

    async def wait(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
        await self.alarms.recorder.flush()

    async def listed(self, **equal: Any) -> list[dict[str, Any]]:
        """@return: the alarms of `NORTH`, the oldest first."""
        found = await self.alarms.alarms.listed(ADMIN, None, equal, ALL)
        return found.rows

    async def run(self, sql: str, *params: Any) -> None:
        await self.database.transact(lambda tx: tx.execute(sql, params))


def machinery(database: Database, events: Events, clock: Clock, settings: Alarms) -> AlarmMachinery:
    outbox, webhooks = Outbox(database, None, clock), WebhookSender(settings, reactor)
    return AlarmMachinery(database, events, outbox, webhooks, clock, settings)


def open_world(database: Database, clock: Clock) -> World:
    events = Events()
    alarms = machinery(database, events, clock, Alarms())
    world = World(database, clock, events, alarms)
    events.subscribe(AlarmChanged, world.happened.append)
    return world


@pytest_twisted.async_yield_fixture
async def world(database_url: str) -> AsyncIterator[World]:
    time = Timed()
    database = open_database(time, settings_for(database_url))
    await database.start()
    await database.transact(sow_in_the_past)
    time.clock.advance(NOON)
    opened = open_world(database, time.clock)
    await opened.alarms.start()
    yield opened
    await opened.alarms.stop()
    await database.stop()


def sow_in_the_past(tx: Transaction) -> None:
    sow(tx)
    tx.execute("UPDATE Sensor SET createdAt = %s", (Instant(0),))


async def test_a_noisy_series_makes_exactly_one_alarm(world: World) -> None:
    await world.define()
    noise = random.Random(7)
    for _ in range(60):
        world.clock.advance(10)
        await world.say(round(30 + noise.uniform(-1.9, 1.9), 2))
    assert await world.kinds() == ["raised"]
    await world.say(28)
    assert await world.kinds() == ["cleared"]
    await world.say(31)
    assert await world.kinds() == ["raised"]
    first, second = await world.listed()
    assert (first["state"], second["state"]) == ("cleared", "active")
    assert (second["message"], second["value"]) == ("north sensor has 31", "31")
    assert (second["uuid"], second["sensorId"], second["areaId"]) == (UUIDS[NORTH], NORTH, NORTH)


async def test_both_hold_times_pass_by_the_clock(world: World) -> None:
    await world.define(hold_seconds=300.0, clear_hold_seconds=60.0)
    await world.say(31)
    await world.wait(299)
    assert await world.kinds() == []
    await world.wait(1)
    assert await world.kinds() == ["raised"]
    await world.say(20)
    await world.wait(59)
    assert await world.kinds() == []
    await world.wait(1)
    assert await world.kinds() == ["cleared"]


async def test_missing_readings_are_noticed_while_nothing_comes(world: World) -> None:
    await world.define({"type": "missing", "minutes": 5})
    await world.say(20)
    await world.wait(5 * MINUTE - 1)
    assert await world.kinds() == []
    await world.wait(1)
    assert await world.kinds() == ["raised"]
    await world.wait(10 * MINUTE)
    assert await world.kinds() == []
    await world.say(20)
    assert await world.kinds() == ["cleared"]


async def test_a_definition_for_an_organization_watches_its_sensors_and_no_other(
    world: World,
) -> None:
    await world.define(variable_name="temperature")
    await world.say(40, SOUTH)
    await world.say(40, NORTH)
    await world.kinds()
    assert [alarm["sensorId"] for alarm in await world.listed()] == [NORTH]
    everything = await world.database.read(lambda tx: tx.value("SELECT COUNT(*) FROM alarm"))
    assert everything == 1


async def test_a_sensor_that_comes_into_the_area_is_watched_at_once(world: World) -> None:
    await world.define(area_id=NORTH)
    assert len(world.alarms.watch) == 1

    def plant(tx: Transaction) -> None:
        tx.insert("Sensor", {"id": 77, "name": "new", "uuid": "new", "status": "active"})
        tx.insert("AreaSensor", {"areaId": NORTH, "sensorId": 77})
        tx.insert("TelemetryData", {"id": 77, "variableName": "temperature", "sensorId": 77})

    await world.database.transact(plant)
    world.events.publish(IdentityChanged("new"))
    await until(lambda: len(world.alarms.watch) == 2)
    await world.run("UPDATE Sensor SET status = 'retired' WHERE id = 77")
    world.events.publish(IdentityChanged("new"))
    await until(lambda: len(world.alarms.watch) == 1)


async def test_a_sensor_that_leaves_takes_its_alarm_along(world: World) -> None:
    await world.define()
    await world.say(40)
    assert await world.kinds() == ["raised"]
    await world.run("DELETE FROM AreaSensor WHERE sensorId = %s", NORTH)
    world.events.publish(IdentityChanged(UUIDS[NORTH]))
    await until(lambda: world.happened)
    (event,) = world.happened
    assert (event.kind, event.comment) == ("cleared", "not watched any more")
    await world.say(50)
    assert await world.kinds() == ["cleared"]


async def test_a_change_is_in_force_when_it_is_answered(world: World) -> None:
    number = await world.define()
    higher = forms.condition_of({**ABOVE_30, "level": 50, "clearLevel": None})
    await world.alarms.definitions.change(OWNER, number, {"condition_tree": higher})
    await world.say(40)
    assert await world.kinds() == []
    await world.say(51)
    assert await world.kinds() == ["raised"]
    await world.alarms.definitions.change(OWNER, number, {"enabled": False})
    assert await world.kinds() == ["cleared"]
    await world.say(60)
    assert await world.kinds() == []


async def test_the_alarms_of_a_deleted_definition_are_cleared_and_stay(world: World) -> None:
    number = await world.define()
    await world.say(40)
    await world.kinds()
    await world.alarms.definitions.delete(OWNER, number)
    assert await world.kinds() == ["cleared"]
    assert [alarm["state"] for alarm in await world.listed(definition_id=number)] == ["cleared"]


async def test_a_restart_neither_repeats_an_alarm_nor_forgets_it(world: World) -> None:
    await world.define()
    await world.say(31)
    await world.say(29)
    assert await world.kinds() == ["raised"]
    after = await world.again()
    assert await after.kinds() == []
    await after.say(29.5)
    assert await after.kinds() == []
    await after.say(27)
    assert await after.kinds() == ["cleared"]
    await after.alarms.stop()


async def test_a_restart_looks_at_what_came_in_the_last_moment(world: World) -> None:
    """As after a crash between the commit and the look at it."""
    await world.define()
    await world.say(31, told=False)
    after = await world.again()
    assert await after.kinds() == ["raised"]
    await after.alarms.stop()


async def test_a_hold_time_goes_on_over_a_restart(world: World) -> None:
    await world.define(hold_seconds=600.0)
    await world.say(31)
    world.clock.advance(300)
    await world.say(32)
    world.clock.advance(100)
    after = await world.again()
    await after.wait(199)
    assert await after.kinds() == []
    await after.wait(1)
    assert await after.kinds() == ["raised"]
    await after.alarms.stop()


async def test_the_time_without_a_server_is_no_missing_data(world: World) -> None:
    await world.define({"type": "missing", "minutes": 5})
    await world.say(20)
    await world.alarms.stop()
    world.clock.advance(3600)
    after = await world.again()
    await after.wait(5 * MINUTE - 1)
    assert await after.kinds() == []
    await after.wait(1)
    assert await after.kinds() == ["raised"]
    once_more = await after.again()
    assert await once_more.kinds() == []
    await once_more.alarms.stop()


async def test_the_life_of_an_alarm_and_who_did_what(world: World) -> None:
    await world.define()
    await world.run(
        "INSERT INTO User (id, userName, email, status, createdAt, updatedAt)"
        " VALUES (2, 'na', 'na@x.example', 1, %s, %s)",
        Instant(0),
        Instant(0),
    )
    await world.say(31)
    await world.kinds()
    (alarm,) = await world.listed()
    life, number = world.alarms.alarms, alarm["id"]
    taken = await life.acknowledge(ADMIN, number, "on my way")
    assert (taken["state"], taken["acknowledgedBy"]) == ("acknowledged", ADMIN.id)
    with pytest.raises(Conflict):
        await life.acknowledge(ADMIN, number, "")
    await life.comment(ADMIN, number, "the fan is broken")
    with pytest.raises(BadRequest):
        await life.assign(ADMIN, number, 99, "")
    await life.assign(ADMIN, number, None, "")
    await world.say(20)
    await world.kinds()
    shown = await life.get(ADMIN, number)
    assert [(one["kind"], one["userName"], one["comment"]) for one in shown["events"]] == [
        ("raised", None, None),
        ("acknowledged", ADMIN.name, "on my way"),
        ("commented", ADMIN.name, "the fan is broken"),
        ("assigned", ADMIN.name, None),
        ("cleared", None, None),
    ]
    assert shown["state"] == "cleared"
    for step in (life.acknowledge, life.clear):
        with pytest.raises(Conflict):
            await step(ADMIN, number, "")
    with pytest.raises(Forbidden):
        await life.get(STRANGER, number)


async def test_an_alarm_that_was_cleared_by_hand_needs_a_new_reason(world: World) -> None:
    await world.define()
    await world.say(31)
    await world.kinds()
    (alarm,) = await world.listed()
    await world.alarms.alarms.clear(ADMIN, alarm["id"], "known")
    await world.say(33)
    assert await world.kinds() == ["cleared"]
    after = await world.again()
    await after.say(34)
    assert await after.kinds() == []
    await after.say(20)
    await after.say(34)
    assert await after.kinds() == ["raised"]
    await after.alarms.stop()


async def test_an_outage_of_the_database_delays_alarms_and_loses_none(world: World) -> None:
    await world.define({"type": "missing", "minutes": 5})
    await world.wait(5 * MINUTE - 1)
    real = world.database.transact
    failures: list[None] = []

    def away(*args: Any) -> Deferred[Any]:
        failures.append(None)
        raise StorageUnavailable("away")

    world.database.transact = away  # type: ignore[method-assign]
    await world.wait(10)
    assert (len(failures) > 1, await world.kinds()) == (True, [])
    world.database.transact = real  # type: ignore[method-assign]
    await world.wait(2)
    assert await world.kinds() == ["raised"]


async def test_too_many_readings_at_once_are_counted_not_hoarded(world: World) -> None:
    await world.define()
    events = Events()
    alarms = machinery(world.database, events, world.clock, Alarms(queue=10))
    await alarms.start()
    readings = [
        Reading(str(n), NORTH, "temperature", Instant.of(NOON + n), id=n) for n in range(25)
    ]
    stored = ReadingsStored(NORTH, UUIDS[NORTH], NORTH, readings, 25, "mqtt")
    watch = alarms.watch
    events.publish(ReadingsCommitted([stored]))
    assert (watch.waiting, watch.dropped) == (10, 15)
    await alarms.stop()
    assert watch.waiting == 0


async def test_an_actuator_that_does_not_stop_is_one_critical_alarm(world: World) -> None:
    stuck = ActuatorStuck(PUMPS[NORTH], NORTH, "state:Größe", "power", "c", Instant.of(NOON), 5)
    world.events.publish(stuck)
    world.events.publish(stuck)
    assert await world.kinds() == ["raised"]
    (alarm,) = await world.listed(severity="critical")
    assert (alarm["uuid"], "power" in alarm["message"]) == (PUMPS[NORTH], True)
    world.events.publish(ActuatorStopped(PUMPS[NORTH], NORTH, "state:Größe", "power"))
    assert await world.kinds() == ["cleared"]


@pytest.mark.parametrize(
    "values",
    [
        {"telemetry_id": SOUTH, "variable_name": None},
        {"telemetry_id": NORTH},
        {"sensor_id": SOUTH},
        {"area_id": SOUTH},
        {"variable_name": ""},
        {"quiet_hours": forms.QuietHours(start="22:00", end="06:00", timeZone="Mars/Base")},
    ],
)
async def test_a_definition_that_makes_no_sense_is_refused(
    world: World, values: Mapping[str, Any]
) -> None:
    with pytest.raises(BadRequest):
        await world.define(**values)
    assert len(world.alarms.watch) == 0


async def test_a_definition_for_one_variable_knows_its_name(world: World) -> None:
    await world.define(telemetry_id=NORTH, variable_name=None)
    await world.say(31)
    assert await world.kinds() == ["raised"]


async def test_every_step_is_published_to_who_is_subscribed(world: World) -> None:
    stage = Stage(events=world.events)
    client = stage.client("console")
    client.subscribe((f"organizations/{NORTH}/alarms", 1))
    await world.define()
    await world.say(31)
    await world.say(20)
    await world.kinds()
    published = [json.decode(one.payload) for one in client.publishes()]
    assert [one["change"] for one in published] == ["raised", "cleared"]
    assert published[0]["alarm"]["message"] == "north sensor has 31"
