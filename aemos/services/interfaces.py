"""What services need from a door, declared without importing one; bound in `aemos.tap`."""

from __future__ import annotations

from typing import Protocol

from aemos.model import Principal


class Publisher(Protocol):
    """Publishes to MQTT subscribers, without the network in between."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Hand to every session with a matching subscription; never blocks, never raises."""


class ClientAdmin(Protocol):
    """Ends live sessions."""

    def kick(self, principal: Principal, reason: str) -> int:
        """Close every session of this principal; `reason` is logged. @return: how many."""
