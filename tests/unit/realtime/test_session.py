"""Who may be in which room, and for how long."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from aemos.errors import StorageUnavailable, Unauthenticated
from aemos.model import Instant, Principal, PrincipalKind
from aemos.services.events import AlarmChanged, UserChanged
from tests.unit.realtime.stage import NOON, Connection, World, changed_state, reading, user


async def signed_in(world: World, token: str = "ada"):
    connection = Connection()
    session = world.sessions.open(connection)
    await session.authenticate(token)
    return session, connection


async def test_rooms_of_ones_own_organization_are_granted_and_others_refused():
    session, _ = await signed_in(World())
    granted, refused = await session.join(["telemetry-1", "telemetry-9", "telemetry-404", "x"])
    assert granted == ["telemetry-1"]
    assert [(each.room, each.code) for each in refused] == [
        ("x", "bad_room"),
        ("telemetry-9", "forbidden"),
        ("telemetry-404", "forbidden"),
    ]


async def test_a_member_hears_only_its_own_tenant():
    world = World()
    ada, at_ada = await signed_in(world)
    bob, at_bob = await signed_in(world, "bob")
    await ada.join(["telemetry-1", "telemetry-9"])
    await bob.join(["telemetry-1", "telemetry-9"])
    world.store(reading(1))
    world.store(reading(9), uuid="s-9", organization=20)
    assert at_ada.events == [("new-datastream", "telemetry-1")]
    assert at_bob.events == [("new-datastream", "telemetry-9")]


async def test_a_sensor_that_moved_to_another_organization_is_not_heard_any_more():
    world = World()
    session, connection = await signed_in(world)
    await session.join(["telemetry-1"])
    world.store(reading(1), organization=20)
    assert (connection.events, connection.lost) == ([], ["telemetry-1"])
    assert (session.rooms, world.hub.rooms) == (set(), 0)


async def test_what_one_may_not_hear_of_ones_own_organization_takes_no_room():
    world = World()
    connection = Connection()
    session = world.sessions.open(connection)
    world.tokens.principals["eve"] = Principal(
        PrincipalKind.USER, "eve@example.org", 5, {10: frozenset({"device.view"})}
    )
    world.rights.organizations["device-uuid-p-1"] = 10
    await session.authenticate("eve")
    await session.join(["device-uuid-p-1"])
    world.events.publish(
        AlarmChanged("raised", 10, "p-1", Instant.of(NOON), "", {"id": 1, "status": "active"})
    )
    assert (connection.events, connection.lost) == ([], [])
    world.events.publish(changed_state())
    assert connection.events == [("device-state-change", "device-uuid-p-1")]


async def test_only_a_system_admin_hears_what_belongs_to_no_organization():
    world = World()
    world.tokens.principals["root"] = Principal(
        PrincipalKind.USER, "root@example.org", 1, administrator=True
    )
    _, at_ada = await signed_in(world)
    root, at_root = await signed_in(world, "root")
    await root.join(["telemetry-1"])
    world.store(reading(1), organization=None)
    assert (at_ada.events, at_root.events) == ([], [("new-datastream", "telemetry-1")])


async def test_anonymous_sessions_join_telemetry_rooms_of_listed_organizations_only():
    world = World(anonymous=("20",))
    connection = Connection()
    session = world.sessions.open(connection)
    granted, refused = await session.join(["telemetry-9", "telemetry-1", "device-uuid-s-9"])
    assert granted == ["telemetry-9"]
    assert {each.code for each in refused} == {"forbidden"}
    world.store(reading(9), uuid="s-9", organization=20)
    assert connection.events == [("new-datastream", "telemetry-9")]


async def test_without_listed_organizations_one_must_authenticate_first():
    world = World()
    with pytest.raises(Unauthenticated, match="authenticate first"):
        await world.sessions.open(Connection()).join(["telemetry-1"])


async def test_rooms_are_bounded_per_session():
    session, _ = await signed_in(World(max_rooms=1))
    granted, refused = await session.join(["telemetry-1", "telemetry-2"])
    assert granted == ["telemetry-1"]
    assert [each.code for each in refused] == ["too_many_rooms"]
    assert (await session.join(["telemetry-1"]))[0] == ["telemetry-1"]


async def test_a_session_ends_when_its_token_expires():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 60)
    _, connection = await signed_in(world)
    world.clock.advance(59.9)
    assert connection.over == []
    world.clock.advance(0.2)
    assert connection.over == ["token_expired"]


async def test_a_newer_token_prolongs_the_session():
    world = World()
    world.tokens.principals |= {
        "ada": user(7, 10, expires=NOON + 60),
        "ada-2": user(7, 10, expires=NOON + 600),
    }
    session, connection = await signed_in(world)
    await session.authenticate("ada-2")
    world.clock.advance(61)
    assert connection.over == []
    world.clock.advance(540)
    assert connection.over == ["token_expired"]


async def test_a_session_that_became_somebody_else_follows_the_rights_of_that_one():
    world = World()
    session, _ = await signed_in(world)
    await session.authenticate("bob")
    world.tokens.asked.clear()
    world.events.publish(UserChanged(7))
    assert world.tokens.asked == []
    world.events.publish(UserChanged(8))
    assert world.tokens.asked == ["bob"]


async def test_logout_ends_the_sessions_of_that_user_and_of_nobody_else():
    world = World()
    _, at_ada = await signed_in(world)
    _, at_bob = await signed_in(world, "bob")
    del world.tokens.principals["ada"]
    world.events.publish(UserChanged(7))
    assert (at_ada.over, at_bob.over) == (["unauthenticated"], [])


async def test_a_lost_membership_takes_its_rooms_and_leaves_the_others():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, 20)
    session, connection = await signed_in(world)
    await session.join(["telemetry-1", "telemetry-9"])
    world.tokens.principals["ada"] = user(7, 20)
    world.events.publish(UserChanged(7))
    assert (connection.lost, connection.over) == (["telemetry-1"], [])
    world.store(reading(1))
    world.store(reading(9), organization=20)
    assert connection.events == [("new-datastream", "telemetry-9")]


async def test_a_change_while_the_database_is_away_ends_the_session_rather_than_being_missed():
    world = World()
    _, connection = await signed_in(world)
    world.tokens.fault = StorageUnavailable("the database is away")
    world.events.publish(UserChanged(7))
    assert connection.over == ["storage_unavailable"]


async def test_nobody_joins_by_rights_that_changed_while_the_answer_was_awaited():
    world = World()
    session, connection = await signed_in(world)
    world.rights.held = []
    joining: Deferred[object] = ensureDeferred(session.join(["telemetry-1"]))
    world.tokens.principals["ada"] = user(7, 20)
    world.events.publish(UserChanged(7))
    world.rights.release()
    await joining
    assert (session.rooms, connection.lost) == (set(), ["telemetry-1"])


async def test_a_session_that_ended_while_an_answer_was_awaited_joins_nothing():
    world = World()
    session, _ = await signed_in(world)
    world.rights.held = []
    joining: Deferred[object] = ensureDeferred(session.join(["telemetry-1"]))
    session.end()
    world.rights.release()
    await joining
    assert (world.hub.rooms, len(world.sessions)) == (0, 0)


async def test_an_ended_session_leaves_nothing_behind():
    world = World()
    world.tokens.principals["ada"] = user(7, 10, expires=NOON + 60)
    session, connection = await signed_in(world)
    await session.join(["telemetry-1"])
    session.end()
    session.end()
    world.events.publish(UserChanged(7))
    assert (world.hub.rooms, len(world.sessions), world.clock.getDelayedCalls()) == (0, 0, [])
    assert connection.over == []
