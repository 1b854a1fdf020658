"""Webhooks against a real HTTP server on loopback."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from aemos.config.alarms import Alarms
from aemos.errors import Unavailable
from aemos.services.alarms.deliveries import DeliveryRefused
from aemos.webhooks import WebhookSender, public

LOOPBACK = ("127.0.0.0/8",)
SECRET = "a secret that both know"


class Receiver(Resource):
    """Keeps what it gets; answers `code`, or never if that is 0."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[Request, bytes]] = []
        self.code = 200
        self.location = ""
        self.answer = b"thanks"

    def render_POST(self, request: Request) -> Any:
        self.got.append((request, request.content.read()))
        if not self.code:
            return NOT_DONE_YET
        request.setResponseCode(self.code)
        if self.location:
            request.setHeader("Location", self.location)
        return self.answer

    render_GET = render_POST


@attrs.frozen
class Farm:
    """The receiver and its port."""

    receiver: Receiver
    port: int

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/hook"


@pytest_twisted.async_yield_fixture
async def farm() -> AsyncIterator[Farm]:
    receiver = Receiver()
    port = reactor.listenTCP(0, Site(receiver), interface="127.0.0.1")
    yield Farm(receiver, port.getHost().port)
    await port.stopListening()


class Names:
    """The reactor, but every name leads to these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self.nameResolver = self

    def resolveHostName(self, receiver: Any, name: str, port: int, *_: Any) -> None:
        receiver.resolutionBegan(None)
        for address in self._addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


def sender(allowed: Sequence[str] = LOOPBACK, using: Any = reactor, **how: Any) -> WebhookSender:
    return WebhookSender(Alarms(webhook_networks=tuple(allowed), **how), using)


async def test_what_is_sent_is_signed_with_the_time(farm: Farm) -> None:
    headers = {"Content-Type": "text/plain", "Authorization": "Bearer x"}
    answer = await sender().post(farm.url(), b"hot", headers, SECRET)
    assert answer == "answered 200"
    [(request, body)] = farm.receiver.got
    assert (body, request.getHeader("Authorization")) == (b"hot", "Bearer x")
    timestamp = request.getHeader("X-Aemos-Timestamp")
    assert timestamp is not None
    text = timestamp.encode() + b".hot"
    expected = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    assert request.getHeader("X-Aemos-Signature") == f"sha256={expected}"


async def test_without_a_secret_nothing_is_signed(farm: Farm) -> None:
    await sender().post(farm.url(), b"", {}, None)
    assert farm.receiver.got[0][0].getHeader("X-Aemos-Signature") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433"])
async def test_a_private_address_is_refused_however_it_is_written(farm: Farm, host: str) -> None:
    with pytest.raises(DeliveryRefused, match="private"):
        await sender(()).post(farm.url(host), b"", {}, None)
    assert farm.receiver.got == []


async def test_a_name_that_leads_to_a_private_address_too_is_refused(farm: Farm) -> None:
    names = Names("93.184.216.34", "127.0.0.1")
    with pytest.raises(DeliveryRefused, match="private"):
        await sender((), names).post(farm.url("farm.example"), b"", {}, None)
    assert farm.receiver.got == []


async def test_the_connection_goes_to_the_address_that_was_checked(farm: Farm) -> None:
    await sender(using=Names("127.0.0.1")).post(farm.url("farm.example"), b"", {}, None)
    [(request, _)] = farm.receiver.got
    assert request.getHeader("Host") == f"farm.example:{farm.port}"


async def test_a_redirect_is_not_followed(farm: Farm) -> None:
    farm.receiver.code, farm.receiver.location = 307, farm.url("127.0.0.2")
    with pytest.raises(DeliveryRefused, match="307"):
        await sender().post(farm.url(), b"", {}, None)
    assert len(farm.receiver.got) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [(400, DeliveryRefused), (410, DeliveryRefused), (429, Unavailable), (503, Unavailable)],
)
async def test_some_answers_are_final_and_some_are_not(
    farm: Farm, code: int, error: type[Exception]
) -> None:
    farm.receiver.code = code
    with pytest.raises(error, match=str(code)):
        await sender().post(farm.url(), b"", {}, None)


async def test_a_receiver_that_does_not_answer_is_not_waited_for(farm: Farm) -> None:
    farm.receiver.code = 0
    with pytest.raises(Unavailable, match="no answer"):
        await sender(webhook_timeout=0.1).post(farm.url(), b"", {}, None)


async def test_a_long_answer_is_not_read(farm: Farm) -> None:
    farm.receiver.answer = b"x" * 5_000_000
    assert await sender().post(farm.url(), b"", {}, None) == "answered 200"


async def test_a_name_that_leads_nowhere(farm: Farm) -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        await sender(using=Names()).post(farm.url("farm.example"), b"", {}, None)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fd00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::",
        "::127.0.0.1", "fec0::1", "64:ff9b:1::a00:1", "::ffff:0:127.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not public(address)


def test_public_addresses_and_allowed_ones() -> None:
    for address in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"):
        assert public(address)
    assert public("10.1.2.3", ["10.0.0.0/8"])
    assert public("fd00::1", ["fd00::/8"])
    assert not public("10.1.2.3", ["11.0.0.0/8"])
