"""From what somebody orders to a command that can be stored: targets, deadlines, what stops it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from aemos.config import schema
from aemos.errors import BadRequest, NotFound
from aemos.model import Instant, Principal, id_in
from aemos.services import access
from aemos.services.areas import random_uuid
from aemos.services.command_form import MAX_PAYLOAD, Limit, Order, payload, state_key
from aemos.storage import device_states, devices, sensors
from aemos.storage.commands import NewCommand, TimerChange, new_order
from aemos.storage.places import DEVICES, SENSORS
from aemos.storage.transaction import Row, Transaction


@attrs.frozen
class NewOrder:
    """What is ordered: `ttl` and `max_on` in seconds, `off` what is to be sent in the end."""

    command: str | Mapping[str, Any]
    parameters: Any = None
    ttl: float | None = None
    max_on: float | None = None
    off: Any = None
    qos: int = 2


@attrs.frozen
class Target:
    """Whom a command is for; `device_id` is None where a sensor has no device of its uuid."""

    uuid: str
    organization_id: int | None
    device_id: int | None


def target_of(tx: Transaction, by: Principal, permission: str, device: str) -> Target:
    """@param device: the uuid of a device or a sensor, or the id of a device.

    @raise NotFound: there is none. @raise Forbidden: `permission` is not held where it lies.
    """
    device_id = id_in(device)
    row = devices.find_by_uuid(tx, device) if device_id is None else devices.find(tx, device_id)
    places = DEVICES
    if row is None and device_id is None:
        row, places = sensors.find_by_uuid(tx, device), SENSORS
    if row is None or not row["uuid"]:
        raise NotFound("Device not found")
    owner = places.owner(tx, row["id"])
    access.require(by, permission, owner)
    return Target(row["uuid"], owner, row["id"] if places is DEVICES else None)


def prepare(
    tx: Transaction,
    target: Target,
    wanted: NewOrder,
    new_id: Callable[[], str],
    now: Instant,
    initiated_by: str,
    initiator_id: int | None,
    settings: schema.Commands,
) -> NewCommand:
    """@return: the command, ready to be stored in this transaction.

    @raise BadRequest: it lives too long, is too big, or nothing says what stops it.
    """
    if not wanted.command:
        raise BadRequest('"command" is empty')
    order = Order.of(wanted.command, wanted.parameters)
    default = None
    if order.state is not None and target.device_id is not None:
        state = device_states.find_by_name(tx, target.device_id, order.state[0])
        default = None if state is None else state["defaultValue"]
    stop = None if wanted.max_on is None else order.stop(wanted.off, default)
    deadline = Deadlines.of(wanted.ttl, wanted.max_on, now, settings)
    command_id = new_id()
    content = payload(
        target.uuid,
        command_id,
        order,
        now,
        initiated_by,
        expires_at=deadline.expires_at,
        max_on=wanted.max_on,
        stop_at=deadline.stop_at,
    )
    return ordered(
        target.uuid,
        target.organization_id,
        command_id,
        order,
        stop,
        deadline,
        content,
        wanted.qos,
        now,
        (initiated_by, initiator_id),
    )


@attrs.frozen
class Deadlines:
    """When a command is of no use any more, and when its effect must end."""

    expires_at: Instant
    max_on: float | None
    stop_at: Instant | None

    @classmethod
    def of(
        cls, ttl: float | None, max_on: float | None, now: Instant, settings: schema.Commands
    ) -> Deadlines:
        """@param ttl, max_on: seconds.

        @raise BadRequest: more than `commands.max_ttl`, or what `Limit` takes.
        """
        longest = settings.max_ttl
        if ttl is not None and not 0 < ttl <= longest:
            raise BadRequest(f'"ttl" must be more than 0 and at most {longest:g} seconds')
        if max_on is not None:
            max_on = Limit(max_on).max_on
        expires_at = Instant(now + round((settings.ttl if ttl is None else ttl) * 1000))
        if max_on is None:
            return cls(expires_at, None, None)
        # What had to stop by now must not begin any more.
        stop_at = Instant(now + round(max_on * 1000))
        return cls(min(expires_at, stop_at), max_on, stop_at)


def ordered(
    uuid: str,
    organization_id: int | None,
    command_id: str,
    order: Order,
    stop: Order | None,
    deadline: Deadlines,
    content: bytes,
    qos: int,
    now: Instant,
    initiator: tuple[str, int | None],
) -> NewCommand:
    """@return: the command that sends `content`, with the timer that it starts.

    @raise BadRequest: it is too big.
    """
    if len(content) > MAX_PAYLOAD:
        raise BadRequest(f"the command is longer than {MAX_PAYLOAD} bytes")
    actuator = order.actuator(stop)
    timer = None
    if stop is not None and deadline.max_on is not None and deadline.stop_at is not None:
        timer = timer_values(
            uuid, organization_id, actuator, stop, deadline.max_on, deadline.stop_at, now
        )
    state_name, state_value = order.state or (None, None)
    return NewCommand(
        {
            "command_id": command_id,
            "device_uuid": uuid,
            "organization_id": organization_id,
            "actuator": actuator,
            "stops": order.state is not None or not (timer or order.begins),
            "state_name": state_name,
            "state_value": state_value,
            "payload": content,
            "qos": qos,
            "initiated_by": initiator[0],
            "initiator_id": initiator[1],
            "max_on": deadline.max_on,
            "stop_at": deadline.stop_at,
            "created_at": now,
            "expires_at": deadline.expires_at,
        },
        timer,
    )


def timer_values(
    uuid: str,
    organization_id: int | None,
    actuator: str,
    stop: Order,
    max_on: float,
    stop_at: Instant,
    now: Instant,
    state_id: int | None = None,
) -> dict[str, Any]:
    """@param state_id: the state that the server itself sets in the end.

    @return: the columns of a timer that begins.
    """
    state_name, off_value = stop.state or (None, None)
    return {
        "device_uuid": uuid,
        "actuator": actuator,
        "organization_id": organization_id,
        "state_id": state_id,
        "state_name": state_name,
        "off_value": off_value,
        "stop": stop.body,
        "stop_id": random_uuid(),
        "max_on": max_on,
        "stop_at": stop_at,
        "created_at": now,
    }


def order_state(
    tx: Transaction,
    device: Row,
    state: Row,
    organization_id: int | None,
    value: str,
    at: Instant,
    limit: Limit | None,
    allowed: Collection[str],
) -> TimerChange | None:
    """Let an order to bring a state to a value take the place of the timer that the state has.

    @param allowed: the values that the state may have, none = all.
    @return: None = there was none, and there is none.
    @raise BadRequest: nothing says which value follows, or it is the one that is ordered, or none
        that the state may have.
    """
    name: str = state["stateName"]
    timer = None
    if limit is not None:
        order = Order.of({"stateName": name, "value": value})
        stop = order.stop(limit.off, state["defaultValue"])
        if allowed and stop.body["value"] not in allowed:
            raise BadRequest(f"Value '{stop.body['value']}' is not allowed for this state")
        timer = timer_values(
            device["uuid"],
            organization_id,
            state_key(name),
            stop,
            limit.max_on,
            Instant(at + round(limit.max_on * 1000)),
            at,
            state["id"],
        )
    change = new_order(tx, device["uuid"] or "", state_key(name), value, at, timer)
    return change if change.begun or change.ended else None
