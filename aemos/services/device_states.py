"""The states that devices have, for every door (spec/http-api.md section 4.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from aemos.errors import Conflict, DuplicateRow, NotFound
from aemos.model import Principal
from aemos.services import access
from aemos.services.events import Events, IdentityChanged
from aemos.storage import device_states, devices
from aemos.storage.database import Database
from aemos.storage.places import DEVICES
from aemos.storage.transaction import Row, Transaction

T = TypeVar("T")


@attrs.define
class DeviceStates:
    """Lists, makes, changes and retires states; rights are those on their devices.

    A state on its way out has a `device` (name, uuid), except where it was just made.
    """

    _database: Database
    _events: Events

    async def of_device(self, by: Principal, device_id: int) -> list[Row]:
        """@return: the states of every status; nothing for a device that does not exist.

        @raise Forbidden: no device.view in the organization of the device.
        """
        access.require_somewhere(by, "device.view")

        def read(tx: Transaction) -> list[Row]:
            device = devices.find(tx, device_id)
            if device is None:
                return []
            access.require(by, "device.view", DEVICES.owner(tx, device_id))
            return [_shown(row, device) for row in device_states.of_devices(tx, [device_id])]

        return await self._database.read(read)

    async def get(self, by: Principal, state_id: int) -> Row:
        """@raise: as `state_for`."""
        return await self._database.read(
            lambda tx: _shown(*state_for(tx, by, "device.view", state_id))
        )

    async def create(self, by: Principal, device_id: int, values: Mapping[str, Any]) -> Row:
        """@param values: columns of DeviceState; `stateName` and `dataType` must be there.

        @raise NotFound: no such device. @raise Forbidden: no device.update in its organization.
        @raise Conflict: the device has a state of that name, of whatever status.
        """

        def write(tx: Transaction) -> tuple[Row, Row]:
            device = device_for(tx, by, "device.update", device_id)
            state_id = device_states.create(tx, {**values, "deviceId": device_id})
            return device, _existing(tx, state_id)

        device, state = await self._transact(write, values)
        self._announce(device)
        return state

    async def change(self, by: Principal, state_id: int, changes: Mapping[str, Any]) -> Row:
        """@raise NotFound, Forbidden: as `state_for`. @raise Conflict: as `create`."""

        def write(tx: Transaction) -> tuple[Row, Row]:
            _, device = state_for(tx, by, "device.update", state_id)
            device_states.change(tx, state_id, changes)
            return device, _shown(_existing(tx, state_id), device)

        device, state = await self._transact(write, changes)
        self._announce(device)
        return state

    async def retire(self, by: Principal, state_id: int) -> None:
        """Set a state `inactive`; its values stay. @raise NotFound, Forbidden: as `state_for`."""

        def write(tx: Transaction) -> None:
            state_for(tx, by, "device.update", state_id)
            device_states.change(tx, state_id, {"status": "inactive"})

        await self._database.transact(write)

    def _announce(self, device: Row) -> None:
        if device["uuid"]:
            self._events.publish(IdentityChanged(device["uuid"]))

    async def _transact(self, write: Callable[[Transaction], T], values: Mapping[str, Any]) -> T:
        try:
            return await self._database.transact(write)
        except DuplicateRow:
            name = values.get("stateName")
            raise Conflict(f"State '{name}' already exists for this device") from None


def device_for(tx: Transaction, by: Principal, permission: str, device_id: int) -> Row:
    """Find a device that `by` holds `permission` for.

    @raise NotFound: there is none. @raise Forbidden: not held in the organization that owns it.
    """
    access.require_somewhere(by, permission)
    device = devices.find(tx, device_id)
    if device is None:
        raise NotFound("Device not found")
    access.require(by, permission, DEVICES.owner(tx, device_id))
    return device


def state_for(tx: Transaction, by: Principal, permission: str, state_id: int) -> tuple[Row, Row]:
    """Find a state of a device that `by` holds `permission` for.

    @return: the state and its device.
    @raise NotFound: there is none. @raise Forbidden: not held in the organization that owns it.
    """
    access.require_somewhere(by, permission)
    state = _existing(tx, state_id)
    return state, device_for(tx, by, permission, state["deviceId"])


def _existing(tx: Transaction, state_id: int) -> Row:
    state = device_states.find(tx, state_id)
    if state is None:
        raise NotFound("Device state not found")
    return state


def _shown(state: Row, device: Row) -> Row:
    return {**state, "device": {"name": device["name"], "uuid": device["uuid"]}}
