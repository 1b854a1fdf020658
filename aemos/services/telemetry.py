"""Takes readings in: decodes, checks and stores data streams (spec/mqtt.md 5.1 to 5.3).

This is the hot path: no Deferred, coroutine or thread hand-over per message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from aemos import json
from aemos.config.schema import Ingest
from aemos.errors import BadRequest, RowRefused, StorageUnavailable
from aemos.model import (
    ACCEPTED,
    Along,
    Burst,
    BurstDone,
    Code,
    Done,
    Instant,
    Message,
    Verdict,
    id_in,
)
from aemos.services.catalogue import Catalogue, Identity, Variable
from aemos.services.claims import refuted
from aemos.services.events import Events, ReadingsCommitted, ReadingsStored
from aemos.services.interfaces import Follows
from aemos.services.ledger import Ledger
from aemos.storage.readings import READINGS, Reading
from aemos.storage.writer import Rows, Unit, Writer

_MAX_VALUE = 50  # characters, DataStream.value
_DAY = 86_400_000
_FIRST_PLAUSIBLE = Instant.parse("2020-01-01T00:00:00Z")  # an older device time means: no clock
_SECONDS_BELOW = 100_000_000_000  # a smaller number of a time is seconds, a larger one milliseconds
_LEADING_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)")

_RIGHT = "sensor.update"  # what a user needs who publishes readings of a sensor
_DUPLICATE = Verdict(Code.DUPLICATE, "this reading was stored before")
_UNKNOWN_DEVICE = Verdict(Code.INVALID_DEVICE_UUID, "no sensor of this uuid")
_QUOTA = Verdict(Code.QUOTA_EXCEEDED, "the server is behind with storing; QoS 0 was dropped")


class Item(msgspec.Struct):
    """One reading as sent. Unknown keys are ignored, marks of another type count as absent."""

    value: str | int | float | bool | None = None
    telemetryDataId: int | str | None = None
    variableName: Any = None
    recievedAt: Any = None  # spelled so on the wire
    timestamp: Any = None
    ts: Any = None
    messageId: Any = None
    urgent: Any = None
    thresholds: Any = None
    skipRuleChainTrigger: Any = None


class DataStream(Item):
    """A data-stream message: one reading, or `dataStreams`, which wins."""

    dataStreams: list[Item] | None = None
    deviceUuid: Any = None
    token: Any = None
    accessToken: Any = None


_decode = json.decoder(DataStream)

Part = tuple[Rows, Sequence[Any]]
Watch = Callable[[Sequence[Reading]], Follows | None]
"""Asked with the readings of a message before they are stored; None = nobody looks at them."""


def nobody_watches(readings: Sequence[Reading]) -> Follows | None:
    """The `Watch` of a server without rules."""
    return None


class ReadingIngest:
    """The router's handler for data streams, whatever door they come by."""

    def __init__(
        self,
        catalogue: Catalogue,
        writer: Writer,
        events: Events,
        ledger: Ledger,
        settings: Ingest,
        watch: Watch = nobody_watches,
    ) -> None:
        """@param watch: tells what else is to be stored with readings, and done after that."""
        self._catalogue, self._writer, self._watch = catalogue, writer, watch
        self._events, self._ledger = events, ledger
        self._max_items = settings.max_items
        self._stored: list[ReadingsStored] = []  # by the commit that is being told about

    def handle(self, message: Message, done: Done) -> Unit | None:
        """Judge one message. `message.result` becomes its list of `Reading`.

        @return: the unit on its way to the writer, for callers that may withdraw it; None = refused
            at once, or waiting for its sensor to be read.
        """
        if message.qos == 0 and self._writer.full:
            self._ledger.refuse(message, _QUOTA, done)
            return None
        identity = self._catalogue.held(message.subject)
        if identity is not None:
            return self._judge(message, done, identity)
        # Nothing is refused for an outage (P6): the sender waits until its sensor can be read.
        self._catalogue.find(message.subject, partial(self._found, message, done), patient=True)
        return None

    def handle_burst(self, burst: Burst, done: BurstDone, apart: Callable[[], None]) -> None:
        """Judge messages of one reading each, and store them in one unit.

        @param apart: called in place of `done` if anything is to be said about one of them, before
            they are stored or when the database has refused the unit.
        """
        message = burst.message
        identity = self._catalogue.held(message.subject)
        if identity is None or (message.qos == 0 and self._writer.full):
            apart()
            return
        at, device_uuid, token = message.received_at, None, None
        refusal = refuted(message, identity, None, None, _RIGHT)
        readings = []
        try:
            for payload in burst.payloads:
                body = _decode(payload)
                claimed = body.accessToken if body.token is None else body.token
                if claimed != token or body.deviceUuid != device_uuid:
                    # Most devices repeat the same in every message.
                    device_uuid, token = body.deviceUuid, claimed
                    refusal = refuted(message, identity, device_uuid, token, _RIGHT)
                if refusal is not None or body.dataStreams is not None:
                    apart()
                    return
                readings.append(_reading(body, body, identity, at, 0))
        except BadRequest:
            apart()
            return
        committed = partial(self._burst_committed, burst, identity, readings, done, apart)
        self._submit(readings, committed)

    def _burst_committed(
        self,
        burst: Burst,
        identity: Identity,
        readings: list[Reading],
        done: BurstDone,
        apart: Callable[[], None],
        error: RowRefused | None,
    ) -> None:
        if error is not None:
            apart()
            return
        new = _new_of(readings)
        verdicts = [ACCEPTED] * len(readings)
        if new < len(readings):
            for index, message in enumerate(burst.apart()):
                if readings[index].duplicate:
                    verdicts[index] = _DUPLICATE
                    self._ledger.note(message, _DUPLICATE)
        done(verdicts)
        if new:
            self._note(identity, readings, new, burst.message.door, new)

    def _found(
        self, message: Message, done: Done, identity: Identity | StorageUnavailable | None
    ) -> None:
        if isinstance(identity, Identity):
            self._judge(message, done, identity)
        else:
            self._ledger.refuse(message, _UNKNOWN_DEVICE, done)

    def _judge(self, message: Message, done: Done, identity: Identity) -> Unit | None:
        try:
            body = _decode(message.payload)
            refusal = refuted(
                message,
                identity,
                body.deviceUuid,
                body.accessToken if body.token is None else body.token,
                _RIGHT,
            )
            if refusal is None:
                if body.dataStreams is None:
                    readings = [_reading(body, body, identity, message.received_at, 0)]
                else:
                    readings = self._batch(body, identity, message.received_at)
        except _UnknownVariable as error:
            if not self._catalogue.find_again(identity, partial(self._found, message, done)):
                self._ledger.refuse(message, Verdict(Code.TELEMETRY_NOT_FOUND, str(error)), done)
            return None
        except json.MalformedJson as error:
            self._ledger.refuse(message, Verdict(Code.VALIDATION_ERROR, str(error)), done)
            return None
        except BadRequest as error:
            code = Code.INVALID_DATA_STREAM
            if isinstance(error, json.WrongShape) and "$" not in str(error):
                code = Code.INVALID_PAYLOAD  # not even an object: msgspec names no place in it
            self._ledger.refuse(message, Verdict(code, str(error)), done)
            return None
        if refusal is not None:
            self._ledger.refuse(message, refusal, done)
            return None
        message.result = readings
        if not readings:  # an empty batch: success, nothing done (spec/mqtt.md section 5.2)
            done(ACCEPTED)
            return None
        committed = partial(self._committed, message, identity, readings, done)
        return self._submit(readings, committed, message.along)

    def _submit(
        self,
        readings: list[Reading],
        committed: Callable[[RowRefused | None], None],
        along: Along | None = None,
    ) -> Unit:
        parts: tuple[Part, ...] = ((READINGS, readings),)
        done: Callable[..., object] = committed
        follows = self._watch(readings)
        if follows is not None:
            parts, done = (*parts, follows.part), follows.after(committed)
        unit = Unit(parts if along is None else (*parts, *along.parts), done)
        self._writer.submit(unit)
        return unit

    def _batch(self, body: DataStream, identity: Identity, received_at: Instant) -> list[Reading]:
        items = body.dataStreams or []
        if len(items) > self._max_items:
            raise BadRequest(f"more than {self._max_items} readings in one message")
        readings = []
        for index, item in enumerate(items):
            try:
                readings.append(_reading(item, body, identity, received_at, index))
            except _UnknownVariable as error:
                raise _UnknownVariable(f"dataStreams[{index}]: {error}") from None
            except BadRequest as error:
                raise BadRequest(f"dataStreams[{index}]: {error}") from None
        return readings

    def _committed(
        self,
        message: Message,
        identity: Identity,
        readings: list[Reading],
        done: Done,
        error: RowRefused | None,
    ) -> None:
        if error is not None:
            self._ledger.refuse(message, Verdict(Code.DATA_STREAM_ERROR, str(error)), done)
            return
        if message.along is not None:
            message.along.stored = True
        new = _new_of(readings)
        if not new:
            self._ledger.refuse(message, _DUPLICATE, done)
            return
        done(ACCEPTED)
        self._note(identity, readings, new, message.door)

    def _note(
        self, identity: Identity, readings: list[Reading], new: int, door: str, messages: int = 1
    ) -> None:
        """Remember what is to be told when all of this commit know that they are stored."""
        if not self._stored:
            self._writer.when_told(self._tell)
        self._stored.append(
            ReadingsStored(
                identity.id, identity.uuid, identity.organization_id, readings, new, door, messages
            )
        )

    def _tell(self) -> None:
        stored, self._stored = self._stored, []
        self._events.publish(ReadingsCommitted(stored))


def _new_of(readings: Sequence[Reading]) -> int:
    new = len(readings)
    for reading in readings:
        new -= reading.duplicate
    return new


class _UnknownVariable(BadRequest):
    """The sensor has no such variable, as far as the catalogue knows."""


def _reading(
    item: Item, body: DataStream, identity: Identity, received_at: Instant, index: int
) -> Reading:
    """@raise BadRequest: the item breaks a rule; the text names the field."""
    value = item.value
    if value is None or value == "":
        raise BadRequest('"value" is missing')
    if not isinstance(value, str):
        value = json.text(value)
    if len(value) > _MAX_VALUE:
        raise BadRequest(f'"value" is longer than {_MAX_VALUE} characters')
    variable = _variable(item, identity)
    sent_at = None
    if item.recievedAt is not None or item.timestamp is not None or item.ts is not None:
        sent_at = _event_time(item)
    if sent_at is None and item is not body:
        sent_at = _event_time(body)
    key = None
    if sent_at is not None or item.messageId is not None or body.messageId is not None:
        key = _key(item, body, index, sent_at, received_at, value)
    urgent = item.urgent is True or (
        item.thresholds is not None and _beyond(value, item.thresholds)
    )
    at = received_at if sent_at is None else sent_at
    return Reading(
        value, variable.id, variable.name, at, key, urgent, item.skipRuleChainTrigger is not True
    )


def _key(
    item: Item,
    body: DataStream,
    index: int,
    sent_at: Instant | None,
    received_at: Instant,
    value: str,
) -> bytes | None:
    """What recognises a repeat: its message id, else its own plausible time."""
    if isinstance(item.messageId, (str, int)):
        name = f"i{item.messageId}"
    elif isinstance(body.messageId, (str, int)):
        name = f"m{body.messageId}\0{index}"
    elif sent_at is not None and _FIRST_PLAUSIBLE <= sent_at <= received_at + _DAY:
        name = f"t{int(sent_at)}"
    else:
        return None
    return hashlib.blake2b(
        f"{name}\0{value}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()


def _variable(item: Item, identity: Identity) -> Variable:
    """Find by id, then by name (spec/mqtt.md section 5.1)."""
    wanted, name = item.telemetryDataId, item.variableName
    if wanted is not None:
        number = wanted if isinstance(wanted, int) else id_in(wanted)
        found = None if number is None else identity.variables.get(number)
        if found is not None:
            return found
    if isinstance(name, str):
        found = identity.variables_by_name.get(name)
        if found is not None:
            return found
    if wanted is None and name is None:
        raise BadRequest('"telemetryDataId" or "variableName" is missing')
    which = f"variableName {name!r}" if name is not None else f"telemetryDataId {wanted!r}"
    raise _UnknownVariable(f"{which}: telemetry data not found or does not belong to this sensor")


def _event_time(item: Item) -> Instant | None:
    """The reading's own time if usable: ISO text, epoch seconds or milliseconds."""
    for given in (item.recievedAt, item.timestamp, item.ts):
        if given is None:
            continue
        try:
            if isinstance(given, str):
                at = Instant.parse(given)
            elif isinstance(given, (int, float)) and not isinstance(given, bool):
                at = Instant(given * 1000 if abs(given) < _SECONDS_BELOW else given)
            else:
                continue
            if 1000 <= at.datetime().year <= 9999:  # what DATETIME can hold
                return at
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _beyond(value: str, thresholds: Any) -> bool:
    """Is the number outside `{"min", "max"}` (exclusive), as JavaScript's parseFloat reads it?"""
    match = _LEADING_NUMBER.match(value)
    if match is None or not isinstance(thresholds, dict):
        return False
    number = float(match.group())
    low, high = thresholds.get("min"), thresholds.get("max")
    below = isinstance(low, (int, float)) and not isinstance(low, bool) and number < low
    above = isinstance(high, (int, float)) and not isinstance(high, bool) and number > high
    return below or above
