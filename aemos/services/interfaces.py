"""What services need from a door, declared without importing one; bound in `aemos.tap`."""

from __future__ import annotations

from typing import Protocol

import attrs

from aemos.model import Instant, Principal


@attrs.frozen(slots=True)
class ClientInfo:
    """One connected MQTT client; counts are of this connection, `dropped` is of its session.

    `over` is the transport (`tcp`, `tls`, `ws` or `wss`), `level` 3 or 4, `keep_alive` in seconds.
    """

    client_id: str
    identity: Principal
    peer: str
    over: str
    level: int
    clean_session: bool
    keep_alive: int
    connected_at: Instant
    subscriptions: int
    in_flight: int
    queued: int
    queued_bytes: int
    unacknowledged: int
    unsent: int
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    dropped: int

    @property
    def principal(self) -> str:
        """Names the principal among all."""
        return self.identity.key


class Publisher(Protocol):
    """Publishes to MQTT subscribers, without the network in between."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Hand to every session with a matching subscription; never blocks, never raises."""


class ClientAdmin(Protocol):
    """Ends live sessions."""

    def kick(self, principal: Principal, reason: str) -> int:
        """Close every session of this principal; `reason` is logged. @return: how many."""
