"""Runs rule chains on live data: after the commit, beside the path that readings take.

A reading that some chain looks at is stored together with a trigger (`storage.rule_triggers`), in
one unit; the trigger goes when all chains are done with it. What is left of them at a start is what
an earlier process did not get to: it is done then. A run is repeated at most, its effects are not.

Light chains are decided in the reactor, a slice of time in each of its rounds, in the order in
which triggers came; chains that may take their time each have a line of their own before a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aemos.errors import RowRefused
from aemos.model import Instant
from aemos.services.events import DeviceStateChanged, Events, RuleRan
from aemos.services.rules.effects import Effects, Firing, remembered
from aemos.services.rules.evaluation import Evaluation
from aemos.services.rules.execution import Run, run
from aemos.services.rules.queue import RuleQueue
from aemos.services.rules.rulebook import Chain, Rulebook, Watched
from aemos.services.rules.sources import typed
from aemos.storage import rule_triggers
from aemos.storage.database import Database
from aemos.storage.readings import Reading
from aemos.storage.rule_triggers import FINISHED, READING, SCHEDULE, STATE, TRIGGERS, Trigger
from aemos.storage.writer import Rows, Unit

_SLICE = 0.002  # seconds of the reactor's time in one of its rounds
_FORGET_AFTER = 0.05  # seconds in which finished triggers come together

Committed = Callable[[RowRefused | None], object]


@attrs.define(slots=True, eq=False)
class Consequences:
    """What rules make of the readings of one message: stored with them, begun after the commit."""

    _engine: Engine
    _triggers: list[Trigger]
    _news: list[tuple[Watched, Reading, Instant]]

    @property
    def part(self) -> tuple[Rows, Sequence[Trigger]]:
        """The part of a `Unit`, to be put behind that of the readings."""
        return TRIGGERS, self._triggers

    def after(self, committed: Committed) -> Committed:
        """@return: what the unit is to call in place of `committed`."""
        return partial(self._after, committed)

    def _after(self, committed: Committed, error: RowRefused | None) -> None:
        try:
            committed(error)
        finally:
            if error is None:
                self._engine.begin(self._triggers, self._news)


@attrs.define(slots=True, eq=False)
class _Task:
    """A trigger, the chains that it makes run, and how many of them are not done."""

    trigger: Trigger
    chains: Sequence[Chain] = ()
    left: int = 0
    failed: bool = False


@attrs.define(slots=True, eq=False)
class _Job:
    """One chain for one trigger."""

    task: _Task
    chain: Chain
    watched: Watched | None


class Engine:
    """Takes triggers, runs chains, and sees to it that what was begun is finished."""

    _log = Logger()

    def __init__(
        self,
        database: Database,
        book: Rulebook,
        queue: RuleQueue[Any],
        effects: Effects,
        evaluation: Evaluation,
        events: Events,
        clock: IReactorTime,
    ) -> None:
        self._database, self._book, self._queue = database, book, queue
        self._watched = book.watched
        self._effects, self._evaluation = effects, evaluation
        self._events, self._clock = events, clock
        self._jobs: deque[_Job] = deque()
        self._lines: dict[int, deque[_Job]] = {}
        self._finished: list[int] = []
        self._turn: IDelayedCall | None = None
        self._forgetting: IDelayedCall | None = None
        self._stopped = False
        events.subscribe(DeviceStateChanged, self._state_changed)

    # ---- life

    async def start(self) -> None:
        """Read the rules, and take up what an earlier process did not finish.

        What that one changed and perhaps did not tell any more is told (again).

        @raise StorageUnavailable: the database cannot tell.
        """
        self._evaluation.start()
        await self._book.start()
        applied = await self._database.read(rule_triggers.applied)
        triggers = await self._database.read(rule_triggers.unfinished)
        if triggers:
            self._log.info("taking up {count} rule triggers", count=len(triggers))
        for changes in applied.values():
            for change in changes:
                self._events.publish(remembered(change))
        for trigger in triggers:
            self._put(trigger)

    async def stop(self) -> None:
        """Let what runs come to its end; what waits is taken up at the next start."""
        self._stopped = True
        self._book.stop()
        for call in (self._turn, self._forgetting):
            if call is not None:
                call.cancel()
        self._turn = self._forgetting = None
        await self._effects.stop()
        self._evaluation.stop()
        self._forget()

    # ---- what comes in

    def watch(self, readings: Sequence[Reading]) -> Consequences | None:
        """Ask what follows from the readings of a message that is about to be stored.

        Where no chain looks at its variable, a reading costs one look into a dict.

        @return: None = nothing.
        """
        watched = self._watched
        for reading in readings:
            if reading.telemetry_id in watched:
                return self._consequences(readings)
        return None

    def _consequences(self, readings: Sequence[Reading]) -> Consequences:
        now = Instant.of(self._clock.seconds())
        triggers: list[Trigger] = []
        news: list[tuple[Watched, Reading, Instant]] = []
        for reading in readings:
            watched = self._watched.get(reading.telemetry_id)
            if watched is None:
                continue
            # A clock that runs ahead must not make every later reading look old.
            at = reading.at if reading.at <= now else now
            if at < watched.judged_at:
                continue  # it came late: the newest value is what it was
            watched.judged_at = at
            news.append((watched, reading, at))
            if watched.chains and reading.trigger_rules and not self._queue.refuses(READING):
                triggers.append(
                    Trigger(
                        READING,
                        reading.telemetry_id,
                        reading.variable_name,
                        reading.value,
                        at,
                        reading=reading,
                    )
                )
        return Consequences(self, triggers, news)

    def begin(
        self, triggers: Sequence[Trigger], news: Sequence[tuple[Watched, Reading, Instant]]
    ) -> None:
        """Take over what was stored."""
        for watched, reading, at in news:
            if not reading.duplicate:
                watched.put(reading.value, at)
        for trigger in triggers:
            if trigger.id is not None:
                self._put(trigger)

    def due(self, chain_id: int, at: Instant) -> None:
        """Run a chain because it is time; its trigger is stored first."""
        trigger = Trigger(SCHEDULE, chain_id, "", None, at)
        unit = Unit(((TRIGGERS, [trigger]),), partial(self._due_stored, trigger))
        self._database.writer.submit(unit)

    def _due_stored(self, trigger: Trigger, error: RowRefused | None) -> None:
        if error is None:
            self._put(trigger)

    def _state_changed(self, event: DeviceStateChanged) -> None:
        watched = self._watched.get((event.device_id, event.state))
        if watched is not None:
            watched.put(event.new, event.at)
        trigger = event.trigger
        if trigger is not None and trigger.id is not None:
            if self._queue.refuses(STATE):
                self._forget_soon(trigger.id)
            else:
                self._put(trigger)

    def _put(self, trigger: Trigger) -> None:
        self._queue.put(trigger.kind, _Task(trigger))
        self._continue()

    # ---- running

    def _continue(self) -> None:
        if self._turn is None and not self._stopped:
            self._turn = self._clock.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        until = self._clock.seconds() + _SLICE
        while True:
            job = self._next()
            if job is None:
                return
            self._start(job)
            if self._clock.seconds() > until:
                self._continue()
                return

    def _next(self) -> _Job | None:
        while not self._jobs:
            task: _Task | None = self._queue.take()
            if task is None:
                return None
            trigger = task.trigger
            watched = None
            if trigger.kind == SCHEDULE:
                chain = self._book.chains.get(trigger.source_id)
                task.chains = () if chain is None else (chain,)
            else:
                slot = trigger.source_id
                watched = self._watched.get(
                    slot if trigger.kind == READING else (slot, trigger.name)
                )
                task.chains = () if watched is None else watched.chains
            task.left = len(task.chains)
            if not task.left:
                self._done(task)
            self._jobs.extend(_Job(task, chain, watched) for chain in task.chains)
        return self._jobs.popleft()

    def _start(self, job: _Job) -> None:
        if not self._renew(job):
            return
        chain = job.chain
        if chain.plan.heavy:
            line = self._lines.get(chain.id)
            if line is not None:
                line.append(job)
            else:
                self._lines[chain.id] = deque()
                self._run_apart(job)
        else:
            began = self._clock.seconds()
            try:
                outcome = run(chain.plan, self._data(job), Instant.of(began))
            except Exception:
                self._fail(job, "failure", Failure(), began)
            else:
                self._ran(job, began, outcome)

    def _run_apart(self, job: _Job) -> None:
        began = self._clock.seconds()
        running = self._evaluation.run(
            job.chain.plan, self._data(job), Instant.of(began), self._evaluation.timeout
        )
        running.addCallbacks(
            partial(self._ran, job, began),
            lambda failure: self._fail(
                job, "timeout" if failure.check(TimeoutError) else "failure", failure, began
            ),
        )
        running.addBoth(lambda _: self._next_in_line(job.chain.id))
        running.addErrback(lambda failure: self._log.failure("running a chain failed", failure))

    def _next_in_line(self, chain_id: int) -> None:
        line = self._lines[chain_id]
        while line and not self._stopped:
            job = line.popleft()
            if self._renew(job):
                self._run_apart(job)
                return
        del self._lines[chain_id]

    def _renew(self, job: _Job) -> bool:
        """Take the chain as it is now. @return: False = there is none, or it is off or empty."""
        chain = self._book.chains.get(job.chain.id)
        if chain is None or chain.off or chain.plan.first is None:
            self._finish(job.task)
            return False
        job.chain = chain
        return True

    def _data(self, job: _Job) -> Any:
        """The chain sees the value that made it run, whatever became of it since."""
        watched, trigger = job.watched, job.task.trigger
        if watched is None:
            return job.chain.snapshot()
        value = typed(trigger.value, watched.datatype)
        return job.chain.snapshot(watched, value, trigger.at)

    def _ran(self, job: _Job, began: float, outcome: Run) -> None:
        seconds = self._clock.seconds() - began
        status = "aborted" if outcome.aborted else "success"
        if not self._renew(job):  # it was deleted meanwhile
            return
        if outcome.commands and not job.chain.shadow:
            self._effects.put(
                Firing(
                    job.chain,
                    outcome,
                    job.task.trigger,
                    lambda failed: self._conclude(
                        job, outcome, "failure" if failed else status, seconds
                    ),
                )
            )
        else:
            self._conclude(job, outcome, status, seconds)

    def _fail(self, job: _Job, status: str, failure: Failure, began: float) -> None:
        if status == "failure":
            self._log.failure("rule chain {chain} failed", failure, chain=job.chain.id)
        else:
            self._log.warn("rule chain {chain} takes too long", chain=job.chain.id)
        job.task.failed = True
        self._conclude(job, None, status, self._clock.seconds() - began)

    def _conclude(self, job: _Job, outcome: Run | None, status: str, seconds: float) -> None:
        task, chain, trigger = job.task, job.chain, job.task.trigger
        self._events.publish(
            RuleRan(
                chain.id,
                chain.organization_id,
                chain.shadow,
                trigger.kind,
                _detail(trigger),
                status,
                Instant.of(self._clock.seconds()),
                seconds,
                outcome,
                chain.counts,
            )
        )
        task.failed = task.failed or status == "failure"
        self._finish(task)

    def _finish(self, task: _Task) -> None:
        task.left -= 1
        if not task.left:
            self._done(task)

    def _done(self, task: _Task) -> None:
        self._queue.done(task.failed)
        if task.trigger.id is not None:
            self._forget_soon(task.trigger.id)

    # ---- what is finished

    def _forget_soon(self, trigger_id: int) -> None:
        self._finished.append(trigger_id)
        if self._forgetting is None and not self._stopped:
            self._forgetting = self._clock.callLater(_FORGET_AFTER, self._forget)

    def _forget(self) -> None:
        self._forgetting = None
        if self._finished:
            finished, self._finished = self._finished, []
            # Through the writer, behind what the effects have put there: their announcements.
            self._database.writer.submit(Unit(((FINISHED, finished),), self._forgotten))

    def _forgotten(self, error: RowRefused | None) -> None:
        if error is not None:
            self._log.error("finished rule triggers stay: {error}", error=error)


def _detail(trigger: Trigger) -> dict[str, Any]:
    if trigger.kind == SCHEDULE:
        return {"at": trigger.at}
    key = "telemetryDataId" if trigger.kind == READING else "deviceId"
    return {
        key: trigger.source_id,
        "name": trigger.name,
        "value": trigger.value,
        "at": trigger.at,
        "depth": trigger.depth,
    }
