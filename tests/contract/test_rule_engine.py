"""Rule chains on live data: what makes them run, what comes of it, and that nothing gets lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from aemos.config.rules import Rules
from aemos.model import Instant
from aemos.services.areas import Areas
from aemos.services.device_states import DeviceStates
from aemos.services.history import History
from aemos.services.sensors import Sensors
from aemos.services.variables import Variables
from aemos.storage.database import Database, open_database
from aemos.storage.rule_triggers import TRIGGERS, Trigger
from tests.conftest import settings_for
from tests.mariadb import MariaDB
from tests.rows import until
from tests.rule_stage import (
    NORTH,
    PUMP,
    ROOT,
    SENSOR,
    SOUTH,
    RuleStage,
    all_of,
    any_of,
    leaf,
    of_pump,
    rule_stage,
    set_pump,
    sow,
)

HOT = leaf("t", ">", 40)


@pytest.fixture
def own_server() -> Iterator[MariaDB]:
    """A database server that may be killed."""
    server = MariaDB()
    try:
        server.install()
        server.start()
        yield server
    finally:
        server.stop()


@pytest_twisted.async_yield_fixture
async def stage(database: Database) -> AsyncIterator[RuleStage]:
    await database.transact(sow)
    async with rule_stage(database) as opened:
        yield opened


async def fires(stage: RuleStage, name: str = "t", **more: object) -> bool:
    """Whether a hot reading turns the pump on now."""
    before = len(await stage.pump())
    await stage.publish(41, name, **more)
    await stage.settled()
    return len(await stage.pump()) > before


# What makes a chain run


async def test_a_reading_makes_a_chain_of_nested_groups_act(stage: RuleStage) -> None:
    dry = any_of(leaf("h", "<", 20), all_of(leaf("h", "<", 30), HOT))
    chain = await stage.chain(all_of(leaf("t", ">", 30), dry), set_pump("on"))
    await stage.publish(25, "h")
    await stage.publish(31, "t")
    await stage.settled()
    assert await stage.pump() == []
    await stage.publish(41, "t")
    await stage.settled()
    (instance,) = await stage.rows("SELECT * FROM DeviceStateInstance")
    assert (instance["value"], instance["initiatedBy"]) == ("on", "rule_chain")
    (event,) = stage.told
    assert (event.device_uuid, event.new, event.initiated_by) == (PUMP[NORTH], "on", "rule_chain")
    assert event.rule is not None
    assert event.rule["ruleChainId"] == chain
    assert await stage.rows("SELECT * FROM rule_applied") == []
    # Compat: as long as the condition holds, every value sets the state again.
    await stage.publish(42, "t")
    await stage.settled()
    assert await stage.pump() == ["on", "on"]


async def test_what_no_chain_looks_at_leaves_no_trigger(stage: RuleStage) -> None:
    await stage.chain(HOT, set_pump("on"))
    assert stage.rules.engine.watch([]) is None
    for name, organization in (("h", NORTH), ("t", SOUTH)):
        await stage.send({"value": 41, "variableName": name}, organization=organization)
    await stage.settled()
    assert (stage.ran, stage.rules.queue.completed) == ([], 0)


async def test_the_value_that_made_a_chain_run_is_the_one_it_sees(stage: RuleStage) -> None:
    await stage.chain(HOT, set_pump("on"))
    # All are committed before the first is judged.
    await stage.send(*({"value": value, "variableName": "t"} for value in (41, 20, 42, 21)))
    await stage.settled()
    assert await stage.pump() == ["on", "on"]


async def test_repeats_latecomers_and_readings_that_ask_for_it_trigger_nothing(
    stage: RuleStage,
) -> None:
    await stage.chain(HOT, set_pump("on"))
    assert await fires(stage, messageId="m1")
    assert not await fires(stage, messageId="m1")
    assert not await fires(stage, timestamp="2026-01-01T00:00:00Z")
    assert not await fires(stage, skipRuleChainTrigger=True)
    # What a clock ahead of time sends is taken as of now, and blocks nothing.
    assert await fires(stage, timestamp="2100-01-01T00:00:00Z")
    assert await fires(stage)


async def test_a_change_of_a_state_makes_chains_run_and_circles_end(stage: RuleStage) -> None:
    await stage.chain(of_pump("on"), set_pump("on", "valve"))
    await stage.chain(HOT, set_pump("on"))
    await stage.publish(41)
    await stage.settled()
    assert (await stage.pump(), await stage.pump(11)) == (["on"], ["on"])
    assert [ran.cause for ran in stage.ran] == ["reading", "state"]
    # The same value again is no change.
    await stage.publish(42)
    await stage.settled()
    assert (await stage.pump(), await stage.pump(11)) == (["on", "on"], ["on"])
    await stage.chain(of_pump("on", "valve"), set_pump("off"))
    await stage.chain(of_pump("off"), set_pump("off", "valve"))
    await stage.chain(of_pump("off", "valve"), set_pump("on"))
    await stage.rules.changes.set_by_name(ROOT, PUMP[NORTH], "power", "off", "user")
    await stage.settled()
    assert len(await stage.pump()) < 10
    assert max(ran.detail["depth"] for ran in stage.ran) == 8


async def test_a_chain_that_runs_on_schedule_only_hears_no_reading(stage: RuleStage) -> None:
    chain = await stage.chain(HOT, set_pump("on"), executionType="schedule-only")
    assert not await fires(stage)
    stage.rules.engine.due(chain, Instant.of(reactor.seconds()))
    await until(lambda: stage.told)
    assert await stage.pump() == ["on"]
    assert [ran.cause for ran in stage.ran] == ["schedule"]
    await stage.settled()


# The index follows every change


async def test_the_index_is_exact_after_every_change_of_a_chain(stage: RuleStage) -> None:
    chains = stage.rules.chains
    chain = await stage.chain(HOT, set_pump("on"))
    nodes = (await chains.get(ROOT, chain, NORTH))["nodes"]
    assert await fires(stage)
    await chains.change_node(ROOT, nodes[0]["id"], NORTH, {"config": leaf("h", ">", 40)})
    assert not await fires(stage)
    assert await fires(stage, "h")
    await chains.change(ROOT, chain, NORTH, {"executionType": "schedule-only"})
    assert not await fires(stage, "h")
    await chains.change(ROOT, chain, NORTH, {"executionType": "event-triggered"})
    assert await fires(stage, "h")
    await chains.delete_node(ROOT, nodes[1]["id"], NORTH)
    assert not await fires(stage, "h")
    await chains.delete(ROOT, chain, NORTH)
    assert stage.rules.book.watched == {}
    assert stage.rules.book.chains == {}


async def test_the_index_follows_sensors_variables_and_areas(stage: RuleStage) -> None:
    await stage.chain(HOT, set_pump("on"))
    watched, variable = stage.rules.book.watched, 10 * NORTH
    variables = Variables(stage.database, stage.events)
    sensors = Sensors(stage.database, stage.events)
    areas = Areas(stage.database, stage.events)
    await variables.change(ROOT, variable, {"variableName": "temp"})
    await until(lambda: variable not in watched)
    added = await variables.create(ROOT, {"sensorId": NORTH, "variableName": "t"})
    await until(lambda: added["id"] in watched)
    await sensors.change(ROOT, NORTH, NORTH, {"uuid": "99999999-1111-4111-8111-111111111111"})
    await until(lambda: not watched)
    await sensors.change(ROOT, NORTH, NORTH, {"uuid": SENSOR[NORTH].upper()})
    await until(lambda: added["id"] in watched)
    await areas.change(ROOT, NORTH, NORTH, {"organizationId": SOUTH})
    await until(lambda: not watched)
    await areas.change(ROOT, NORTH, SOUTH, {"organizationId": NORTH})
    await until(lambda: added["id"] in watched)


async def test_an_edited_reading_is_not_the_newest_value_any_more(stage: RuleStage) -> None:
    await stage.chain(all_of(HOT, leaf("h", "<", 20)), set_pump("on"))
    await stage.publish(10, "h", messageId="first")
    await stage.publish(50, "h")
    await stage.settled()
    assert not await fires(stage)
    (wrong,) = await stage.rows("SELECT id FROM DataStream WHERE value = '50'")
    await History(stage.database, stage.events).delete(ROOT, wrong["id"])
    value = stage.rules.book.watched[10 * NORTH + 1]
    await until(lambda: value.value == 10)
    assert await fires(stage)


async def test_a_state_whose_type_changes_is_read_anew(stage: RuleStage) -> None:
    await stage.chain(of_pump("on"), set_pump("on", "valve"))
    watched = stage.rules.book.watched[NORTH, "power"]
    assert watched.datatype != "boolean"
    states = DeviceStates(stage.database, stage.events)
    await states.change(ROOT, 10 * NORTH, {"dataType": "boolean"})
    await until(lambda: stage.rules.book.watched[NORTH, "power"].datatype == "boolean")


async def test_rules_reach_their_own_organization_only(stage: RuleStage) -> None:
    foreign = {**HOT, "UUID": SENSOR[SOUTH]}
    await stage.chain(foreign, set_pump("on"))
    await stage.chain(HOT, set_pump("on", organization=SOUTH))
    await stage.send({"value": 41, "variableName": "t"}, organization=SOUTH)
    await stage.publish(41)
    await stage.settled()
    assert await stage.rows("SELECT * FROM DeviceStateInstance") == []
    (ran,) = stage.ran
    assert ran.run is not None
    assert "Device not found" in ran.run.errors[0]


# Nothing is lost, nothing happens twice


async def test_a_trigger_that_an_earlier_process_left_is_taken_up_once(
    database: Database,
) -> None:
    await database.transact(sow)
    async with rule_stage(database) as first:
        await first.chain(HOT, set_pump("on"))
    # Killed right after the commit: the reading and its trigger are all there is.
    trigger = Trigger("reading", 10 * NORTH, "t", "41", Instant.parse("2026-11-24T10:00:00Z"))
    await database.transact(lambda tx: TRIGGERS.store(tx, [trigger]))
    async with rule_stage(database) as second:
        await second.settled()
        assert await second.pump() == ["on"]
        assert len(second.told) == 1
    async with rule_stage(database) as third:
        await third.settled()
        assert await third.pump() == ["on"]
        assert third.told == []


async def test_what_was_changed_before_a_crash_is_told_again_and_not_done_again(
    database: Database,
) -> None:
    await database.transact(sow)
    async with rule_stage(database) as first:
        await first.chain(HOT, set_pump("on"))
        await first.publish(41)
        await until(lambda: first.told)
        # As if it were killed before it forgets the trigger.
        applied = await first.rows("SELECT * FROM rule_applied")
        triggers = await first.rows("SELECT * FROM rule_trigger")
        await first.settled()

    def restore(tx: Any) -> None:
        tx.insert("rule_trigger", triggers[0])
        tx.insert("rule_applied", applied[0])

    await database.transact(restore)
    async with rule_stage(database) as second:
        await second.settled()
        (event,) = second.told
        assert (event.new, event.device_uuid, event.at) == ("on", PUMP[NORTH], first.told[0].at)
        assert await second.pump() == ["on"]


async def test_a_chain_that_goes_wrong_stops_no_other(stage: RuleStage) -> None:
    broken = {**set_pump("on"), "command": {"deviceUuid": PUMP[NORTH]}}
    await stage.chain(HOT, broken)
    await stage.chain(HOT, set_pump("half"))
    await stage.chain(leaf("t", "matches", "("), set_pump("on"))
    await stage.chain(HOT, set_pump("on"))
    await stage.publish(41)
    await stage.settled()
    assert await stage.pump() == ["on"]
    assert [ran.failed for ran in sorted(stage.ran, key=lambda ran: ran.chain_id)] == [
        True,
        True,
        True,
        False,
    ]


async def test_an_expression_that_would_never_end_holds_nobody_up(stage: RuleStage) -> None:
    await stage.run("UPDATE TelemetryData SET datatype = 'string'")
    evil = [leaf("t", "matches", "(a|aa)+$") for _ in range(5)]
    slow = await stage.chain(any_of(*evil), set_pump("on"))
    light = await stage.chain(leaf("t", "contains", "a"), set_pump("off"))
    await stage.publish("a" * 49 + "!")
    await stage.settled()
    assert [ran.chain_id for ran in stage.ran] == [light, slow]
    assert stage.ran[1].run is not None
    assert (stage.ran[1].run.passed, len(stage.ran[1].run.errors)) == (False, 5)


# Modes, limits and figures


async def test_a_chain_in_shadow_mode_only_records(stage: RuleStage) -> None:
    chain = await stage.chain(HOT, set_pump("on"), mode="shadow")
    await stage.publish(20)
    await stage.publish(41)
    await stage.settled()
    assert (await stage.pump(), stage.told) == ([], [])
    last, first = await stage.rules.journal.runs(ROOT, chain, NORTH)
    assert (last["mode"], last["trigger"]["type"], last["trigger"]["value"]) == (
        "shadow",
        "reading",
        "41",
    )
    assert [node.get("passed") for node in last["path"]] == [True, None]
    (action,) = last["actions"]
    assert (action["value"], action["applied"]) == ("on", False)
    assert ([node["passed"] for node in first["path"]], first["actions"]) == ([False], [])
    # From now on it acts.
    await stage.rules.chains.change(ROOT, chain, NORTH, {"mode": "live"})
    assert await fires(stage)


async def test_nothing_makes_a_chain_run_that_is_off(stage: RuleStage) -> None:
    chain = await stage.chain(HOT, set_pump("on"), mode="off")
    assert not await fires(stage)
    assert await stage.rules.journal.runs(ROOT, chain, NORTH) == []
    await stage.rules.chains.change(ROOT, chain, NORTH, {"mode": "live"})
    assert await fires(stage)


async def test_counters_of_a_chain_are_written_and_go_on_after_a_start(
    database: Database,
) -> None:
    await database.transact(sow)
    for run in (1, 2):
        async with rule_stage(database) as stage:
            if run == 1:
                await stage.chain(HOT, set_pump("half"))
            for value in (41, 20, 42):
                await stage.publish(value)
            await stage.settled()
        (row,) = await stage.rows("SELECT * FROM RuleChain")
        assert (row["executionCount"], row["failureCount"]) == (3 * run, 2 * run)
        assert row["lastExecutedAt"] >= row["lastErrorAt"]


async def test_while_too_many_wait_readings_are_stored_and_trigger_nothing(
    database: Database,
) -> None:
    await database.transact(sow)
    tight = Rules(queue_warning=3, queue_critical=4, queue_recovery=2)
    async with rule_stage(database, tight) as stage:
        await stage.chain(HOT, set_pump("on"))
        queue = stage.rules.queue
        with queue.running(), queue.running(), queue.running(), queue.running():
            await stage.publish(41)
            assert queue.figures()["backpressure"]["circuitState"] == "OPEN"
            assert queue.health == "critical"
            assert await stage.rows("SELECT id FROM rule_trigger") == []
            assert len(await stage.rows("SELECT id FROM DataStream")) == 1
            assert queue.circuit.rejected == 1
        assert await fires(stage)
        assert queue.circuit.rejected == 0


async def test_an_action_for_what_is_already_so_can_be_suppressed(database: Database) -> None:
    await database.transact(sow)
    async with rule_stage(database, Rules(suppress_unchanged=True)) as stage:
        await stage.chain(HOT, set_pump("on"))
        await stage.publish(41)
        await stage.publish(42)
        await stage.settled()
        assert await stage.pump() == ["on"]
        assert len(stage.told) == 1


async def test_a_run_that_takes_too_long_is_given_up_and_counted(database: Database) -> None:
    await database.transact(sow)
    await database.transact(lambda tx: tx.execute("UPDATE TelemetryData SET datatype = 'string'"))
    async with rule_stage(database, Rules(chain_timeout_ms=100)) as stage:
        evil = [leaf("t", "matches", "(a|aa)+$") for _ in range(8)]
        await stage.chain(any_of(leaf("t", "contains", "a"), *evil), set_pump("on"))
        await stage.publish("a" * 49 + "!")
        await stage.settled()
        assert [(ran.status, ran.failed) for ran in stage.ran] == [("timeout", True)]
        assert (await stage.pump(), stage.rules.queue.failed) == ([], 1)


async def test_what_the_database_refuses_stops_no_action_behind_it(stage: RuleStage) -> None:
    await stage.run("UPDATE DeviceState SET allowedValues = NULL")
    await stage.chain(HOT, set_pump("x" * 101))
    await stage.chain(HOT, set_pump("on"))
    await stage.publish(41)
    await stage.settled()
    assert await stage.pump() == ["on"]
    assert [ran.status for ran in stage.ran] == ["failure", "success"]


async def test_rules_wait_for_a_database_that_is_away(own_server: MariaDB) -> None:
    database = open_database(reactor, settings_for(own_server.url(own_server.new_database())))
    await database.start()
    await database.transact(sow)
    async with rule_stage(database) as stage:
        chain = await stage.chain(HOT, set_pump("on"))
        trigger = Trigger("reading", 10 * NORTH, "t", "41", Instant.parse("2026-11-24T10:00:00Z"))
        await database.transact(lambda tx: TRIGGERS.store(tx, [trigger]))
        await stage.run("UPDATE RuleChain SET name = 'renamed'")
        own_server.kill()
        stage.rules.engine.begin([trigger], [])
        await stage.rules.book.reload([chain])  # whoever changed it does not wait for that
        await until(lambda: stage.rules.queue.delayed)
        assert stage.told == []
        own_server.start()
        await until(lambda: stage.told)
        await until(lambda: stage.rules.book.chains[chain].name == "renamed")
        await stage.settled()
        assert await stage.pump() == ["on"]
    await database.stop()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE RuleChain SET mode = 'shadow'",
        "UPDATE RuleChain SET mode = 'off'",
        "DELETE FROM RuleChain",
    ],
)
async def test_actions_on_their_way_have_no_effect_once_the_chain_is_changed(
    stage: RuleStage, change: str
) -> None:
    await stage.chain(HOT, set_pump("on"))
    await stage.run(change)  # after the engine has looked at the chain, so to speak
    await stage.publish(41)
    await stage.settled()
    assert await stage.pump() == []


@pytest.mark.parametrize("mode", ["shadow", "off"])
async def test_a_chain_that_is_deleted_or_only_records_or_is_off_does_nothing_any_more(
    stage: RuleStage, mode: str
) -> None:
    # Expressions that take as long as they may, so that runs are on their way.
    await stage.run("UPDATE TelemetryData SET datatype = 'string'")
    await stage.publish("a" * 49 + "!", "h")
    slow = any_of(HOT, *[leaf("h", "matches", "(a|aa)+$")] * 4)
    gone = await stage.chain(slow, set_pump("on"))
    changed = await stage.chain(slow, set_pump("on", "valve"))
    for value in range(41, 46):
        await stage.publish(value)
    await stage.rules.chains.delete(ROOT, gone, NORTH)
    await stage.rules.chains.change(ROOT, changed, NORTH, {"mode": mode})
    before = len(await stage.pump()), len(await stage.pump(11))
    assert max(before) < 5
    await stage.settled()
    assert (len(await stage.pump()), len(await stage.pump(11))) == before
    runs = len(await stage.rules.journal.runs(ROOT, changed, NORTH))
    assert runs == 5 if mode == "shadow" else runs < 5
