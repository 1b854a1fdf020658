"""All parts of the alarms of one server, put together, with their common start and end."""

from __future__ import annotations

from typing import Any

from aemos.config.schema import Alarms as Settings
from aemos.services.alarms.definitions import AlarmDefinitions
from aemos.services.alarms.lifecycle import Alarms
from aemos.services.alarms.recorder import Recorder
from aemos.services.alarms.stuck_actuators import StuckActuators
from aemos.services.alarms.watch import Watch
from aemos.services.events import Events
from aemos.storage.database import Database


class AlarmMachinery:
    """`definitions` and `alarms` are what the routes ask; the rest works by itself."""

    def __init__(
        self, database: Database, events: Events, reactor: Any, settings: Settings
    ) -> None:
        """@param reactor: IReactorTime."""
        self.alarms = Alarms(database, events)
        self.recorder = Recorder(database, self.alarms, events, reactor)
        self.watch = Watch(database, events, self.recorder, reactor, settings)
        self.definitions = AlarmDefinitions(database, self.watch)
        self.stuck_actuators = StuckActuators(events, self.recorder, reactor)

    async def start(self) -> None:
        """Take up what is going on. @raise StorageUnavailable: the database cannot tell."""
        await self.watch.start()

    async def stop(self) -> None:
        """Judge and store what has come in."""
        await self.watch.stop()
        await self.recorder.stop()
