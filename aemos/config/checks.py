"""What a value of the configuration must be like: functions that say what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from email.utils import parseaddr
from typing import Any

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
    """mysql://user:password@host:3306/name or sqlite:///path."""
    if not value or value.startswith(("mysql://", "mariadb://", "sqlite:///")):
        return ""
    return "is neither mysql://user:password@host:3306/name nor sqlite:///path"


def signing_secret(value: str) -> str:
    """Long enough to sign with, and not one that everybody knows from an example."""
    if value in _KNOWN_SECRETS:
        return "is a well-known example; choose a random one, or leave it out to have one made"
    if value and len(value.encode()) < _SHORTEST_SECRET:
        return f"is shorter than {_SHORTEST_SECRET} bytes"
    return ""
