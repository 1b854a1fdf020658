"""How much a client may send: token buckets that make it wait, and never lose a message."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from aemos.config.schema import Mqtt
from aemos.model import Principal, PrincipalKind
from aemos.mqtt.counters import Counters
from aemos.mqtt.holds import TOO_FAST

if TYPE_CHECKING:
    from aemos.mqtt.connection import Connection

_log = Logger()

_STEP = 0.01  # of what is allowed in a second


class Bucket:
    """Fills with `rate` tokens a second up to `burst`; may be overdrawn."""

    __slots__ = ("_at", "_burst", "_clock", "_level", "_rate")

    def __init__(self, rate: float, burst: float, clock: IReactorTime) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._at = burst, clock.seconds()

    def take(self, count: float) -> float:
        """Take tokens, also those that are not there.

        @return: seconds until the debt is paid; 0.0 = there were enough.
        """
        self._fill()
        self._level -= count
        return max(0.0, -self._level / self._rate)

    def has(self, count: float) -> bool:
        """Take tokens only if there are enough. @return: whether there were."""
        self._fill()
        if self._level < count:
            return False
        self._level -= count
        return True

    def _fill(self) -> None:
        now = self._clock.seconds()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now


class Allowance:
    """What all connections of one principal together may publish: messages and bytes a second.

    As much as for one second may come at once.
    """

    __slots__ = ("__weakref__", "_buckets", "steps")

    def __init__(self, settings: Mqtt, clock: IReactorTime) -> None:
        rates = (settings.publish_rate, settings.publish_bytes)
        self._buckets = [Bucket(rate, rate, clock) if rate else None for rate in rates]
        # So many may pile up before a connection pays: paying for each one would cost more time.
        self.steps = [max(1.0, rate * _STEP) if rate else math.inf for rate in rates]

    def take(self, messages: int, size: int) -> float:
        """@return: seconds until more may be read; 0.0 = at once."""
        return max(
            bucket.take(count) if bucket is not None else 0.0
            for bucket, count in zip(self._buckets, (messages, size), strict=True)
        )


class Allowances:
    """Gives the connections of one principal the same allowance; anonymous ones one each."""

    def __init__(self, settings: Mqtt, clock: IReactorTime) -> None:
        self._settings, self._clock = settings, clock
        self._held: WeakValueDictionary[str, Allowance] = WeakValueDictionary()
        self._limited = bool(settings.publish_rate or settings.publish_bytes)

    def of(self, principal: Principal) -> Allowance | None:
        """@return: None = there is no limit."""
        if not self._limited:
            return None
        if principal.kind is PrincipalKind.ANONYMOUS:
            return Allowance(self._settings, self._clock)
        allowance = self._held.get(principal.key)
        if allowance is None:
            allowance = self._held[principal.key] = Allowance(self._settings, self._clock)
        return allowance


class Meter:
    """Pays for what one connection has sent, and holds the connection while there is a debt.

    What was read already is handled, so that nothing is lost; then the socket is not read. `due`
    and `due_bytes` are the counts of messages and bytes of the connection at which it has to `pay`.
    """

    __slots__ = (
        "_allowance",
        "_bytes",
        "_connection",
        "_counters",
        "_messages",
        "_timer",
        "_told",
        "due",
        "due_bytes",
    )

    def __init__(self, connection: Connection, allowance: Allowance, counters: Counters) -> None:
        self._connection, self._allowance, self._counters = connection, allowance, counters
        self._messages, self._bytes = 0, connection.bytes_received
        self._set_due()
        self._timer: IDelayedCall | None = None
        self._told = False

    def pay(self, received: int, clock: IReactorTime) -> None:
        """@param received: messages so far."""
        connection = self._connection
        messages, size = received - self._messages, connection.bytes_received - self._bytes
        self._messages, self._bytes = received, connection.bytes_received
        self._set_due()
        wait = self._allowance.take(messages, size)
        if not wait or self._timer is not None:
            return
        self._counters.throttled += 1
        connection.held |= TOO_FAST
        self._timer = clock.callLater(wait, self._paid)
        if not self._told:
            self._told = True
            _log.warn(
                "MQTT client {client_id!r} publishes faster than mqtt.publish_rate or"
                " mqtt.publish_bytes allow: it is read more slowly",
                client_id=connection.client_id,
            )

    def stop(self) -> None:
        """The connection is closing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_due(self) -> None:
        messages, size = self._allowance.steps
        self.due, self.due_bytes = self._messages + messages, self._bytes + size

    def _paid(self) -> None:
        self._timer = None
        self._connection.go_on(TOO_FAST)
