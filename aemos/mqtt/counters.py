"""What the MQTT door counts, and why its connections end."""

from __future__ import annotations

import enum
from collections import Counter

import attrs


class CloseReason(enum.Enum):
    """Why a connection ended; its value is the word in logs and metrics."""

    DISCONNECT = "disconnect"
    LOST = "connection lost"
    KEEP_ALIVE = "keep-alive timeout"
    CONNECT_TIMEOUT = "no CONNECT in time"
    PACKET_TIMEOUT = "packet not complete in time"
    MALFORMED = "protocol error"
    REFUSED = "refused"
    TAKEN_OVER = "taken over"
    REVOKED = "credentials no longer valid"
    KICKED = "disconnected by the server"
    SHUTDOWN = "server is stopping"
    QUEUE_FULL = "too many messages wait for it"
    FAULT = "fault of the server"


@attrs.define
class Counters:
    """Totals since the start; traffic of a live connection is added when it ends.

    `minute` counts minutes: what is logged once a minute for each client goes by it.
    """

    opened: int = 0
    accepted: int = 0
    refused: int = 0
    turned_away: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    packets_received: int = 0
    packets_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    denied: int = 0
    expired: int = 0
    throttled: int = 0
    banned: int = 0
    closed: Counter[CloseReason] = attrs.field(factory=Counter)
    dropped: Counter[str] = attrs.field(factory=Counter)
    limited: Counter[str] = attrs.field(factory=Counter)
    minute: int = 0
