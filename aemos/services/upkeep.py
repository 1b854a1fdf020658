"""Work that comes round: forgetting what is old, looking for foreign changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aemos.config.schema import Settings
from aemos.errors import StorageUnavailable
from aemos.model import Instant
from aemos.services.catalogue import Catalogue
from aemos.services.retention import Retention
from aemos.storage import (
    alarms,
    audit_log,
    commands,
    deliveries,
    ledger,
    notifications,
    readings,
)
from aemos.storage.database import Database

_MINUTE = 60.0
_HOUR = 3600.0
_AT_ONCE = 1000  # commands in a transaction
_DAY = 86_400_000  # milliseconds
_AUDIT_ENTRIES = 1000  # forgotten in one transaction
_ALARMS = 500  # forgotten in one transaction


class Upkeep:
    """Runs each job again and again; a job that fails is logged and comes round again."""

    _log = Logger()

    def __init__(
        self, database: Database, catalogue: Catalogue, settings: Settings, clock: IReactorTime
    ) -> None:
        self._database, self._clock, self._settings = database, clock, settings
        self._retention = retention = Retention(database, settings.database, clock)
        self._jobs: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("forgetting old keys of readings", _MINUTE, self._forget_keys),
            ("cutting the ledger", _MINUTE, self._cut_ledger),
            ("forgetting old commands", _HOUR, self._forget_commands),
            ("forgetting old alarms", _MINUTE, self._forget_alarms),
            ("cutting the audit log", _MINUTE, self._cut_audit_log),
            ("rolling up old readings", settings.database.retention_interval, retention.apply),
        ]
        if not database.dialect.single_writer:
            refresh = settings.ingest.catalogue_refresh
            self._jobs.append(("looking for changed tokens", refresh, catalogue.sweep))
        self._running: list[LoopingCall] = []

    def start(self) -> None:
        """Begin; the first round comes after one period."""
        for name, period, job in self._jobs:
            call = LoopingCall(self._run, name, job)
            call.clock = self._clock
            self._running.append(call)
            call.start(period, now=False).addErrback(
                lambda failure: self._log.failure("upkeep ended", failure)
            )

    def stop(self) -> None:
        """End; a job that is running is left to finish."""
        self._retention.stop()
        for call in self._running:
            call.stop()
        self._running.clear()

    def _run(self, name: str, job: Callable[[], Awaitable[object]]) -> Deferred[object]:
        async def guarded() -> None:
            try:
                await job()
            except StorageUnavailable as error:
                self._log.debug("{job} is put off: {error}", job=name, error=error)
            except Exception:
                self._log.failure("{job} failed", job=name)

        return ensureDeferred(guarded())

    async def _forget_keys(self) -> None:
        age = self._settings.database.repeat_days * _DAY
        before = Instant(Instant.of(self._clock.seconds()) - age)
        await self._database.transact(readings.prune_keys, before)

    async def _forget_commands(self) -> None:
        age = self._settings.commands.keep_days * _DAY
        before = Instant(Instant.of(self._clock.seconds()) - age)
        while await self._database.transact(commands.prune, before, _AT_ONCE) == _AT_ONCE:
            pass

    async def _forget_alarms(self) -> None:
        age = self._settings.alarms.keep_days * _DAY
        before = Instant(Instant.of(self._clock.seconds()) - age)
        await self._database.transact(alarms.prune, before, _ALARMS)
        await self._database.transact(deliveries.prune, before, _ALARMS)
        await self._database.transact(notifications.prune, before, _ALARMS)

    async def _cut_audit_log(self) -> None:
        days = self._settings.database.audit_days
        if days:
            before = Instant(Instant.of(self._clock.seconds()) - days * _DAY)
            await self._database.transact(audit_log.prune, before, _AUDIT_ENTRIES)

    async def _cut_ledger(self) -> None:
        await self._database.transact(ledger.prune, self._settings.ingest.ledger_entries)
