"""Values that every room shares: time, identities, messages and the verdicts on them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import attrs
import msgspec


class Instant(int):
    """A point in time as whole milliseconds since 1970-01-01T00:00:00Z.

    An int for arithmetic and SQL parameters, ISO text in JSON (`aemos.json`): storage gives every
    DATETIME column as an Instant and takes one wherever a time is written.
    """

    __slots__ = ()

    @classmethod
    def of(cls, seconds: float) -> Instant:
        """@param seconds: as `IReactorTime.seconds()` and `time.time()` give them."""
        return cls(seconds * 1000)

    @classmethod
    def parse(cls, text: str) -> Instant:
        """Read ISO 8601 with or without a zone (none means UTC).

        @raise ValueError: not such a text, or a year that datetime cannot hold.
        """
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return cls((moment - _EPOCH) // _MILLISECOND)  # whole numbers: a float loses some

    def iso(self) -> str:
        """@return: `2026-01-01T00:00:00.000Z`, always three decimals (spec/data-model.md)."""
        second, millisecond = divmod(int(self), 1000)
        return f"{_second(second)}.{millisecond:03d}Z"

    def datetime(self) -> datetime:
        """@return: the same moment as an aware UTC datetime."""
        return datetime.fromtimestamp(self // 1000, UTC).replace(microsecond=self % 1000 * 1000)


@lru_cache(4096)  # what happens now, and rows that were made together, share their second
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class PrincipalKind(enum.Enum):
    """What sort of party is behind a connection or request."""

    SENSOR = "sensor"
    DEVICE = "device"
    USER = "user"
    API_KEY = "api_key"
    ANONYMOUS = "anonymous"
    SERVER = "server"


def id_in(text: str) -> int | None:
    """@return: the id of a row that a topic, room or message names; None = no row can be meant.

    Not plain `int`: it takes the digits of all scripts, and fails on thousands of them.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@attrs.frozen(slots=True)
class Principal:
    """An authenticated party, as of now: when its rights change, its sessions get a new one.

    `name` is what it signs in with: Sensor.uuid, Device.uuid or the user's e-mail ("" = anonymous);
    of an API key the part that is shown, and `id` is that of the user who made it.
    `permissions` maps an organization id to the permission names held there; a sensor or device
    has its one organization with none. `administrator` is true for System Admin and the server.
    `credential` is the digest of the device token or key, or the id of the session, it came with,
    `expires_at` the end of that.
    """

    kind: PrincipalKind
    name: str = ""
    id: int = 0
    permissions: Mapping[int, frozenset[str]] = attrs.field(factory=dict)
    administrator: bool = False
    credential: str = ""
    expires_at: Instant | None = None

    @property
    def key(self) -> str:
        """Names the principal among all; MQTT session state belongs to (key, client id)."""
        return f"{self.kind.value}:{self.name}"

    @property
    def organizations(self) -> frozenset[int]:
        return frozenset(self.permissions)

    def may(self, permission: str, organization_id: int) -> bool:
        """@return: whether `permission` is held in that organization (System Admin: everywhere)."""
        return self.administrator or permission in self.permissions.get(organization_id, ())


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS)
SERVER = Principal(PrincipalKind.SERVER, "server", administrator=True)


class Code(enum.Enum):
    """Why a message was taken or refused: one list for ledger, metrics, topics, HTTP, logs.

    The upper-case names up to BROADCAST_ERROR are those of spec/mqtt.md section 5.
    """

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"  # a repeat of a stored reading: acknowledged, not stored again
    VALIDATION_ERROR = "VALIDATION_ERROR"  # not UTF-8 JSON, or not an object
    UNKNOWN_MESSAGE_TYPE = "UNKNOWN_MESSAGE_TYPE"
    ROUTING_ERROR = "ROUTING_ERROR"  # a fault of ours while handling it
    INVALID_DEVICE_UUID = "INVALID_DEVICE_UUID"  # topic, payload and identity disagree, or unknown
    AUTHENTICATION_FAILED = (
        "AUTHENTICATION_FAILED"  # the payload's token is not valid for the device
    )
    INVALID_PAYLOAD = "INVALID_PAYLOAD"  # JSON of the wrong shape
    INVALID_DATA_STREAM = "INVALID_DATA_STREAM"  # a reading that breaks a rule
    TELEMETRY_NOT_FOUND = "TELEMETRY_NOT_FOUND"  # no such variable on this sensor
    DATA_STREAM_ERROR = "DATA_STREAM_ERROR"  # the database refused the reading
    DEVICE_STATUS_ERROR = "DEVICE_STATUS_ERROR"
    DEVICE_STATE_ERROR = "DEVICE_STATE_ERROR"
    RULE_CHAIN_ERROR = "RULE_CHAIN_ERROR"
    COMMAND_ERROR = "COMMAND_ERROR"
    INVALID_ORG_ID = "INVALID_ORG_ID"
    BROADCAST_ERROR = "BROADCAST_ERROR"
    NOT_AUTHORIZED = "NOT_AUTHORIZED"  # this identity may not publish there
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"  # QoS 0 beyond a limit
    WITHDRAWN = "WITHDRAWN"  # the caller stopped waiting before it was written


@attrs.frozen(slots=True)
class Verdict:
    """What became of a message. `reason` is a sentence for the sender; "" when accepted."""

    code: Code
    reason: str = ""

    @property
    def accepted(self) -> bool:
        return self.code is Code.ACCEPTED or self.code is Code.DUPLICATE


ACCEPTED = Verdict(Code.ACCEPTED)


class Kind(enum.StrEnum):
    """What a message is about; the router has one handler for each.

    Text, because that is what a dict finds at once: an Enum has a hash in Python.
    """

    DATASTREAM = "datastream"
    STATUS = "status"
    STATE = "state"
    COMMAND = "commands"
    COMMAND_ACK = "commands/ack"
    BROADCAST = "broadcast"
    RULE_CHAINS = "rule-chains"
    OTHER = "other"  # on no topic of ours; judged only when its sender may not publish there


@attrs.define(slots=True, eq=False)
class Along:
    """What a door wants stored in the same unit as a message, if that is accepted.

    `parts` are parts of a `storage.writer.Unit`; a handler that stores rows adds them to its own
    and sets `stored` after the commit. Else the door sees to them after the verdict.
    """

    parts: Sequence[tuple[Any, Sequence[Any]]]
    stored: bool = False


class Message(msgspec.Struct, eq=False, gc=False):
    """One message from any door, before it is judged.

    `subject` is the device uuid or organization id that the topic or path names. `payload` is what
    was sent, untouched. `topic` is where it goes on to, for the ledger and the errors topic. `qos`
    0 means the sender does not wait: beyond a limit such a message is dropped and counted. `result`
    is filled in by the handler for doors that answer with rows (HTTP).
    `along` is what else is to be stored with it.
    """

    kind: Kind
    principal: Principal
    subject: str
    payload: bytes
    received_at: Instant
    door: str
    topic: str = ""
    qos: int = 1
    result: object = None
    along: Along | None = None


Done = Callable[[Verdict], None]
"""Called exactly once for each message, in the reactor thread, after COMMIT if rows were stored."""


class Burst(msgspec.Struct, eq=False, gc=False):
    """Messages of one sender on one topic that came together, alike but for their payloads.

    `message` is the first of them. Nothing goes along with any.
    """

    message: Message
    payloads: Sequence[bytes]

    def apart(self) -> Iterator[Message]:
        """@return: each as a message of its own, in order."""
        for payload in self.payloads:
            yield msgspec.structs.replace(self.message, payload=payload)


BurstDone = Callable[[Sequence[Verdict]], None]
"""As `Done`, once for a burst: with the verdict on each message, in order."""
