"""How long readings are kept: policies of organizations and variables, and the work they cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from aemos.config.schema import Database as Settings
from aemos.errors import BadRequest, Conflict, DuplicateRow, NotFound
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.storage import organizations, retention, rollups, sensors, variables
from aemos.storage.database import Database
from aemos.storage.retention import Due
from aemos.storage.transaction import Row, Transaction

_AT_ONCE = 1000  # rows of one transaction: on SQLite ingest waits for it, some ten milliseconds
_REST = 4  # the work rests for so many times as long as its last transaction took
_LEAST_REST = 0.05  # seconds


@attrs.define
class Policies:
    """Lists, makes, changes and deletes policies.

    To read one needs sensor.view in the organization that it concerns; to say what is deleted
    needs sensor.delete there.
    """

    _database: Database

    async def listed(self, by: Principal) -> list[Row]:
        """@return: the policies of the organizations, and of variables, that `by` may see."""

        def read(tx: Transaction) -> list[Row]:
            return [
                policy
                for policy in retention.listed(tx)
                if by.administrator or _may(by, "sensor.view", _owner(tx, policy))
            ]

        return await self._database.read(read)

    async def get(self, by: Principal, policy_id: int) -> Row:
        """@raise NotFound: no such policy. @raise Forbidden: no sensor.view there."""
        return await self._database.read(_policy_for, by, "sensor.view", policy_id)

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """@param values: `organization_id` or `telemetry_id`, and `raw_days`, `hourly_days`,
            `daily_days` (None = for ever).

        @raise BadRequest: neither or both, or days that do not grow from raw to daily.
        @raise NotFound: no such organization or variable. @raise Forbidden: no sensor.delete there.
        @raise Conflict: there is a policy for it.
        """
        if (values.get("organization_id") is None) == (values.get("telemetry_id") is None):
            raise BadRequest(
                'Invalid request body: either "organizationId" or "telemetryDataId" is required'
            )

        def write(tx: Transaction) -> Row:
            access.require(by, "sensor.delete", _owner(tx, values))
            _check(values)
            return _existing(tx, retention.create(tx, values))

        try:
            return await self._database.transact(write)
        except DuplicateRow:
            raise Conflict("There is a retention policy for it already") from None

    async def change(self, by: Principal, policy_id: int, changes: Mapping[str, Any]) -> Row:
        """@raise NotFound, Forbidden, BadRequest: as `create`."""

        def write(tx: Transaction) -> Row:
            policy = _policy_for(tx, by, "sensor.delete", policy_id)
            _check({**policy, **changes})
            retention.change(tx, policy_id, changes)
            return _existing(tx, policy_id)

        return await self._database.transact(write)

    async def delete(self, by: Principal, policy_id: int) -> None:
        """@raise NotFound: no such policy. @raise Forbidden: no sensor.delete there."""

        def write(tx: Transaction) -> None:
            _policy_for(tx, by, "sensor.delete", policy_id)
            retention.delete(tx, policy_id)

        await self._database.transact(write)


def _owner(tx: Transaction, policy: Mapping[str, Any]) -> int | None:
    """@return: the organization that a policy concerns. @raise NotFound: it, or its variable."""
    organization_id: int | None = policy.get("organization_id")
    if organization_id is not None:
        if organizations.find(tx, organization_id) is None:
            raise NotFound(f"Organization with ID {organization_id} not found")
        return organization_id
    variable = variables.find(tx, policy["telemetry_id"])
    if variable is None:
        raise NotFound(f"Telemetry data with ID {policy['telemetry_id']} not found")
    sensor_id: int | None = variable["sensorId"]
    return None if sensor_id is None else sensors.owner(tx, sensor_id)


def _may(by: Principal, permission: str, organization_id: int | None) -> bool:
    return organization_id is not None and by.may(permission, organization_id)


def _policy_for(tx: Transaction, by: Principal, permission: str, policy_id: int) -> Row:
    policy = _existing(tx, policy_id)
    access.require(by, permission, _owner(tx, policy))
    return policy


def _existing(tx: Transaction, policy_id: int) -> Row:
    row = retention.find(tx, policy_id)
    if row is None:
        raise NotFound(f"Retention policy with ID {policy_id} not found")
    return row


def _check(values: Mapping[str, Any]) -> None:
    raw, hourly, daily = (values.get(name) for name in ("raw_days", "hourly_days", "daily_days"))
    shortest = raw or 0
    for name, days in (("hourlyDays", hourly), ("dailyDays", daily)):
        if days is not None and days < shortest:
            raise BadRequest(f'Invalid request body: "{name}" must not be less than {shortest}')
        shortest = days or shortest


class Retention:
    """Does what the policies ask for and keeps a SQLite file within its size.

    Small transactions with rests between them: on SQLite they take turns with ingest in the one
    writer, so that a message waits for one of them at most.
    """

    _log = Logger()

    def __init__(self, database: Database, settings: Settings, clock: IReactorTime) -> None:
        self._database, self._clock = database, clock
        self._max_size = settings.max_size if database.dialect.name == "sqlite" else 0
        self._stopped = False
        self._resting: Deferred[None] | None = None

    def stop(self) -> None:
        """Let what runs end with its transaction."""
        self._stopped = True
        if self._resting is not None:
            self._resting.cancel()

    async def apply(self) -> None:
        """Roll up and delete all that is due, then what a SQLite file has no room for."""
        now = Instant.of(self._clock.seconds())
        for hours in (None, rollups.HOURLY, rollups.DAILY):
            if self._stopped:
                return
            for one in await self._database.read(retention.due, now, hours):
                await self._clear(one)
        if self._max_size and not self._stopped:
            await self._shrink()

    async def _clear(self, one: Due) -> None:
        if one.hours is not None:
            await self._all(rollups.forget_before, one.variable_id, one.hours, one.before)
            return
        done = await self._all(rollups.fold_before, one.variable_id, one.before)
        self._log.debug(
            "rolled up {count} readings of variable {id}", count=done, id=one.variable_id
        )

    async def _shrink(self) -> None:
        count = 0
        while not self._stopped and await self._used() > self._max_size:
            done = await self._step(rollups.fold_oldest)
            count += done
            if not done:
                self._log.warn(
                    "the database is larger than database.max_size, and no readings are left"
                    " that could be rolled up"
                )
                break
        if count:
            self._log.info(
                "rolled up the oldest {count} readings: the database had reached database.max_size",
                count=count,
            )

    async def _used(self) -> int:
        return await self._database.read(retention.used_bytes)

    async def _all(self, function: Callable[..., int], *args: Any) -> int:
        """Call until there is nothing left. @return: how many rows it was."""
        count = 0
        while not self._stopped:
            done = await self._step(function, *args)
            count += done
            if done < _AT_ONCE:
                break
        return count

    async def _step(self, function: Callable[..., int], *args: Any) -> int:
        began = self._clock.seconds()
        done = await self._database.transact(function, *args, _AT_ONCE)
        took = self._clock.seconds() - began
        self._resting = deferLater(self._clock, max(_LEAST_REST, _REST * took), lambda: None)
        try:
            await self._resting
        except CancelledError:
            pass  # stopped
        finally:
            self._resting = None
        return done
