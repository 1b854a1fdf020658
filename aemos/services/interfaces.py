"""What services need from a door, declared without importing one; bound in `aemos.assembly`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

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


class Progress(Protocol):
    """Is told how far a message has come on its way to a client."""

    def sent(self) -> None:
        """Its PUBLISH goes out, for the first time or again."""

    def received(self) -> None:
        """The client has acknowledged it to the end: PUBACK (QoS 1) or PUBCOMP (QoS 2)."""


class Publisher(Protocol):
    """Publishes to MQTT subscribers, without the network in between."""

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        spare: str = "",
        done: Callable[[], object] | None = None,
    ) -> None:
        """Hand to every session with a matching subscription; never blocks, never raises.

        @param spare: the sensor or device of this uuid gets it in another way (`hand_over`).
        @param done: called when the copies for stored sessions are in the database.
        """

    def hand_over(
        self, uuid: str, topic: str, payload: bytes, qos: int, progress: Progress
    ) -> None:
        """Send to the connected sessions of one sensor or device that are subscribed to the topic.

        A session that holds this very message already gets no second one. Nothing is kept for a
        client that is away: `DeviceListens` tells when it is there.
        @param progress: is told what becomes of it, also of what a session holds already.
        """


@attrs.frozen(slots=True)
class Owed:
    """What a stored session of an absent client holds for it; `queued_bytes` of all queued."""

    subscriptions: int
    in_flight: int
    queued: int
    queued_bytes: int


@attrs.frozen(slots=True)
class RetainedInfo:
    """One retained message."""

    topic: str
    payload: bytes
    qos: int


@attrs.frozen(slots=True)
class Ban:
    """Who is kept out for a while: `kind` is `address` or `client`, `name` says which one."""

    id: int
    kind: str
    name: str
    reason: str
    since: Instant
    until: Instant


class Follows(Protocol):
    """What follows from the readings of a message: stored with them, begun after the commit."""

    @property
    def part(self) -> tuple[Any, Sequence[Any]]:
        """A part of a `storage.writer.Unit`, to be put behind that of the readings."""

    def after(self, committed: Callable[..., object]) -> Callable[..., object]:
        """@return: what the unit calls in place of `committed`."""


class ClientAdmin(Protocol):
    """Shows what the MQTT server holds, and ends live sessions."""

    def clients(self) -> Iterable[ClientInfo]:
        """@return: everybody connected, in no order."""

    def client(self, principal: str, client_id: str) -> ClientInfo | None:
        """@param principal: its key. @return: the client if it is connected."""

    def owed(self, principal: str, client_id: str) -> Owed | None:
        """@return: what waits for this client; None = it has no stored session."""

    def filters(self, principal: str, client_id: str) -> Mapping[str, int]:
        """@return: what its session, live or stored, is subscribed to, with the granted QoS."""

    def disconnect(self, principal: str, client_id: str, reason: str) -> bool:
        """Close one client's connection. @return: whether there was one."""

    def retained(self, topic_filter: str) -> Iterable[RetainedInfo]:
        """@return: the retained messages that a valid filter matches."""

    def figures(self) -> Mapping[str, object]:
        """@return: what the whole server counts, by name."""

    def bans(self) -> Sequence[Ban]:
        """@return: the bans in force, oldest first."""

    def lift(self, ban_id: int) -> bool:
        """End a ban. @return: whether it was in force."""
