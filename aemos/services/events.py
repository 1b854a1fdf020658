"""The bus on which services tell the rest of the server what has happened.

Everything here has happened: events about rows are published after COMMIT, in commit order, in the
reactor thread. Doors subscribe in `aemos.assembly`; a service never calls a door.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import msgspec
from twisted.logger import Logger

from aemos.model import Instant, Message, PrincipalKind, Verdict
from aemos.services.interfaces import ClientInfo
from aemos.services.rules.execution import Run
from aemos.storage.commands import TimerChange
from aemos.storage.readings import Reading
from aemos.storage.rule_triggers import Trigger
from aemos.storage.rules import Counts

E = TypeVar("E")


class ReadingsStored(msgspec.Struct, eq=False, gc=False):
    """What one sensor sent at once; `new` of the readings are, the rest are repeats without id.

    `messages` is how many accepted messages they came in.
    """

    sensor_id: int
    sensor_uuid: str
    organization_id: int | None
    readings: Sequence[Reading]
    new: int
    door: str
    messages: int = 1


class ReadingsCommitted(msgspec.Struct, eq=False, gc=False):
    """What one commit stored, sender by sender: one event, because a busy server has hundreds."""

    messages: Sequence[ReadingsStored]


@attrs.frozen(slots=True, eq=False)
class ReadingChanged:
    """A stored reading was edited over REST."""

    row: Mapping[str, Any]
    organization_id: int | None
    sensor_uuid: str | None = None


@attrs.frozen(slots=True, eq=False)
class ReadingDeleted:
    """A stored reading was deleted over REST."""

    reading_id: int
    telemetry_id: int
    organization_id: int | None
    sensor_uuid: str | None = None


@attrs.frozen(slots=True, eq=False)
class StatusStored:
    """A sensor or device told its status (spec/mqtt.md section 5.4)."""

    uuid: str
    organization_id: int | None
    status: str
    metadata: Mapping[str, Any] | None
    at: Instant
    kind: PrincipalKind = PrincipalKind.SENSOR


@attrs.frozen(slots=True, eq=False)
class DeviceStateChanged:
    """A state of a device has a new value (spec/http-api.md section 2, S-STATE).

    `old` is None for the first value. `priority` is `high` or `normal`, `initiator_id` the user who
    did it. `rule` names the rule chain behind it: `ruleChainId`, `ruleChainName`, `nodeId`.
    `max_on` (seconds) and `stop_at` tell that the server will set it back, `timer` what became of
    the timers of its actuator.
    `trigger` was stored with it for the rule chains that look at this state.
    """

    device_id: int
    device_uuid: str
    device_name: str | None
    device_type: str
    critical: bool
    organization_id: int | None
    state: str
    old: str | None
    new: str
    initiated_by: str
    initiator_id: int | None
    priority: str
    at: Instant
    rule: Mapping[str, Any] | None = None
    max_on: float | None = None
    stop_at: Instant | None = None
    timer: TimerChange | None = None
    trigger: Trigger | None = None


@attrs.frozen(slots=True, eq=False)
class PresenceChanged:
    """A sensor or device is `online`, `late`, `silent` or `offline` since now (docs/devices.rst).

    `kind` is SENSOR or DEVICE, `before` what it was (None = it was never heard of), `last_seen`
    its last sign of life as far as one is known.
    """

    kind: PrincipalKind
    id: int
    uuid: str
    name: str
    organization_id: int | None
    presence: str
    before: str | None
    since: Instant
    last_seen: Instant | None


@attrs.frozen(slots=True, eq=False)
class PresenceForgotten:
    """A uuid whose presence was told belongs to no sensor or device any more."""

    uuid: str


@attrs.frozen(slots=True, eq=False)
class CommandChanged:
    """A command has a new status: queued, sent, received, confirmed, failed, expired or cancelled.

    `command` is how it is shown over HTTP, `number` its row.
    """

    number: int
    command_id: str
    device_uuid: str
    organization_id: int | None
    status: str
    at: Instant
    detail: str
    command: Mapping[str, Any]


@attrs.frozen(slots=True, eq=False)
class DeadlineChanged:
    """The timer of an actuator was started, or ended, or both: rows of `actuator_timer`."""

    begun: Mapping[str, Any] | None
    ended: Mapping[str, Any] | None


@attrs.frozen(slots=True, eq=False)
class ActuatorStuck:
    """A device does not confirm that it has stopped what had to stop at `stop_at`.

    `actuator` names the part of the device, `state` is its state if it has one. Told once, and
    again after a restart, until `ActuatorStopped`. The stop is repeated all the time.
    """

    device_uuid: str
    organization_id: int | None
    actuator: str
    state: str | None
    command_id: str
    stop_at: Instant
    attempts: int


@attrs.frozen(slots=True, eq=False)
class ActuatorStopped:
    """What `ActuatorStuck` told about has stopped after all, or was given a new order."""

    device_uuid: str
    organization_id: int | None
    actuator: str
    state: str | None


@attrs.frozen(slots=True, eq=False)
class AlarmChanged:
    """An alarm was raised, acknowledged, commented, assigned, escalated or cleared (`kind`).

    `alarm` is how it is shown over HTTP, `uuid` that of its sensor or device if it has one.
    """

    kind: str
    organization_id: int | None
    uuid: str | None
    at: Instant
    comment: str
    alarm: Mapping[str, Any]


@attrs.frozen(slots=True, eq=False)
class NotificationSent:
    """A notification channel of this `kind` (mqtt or realtime) tells an organization something."""

    kind: str
    organization_id: int
    content: Mapping[str, Any]


@attrs.frozen(slots=True, eq=False)
class BroadcastSent:
    """A message for all devices of an organization was published."""

    organization_id: int
    message: Any
    at: Instant


@attrs.frozen(slots=True, eq=False)
class MessageRefused:
    """A message was not stored (accepted only as a repeat, if its verdict says so).

    `message.payload` may hold a token: redact before showing it.
    """

    message: Message
    verdict: Verdict


@attrs.frozen(slots=True, eq=False)
class IdentityChanged:
    """A sensor or device, one of its tokens, variables, states or areas changed.

    The uuid is as it was before.
    """

    uuid: str


@attrs.frozen(slots=True, eq=False)
class RulesChanged:
    """The rulebook tells these chains anew: changed, made, deleted, or what they look at was."""

    chain_ids: Collection[int]


@attrs.define(slots=True, eq=False)  # not frozen: one is made for each run, and that costs
class RuleRan:
    """A rule chain has run (spec/rule-engine.md section 4); nothing in it is kept for ever.

    `cause` is reading, state, schedule or manual, `detail` says which one, as clients see it.
    `status` is success, aborted, failure or timeout, `run` what happened, None = nothing did.
    `counts` are those of the chain when it was read.
    """

    chain_id: int
    organization_id: int | None
    shadow: bool
    cause: str
    detail: Mapping[str, Any]
    status: str
    at: Instant
    seconds: float
    run: Run | None
    counts: Counts

    @property
    def failed(self) -> bool:
        """Whether the run, or a condition or action in it, went wrong."""
        return self.status in ("failure", "timeout") or bool(self.run and self.run.errors)


@attrs.frozen(slots=True, eq=False)
class RuleDataCollected:
    """What a run looks at was read, or (`timed_out`) could not be in time.

    `kinds` are those of the things concerned: sensor, device.
    """

    kinds: Collection[str]
    seconds: float
    timed_out: bool


@attrs.frozen(slots=True, eq=False)
class UserChanged:
    """A user's status, membership, role, a permission of the role, a sign-in session, or an API key
    that the user made changed."""

    user_id: int


@attrs.frozen(slots=True, eq=False)
class UserWelcomed:
    """A user signed up and wanted to be told so."""

    user_id: int
    message: str
    at: Instant


@attrs.frozen(slots=True, eq=False)
class ClientConnected:
    """An MQTT client was let in."""

    client: ClientInfo


@attrs.frozen(slots=True, eq=False)
class ClientGone:
    """The connection of an MQTT client ended. `reason` is a few words, `detail` may be empty."""

    client: ClientInfo
    reason: str
    detail: str
    at: Instant


@attrs.frozen(slots=True, eq=False)
class ClientSubscribed:
    """An MQTT client has new subscriptions: filters with the granted QoS."""

    client_id: str
    filters: Sequence[tuple[str, int]]


@attrs.frozen(slots=True, eq=False)
class DeviceListens:
    """A sensor or device is connected and subscribed to its own `devices/{uuid}/commands`."""

    uuid: str


@attrs.frozen(slots=True, eq=False)
class ClientUnsubscribed:
    """An MQTT client gave up these filters."""

    client_id: str
    filters: Sequence[str]


class Events:
    """Synchronous publish and subscribe by event class."""

    _log = Logger()

    def __init__(self) -> None:
        self._handlers: defaultdict[type, list[Callable[[Any], object]]] = defaultdict(list)

    def subscribe(self, event: type[E], handler: Callable[[E], object]) -> None:
        """Call `handler` with every later event of exactly this class."""
        self._handlers[event].append(handler)

    def publish(self, event: object) -> None:
        """Call the handlers in their order; one that fails is logged and stops no other."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:
                self._log.failure("handler of {event} failed", event=type(event).__name__)
