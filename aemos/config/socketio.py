"""The settings of `/socket.io`; the names of the variables are the original's."""

from __future__ import annotations

import attrs

from aemos.config.checks import at_least, between, more_than, one_of
from aemos.config.declare import setting


@attrs.frozen
class SocketIo:
    enabled: bool = setting(True, "serve Socket.IO clients at /socket.io", env="ENABLE_SOCKET_IO")
    ping_interval_ms: int = setting(
        10_000,
        "milliseconds between two questions whether a client is there",
        env="SOCKET_IO_PING_INTERVAL",
        valid=between(100, 3_600_000),
    )
    ping_timeout_ms: int = setting(
        5000,
        "milliseconds that a client has to answer one",
        env="SOCKET_IO_PING_TIMEOUT",
        valid=between(100, 3_600_000),
    )
    cors: tuple[str, ...] = setting(
        [],
        "origins of pages that may connect, such as https://farm.example, or *; empty: cors_origin",
        env="SOCKET_IO_CORS",
    )
    cors_origin: tuple[str, ...] = setting(
        ["*"], "the same, by the name that the original reads", env="CORS_ORIGIN"
    )
    max_connections: int = setting(5000, "Socket.IO connections at once", valid=at_least(1))
    max_payload: int = setting(
        1_000_000, "largest message, or body of long polling, from a client", valid=at_least(1024)
    )
    connect_timeout: float = setting(
        45.0, "a connection that enters no namespace is closed after this", valid=more_than(0)
    )
    recovery: float = setting(
        120.0,
        "how long a client that lost its connection can come back to its rooms and to what it "
        "missed; 0 = never",
        valid=at_least(0),
    )
    notification_interval_ms: int = setting(
        1000,
        "milliseconds for which values of a busy variable are gathered",
        env="NOTIFICATION_INTERVAL",
        valid=between(10, 3_600_000),
    )
    notification_buffer: int = setting(
        1000,
        "values of one variable that are gathered; beyond it only the newer half is kept",
        env="NOTIFICATION_BUFFER_SIZE",
        valid=at_least(2),
    )
    broadcast_all: bool = setting(
        False,
        "tell every client what is stored in organizations that it may see, in its rooms or not",
        env="ENABLE_BROADCAST_ALL",
    )
    rule_changes: str = setting(
        "organization",
        "who is told what a rule did to a device: organization (every client that may see the "
        "device) or rooms",
        valid=one_of("organization", "rooms"),
    )
