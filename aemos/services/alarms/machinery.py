"""All parts of the alarms of one server, put together, with their common start and end."""

from __future__ import annotations

from typing import Any

from aemos.config.alarms import Alarms as Settings
from aemos.services.alarms.channels import Channels
from aemos.services.alarms.definitions import AlarmDefinitions
from aemos.services.alarms.deliveries import Deliveries, Webhooks
from aemos.services.alarms.lifecycle import Alarms
from aemos.services.alarms.recorder import Recorder
from aemos.services.alarms.stuck_actuators import StuckActuators
from aemos.services.alarms.watch import Watch
from aemos.services.events import Events
from aemos.services.outbox import Outbox
from aemos.storage.database import Database


class AlarmMachinery:
    """`definitions`, `alarms` and `channels` are what the routes ask; the rest works by itself."""

    def __init__(
        self,
        database: Database,
        events: Events,
        outbox: Outbox,
        webhooks: Webhooks,
        reactor: Any,
        settings: Settings,
    ) -> None:
        """@param reactor: IReactorTime."""
        self.deliveries = Deliveries(database, events, outbox, webhooks, reactor, settings)
        self.channels = Channels(database, self.deliveries)
        self.alarms = Alarms(database, events)
        self.recorder = Recorder(database, self.alarms, events, reactor)
        self.watch = Watch(database, events, self.recorder, reactor, settings)
        self.definitions = AlarmDefinitions(database, self.watch)
        self.stuck_actuators = StuckActuators(events, self.recorder, reactor)

    async def start(self) -> None:
        """Take up what is going on. @raise StorageUnavailable: the database cannot tell."""
        await self.watch.start()
        self.deliveries.start()

    async def stop(self) -> None:
        """Judge and store what has come in."""
        await self.watch.stop()
        await self.recorder.stop()
        await self.deliveries.stop()
