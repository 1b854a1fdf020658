"""Runs chains at the times of their cron expressions (spec/rule-engine.md section 7).

The clock of the time zone counts: a time that the start of summer time leaves out is made up right
after the gap, one that its end brings twice counts once if the expression names the hour, and each
time if it is every hour or minute. What was due while the server did not run is left out: the next
time that lies ahead is the next.
"""

from __future__ import annotations

from cronsim import CronSim
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.services.events import Events, RulesChanged
from aemos.services.rules.cron import instant, times
from aemos.services.rules.engine import Engine
from aemos.services.rules.rulebook import SCHEDULED, Chain, Rulebook

_LOOK_EVERY = 60.0  # seconds at most: somebody may set the clock of the machine


class Schedules:
    """One timer for the next time of all chains; changes count at once."""

    _log = Logger()

    def __init__(self, book: Rulebook, engine: Engine, events: Events, clock: IReactorTime) -> None:
        self._book, self._engine, self._clock = book, engine, clock
        self._due: dict[int, tuple[Instant, CronSim]] = {}
        self._timer: IDelayedCall | None = None
        self._running = False
        events.subscribe(RulesChanged, self._changed)

    def __len__(self) -> int:
        return len(self._due)

    def start(self) -> None:
        """Begin to run what is due from now on."""
        self._running = True
        for chain_id, chain in self._book.chains.items():
            self._plan(chain_id, chain)
        self._wake_up()

    def stop(self) -> None:
        """Run nothing any more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _changed(self, event: RulesChanged) -> None:
        if not self._running:
            return
        for chain_id in event.chain_ids:
            self._due.pop(chain_id, None)
            chain = self._book.chains.get(chain_id)
            if chain is not None:
                self._plan(chain_id, chain)
        self._wake_up()

    def _plan(self, chain_id: int, chain: Chain) -> None:
        row = chain.row
        expression = row["cronExpression"]
        wanted = row["scheduleEnabled"] and expression and row["executionType"] in SCHEDULED
        if chain.off or not wanted:
            return
        try:
            self._next(chain_id, times(expression, row["timezone"] or "UTC", self._now()))
        except BadRequest as error:  # an adopted database may hold anything
            self._log.warn(
                "rule chain {chain} has no schedule: {error}", chain=chain_id, error=error
            )

    def _next(self, chain_id: int, ahead: CronSim) -> None:
        """Note the next time that is not over; an expression may have none."""
        now = self._now()
        self._due.pop(chain_id, None)
        for moment in ahead:
            at = instant(moment)
            if at > now:
                self._due[chain_id] = at, ahead
                return

    def _wake_up(self) -> None:
        """Run what is due, and set the timer for what comes next."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        now = self._now()
        for chain_id, (at, ahead) in list(self._due.items()):
            if at <= now:
                self._engine.due(chain_id, at)
                self._next(chain_id, ahead)
        if self._due:
            first = min(at for at, _ in self._due.values())
            delay = min(max(0, first - now) / 1000, _LOOK_EVERY)
            self._timer = self._clock.callLater(delay, self._wake_up)

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())
