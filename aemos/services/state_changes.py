"""Changes what states of devices are at, and tells how they were (spec/http-api.md section 4.6)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from aemos import json
from aemos.errors import BadRequest, NotFound
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.command_form import Limit
from aemos.services.device_states import state_for
from aemos.services.events import DeviceStateChanged, Events
from aemos.services.order_intake import order_state
from aemos.storage import device_states, devices
from aemos.storage.database import Database
from aemos.storage.places import DEVICES
from aemos.storage.rule_triggers import TRIGGERS, Trigger
from aemos.storage.transaction import Row, Transaction

Follow = Callable[[int, str, str, Instant, int], Trigger | None]
"""Asked with device, state, new value, time and depth, in the thread of the transaction: what rule
chains make of the change, stored with it; None = nothing."""

_ALARMING = re.compile("error|fault|alarm|emergency|critical", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


def nobody_follows(*change: object) -> Trigger | None:
    """The `Follow` of a server without rules."""
    return None


@attrs.define
class StateChanges:
    """Gives states new values, each in one transaction, and publishes `DeviceStateChanged`.

    A state of any status takes values (Compat).
    """

    _database: Database
    _events: Events
    _follow: Follow = nobody_follows

    async def set_by_name(
        self,
        by: Principal,
        device_uuid: str,
        state_name: str,
        value: str,
        initiated_by: str,
        limit: Limit | None = None,
    ) -> Row:
        """@param value: text, one of the allowed values if the state has any.

        @param limit: for how long the value may stay (`services.fail_safe`).
        @return: the new instance. @raise NotFound: no such device, or no such state of it.
        @raise Forbidden: no device.update in the organization of the device.
        @raise BadRequest: the value is not allowed, or nothing says which one follows it.
        """

        def write(tx: Transaction) -> tuple[Row, DeviceStateChanged]:
            device = devices.find_by_uuid(tx, device_uuid)
            if device is None:
                raise NotFound("Device not found")
            access.require(by, "device.update", DEVICES.owner(tx, device["id"]))
            state = _named(tx, device, state_name)
            return self._set(tx, device, state, value, initiated_by, by.id, limit=limit)

        access.require_somewhere(by, "device.update")
        return await self._publish(write)

    async def set_by_id(
        self,
        by: Principal,
        device_id: int,
        state_id: int,
        value: str,
        limit: Limit | None = None,
    ) -> Row:
        """As `set_by_name` for a user, with the ids of the device and its state."""

        def write(tx: Transaction) -> tuple[Row, DeviceStateChanged]:
            state, device = state_for(tx, by, "device.update", state_id)
            if device["id"] != device_id:
                raise NotFound("Device state not found")
            return self._set(tx, device, state, value, "user", by.id, limit=limit)

        return await self._publish(write)

    def set_by_rule(
        self,
        tx: Transaction,
        organization_id: int | None,
        device_uuid: str,
        state_name: str,
        value: str,
        rule: Mapping[str, Any],
        depth: int,
        only_new: bool,
        limit: Limit | None = None,
    ) -> DeviceStateChanged | None:
        """As `set_by_name` for a rule chain, which reaches the devices of its organization only.

        Within a transaction of the caller, who publishes the event after its commit.

        @param rule: `ruleChainId`, `ruleChainName` and `nodeId`, for `DeviceStateChanged`.
        @param depth: how many rule actions led here, this one included.
        @param only_new: leave the state alone if it has this value.
        @return: None = it was left alone. @raise: as `set_by_name`.
        """
        device = devices.find_by_uuid(tx, device_uuid)
        if device is None or organization_id is None:
            raise NotFound("Device not found")
        if DEVICES.owner(tx, device["id"]) != organization_id:
            raise NotFound("Device not found")
        state = _named(tx, device, state_name)
        if only_new:
            now = device_states.current(tx, [state["id"]]).get(state["id"])
            if now is not None and now["value"] == value:
                return None
        return self._set(tx, device, state, value, "rule_chain", None, rule, depth, limit)[1]

    def set_within(
        self, tx: Transaction, device: Row, state: Row, value: str, initiated_by: str
    ) -> DeviceStateChanged:
        """Set a state within a transaction of the caller, who publishes the event after its commit.

        For what is no new order: a device reports it, or the time of an order is over.
        @raise BadRequest: the value is not allowed.
        """
        return self._set(tx, device, state, value, initiated_by, None, ordered=False)[1]

    async def current(self, by: Principal, state_id: int) -> Row | None:
        """@return: the open instance with its `state` and that one's `device`.

        @raise NotFound, Forbidden: as `device_states.state_for`, for device.view.
        """

        def read(tx: Transaction) -> Row | None:
            state, device = state_for(tx, by, "device.view", state_id)
            instance = device_states.current(tx, [state_id]).get(state_id)
            return None if instance is None else _shown(instance, state, device)

        return await self._database.read(read)

    async def history(self, by: Principal, state_id: int, limit: int) -> list[Row]:
        """@return: the newest instances, newest first, each as `current` gives it.

        @raise NotFound, Forbidden: as `current`.
        """

        def read(tx: Transaction) -> list[Row]:
            state, device = state_for(tx, by, "device.view", state_id)
            rows = device_states.history(tx, state_id, limit)
            return [_shown(row, state, device) for row in rows]

        return await self._database.read(read)

    def _set(
        self,
        tx: Transaction,
        device: Row,
        state: Row,
        value: str,
        initiated_by: str,
        initiator_id: int | None,
        rule: Mapping[str, Any] | None = None,
        depth: int = 0,
        limit: Limit | None = None,
        ordered: bool = True,
    ) -> tuple[Row, DeviceStateChanged]:
        allowed = _allowed(state)
        if allowed and value not in allowed:
            raise BadRequest(
                f"Value '{value}' is not allowed for this state."
                f" Allowed values: {', '.join(allowed)}"
            )
        before, instance = device_states.replace(tx, state["id"], value, initiated_by, initiator_id)
        old = None if before is None else before["value"]
        critical = bool(device["isCritical"])
        at: Instant = instance["fromTimestamp"]
        trigger = None
        if old != value:  # a value that stays as it is sets nothing off: rules could go round in it
            trigger = self._follow(device["id"], state["stateName"], value, at, depth)
            if trigger is not None:
                TRIGGERS.store(tx, [trigger])
        owner = DEVICES.owner(tx, device["id"])
        change = None
        if ordered:
            change = order_state(tx, device, state, owner, value, at, limit, allowed)
        begun = None if change is None else change.begun
        event = DeviceStateChanged(
            device_id=device["id"],
            device_uuid=device["uuid"],
            device_name=device["name"],
            device_type=device["deviceType"],
            critical=critical,
            organization_id=owner,
            state=state["stateName"],
            old=old,
            new=value,
            initiated_by=initiated_by,
            initiator_id=initiator_id,
            priority=priority_of(state["stateName"], critical, old, value),
            at=at,
            rule=rule,
            trigger=trigger,
            timer=change,
            max_on=None if begun is None else begun["max_on"],
            stop_at=None if begun is None else begun["stop_at"],
        )
        return instance, event

    async def _publish(self, write: Callable[[Transaction], tuple[Row, DeviceStateChanged]]) -> Row:
        instance, event = await self._database.transact(write)
        self._events.publish(event)
        return instance


def priority_of(state_name: str, critical: bool, old: str | None, new: str) -> str:
    """Tell how urgent a change is (spec/notifications-metrics.md section 2).

    @return: `high` for a critical device, an alarming name, a first value, a number that moved by
        more than half, or any other text than before; else `normal`.
    """
    if critical or old is None or _ALARMING.search(state_name):
        return "high"
    before, after = _number(old), _number(new)
    if before is None or after is None or before == 0:
        return "high" if old != new else "normal"
    return "high" if abs((after - before) / before) > 0.5 else "normal"


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _named(tx: Transaction, device: Row, state_name: str) -> Row:
    state = device_states.find_by_name(tx, device["id"], state_name)
    if state is None:
        raise NotFound(f"State '{state_name}' not found for this device")
    return state


def _allowed(state: Row) -> list[str]:
    """@return: the allowed values; none = all, which goes for what is no list, too."""
    try:
        values = json.decode(state["allowedValues"] or "null")
    except json.MalformedJson:
        return []
    if not isinstance(values, list):
        return []
    return [json.text(value) for value in values if isinstance(value, (str, int, float))]


def _shown(instance: Row, state: Row, device: Row) -> Row:
    brief = {"name": device["name"], "uuid": device["uuid"]}
    return {**instance, "state": {**state, "device": brief}}
