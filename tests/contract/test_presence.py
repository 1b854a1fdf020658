"""Which sensors and devices are there, as time goes by (aemos.services.presence)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from aemos.config import schema
from aemos.model import (
    SERVER,
    Code,
    Instant,
    Kind,
    Message,
    Principal,
    PrincipalKind,
    Verdict,
)
from aemos.services.catalogue import Catalogue
from aemos.services.events import (
    ClientConnected,
    ClientGone,
    CommandChanged,
    Events,
    IdentityChanged,
    MessageRefused,
    PresenceChanged,
    PresenceForgotten,
    ReadingsCommitted,
    ReadingsStored,
    StatusStored,
)
from aemos.services.interfaces import ClientInfo
from aemos.services.presence import Presences
from aemos.storage.database import Database
from aemos.storage.presence import Wanted
from aemos.storage.transaction import Transaction
from tests.farm import NORTH, PUMPS, SOUTH, USERS, UUIDS, sow
from tests.rows import until

NOON = 1_800_000_000.0
SENSOR, PUMP = UUIDS[NORTH], PUMPS[NORTH]
GRACE, SETTLE = 15, 60


@attrs.define
class World:
    """Presences over a real database, with a clock that stands until it is moved."""

    database: Database
    clock: Clock
    events: Events
    catalogue: Catalogue
    presences: Presences
    told: list[tuple[str, str | None, str]] = attrs.field(factory=list)
    """What was told: uuid, what it was before, what it is."""

    def say(self, uuid: str = SENSOR) -> None:
        """A sensor sends a reading, and the second is over."""
        message = ReadingsStored(NORTH, uuid, NORTH, (), 1, "http")
        self.events.publish(ReadingsCommitted([message]))
        self.clock.advance(1)

    def report(self, times: int, every: int, uuid: str = SENSOR) -> None:
        """A sensor sends readings at an interval; after the last one no time passes."""
        for number in range(times):
            if number:
                self.clock.pump([1] * (every - 1))
            self.say(uuid)

    def wait(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)

    def connect(self, uuid: str = SENSOR) -> ClientInfo:
        client = session(uuid, Instant.of(self.clock.seconds()))
        self.events.publish(ClientConnected(client))
        return client

    def leave(self, client: ClientInfo, messages: int = 1) -> None:
        gone = attrs.evolve(client, messages_received=messages)
        now = Instant.of(self.clock.seconds())
        self.events.publish(ClientGone(gone, "connection lost", "", now))

    def of(self, uuid: str = SENSOR) -> str:
        return str(self.presences.shown(uuid)["presence"])

    def history(self, uuid: str = SENSOR) -> list[str]:
        return [becomes for told, _, becomes in self.told if told == uuid]


def session(uuid: str, at: Instant) -> ClientInfo:
    kind = PrincipalKind.DEVICE if uuid in PUMPS.values() else PrincipalKind.SENSOR
    values: dict[str, Any] = {field.name: 0 for field in attrs.fields(ClientInfo)}
    values |= {"client_id": "c", "identity": Principal(kind, uuid, NORTH), "peer": "", "over": ""}
    return ClientInfo(**{**values, "connected_at": at})


async def open_world(database: Database, at: float = NOON) -> World:
    clock, events = Clock(), Events()
    clock.advance(at)
    catalogue = Catalogue(database, events, schema.Ingest(), clock)
    for uuid in (*UUIDS.values(), *PUMPS.values()):
        known: Deferred[Any] = Deferred()
        catalogue.find(uuid, known.callback)
        await known
    presences = Presences(database, events, catalogue, schema.Presence(), clock)
    world = World(database, clock, events, catalogue, presences)
    events.subscribe(
        PresenceChanged,
        lambda event: world.told.append((event.uuid, event.before, event.presence)),
    )
    await presences.start()
    return world


async def again(world: World, after: float = 5) -> World:
    """The server stops, and starts again some seconds later."""
    await world.presences.stop()
    return await open_world(world.database, world.clock.seconds() + after)


@pytest_twisted.async_yield_fixture
async def world(database: Database) -> AsyncIterator[World]:
    await database.transact(sow)
    opened = await open_world(database)
    yield opened
    await opened.presences.stop()


async def test_what_was_never_heard_of_is_offline(world: World) -> None:
    assert world.presences.shown(SENSOR) == {"presence": "offline", "lastSeen": None}
    world.wait(3600)
    assert world.told == []


async def test_a_message_by_any_door_brings_a_thing_online_within_a_second(world: World) -> None:
    world.say()
    world.events.publish(StatusStored(PUMP, NORTH, "online", None, Instant(0)))
    world.clock.advance(1)
    assert world.told == [(SENSOR, None, "online"), (PUMP, None, "online")]
    assert world.presences.counts == {"online": 2}
    assert world.presences.shown(SENSOR)["lastSeen"] == Instant.of(NOON + 1)


async def test_a_message_that_is_refused_is_a_sign_of_life_too(world: World) -> None:
    sensor = Principal(PrincipalKind.SENSOR, SENSOR, NORTH)
    for sender, subject in ((sensor, SENSOR), (USERS["root"], PUMP)):
        message = Message(Kind.STATUS, sender, subject, b"", Instant(0), "mqtt")
        world.events.publish(MessageRefused(message, Verdict(Code.INVALID_PAYLOAD)))
    world.clock.advance(1)
    assert (world.of(SENSOR), world.of(PUMP)) == ("online", "offline")


async def test_what_a_device_answers_to_a_command_is_a_sign_of_life(world: World) -> None:
    for uuid, status in ((PUMP, "received"), (PUMPS[SOUTH], "expired")):
        told = CommandChanged(1, "c-1", uuid, NORTH, status, Instant(0), "", {})
        world.events.publish(told)
    world.clock.advance(1)
    assert (world.of(PUMP), world.of(PUMPS[SOUTH])) == ("online", "offline")


async def test_a_thing_without_session_is_late_after_two_intervals_and_offline_after_five(
    world: World,
) -> None:
    world.report(10, every=60)
    world.wait(2 * 60 + GRACE - 1)
    assert world.of() == "online"
    world.wait(1)
    assert world.of() == "late"
    world.wait(3 * 60 - 1)
    assert world.of() == "late"
    world.wait(1)
    assert world.history() == ["online", "late", "offline"]
    world.say()
    assert world.of() == "online"


async def test_a_thing_that_stays_connected_and_says_nothing_is_silent(world: World) -> None:
    world.connect()
    world.report(10, every=10)
    world.wait(5 * 10 + GRACE)
    assert world.history() == ["online", "late", "silent"]


async def test_the_end_of_a_long_session_is_offline_after_the_grace(world: World) -> None:
    client = world.connect()
    world.report(10, every=60)
    world.leave(client)
    world.wait(GRACE - 1)
    assert world.of() == "online"
    world.wait(1)
    assert world.of() == "offline"


async def test_who_comes_back_within_the_grace_was_never_away(world: World) -> None:
    client = world.connect()
    world.report(10, every=60)
    world.leave(client)
    world.wait(GRACE - 1)
    world.connect()
    world.wait(60)
    assert world.history() == ["online"]


async def test_one_that_wakes_up_to_report_and_sleeps_again_is_there_all_the_time(
    world: World,
) -> None:
    for _ in range(10):
        client = world.connect()
        world.say()
        world.leave(client)
        world.wait(299)
    assert world.history() == ["online"]
    world.wait(2 * 300 + GRACE)
    assert world.history() == ["online", "late"]


async def test_an_actuator_that_only_listens_is_there_while_it_is_connected(world: World) -> None:
    client = world.connect(PUMP)
    world.wait(7200)
    assert world.history(PUMP) == ["online"]
    world.leave(client, messages=0)
    world.wait(GRACE)
    assert world.history(PUMP) == ["online", "offline"]


async def test_of_two_sessions_the_last_one_counts(world: World) -> None:
    first, _ = world.connect(), world.connect()
    world.wait(60)
    world.leave(first)
    world.wait(3600)
    assert world.history() == ["online"]


async def test_bursts_do_not_make_the_pauses_between_them_late(world: World) -> None:
    for _ in range(8):
        world.report(4, every=1)
        world.wait(116)
    world.wait(60)
    assert world.history() == ["online"]


async def test_an_interval_that_became_shorter_is_learned_within_some_reports(world: World) -> None:
    world.report(10, every=600)
    world.report(100, every=5)
    world.wait(2 * 5 + GRACE + 5)
    assert world.of() == "late"


async def test_a_restart_changes_nothing_for_those_who_come_back(world: World) -> None:
    client = world.connect(PUMP)
    world.connect()
    world.report(10, every=10)
    seen = world.presences.shown(PUMP)["lastSeen"]
    world.presences.freeze()
    world.wait(100)
    world.leave(client)  # the server closes its sessions when it stops
    world = await again(world)
    assert world.presences.shown(PUMP)["lastSeen"] == seen
    world.wait(SETTLE - 1)
    world.connect(PUMP)
    world.say()
    world.wait(20)
    assert world.told == []
    assert (world.of(SENSOR), world.of(PUMP)) == ("online", "online")
    await world.presences.stop()


async def test_after_a_restart_those_who_do_not_come_back_are_offline(world: World) -> None:
    world.connect()
    world.report(10, every=10)
    world.leave(world.connect())
    world = await again(world)
    world.wait(SETTLE + GRACE + 5 * 10)
    assert world.history()[-1] == "offline"
    assert world.told[0][1] == "online"
    await world.presences.stop()


async def test_an_actuator_that_only_listened_is_missed_after_a_restart(world: World) -> None:
    world.connect(PUMP)
    world = await again(world)
    world.wait(SETTLE + GRACE - 1)
    assert world.of(PUMP) == "online"
    world.wait(1)
    assert world.told == [(PUMP, "online", "offline")]
    await world.presences.stop()


async def test_what_was_known_outlives_a_restart(world: World) -> None:
    world.report(10, every=60)
    world.wait(2 * 60 + GRACE)
    seen = world.presences.shown(SENSOR)["lastSeen"]
    world = await again(world)
    assert world.presences.shown(SENSOR) == {"presence": "late", "lastSeen": seen}
    assert world.presences.counts == {"late": 1}
    world.wait(SETTLE + 2 * 60 + GRACE + 1)
    assert world.told == []
    world.wait(3 * 60)
    assert world.told == [(SENSOR, "late", "offline")]
    await world.presences.stop()


async def test_only_a_sign_of_life_makes_it_better(world: World) -> None:
    world.report(10, every=60)
    await world.presences.stop()
    await world.database.transact(
        lambda tx: tx.execute("UPDATE presence SET presence = 'silent', stays = %s", (False,))
    )
    world = await open_world(world.database)
    world.wait(SETTLE + 5 * 60 + GRACE + 1)
    assert world.told == [(SENSOR, "silent", "offline")]
    await world.presences.stop()


async def test_last_seen_is_written_once_a_minute(world: World) -> None:
    async def written() -> Instant:
        seen: Instant = await world.database.read(
            lambda tx: tx.value("SELECT last_seen_at FROM presence")
        )
        return seen

    world.report(3, every=20)
    await world.presences.summary(SERVER)
    assert await written() == Instant.of(NOON + 1)
    world.report(3, every=20)
    await world.presences.summary(SERVER)
    assert await written() > Instant.of(NOON + 60)


async def test_a_uuid_that_nothing_has_any_more_is_forgotten(world: World) -> None:
    forgotten: list[PresenceForgotten] = []
    world.events.subscribe(PresenceForgotten, forgotten.append)
    world.say()

    def rename(tx: Transaction) -> None:
        tx.update("Sensor", NORTH, {"uuid": "other"})

    await world.database.transact(rename)
    world.events.publish(IdentityChanged(SENSOR))
    await until(lambda: forgotten)
    assert world.presences.counts.total() == 0
    await world.presences.summary(SERVER)
    assert await world.database.read(lambda tx: tx.all("SELECT * FROM presence")) == []


async def test_a_summary_counts_what_may_be_viewed_by_organization(world: World) -> None:
    world.say()
    world.say(UUIDS[SOUTH])
    nothing = {"online": 0, "late": 0, "silent": 0, "offline": 0}
    north = {**nothing, "organizationId": NORTH, "online": 1, "offline": 1}
    south = {**nothing, "organizationId": SOUTH, "online": 1, "offline": 1}
    assert await world.presences.summary(USERS["north-viewer"]) == [north]
    assert await world.presences.summary(USERS["root"]) == [north, south]
    assert await world.presences.summary(USERS["member"]) == []
    await world.database.transact(lambda tx: tx.update("Device", NORTH, {"status": "retired"}))
    assert await world.presences.summary(USERS["north-viewer"]) == [{**north, "offline": 0}]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["north pump", "north sensor"]),
        (Wanted(presence="online"), ["north sensor"]),
        (Wanted(kind="device"), ["north pump"]),
        (Wanted(organization_id=SOUTH), []),
        (Wanted(limit=1, offset=1), ["north sensor"]),
    ],
)
async def test_a_list_shows_what_is_wanted(world: World, wanted: Wanted, found: list[str]) -> None:
    world.say()
    listed = await world.presences.listed(USERS["north-viewer"], wanted)
    assert [row["name"] for row in listed.rows] == found
