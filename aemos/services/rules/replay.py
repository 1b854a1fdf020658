"""Runs a chain over the past: when it would have fired, and what it would have sent.

The stored readings of what the chain looks at, the states that devices had and the times of its
schedule go through the same evaluation as live ones, in the order of their times; nothing is
changed and nobody is told. States are what they were, not what the chain would have made of them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from cronsim import CronSim
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from aemos.errors import NotFound
from aemos.model import Instant
from aemos.services.rules.cron import instant, times
from aemos.services.rules.evaluation import Evaluation
from aemos.services.rules.execution import Run, run
from aemos.services.rules.rulebook import SCHEDULED, Chain, Look, Watched, chain_of, load
from aemos.storage import rule_sources
from aemos.storage.database import Database
from aemos.storage.queries import Position, Range
from aemos.storage.transaction import Row, Transaction

MAX_FIRINGS = 1000
"""How many firings are told in full; of the rest it is only known how many there were."""

MAX_ERRORS = 20
"""How many errors of evaluation are told."""

_PAGE = 2000  # rows that are read at once of each variable
_SLICE = 0.002  # seconds of the reactor's time in one of its rounds


@attrs.define(eq=False)
class Outcome:
    """What came of it so far; `reached` is how far in the past it has got."""

    reached: Instant
    evaluations: int = 0
    fired: int = 0
    firings: list[dict[str, Any]] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Track:
    """The history of one source: what was read of it and is not used, and where to go on."""

    look: Look
    rows: deque[Row] = attrs.field(factory=deque)
    after: Position | None = None
    ended: bool = False


class Replay:
    """One run over the past, a slice of time in each round of the reactor."""

    def __init__(
        self,
        database: Database,
        evaluation: Evaluation,
        clock: IReactorTime,
        chain_id: int,
        start: Instant,
        end: Instant,
    ) -> None:
        """@param start: inclusive. @param end: exclusive."""
        self._database, self._evaluation, self._clock = database, evaluation, clock
        self._chain_id, self._start, self._end = chain_id, start, end
        self.outcome = Outcome(start)
        self.cancelled = False

    @property
    def progress(self) -> float:
        """The share of the time that has been gone through, 0 to 1."""
        return (self.outcome.reached - self._start) / max(1, self._end - self._start)

    async def run(self) -> None:
        """Go through all of it, or until `cancelled` is set.

        @raise NotFound: the chain is gone. @raise StorageUnavailable: the database cannot tell.
        """
        chain = await self._database.read(self._prepare)
        tracks = [_Track(look) for look in chain.looks]
        schedule = _schedule(chain, self._start, self._end)
        # What comes next of each: by time; of one time first the values, then the schedule.
        ahead: list[tuple[Instant, int]] = []
        for index, track in enumerate(tracks):
            await self._push(ahead, tracks, index, track)
        _push_time(ahead, len(tracks), schedule)
        until = self._clock.seconds() + _SLICE
        while ahead and not self.cancelled:
            at, index = heapq.heappop(ahead)
            self.outcome.reached = at
            if index == len(tracks):
                await self._evaluate(chain, at, {"type": "schedule"})
                _push_time(ahead, index, schedule)
            else:
                track = tracks[index]
                await self._step(chain, track, track.rows.popleft())
                await self._push(ahead, tracks, index, track)
            if self._clock.seconds() > until:
                await deferLater(self._clock, 0, lambda: None)
                until = self._clock.seconds() + _SLICE
        if not self.cancelled:
            self.outcome.reached = self._end

    async def _step(self, chain: Chain, track: _Track, row: Row) -> None:
        look = track.look
        look.watched.put(row["value"], row["at"])
        if look.triggers:
            source = look.source
            kind = "reading" if source.kind == "sensor" else "state"
            cause = {"type": kind, "uuid": source.uuid, "name": source.key, "value": row["value"]}
            await self._evaluate(chain, row["at"], cause)

    async def _evaluate(self, chain: Chain, at: Instant, cause: dict[str, Any]) -> None:
        if chain.plan.heavy:
            timeout = self._evaluation.timeout
            outcome = await self._evaluation.run(chain.plan, chain.snapshot(), at, timeout)
        else:
            outcome = run(chain.plan, chain.snapshot(), at)
        self.outcome.evaluations += 1
        if outcome.errors and len(self.outcome.errors) < MAX_ERRORS:
            self.outcome.errors += outcome.errors[: MAX_ERRORS - len(self.outcome.errors)]
        if outcome.commands:
            self.outcome.fired += 1
            if len(self.outcome.firings) < MAX_FIRINGS:
                self.outcome.firings.append(_firing(at, cause, outcome))

    async def _push(
        self, ahead: list[tuple[Instant, int]], tracks: list[_Track], index: int, track: _Track
    ) -> None:
        if not track.rows and not track.ended:
            within = Range(self._start, self._end, track.after)
            source = track.look.source
            read: Callable[..., list[Row]] = (
                rule_sources.readings_page if source.kind == "sensor" else rule_sources.states_page
            )
            if source.row_id is not None:
                track.rows.extend(await self._database.read(read, source.row_id, within, _PAGE))
            track.ended = len(track.rows) < _PAGE
            if track.rows:
                track.after = Position(track.rows[-1]["at"], track.rows[-1]["id"])
        if track.rows:
            heapq.heappush(ahead, (track.rows[0]["at"], index))

    def _prepare(self, tx: Transaction) -> Chain:
        """Read the chain, and the values of what it looks at as they were at the beginning."""
        loaded = load(tx, [self._chain_id])
        if not loaded.chains:
            raise NotFound("Rule chain not found")
        watched = {
            source.slot: Watched(source.slot, source.datatype) for source in loaded.sources.values()
        }
        chain = chain_of(loaded.chains[0], loaded, watched)
        for look in chain.looks:
            source = look.source
            read = (
                rule_sources.newest_reading
                if source.kind == "sensor"
                else rule_sources.newest_state
            )
            row = None if source.row_id is None else read(tx, source.row_id, self._start)
            if row is not None:
                look.watched.put(row["value"], row["at"])
        return chain


def _schedule(chain: Chain, start: Instant, end: Instant) -> Iterator[Instant]:
    row = chain.row
    if not (row["scheduleEnabled"] and row["cronExpression"] and row["executionType"] in SCHEDULED):
        return
    ahead: CronSim = times(row["cronExpression"], row["timezone"] or "UTC", Instant(start - 1))
    for moment in ahead:
        at = instant(moment)
        if at >= end:
            return
        if at >= start:
            yield at


def _push_time(ahead: list[tuple[Instant, int]], index: int, schedule: Iterator[Instant]) -> None:
    at = next(schedule, None)
    if at is not None:
        heapq.heappush(ahead, (at, index))


def _firing(at: Instant, cause: dict[str, Any], outcome: Run) -> dict[str, Any]:
    return {
        "at": at,
        "trigger": cause,
        "actions": [
            {
                "nodeId": command.node_id,
                "deviceUuid": command.device_uuid,
                "stateName": command.state_name,
                "value": command.value,
            }
            for command in outcome.commands
        ],
    }
