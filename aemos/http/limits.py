"""Who a request comes from, and how many requests an address may make."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from aemos.config.schema import Http
from aemos.errors import Forbidden

_MAX_ADDRESSES = 100_000
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")

Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Tells the address of a client, believing forwarding headers of trusted proxies only."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """@param trusted_proxies: addresses or networks such as `10.0.0.0/8`."""
        self._trusted = [ip_network(network, strict=False) for network in trusted_proxies]

    def of(self, request: Request) -> str:
        """@return: the rightmost hop of `X-Forwarded-For` that is no trusted proxy, or the peer."""
        peer = str(getattr(request.getClientAddress(), "host", ""))
        address = _parse(peer) if self._trusted else None
        if address is None or not self._trusts(address):
            return peer
        hops = b",".join(request.requestHeaders.getRawHeaders(b"X-Forwarded-For", []))
        for hop in reversed(hops.decode("ascii", "replace").split(",")):
            forwarded = _parse(hop.strip())
            if forwarded is None:
                break
            address = forwarded
            if not self._trusts(forwarded):
                break
        return str(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def network(address: str) -> str:
    """@return: what counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _parse(address) if ":" in address else None
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False))
    return address


def require_localhost(request: Request) -> None:
    """@raise Forbidden: it comes from elsewhere, or may do so: a proxy has touched it."""
    address = _parse(str(getattr(request.getClientAddress(), "host", "")))
    local = address is not None and address.is_loopback
    if not local or any(request.getHeader(name) is not None for name in _FORWARDED):
        raise Forbidden("This endpoint is restricted to localhost only")


@attrs.frozen
class Allowance:
    """What is left to an address after one more request; `resets_in` is seconds."""

    limit: int
    remaining: int
    resets_in: float
    exceeded: bool


class RateLimit:
    """Counts requests per address in windows that start with its first request.

    Bounded: of too many addresses the one whose window began first is forgotten. IPv6 clients own
    whole networks, so a /64 counts as one address.
    """

    def __init__(self, settings: Http, clock: IReactorTime) -> None:
        self._clock = clock
        self._limit = settings.rate_limit_max
        self.window = settings.rate_limit_window_ms / 1000
        self._seen: dict[str, tuple[float, int]] = {}

    def count(self, address: str) -> Allowance:
        """Count one request."""
        now = self._clock.seconds()
        key = network(address)
        began, requests = self._seen.get(key, (now, 0))
        if now - began >= self.window:
            del self._seen[key]  # so that it counts as the newest again
            began, requests = now, 0
        elif not requests and len(self._seen) >= _MAX_ADDRESSES:
            del self._seen[next(iter(self._seen))]
        requests += 1
        self._seen[key] = (began, requests)
        return Allowance(
            limit=self._limit,
            remaining=max(0, self._limit - requests),
            resets_in=began + self.window - now,
            exceeded=requests > self._limit,
        )
