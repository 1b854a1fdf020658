"""What a value of the configuration must be like: functions that say what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from email.utils import parseaddr
from typing import Any

from twisted.internet.endpoints import serverFromString

from aemos.config.database_url import parse

Check = Callable[[Any], str]
"""Takes a value of the key's type; gives the end of a sentence about it, or "" when it is fine."""

_DURATION = re.compile(r"[1-9][0-9]{0,9} ?[smhdw]?")
_KNOWN_SECRETS = frozenset({"your-secret-key", "your-super-secret-jwt-key", "changeme"})
_SHORTEST_SECRET = 16


def anything(value: Any) -> str:
    """Every value of the right type will do."""
    return ""


def between(lowest: float, highest: float) -> Check:
    """A number from `lowest` to `highest`, both included."""
    return lambda value: "" if lowest <= value <= highest else f"is not in {lowest}..{highest}"


def at_least(lowest: float) -> Check:
    """A number of `lowest` or more."""
    return lambda value: "" if value >= lowest else f"is less than {lowest}"


def more_than(limit: float) -> Check:
    """A number above `limit`."""
    return lambda value: "" if value > limit else f"is not more than {limit}"


def mail_address(value: str) -> str:
    """An e-mail address, with or without a name: `Farm <farm@example.org>`."""
    address = parseaddr(value)[1]
    local, at, domain = address.rpartition("@")
    plain = address.isascii() and address.isprintable() and " " not in address
    return "" if local and at and domain and plain else "is not an e-mail address"


def one_of(*words: str) -> Check:
    """One word of a list, spelled exactly so."""
    return lambda value: "" if value in words else f"is not one of {', '.join(words)}"


def duration(value: str) -> str:
    """Seconds, or a whole number with s, m, h, d or w behind it."""
    if _DURATION.fullmatch(value):
        return ""
    return "is not a time: give seconds, or a number with s, m, h, d or w as in 30m, 24h, 7d"


def networks(values: Sequence[str]) -> str:
    """Addresses or networks such as 10.0.0.0/8 or fd00::/8."""
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            return f"holds {value!r}, which is no address or network"
    return ""


def organizations(values: Sequence[str]) -> str:
    """Organization ids, or the word all."""
    for value in values:
        if value != "all" and not value.isdecimal():
            return f"holds {value!r}, which is neither an organization id nor the word all"
    return ""


def database_url(value: str) -> str:
    """A URL that `aemos.config.database_url` can read, or nothing."""
    try:
        if value:
            parse(value)
    except ValueError as error:
        return str(error)
    return ""


def endpoint_string(value: str) -> str:
    """A server endpoint string of Twisted, or nothing."""
    # Which sockets there are is in the environment of the service only.
    if not value or value.startswith("systemd:"):
        return ""
    try:
        serverFromString(None, value)
    except Exception as error:  # each kind of endpoint has errors of its own
        return f"is not an endpoint string of Twisted: {error}"
    return ""


def not_empty(value: str) -> str:
    """Any text but none."""
    return "" if value.strip() else "must not be empty"


def signing_secret(value: str) -> str:
    """Long enough to sign with, and not one that everybody knows from an example."""
    if value in _KNOWN_SECRETS:
        return "is a well-known example; choose a random one, or leave it out to have one made"
    if value and len(value.encode()) < _SHORTEST_SECRET:
        return f"is shorter than {_SHORTEST_SECRET} bytes"
    return ""
