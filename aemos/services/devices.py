"""Devices and the areas they lie in, for every door (spec/http-api.md section 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from aemos.errors import BadRequest, DuplicateRow, Forbidden, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.areas import random_uuid
from aemos.services.events import Events, IdentityChanged
from aemos.services.placement import area_of, given_of, placed
from aemos.storage import areas, device_states, devices
from aemos.storage.database import Database
from aemos.storage.listing import ALL, Listed, Listing
from aemos.storage.places import DEVICES
from aemos.storage.transaction import Row, Transaction

T = TypeVar("T")

_UUID_TAKEN = 'A unique constraint was violated: "uuid" is in use'
_OTHER_AREA = "Forbidden: the area belongs to another organization"


@attrs.define
class Devices:
    """Lists, makes, changes and retires devices; every call says for whom.

    A device on its way out has, beside its columns, `areaId`, `area` (id, name), `organizationId`
    and `organization` (id, name) of its place, null when it lies in no area, and what `show` adds.
    Where it comes with its `states`, each has `instances`, a list of the open instance or of
    nothing.
    """

    _database: Database
    _events: Events
    _new_uuid: Callable[[], str] = random_uuid
    _show: Callable[[Row], Row] = dict  # adds what is known beside the database

    async def listed(
        self,
        by: Principal,
        organization_id: int,
        area_id: int | None = None,
        listing: Listing = ALL,
    ) -> Listed:
        """@param area_id: only those in this area of the organization.

        @return: the devices of one organization, of every status, with their states.
        @raise Forbidden: not a member of the organization, or no device.view there.
        """
        access.require_member(by, organization_id)
        access.require(by, "device.view", organization_id)

        def read(tx: Transaction) -> Listed:
            found = devices.listed(tx, organization_id, area_id, listing)
            return found.map(lambda rows: _with_states(tx, placed(tx, DEVICES, rows)))

        found: Listed = await self._database.read(read)
        return found.map(lambda rows: [self._show(row) for row in rows])

    async def get(self, by: Principal, device_id: int, stated: int | None) -> Row:
        """@param stated: the organization that the caller says owns the device (rule OWN).

        @return: the device with its states. @raise: as `access.require_owned`.
        """

        def read(tx: Transaction) -> Row:
            row = _owned(tx, by, "device.view", device_id, stated)
            return _with_states(tx, placed(tx, DEVICES, [row]))[0]

        return self._show(await self._database.read(read))

    async def create(self, by: Principal, values: Mapping[str, Any]) -> Row:
        """Make a device; the status is `pending` if none is given.

        A uuid that is given is kept if it is free; otherwise one is generated, as the original did
        in any case.

        @param values: columns of Device by name, and `organizationId`, `areaId`, and in
            `defaultState` the name of a state to begin with. Without an area only a System Admin
            reaches the device later.
        @raise Forbidden: no device.create in the organization, or the area belongs to another.
        @raise NotFound: no such organization or area.
        """
        given = given_of(values)
        organization_id: int = given.pop("organizationId")
        area_id, state = given.pop("areaId", None), given.pop("defaultState", None)
        access.require(by, "device.create", organization_id)

        def write(tx: Transaction) -> Row:
            if not areas.organization_exists(tx, organization_id):
                raise NotFound(f"Organization with ID {organization_id} not found")
            owner = None
            if area_id is not None:
                owner = area_of(tx, area_id)["organizationId"]
                if owner != organization_id:
                    raise Forbidden(_OTHER_AREA)
            row = {"status": "pending", **given}
            if "uuid" not in given or _uuid_taken(tx, given["uuid"], owner):
                row["uuid"] = self._new_uuid()
            device_id = devices.create(tx, row)
            if area_id is not None:
                DEVICES.put(tx, device_id, area_id)
            if state:
                _begin_state(tx, device_id, state)
            return _whole(tx, device_id)

        created = await self._transact(write)
        self._announce(created["uuid"])
        return self._show(created)

    async def change(
        self, by: Principal, device_id: int, stated: int | None, changes: Mapping[str, Any]
    ) -> Row:
        """Change some columns; another `areaId` moves the device within its organization.

        @param changes: as `create` takes them, without `organizationId`. A `defaultState` is made
            if it is missing, and takes its default value; nobody is told (Compat).
        @raise NotFound, Forbidden, BadRequest: as `create` and `access.require_owned`; Forbidden
            too when the area belongs to another organization (a System Admin may move it there);
            BadRequest when the uuid is in use.
        """
        given = given_of(changes)
        area_id, state = given.pop("areaId", None), given.pop("defaultState", None)

        def write(tx: Transaction) -> tuple[Row, Row]:
            before = _owned(tx, by, "device.update", device_id, stated)
            place = DEVICES.of(tx, [device_id]).get(device_id, {})
            owner = was = place.get("organizationId")
            if area_id is not None and area_id != place.get("id"):
                owner = area_of(tx, area_id)["organizationId"]
                if not by.administrator and owner != stated:
                    raise Forbidden(_OTHER_AREA)
                DEVICES.put(tx, device_id, area_id)
            uuid = given.get("uuid", before["uuid"])
            moved = (uuid, owner) != (before["uuid"], was)
            if moved and uuid and _uuid_taken(tx, uuid, owner, device_id):
                raise BadRequest(_UUID_TAKEN)
            devices.change(tx, device_id, given)
            if state:
                _begin_state(tx, device_id, state)
            return before, _whole(tx, device_id)

        before, after = await self._transact(write)
        self._announce(before["uuid"], after["uuid"])
        return self._show(after)

    async def retire(self, by: Principal, device_id: int, stated: int | None) -> None:
        """Set a device `inactive`; it and its states stay stored. Doing it twice is no error.

        @raise NotFound, Forbidden, BadRequest: as `access.require_owned`.
        """

        def write(tx: Transaction) -> Row:
            row = _owned(tx, by, "device.delete", device_id, stated)
            devices.change(tx, device_id, {"status": "inactive"})
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


def _with_states(tx: Transaction, rows: Sequence[Row]) -> list[Row]:
    states = device_states.of_devices(tx, [row["id"] for row in rows])
    current = device_states.current(tx, [state["id"] for state in states])
    of_device: dict[int, list[Row]] = {}
    for state in states:
        instance = current.get(state["id"])
        shown = {**state, "instances": [] if instance is None else [instance]}
        of_device.setdefault(state["deviceId"], []).append(shown)
    return [{**row, "states": of_device.get(row["id"], [])} for row in rows]


def _whole(tx: Transaction, device_id: int) -> Row:
    row = devices.find(tx, device_id)
    if row is None:
        raise NotFound(f"Device with ID {device_id} not found")
    return placed(tx, DEVICES, [row])[0]


def _owned(
    tx: Transaction, by: Principal, permission: str, device_id: int, stated: int | None
) -> Row:
    row = devices.find(tx, device_id)
    owner = None if row is None else DEVICES.owner(tx, device_id)
    access.require_owned(by, permission, stated, found=row is not None, owner=owner)
    if row is None:
        raise NotFound(f"Device with ID {device_id} not found")
    return row


def _uuid_taken(tx: Transaction, uuid: str, owner: int | None, own_id: int | None = None) -> bool:
    """Tell whether a uuid names something else already.

    An adopted database with duplicates has no unique index: then this alone keeps the rule. A
    device may share the uuid of a sensor only within one organization: on MQTT the sensor would
    speak for it.
    """
    holder = devices.find_by_uuid(tx, uuid)
    if holder is not None and holder["id"] != own_id:
        return True
    sensors_of = devices.sensor_owners(tx, uuid)
    return bool(sensors_of) and (owner is None or sensors_of != {owner})


def _begin_state(tx: Transaction, device_id: int, name: str) -> None:
    """Put the state of this name, made if it is missing, to its default value."""
    state = device_states.find_by_name(tx, device_id, name)
    if state is None:
        device = _whole(tx, device_id)
        default = "false" if device["deviceType"] == "actuator" else ""
        values = {"deviceId": device_id, "stateName": name, "dataType": "string"}
        state_id = device_states.create(tx, {**values, "defaultValue": default, "status": "active"})
    else:
        state_id, default = state["id"], state["defaultValue"] or ""
    device_states.replace(tx, state_id, default, "system", None)
