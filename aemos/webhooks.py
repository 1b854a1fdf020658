"""Sends webhooks to addresses that users have entered, and to no private one by their order.

The name of the receiver is looked up here, what comes out is checked, and the connection goes to
exactly that address: a name that leads elsewhere at the next look-up gains nothing. Redirects are
not followed. What is sent is signed, so that the receiver knows who has sent it and when::

    X-Aemos-Timestamp: seconds since 1970
    X-Aemos-Signature: sha256=HMAC-SHA256(secret, timestamp + "." + body), in hexadecimal digits
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import URI, Agent, RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from aemos.config.alarms import Alarms as Settings
from aemos.errors import Unavailable
from aemos.services.alarms.deliveries import DeliveryRefused

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that was ever given out for the Internet
_LATER = frozenset({408, 425, 429})  # refusals of a request that mean: not now


def public(address: str, allowed: Sequence[str] = ()) -> bool:
    """@param address: numeric. @param allowed: networks that are good although they are private.

    @return: whether the address is on the open Internet, also behind what stands for it in IPv6.
    """
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = IPv4Address(int(found) & 0xFFFFFFFF)
        found = inner or found
    for network in allowed:
        if found in ip_network(network, strict=False):
            return True
    if isinstance(found, IPv6Address) and found not in _UNICAST:
        return False  # such as ::127.0.0.1 and fec0::1, which Python takes for global ones
    return found.is_global and not found.is_multicast


class WebhookSender:
    """Sends one request after another, each on a connection of its own."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        """@param reactor: IReactorTCP, IReactorTime and IReactorPluggableNameResolver."""
        self._settings, self._reactor = settings, reactor
        endpoints = _Endpoints(reactor, settings)
        self._client = HTTPClient(Agent.usingEndpointFactory(reactor, endpoints))

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None
    ) -> str:
        """@return: what the receiver answered, in a few words.

        @raise DeliveryRefused: a private address, or an answer that will be the same each time.
        @raise Unavailable: no answer in time, or one that may be another next time.
        """
        sent = {**headers, "User-Agent": "aemos"}
        if secret:
            sent.update(signed(secret, int(self._reactor.seconds()), body))
        asking = ensureDeferred(self._ask(url, body, sent))
        asking.addTimeout(self._settings.webhook_timeout, self._reactor)
        try:
            code = await asking
        except (TimeoutError, RequestTransmissionFailed, ResponseNeverReceived):
            raise Unavailable("no answer") from None
        if 200 <= code < 300:
            return f"answered {code}"
        if 300 <= code < 500 and code not in _LATER:
            raise DeliveryRefused(f"answered {code}")
        raise Unavailable(f"answered {code}")

    async def _ask(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        response = await self._client.post(
            url,
            data=body,
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        response.deliverBody(_Unread())
        return int(response.code)


def signed(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    """@return: the headers that prove who has sent a body, and when."""
    text = b"%d.%s" % (timestamp, body)
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return {"X-Aemos-Timestamp": str(timestamp), "X-Aemos-Signature": f"sha256={digest}"}


class _Unread(Protocol):
    """The body of an answer: nobody reads it, however long it is."""

    def connectionMade(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, settings: Settings) -> None:
        self._reactor, self._settings = reactor, settings

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        endpoint = _CheckedEndpoint(self._reactor, host.strip("[]"), uri.port, self._settings)
        if uri.scheme == b"https":
            return wrapClientTLS(optionsForClientTLS(host.strip("[]")), endpoint)
        return endpoint


@implementer(IStreamClientEndpoint)
class _CheckedEndpoint:
    """Connects to an address of a host if all that its name leads to are allowed."""

    def __init__(self, reactor: Any, host: str, port: int, settings: Settings) -> None:
        self._reactor, self._host, self._port = reactor, host, port
        self._settings = settings

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return ensureDeferred(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        found: Deferred[list[Any]] = Deferred()
        self._reactor.nameResolver.resolveHostName(_Resolution(found), self._host, self._port)
        addresses = [address for address in await found if hasattr(address, "host")]
        if not addresses:
            raise Unavailable("the name of the receiver leads nowhere")
        for address in addresses:
            if not public(address.host, self._settings.webhook_networks):
                raise DeliveryRefused("the receiver has a private address (webhook_networks)")
        chosen = addresses[0]
        kind = TCP6ClientEndpoint if ":" in chosen.host else TCP4ClientEndpoint
        endpoint = kind(
            self._reactor, chosen.host, self._port, timeout=self._settings.webhook_timeout
        )
        protocol: IProtocol = await endpoint.connect(factory)
        return protocol


@implementer(IResolutionReceiver)
class _Resolution:
    """Gathers what a name leads to."""

    def __init__(self, found: Deferred[list[Any]]) -> None:
        self._found, self._addresses = found, list[Any]()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Called first."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        if not self._found.called:
            self._found.callback(self._addresses)
