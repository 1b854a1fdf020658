"""What commands say: the forms in which they are given, sent and shown, and what stops them.

Sources: spec/mqtt.md sections 5.5 and 6, docs/devices.rst.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from aemos import json
from aemos.errors import BadRequest
from aemos.model import Instant
from aemos.storage.transaction import Row

MAX_PAYLOAD = 64 * 1024
"""Bytes of a command as it is sent."""
MAX_ON = 2_592_000.0
"""Seconds: whatever is switched on for longer is not watched."""
NO_STOP = '"off" is required with "maxOn": nothing says how this command is stopped'

_OPPOSITES: Mapping[str, str] = {"on": "off", "start": "stop", "open": "close"}
_MAX_STATE, _MAX_VALUE = 50, 100  # characters, DeviceState.stateName, DeviceStateInstance.value


@attrs.frozen
class Limit:
    """For how long something may be as it is ordered: after `max_on` seconds it has to be `off`.

    `off` None = at the default value of the state that it is about.
    """

    max_on: float = attrs.field()
    off: str | None = None

    @max_on.validator
    def _in_range(self, _: object, value: float) -> None:
        if not 0 < value <= MAX_ON:
            raise BadRequest(f'"maxOn" must be more than 0 and at most {MAX_ON:g} seconds')

    @classmethod
    def of(cls, max_on: object, off: object = None) -> Limit | None:
        """@param max_on, off: as JSON has them; without `max_on` there is no limit.

        @raise BadRequest: no such number, or no value of a state.
        """
        if max_on is None:
            return None
        if isinstance(max_on, bool) or not isinstance(max_on, (int, float)):
            raise BadRequest('"maxOn" must be a number of seconds')
        value = _scalar(off)
        if off is not None and value is None:
            raise BadRequest('"off" must be a value of the state')
        return cls(float(max_on), value)


@attrs.frozen
class Order:
    """What a device is to do: `body` is the object that it gets as `command`.

    `state` is the name and the value, as text, if that is to bring a state to a value.
    """

    body: Mapping[str, Any]
    state: tuple[str, str] | None

    @classmethod
    def of(cls, command: str | Mapping[str, Any], parameters: Any = None) -> Order:
        """@param command: a word, or an object.

        A state is named by `stateName` and `value` in the object or its parameters.
        """
        body = {"command": command} if isinstance(command, str) else dict(command)
        if parameters is not None:
            body["parameters"] = parameters
        return cls(body, _state(body) or _state(body.get("parameters")))

    @property
    def word(self) -> str:
        """The name of the command, "" if it has none."""
        word = self.body.get("command")
        return word if isinstance(word, str) else ""

    def stop(self, off: object, default: str | None = None) -> Order:
        """@param off: what the sender wants sent in the end: a value of the state if one is named,
            else a word or an object. None = the sender does not say.
        @param default: the value that the named state has by default.
        @return: what stops this.
        @raise BadRequest: nothing says what does, or it is what is ordered now.
        """
        if self.state is not None:
            name, value = self.state
            wanted = default if off is None else _scalar(off)
            if wanted is None:
                raise BadRequest(NO_STOP)
            if wanted == value:
                raise BadRequest('"off" must differ from the value that is ordered')
            return Order.of({"stateName": name, "value": wanted})
        if isinstance(off, dict) and off:
            return Order.of(off)
        if isinstance(off, str) and off and self.word:
            return Order.of({**self.body, "command": off})
        if off is None and self.word in _OPPOSITES:
            return Order.of({**self.body, "command": _OPPOSITES[self.word]})
        raise BadRequest(NO_STOP)

    def actuator(self, stop: Order | None) -> str:
        """@param stop: what will be sent in the end, if this has a time limit.

        @return: what this is about, the same for everything that is about the same part of the
            device: a state, or else whatever one command stops.
        """
        if self.state is not None:
            return state_key(self.state[0])
        if stop is None:
            stop = self.stop(None) if self.begins else self
        encoded = msgspec.json.encode(stop.body, order="deterministic")
        return f"stop:{hashlib.blake2s(encoded, digest_size=16).hexdigest()}"

    @property
    def begins(self) -> bool:
        """Whether this is known to switch something on that another word switches off."""
        return self.word in _OPPOSITES


def state_key(name: str) -> str:
    """@return: how the actuator is called that a state stands for."""
    return f"state:{name}"


def payload(
    device_uuid: str,
    command_id: str,
    order: Order,
    at: Instant,
    initiated_by: str,
    *,
    expires_at: Instant | None = None,
    max_on: float | None = None,
    stop_at: Instant | None = None,
) -> bytes:
    """@return: what the server sends (spec/mqtt.md section 6), with deadlines that it has."""
    message: dict[str, Any] = {
        "type": "command",
        "deviceUuid": device_uuid,
        "commandId": command_id,
        "command": order.body,
        "timestamp": at,
    }
    if expires_at is not None:
        message["expiresAt"] = expires_at
    if max_on is not None:
        message |= {"maxOn": max_on, "stopAt": stop_at}
    return json.encode({**message, "metadata": {"initiatedBy": initiated_by}})


def shown(row: Row) -> dict[str, Any]:
    """@return: a row of `command` as it is told over HTTP and in events."""
    try:
        said = json.decode(row["payload"])
    except json.MalformedJson:
        said = {}
    command = said.get("command") if isinstance(said, dict) else None
    parameters = said.get("parameters") if isinstance(said, dict) else None
    if isinstance(command, dict) and said.get("type") == "command":
        body = dict(command)
        parameters = body.pop("parameters", None)
        command = body.pop("command", None) if body.keys() <= {"command"} else body
    return {
        "id": row["id"],
        "commandId": row["command_id"],
        "deviceUuid": row["device_uuid"],
        "organizationId": row["organization_id"],
        "command": command,
        "parameters": parameters,
        "qos": row["qos"],
        "status": row["status"],
        "attempts": row["attempts"],
        "result": row["reply"],
        "initiatedBy": row["initiated_by"],
        "initiatorId": row["initiator_id"],
        "maxOn": row["max_on"],
        "stopAt": row["stop_at"],
        "createdAt": row["created_at"],
        "changedAt": row["changed_at"],
        "expiresAt": row["expires_at"],
    }


def _state(part: object) -> tuple[str, str] | None:
    if not isinstance(part, dict):
        return None
    name, value = part.get("stateName"), _scalar(part.get("value"))
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_STATE:
        return None
    return None if value is None or len(value) > _MAX_VALUE else (name, value)


def _scalar(value: object) -> str | None:
    return json.text(value) if isinstance(value, (str, int, float)) else None
