"""Sensors and the areas they lie in, for every door (spec/http-api.md section 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs

from aemos.errors import BadRequest, DuplicateRow, Forbidden, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.areas import random_uuid
from aemos.services.events import Events, IdentityChanged
from aemos.services.placement import area_of, given_of, placed
from aemos.storage import sensors, variables
from aemos.storage.database import Database
from aemos.storage.listing import ALL, Listed, Listing
from aemos.storage.places import SENSORS
from aemos.storage.transaction import Row, Transaction

T = TypeVar("T")

_UUID_TAKEN = 'A unique constraint was violated: "uuid" is in use'


@attrs.define
class Sensors:
    """Lists, makes, changes and retires sensors; every call says for whom.

    A sensor on its way out has, beside its columns, `areaId`, `area` (id, name), `organizationId`
    and `organization` (id, name) of its place, null when it lies in no area, and what `show` adds.
    """

    _database: Database
    _events: Events
    _new_uuid: Callable[[], str] = random_uuid
    _show: Callable[[Row], Row] = dict  # adds what is known beside the database

    async def listed(
        self,
        by: Principal,
        organization_id: int | None,
        area_id: int | None = None,
        listing: Listing = ALL,
    ) -> Listed:
        """@param area_id: only those in this area of the organization.

        @return: the sensors of one organization, of every status; a System Admin who names no
            organization gets an empty list (Compat).
        @raise Forbidden: not a member of the organization, or no sensor.view there.
        """
        access.require_member(by, organization_id)
        if organization_id is None:
            return Listed([])
        access.require(by, "sensor.view", organization_id)

        def read(tx: Transaction) -> Listed:
            found = sensors.listed(tx, organization_id, area_id, listing)
            return found.map(partial(placed, tx, SENSORS))

        found: Listed = await self._database.read(read)
        return found.map(lambda rows: [self._show(row) for row in rows])

    async def of_organization(
        self, by: Principal, organization_id: int, listing: Listing = ALL
    ) -> Listed:
        """@return: the sensors of one organization. @raise Forbidden: no sensor.view there."""
        access.require_here(by, "sensor.view", organization_id)
        return await self.listed(by, organization_id, listing=listing)

    async def get(self, by: Principal, sensor_id: int, stated: int | None) -> Row:
        """@param stated: the organization that the caller says owns the sensor (rule OWN).

        @return: the sensor with its variables as `TelemetryData`.
        @raise NotFound, Forbidden, BadRequest: as `access.require_owned`.
        """

        def read(tx: Transaction) -> Row:
            row = _owned(tx, by, "sensor.view", sensor_id, stated)
            return {
                **placed(tx, SENSORS, [row])[0],
                "TelemetryData": variables.of_sensor(tx, sensor_id),
            }

        return self._show(await self._database.read(read))

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """Make a sensor; a uuid is generated when none is given, the status is `pending` then.

        @param values: columns of Sensor by name, and `areaId`. Without an area only a System Admin
            reaches the sensor later.
        @raise Forbidden: no sensor.create in the organization of the area (anywhere, without area).
        @raise NotFound: no such area. @raise BadRequest: the uuid is in use.
        """
        access.require_somewhere(by, "sensor.create")
        row = {"uuid": self._new_uuid(), "status": "pending", **given_of(values)}
        area_id = row.pop("areaId", None)

        def write(tx: Transaction) -> Row:
            owner = None
            if area_id is not None:
                owner = area_of(tx, area_id)["organizationId"]
                access.require(by, "sensor.create", owner)
            _check_uuid(tx, row["uuid"], owner)
            sensor_id = sensors.create(tx, row)
            if area_id is not None:
                SENSORS.put(tx, sensor_id, area_id)
            return _whole(tx, sensor_id)

        created = await self._transact(write)
        self._announce(created["uuid"])
        return self._show(created)

    async def change(
        self, by: Principal, sensor_id: int, stated: int | None, changes: Mapping[str, Any]
    ) -> Row:
        """Change some columns; another `areaId` moves the sensor within its organization.

        @raise NotFound, Forbidden, BadRequest: as `create` and `access.require_owned`; Forbidden
            too when the area belongs to another organization (a System Admin may move it there);
            BadRequest when the uuid is in use, there by a device of another organization too.
        """
        given = given_of(changes)
        area_id = given.pop("areaId", None)

        def write(tx: Transaction) -> tuple[Row, Row]:
            before = _owned(tx, by, "sensor.update", sensor_id, stated)
            place = SENSORS.of(tx, [sensor_id]).get(sensor_id, {})
            owner = was = place.get("organizationId")
            if area_id is not None and area_id != place.get("id"):
                owner = area_of(tx, area_id)["organizationId"]
                if not by.administrator and owner != stated:
                    raise Forbidden("Forbidden: the area belongs to another organization")
                SENSORS.put(tx, sensor_id, area_id)
            uuid = given.get("uuid", before["uuid"])
            if uuid and (uuid, owner) != (before["uuid"], was):
                _check_uuid(tx, uuid, owner, sensor_id)
            sensors.change(tx, sensor_id, given)
            return before, _whole(tx, sensor_id)

        before, after = await self._transact(write)
        self._announce(before["uuid"], after["uuid"])
        return self._show(after)

    async def retire(self, by: Principal, sensor_id: int, stated: int | None) -> None:
        """Set a sensor `inactive`; it and its readings stay stored. Doing it twice is no error.

        @raise NotFound, Forbidden, BadRequest: as `access.require_owned`.
        """

        def write(tx: Transaction) -> Row:
            row = _owned(tx, by, "sensor.delete", sensor_id, stated)
            sensors.change(tx, sensor_id, {"status": "inactive"})
            return row

        self._announce((await self._database.transact(write))["uuid"])

    async def _transact(self, write: Callable[[Transaction], T]) -> T:
        try:
            return await self._database.transact(write)
        except DuplicateRow:
            raise BadRequest(_UUID_TAKEN) from None

    def _announce(self, *uuids: str | None) -> None:
        for uuid in dict.fromkeys(uuids):
            if uuid:
                self._events.publish(IdentityChanged(uuid))


def _whole(tx: Transaction, sensor_id: int) -> Row:
    row = sensors.find(tx, sensor_id)
    if row is None:
        raise NotFound(f"Sensor with ID {sensor_id} not found")
    return placed(tx, SENSORS, [row])[0]


def _owned(
    tx: Transaction, by: Principal, permission: str, sensor_id: int, stated: int | None
) -> Row:
    row = sensors.find(tx, sensor_id)
    owner = None if row is None else sensors.owner(tx, sensor_id)
    access.require_owned(by, permission, stated, found=row is not None, owner=owner)
    if row is None:
        raise NotFound(f"Sensor with ID {sensor_id} not found")
    return row


def _check_uuid(tx: Transaction, uuid: str, owner: int | None, own_id: int | None = None) -> None:
    """Refuse a uuid that names something else already.

    An adopted database with duplicates has no unique index: then this alone keeps the rule. A
    device may share the uuid of a sensor only within one organization: on MQTT the sensor would
    speak for it.
    """
    holder = sensors.find_by_uuid(tx, uuid)
    if holder is not None and holder["id"] != own_id:
        raise BadRequest(_UUID_TAKEN)
    devices_of = sensors.device_owners(tx, uuid)
    if devices_of and (owner is None or devices_of != {owner}):
        raise BadRequest(_UUID_TAKEN)
