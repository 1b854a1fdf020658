"""Who a request comes from, and how many it may make."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.web.test.requesthelper import DummyChannel

from aemos.config.schema import Http
from aemos.http import limits
from aemos.http.limits import ClientAddresses, RateLimit
from aemos.http.site import ApiRequest


def request_from(peer: Any, *forwarded: str) -> ApiRequest:
    request = ApiRequest(DummyChannel(), parsePOSTFormSubmission=False)
    request.client = peer
    if forwarded:
        request.requestHeaders.setRawHeaders("X-Forwarded-For", list(forwarded))
    return request


def v4(host: str) -> IPv4Address:
    return IPv4Address("TCP", host, 1234)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (v4("9.9.9.9"), (), "9.9.9.9"),
        (v4("9.9.9.9"), ("1.1.1.1",), "9.9.9.9"),  # no trusted proxy says so
        (v4("10.0.0.1"), (), "10.0.0.1"),
        (v4("10.0.0.1"), ("1.1.1.1",), "1.1.1.1"),
        (v4("10.0.0.1"), ("6.6.6.6, 1.1.1.1",), "1.1.1.1"),  # the left one is the client's word
        (v4("10.0.0.1"), ("6.6.6.6, 1.1.1.1, 10.1.2.3",), "1.1.1.1"),
        (v4("10.0.0.1"), ("1.1.1.1", "10.1.2.3"), "1.1.1.1"),
        (v4("10.0.0.1"), ("10.1.1.1, 10.1.2.3",), "10.1.1.1"),
        (v4("10.0.0.1"), ("1.1.1.1, nonsense",), "10.0.0.1"),
        (v4("10.0.0.1"), ("1.1.1.1, nonsense, 10.1.2.3",), "10.1.2.3"),
        (IPv6Address("TCP", "::ffff:10.0.0.1", 1), ("2001:db8::7",), "2001:db8::7"),
        (IPv6Address("TCP", "fe80::1%eth0", 1), ("1.1.1.1",), "fe80::1%eth0"),
        (UNIXAddress("/run/http"), ("1.1.1.1",), ""),
    ],
)
def test_forwarding_headers_count_from_trusted_proxies_only(
    peer: Any, forwarded: tuple[str, ...], address: str
) -> None:
    addresses = ClientAddresses(["10.0.0.0/8"])
    assert addresses.of(request_from(peer, *forwarded)) == address


def rate_limit(clock: Clock) -> RateLimit:
    return RateLimit(Http(rate_limit_max=2, rate_limit_window_ms=1000), clock)


def test_an_address_has_its_allowance_per_window() -> None:
    clock = Clock()
    limit = rate_limit(clock)
    first = limit.count("1.1.1.1")
    assert (first.limit, first.remaining, first.resets_in, first.exceeded) == (2, 1, 1.0, False)
    clock.advance(0.75)
    assert limit.count("1.1.1.1").remaining == 0
    third = limit.count("1.1.1.1")
    assert (third.exceeded, third.remaining, third.resets_in) == (True, 0, 0.25)
    assert not limit.count("2.2.2.2").exceeded
    clock.advance(0.25)
    assert limit.count("1.1.1.1").remaining == 1


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    limit = rate_limit(Clock())
    limit.count("2001:db8::1")
    assert limit.count("2001:db8::2").remaining == 0
    assert limit.count("2001:db8:0:1::1").remaining == 1


def test_of_too_many_addresses_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_ADDRESSES", 2)
    limit = rate_limit(Clock())
    for address in ("1.1.1.1", "2.2.2.2", "3.3.3.3"):
        limit.count(address)
    assert limit.count("3.3.3.3").remaining == 0
    assert limit.count("1.1.1.1").remaining == 1
