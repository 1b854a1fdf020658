"""All parts of the rules of one server, put together, with their common start and end."""

from __future__ import annotations

from typing import Any

from aemos.config.rules import Rules
from aemos.services.events import Events
from aemos.services.rules.chains import RuleChains
from aemos.services.rules.effects import Effects
from aemos.services.rules.engine import Engine
from aemos.services.rules.evaluation import Evaluation
from aemos.services.rules.journal import Journal
from aemos.services.rules.queue import RuleQueue
from aemos.services.rules.replays import Replays
from aemos.services.rules.rulebook import Rulebook
from aemos.services.rules.runs import RuleRuns
from aemos.services.rules.schedules import Schedules
from aemos.services.rules.statistics import Statistics
from aemos.services.state_changes import StateChanges
from aemos.storage.database import Database


class RuleMachinery:
    """Rule chains as they are kept, run, scheduled and counted.

    `changes` is how everybody changes states of devices, since rules follow from that.
    """

    def __init__(self, database: Database, events: Events, reactor: Any, settings: Rules) -> None:
        """@param reactor: IReactorThreads and IReactorTime."""
        self.settings = settings
        self.book = Rulebook(database, events, reactor)
        self.queue: RuleQueue[Any] = RuleQueue(settings, reactor)
        self.changes = StateChanges(database, events, self.book.follow)
        self.effects = Effects(
            database, self.changes, events, reactor, self.queue, settings.suppress_unchanged
        )
        self.evaluation = Evaluation(reactor, settings)
        self.engine = Engine(
            database, self.book, self.queue, self.effects, self.evaluation, events, reactor
        )
        self.schedules = Schedules(self.book, self.engine, events, reactor)
        self.statistics = Statistics(database, self.book, events, reactor)
        self.journal = Journal(database, self.book, events)
        self.replays = Replays(database, self.evaluation, reactor, settings.replays)
        self.chains = RuleChains(database, self.book)
        self.runs = RuleRuns(
            database,
            self.effects,
            self.evaluation,
            self.queue,
            self.statistics,
            events,
            reactor,
            settings,
        )

    async def start(self) -> None:
        """Read the rules, take up what is left of an earlier process, begin with schedules.

        @raise StorageUnavailable: the database cannot tell.
        """
        await self.engine.start()
        self.schedules.start()

    async def stop(self) -> None:
        """Finish what has begun and write what was counted."""
        self.schedules.stop()
        await self.replays.stop()
        await self.engine.stop()
        await self.statistics.stop()
