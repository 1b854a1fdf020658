"""Turns away who comes too often or guesses: limits by address and device, and temporary bans.

Everything here is bounded, forgets by itself, and is logged once a minute for each cause.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from aemos.config.schema import Mqtt
from aemos.model import Instant, Principal, PrincipalKind
from aemos.mqtt.counters import Counters
from aemos.mqtt.limits import Bucket
from aemos.services.interfaces import Ban

V = TypeVar("V")

_REMEMBERED = 20_000  # addresses, clients and bans; of more those seen first are forgotten
_BURST = 10.0  # seconds' worth of connects that may come at once: after a power cut all do
_FREE_FAILURES = 10  # wrong credentials of an address that cost it no time
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0  # seconds
_LOG_AGAIN = 60.0


class Recent(Generic[V]):
    """A dict that forgets its oldest keys instead of growing."""

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self._values: dict[str, V] = {}
        self._limit = limit

    def get(self, key: str) -> V | None:
        return self._values.get(key)

    def set(self, key: str, value: V) -> None:
        """Set, as the newest."""
        self._values.pop(key, None)
        if len(self._values) >= self._limit:
            del self._values[next(iter(self._values))]
        self._values[key] = value

    def pop(self, key: str) -> V | None:
        return self._values.pop(key, None)

    def values(self) -> Iterable[V]:
        return self._values.values()


@attrs.define
class _Window:
    """How often something happened since `began`; `seen` holds digests of what it was."""

    began: float
    count: int = 0
    seen: set[bytes] = attrs.field(factory=set)


class Guard:
    """Asked by the broker whenever a connection opens, signs in, or fails to."""

    _log = Logger()

    def __init__(self, settings: Mqtt, clock: IReactorTime, counters: Counters) -> None:
        self._settings, self._clock, self._counters = settings, clock, counters
        self._trusted = [ip_network(network, strict=False) for network in settings.trusted_networks]
        self._trust: Recent[bool] = Recent()
        self._open: Counter[str] = Counter()
        self._rate = settings.connect_rate
        self._connects = Bucket(self._rate or 1.0, (self._rate or 1.0) * _BURST, clock)
        self._by_address: Recent[Bucket] = Recent()
        self._failures: Recent[_Window] = Recent()
        self._comings: Recent[_Window] = Recent()
        self._bans: Recent[Ban] = Recent()
        self._last_ban = 0
        self._logged: Recent[float] = Recent(1000)

    # ------------------------------------------------------------------ connections

    def objection(self, host: str) -> str:
        """@param host: an address, "" for a unix socket. @return: why not to let it in, or ""."""
        settings = self._settings
        address = address_key(host)
        if host and settings.max_per_address and self._open[address] >= settings.max_per_address:
            return "mqtt.max_per_address"
        if self._trusts(host):
            return ""
        if self._rate and not self._connects.has(1):
            return "mqtt.connect_rate"
        if not host:
            return ""
        if self._banned(f"address {address}"):
            return "banned"
        if settings.connect_rate_per_address and not self._of_address(address).has(1):
            return "mqtt.connect_rate_per_address"
        return ""

    def turned_away(self, peer: str, host: str, reason: str) -> None:
        """Count a connection that was not let in, and log the first of a minute."""
        self._counters.turned_away += 1
        self._counters.limited[reason] += 1
        if self._first(f"{reason} {host}"):
            self._log.warn(
                "connection from {peer} turned away: {reason} (told once a minute)",
                peer=peer,
                reason=reason,
            )

    def opened(self, host: str) -> None:
        """A connection was let in."""
        if host:
            self._open[address_key(host)] += 1

    def closed(self, host: str) -> None:
        """It is gone."""
        if host:
            address = address_key(host)
            self._open[address] -= 1
            if self._open[address] <= 0:
                del self._open[address]

    def _trusts(self, host: str) -> bool:
        """Whether the address is in `mqtt.trusted_networks`."""
        trust = self._trust.get(host)
        if trust is None:
            try:
                address = ip_address(host.partition("%")[0])
            except ValueError:
                trust = False  # a unix socket, or a name
            else:
                address = getattr(address, "ipv4_mapped", None) or address
                trust = any(address in network for network in self._trusted)
            self._trust.set(host, trust)
        return trust

    def _of_address(self, address: str) -> Bucket:
        bucket = self._by_address.get(address)
        if bucket is None:
            rate = self._settings.connect_rate_per_address
            bucket = Bucket(rate, rate * _BURST, self._clock)
        self._by_address.set(address, bucket)
        return bucket

    # ------------------------------------------------------------------ clients

    def refusal(self, principal: Principal, client_id: str, host: str, others: int) -> str:
        """Ask about a client that has signed in, and count its coming.

        @param others: connections that the principal has already.
        @return: why not to let it in, or "".
        """
        settings = self._settings
        anonymous = principal.kind is PrincipalKind.ANONYMOUS
        # Whoever has no name can choose the client id of somebody else: not to get that one banned.
        name = f"{host} {client_id}" if anonymous else f"{principal.key} {client_id}"
        name = name[:500]
        ban = self._banned(f"client {name}")
        if ban:
            return self._limited("banned", name, f"{ban.reason}, until {ban.until.iso()}")
        if not anonymous and settings.max_per_device and others >= settings.max_per_device:
            reason = f"{others} connections of one device, mqtt.max_per_device"
            return self._limited("mqtt.max_per_device", name, reason)
        if settings.flapping_connects and not self._trusts(host) and self._flaps(name):
            reason = f"{settings.flapping_connects} connects in {settings.flapping_window:g} s"
            self._ban("client", name, reason)
            return self._limited("banned", name, reason)
        return ""

    def _flaps(self, name: str) -> bool:
        window = self._window(self._comings, name, self._settings.flapping_window)
        window.count += 1
        if window.count <= self._settings.flapping_connects:
            return False
        self._comings.pop(name)
        return True

    def _limited(self, word: str, name: str, reason: str) -> str:
        self._counters.limited[word] += 1
        if self._first(f"{word} {name}"):
            self._log.warn(
                "MQTT client {name!r} is kept out: {reason} (told once a minute)",
                name=name,
                reason=reason,
            )
        return reason

    # ------------------------------------------------------------------ failed sign-ins

    def failed(self, host: str, name: str, secret: bytes) -> float:
        """Note wrong credentials. The same ones again count once: a device that is set up wrongly
        does not guess, and must not get the others behind its router banned.

        @return: seconds that the answer should be late.
        """
        limit = self._settings.max_failed_logins
        if not limit or not host or self._trusts(host):
            return 0.0
        address = address_key(host)
        window = self._window(self._failures, address, self._settings.failed_login_window)
        guess = name.encode("utf-8", "replace") + b"\0" + secret
        window.seen.add(hashlib.blake2s(guess, digest_size=8).digest())
        failures = len(window.seen)
        if failures >= limit:
            self._failures.pop(address)
            seconds = self._settings.failed_login_window
            self._ban("address", address, f"{failures} failed sign-ins in {seconds:g} s")
        if failures <= _FREE_FAILURES:
            return 0.0
        # Doubling six times is more than enough to reach the longest.
        return min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(failures - _FREE_FAILURES - 1, 6))

    # ------------------------------------------------------------------ bans

    def bans(self) -> list[Ban]:
        """@return: those in force, oldest first."""
        now = self._now()
        return [ban for ban in self._bans.values() if ban.until > now]

    def lift(self, ban_id: int) -> bool:
        """End a ban. @return: whether it was in force."""
        for ban in self.bans():
            if ban.id == ban_id:
                self._bans.pop(f"{ban.kind} {ban.name}")
                return True
        return False

    def _ban(self, kind: str, name: str, reason: str) -> None:
        self._last_ban += 1
        now = self._now()
        until = Instant(now + self._settings.ban_time * 1000)
        self._bans.set(f"{kind} {name}", Ban(self._last_ban, kind, name, reason, now, until))
        self._counters.banned += 1
        self._log.warn(
            "{kind} {name!r} is banned until {until}: {reason}",
            kind=kind,
            name=name,
            until=until.iso(),
            reason=reason,
        )

    def _banned(self, key: str) -> Ban | None:
        ban = self._bans.get(key)
        if ban is not None and ban.until <= self._now():
            self._bans.pop(key)
            return None
        return ban

    # ------------------------------------------------------------------

    def _window(self, windows: Recent[_Window], key: str, seconds: float) -> _Window:
        now = self._clock.seconds()
        window = windows.get(key)
        if window is None or now - window.began >= seconds:
            window = _Window(now)
            windows.set(key, window)
        return window

    def _first(self, what: str) -> bool:
        """Whether this is not logged yet, in the last minute."""
        now, last = self._clock.seconds(), self._logged.get(what)
        if last is not None and now - last < _LOG_AGAIN:
            return False
        self._logged.set(what, now)
        return True

    def _now(self) -> Instant:
        return Instant.of(self._clock.seconds())


def address_key(host: str) -> str:
    """@return: what counts as one address: an IPv6 client owns its whole /64."""
    if ":" not in host:
        return host
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Network((address, 64), strict=False))
