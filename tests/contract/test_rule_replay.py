"""A chain over the past: the same evaluation, and nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_twisted

from aemos.errors import BadRequest, NotFound, TooManyRequests
from aemos.model import Instant
from aemos.services.rules.replay import MAX_FIRINGS
from aemos.storage.database import Database
from aemos.storage.transaction import Transaction
from tests.rows import until
from tests.rule_stage import (
    NORTH,
    ROOT,
    SOUTH,
    RuleStage,
    all_of,
    leaf,
    of_pump,
    rule_stage,
    set_pump,
    sow,
)

DAY = Instant.parse("2026-06-01T00:00:00Z")
HOUR = 3_600_000
T, H = 10 * NORTH, 10 * NORTH + 1


@pytest_twisted.async_yield_fixture
async def stage(database: Database) -> AsyncIterator[RuleStage]:
    await database.transact(sow)
    async with rule_stage(database) as opened:
        yield opened


async def remember(stage: RuleStage, *readings: tuple[float, int, object]) -> None:
    """@param readings: hour of the day, variable, value."""

    def store(tx: Transaction) -> None:
        rows = [
            (str(value), variable, Instant(DAY + hour * HOUR)) for hour, variable, value in readings
        ]
        for start in range(0, len(rows), 1000):
            columns = ("value", "telemetryDataId", "recievedAt")
            tx.insert_rows("DataStream", columns, rows[start : start + 1000])

    await stage.database.transact(store)


async def replayed(
    stage: RuleStage, chain: int, first: float = 0, last: float = 24
) -> dict[str, Any]:
    start, end = Instant(DAY + first * HOUR), Instant(DAY + last * HOUR)
    job = await stage.rules.replays.begin(ROOT, chain, NORTH, start, end)
    await until(lambda: job.status != "running")
    return job.wire()


def hours(outcome: dict[str, Any]) -> Sequence[float]:
    return [(firing["at"] - DAY) / HOUR for firing in outcome["firings"]]


async def test_a_replay_tells_when_a_chain_would_have_fired_and_changes_nothing(
    stage: RuleStage,
) -> None:
    chain = await stage.chain(all_of(leaf("t", ">", 40), leaf("h", "<", 20)), set_pump("on"))
    await remember(
        stage, (-1, H, 10), (1, T, 41), (2, H, 30), (3, T, 42), (4, H, 15), (5, T, 20), (24, T, 50)
    )
    outcome = await replayed(stage, chain)
    assert hours(outcome) == [1, 4]
    assert (outcome["status"], outcome["progress"], outcome["evaluations"]) == ("done", 1.0, 5)
    first, second = outcome["firings"]
    assert (first["trigger"]["name"], first["trigger"]["value"]) == ("t", "41")
    assert (second["trigger"]["name"], second["trigger"]["value"]) == ("h", "15")
    assert first["actions"][0]["value"] == "on"
    assert (await stage.pump(), stage.told, stage.ran) == ([], [], [])
    (row,) = await stage.rows("SELECT executionCount FROM RuleChain")
    assert row["executionCount"] == 0


async def test_ages_are_those_of_that_time(stage: RuleStage) -> None:
    stale = leaf("h", "olderThan", "2h")
    chain = await stage.chain(all_of(stale, leaf("t", ">", 0)), set_pump("on"))
    await remember(stage, (1, H, 10), (2, T, 1), (4, T, 1), (5, H, 10), (6, T, 1))
    assert hours(await replayed(stage, chain)) == [4]


async def test_states_and_schedules_are_part_of_the_past(stage: RuleStage) -> None:
    chain = await stage.chain(
        all_of(of_pump("on"), leaf("t", ">", 40)),
        set_pump("off"),
        scheduleEnabled=True,
        cronExpression="30 */6 * * *",
        timezone="Europe/Berlin",
    )

    def states(tx: Transaction) -> None:
        for hour, value in ((1, "on"), (13, "off")):
            at = Instant(DAY + hour * HOUR)
            row = {"deviceStateId": 10 * NORTH, "value": value, "fromTimestamp": at}
            tx.insert("DeviceStateInstance", row)

    await stage.database.transact(states)
    await remember(stage, (0.5, T, 41), (2, T, 42))
    outcome = await replayed(stage, chain)
    # Berlin is two hours ahead in June.
    assert hours(outcome) == [1, 2, 4.5, 10.5]
    assert [firing["trigger"]["type"] for firing in outcome["firings"]] == [
        "state",
        "reading",
        "schedule",
        "schedule",
    ]


async def test_a_long_past_is_read_in_pages_and_told_in_part(stage: RuleStage) -> None:
    chain = await stage.chain(leaf("t", ">", 0), set_pump("on"))
    await remember(stage, *((number / 1000, T, 1) for number in range(4500)))
    outcome = await replayed(stage, chain)
    assert (outcome["evaluations"], outcome["fired"]) == (4500, 4500)
    assert (len(outcome["firings"]), outcome["truncated"]) == (MAX_FIRINGS, True)


async def test_a_replay_can_be_watched_and_cancelled(stage: RuleStage) -> None:
    await stage.run("UPDATE TelemetryData SET datatype = 'string'")
    # Each evaluation takes as long as an expression may.
    chain = await stage.chain(leaf("t", "matches", "(a|aa)+$"), set_pump("on"))
    await remember(stage, *((number / 1000, T, "a" * 49 + "!") for number in range(10_000)))
    replays = stage.rules.replays
    job = await replays.begin(ROOT, chain, NORTH, DAY, Instant(DAY + 24 * HOUR))
    assert job.status == "running"
    with pytest.raises(TooManyRequests):
        await replays.begin(ROOT, chain, NORTH, DAY, Instant(DAY + 24 * HOUR))
    seen = await replays.get(ROOT, chain, NORTH, job.id)
    assert 0 < seen.wire()["progress"] < 1
    await replays.cancel(ROOT, chain, NORTH, job.id)
    assert (await replays.get(ROOT, chain, NORTH, job.id)).status == "cancelled"
    assert seen.wire()["errors"]
    await replays.cancel(ROOT, chain, NORTH, job.id)
    with pytest.raises(NotFound):
        await replays.get(ROOT, chain, NORTH, job.id)


async def test_what_cannot_be_replayed_is_refused(stage: RuleStage) -> None:
    chain = await stage.chain(leaf("t", ">", 0), set_pump("on"))
    replays = stage.rules.replays
    with pytest.raises(BadRequest, match="later"):
        await replays.begin(ROOT, chain, NORTH, DAY, DAY)
    with pytest.raises(NotFound):
        await replays.begin(ROOT, chain + 1, NORTH, DAY, Instant(DAY + 1))
    foreign = await stage.chain(leaf("t", ">", 0), set_pump("on"), organizationId=SOUTH)
    await remember(stage, (1, T, 1))
    start, end = DAY, Instant(DAY + 24 * HOUR)
    job = await replays.begin(ROOT, foreign, SOUTH, start, end)
    await until(lambda: job.status != "running")
    assert job.wire()["evaluations"] == 0
    with pytest.raises(NotFound):
        await replays.get(ROOT, chain, NORTH, job.id)
