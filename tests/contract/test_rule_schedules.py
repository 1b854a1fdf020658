"""Chains that run by the clock: of their time zone, at once after a change, and never twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.task import Clock

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.rules.schedules import Schedules
from aemos.storage.database import Database
from tests.rows import until
from tests.rule_stage import NORTH, ROOT, RuleStage, leaf, rule_stage, set_pump, sow

BERLIN = {"scheduleEnabled": True, "timezone": "Europe/Berlin"}


@attrs.define
class Timed:
    """Rules with a clock of their own for schedules."""

    stage: RuleStage
    clock: Clock
    schedules: Schedules

    def begin(self, iso: str) -> None:
        """Start the server at this time."""
        self.clock.advance(Instant.parse(iso) / 1000 - self.clock.seconds())
        self.schedules.start()

    async def chain(self, cron: str, **columns: Any) -> int:
        columns = {**BERLIN, "cronExpression": cron, **columns}
        return await self.stage.chain(leaf("t", ">", 0), set_pump("on"), **columns)

    async def due(self, hours: float = 0, seconds: float = 0) -> Sequence[str]:
        """Let time go by. @return: the times at which runs were due in it, in UTC."""
        before = len(self.stage.ran)
        whole, rest = divmod(hours * 3600 + seconds, 60)
        for step in [60.0] * int(whole) + [rest]:
            self.clock.advance(step)
        await self.stage.settled()
        return [ran.detail["at"].iso()[:19] for ran in self.stage.ran[before:]]


@pytest_twisted.async_yield_fixture
async def timed(database: Database) -> AsyncIterator[Timed]:
    await database.transact(sow)
    async with rule_stage(database) as stage:
        clock = Clock()
        schedules = Schedules(stage.rules.book, stage.rules.engine, stage.events, clock)
        stage.rules.schedules.stop()
        yield Timed(stage, clock, schedules)
        schedules.stop()
        assert clock.getDelayedCalls() == []


async def test_a_schedule_follows_the_clock_of_its_time_zone(timed: Timed) -> None:
    timed.begin("2026-03-28T00:00:00Z")
    await timed.chain("30 2 * * *")
    assert await timed.due(24) == ["2026-03-28T01:30:00"]
    # 02:30 does not exist on this day: it is made up when the gap is over.
    assert await timed.due(24) == ["2026-03-29T01:00:00"]
    assert await timed.due(24) == ["2026-03-30T00:30:00"]


async def test_an_hour_that_comes_twice_counts_once(timed: Timed) -> None:
    timed.begin("2026-10-24T12:00:00Z")
    await timed.chain("30 2 * * *")
    assert await timed.due(24) == ["2026-10-25T00:30:00"]
    assert await timed.due(24) == ["2026-10-26T01:30:00"]


async def test_every_half_hour_counts_on_through_the_change_of_the_clock(timed: Timed) -> None:
    timed.begin("2026-10-25T00:00:00Z")
    await timed.chain("*/30 * * * *")
    assert await timed.due(2) == [
        "2026-10-25T00:30:00",
        "2026-10-25T01:00:00",
        "2026-10-25T01:30:00",
        "2026-10-25T02:00:00",
    ]


async def test_six_fields_begin_with_the_seconds(timed: Timed) -> None:
    timed.begin("2026-06-01T00:00:00Z")
    await timed.chain("*/20 * * * * *", timezone="UTC")
    assert [await timed.due(seconds=20) for _ in range(2)] == [
        ["2026-06-01T00:00:20"],
        ["2026-06-01T00:00:40"],
    ]


async def test_a_chain_that_is_off_has_no_schedule(timed: Timed) -> None:
    timed.begin("2026-06-01T00:00:00Z")
    await timed.chain("0 * * * *", mode="off")
    assert await timed.due(2) == []


async def test_a_scheduled_run_sees_the_newest_values_and_acts(timed: Timed) -> None:
    timed.begin("2026-06-01T00:00:00Z")
    await timed.chain("0 * * * *", executionType="schedule-only")
    assert await timed.due(1) == ["2026-06-01T01:00:00"]
    assert await timed.stage.pump() == []
    await timed.stage.publish(5)
    assert await timed.due(1) == ["2026-06-01T02:00:00"]
    assert await timed.stage.pump() == ["on"]


async def test_changes_count_at_once(timed: Timed) -> None:
    timed.begin("2026-06-01T00:00:00Z")
    chains = timed.stage.rules.chains
    chain = await timed.chain("0 12 * * *", timezone="UTC")
    await chains.change(ROOT, chain, NORTH, {"cronExpression": "0 1 * * *"})
    assert await timed.due(2) == ["2026-06-01T01:00:00"]
    await chains.change(ROOT, chain, NORTH, {"timezone": "America/New_York"})
    assert await timed.due(3.5) == ["2026-06-01T05:00:00"]
    await chains.change(ROOT, chain, NORTH, {"executionType": "event-triggered"})
    assert await timed.due(24) == []
    await chains.change(ROOT, chain, NORTH, {"executionType": "hybrid"})
    assert len(timed.schedules) == 1
    await chains.delete(ROOT, chain, NORTH)
    assert (len(timed.schedules), await timed.due(24)) == (0, [])


async def test_what_was_due_while_the_server_was_away_is_left_out(timed: Timed) -> None:
    await timed.chain("0 * * * *", timezone="UTC")
    timed.begin("2026-06-01T10:30:00Z")
    assert await timed.due() == []
    # A machine that slept runs what it missed once.
    timed.clock.advance(3 * 3600)
    assert await timed.due() == ["2026-06-01T11:00:00"]
    assert await timed.due(0.5) == ["2026-06-01T14:00:00"]


async def test_what_is_no_schedule_is_refused_and_in_an_adopted_database_ignored(
    timed: Timed,
) -> None:
    for cron, says in (("often", "5 fields"), ("0 25 * * *", "hour"), ("0 0 31 2 *", "day")):
        with pytest.raises(BadRequest, match=f'"cronExpression".*{says}'):
            await timed.chain(cron)
    chain = await timed.chain("0 * * * *")
    await timed.stage.run("UPDATE RuleChain SET cronExpression = 'often'")
    timed.begin("2026-06-01T00:00:00Z")
    await timed.stage.rules.book.reload([chain])
    await until(lambda: len(timed.schedules) == 0)
