"""Opens the ports of all doors: plain, over TLS, behind a balancer; and reads certificates anew."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory

from aemos.assembly import Doors
from aemos.config.schema import Http, Mqtt, Settings
from aemos.config.tls_files import tls_files
from aemos.errors import StartError
from aemos.http.door import HttpDoor
from aemos.mqtt.counters import CloseReason
from aemos.mqtt.protocol import MqttFactory
from aemos.mqtt.websocket import MqttWebSocketFactory
from aemos.proxy import ProxyFactory
from aemos.tls import TlsContext


class Listeners:
    """The open ports of one server. `ports` are the TCP ports that were bound, by name."""

    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, doors: Doors) -> None:
        self.ports: dict[str, int] = {}
        self._reactor, self._settings, self._doors = reactor, settings, doors
        self._listening: list[IListeningPort] = []
        self._contexts: dict[str, TlsContext] = {}
        self._http: HttpDoor | None = None

    async def open(self) -> None:
        """Open them all. @raise StartError: one cannot be; the text names it and says why."""
        settings = self._settings
        if settings.mqtt.enabled:
            await self._open_mqtt(settings.mqtt)
        if settings.http.enabled:
            await self._open_http(settings.http)

    def close(self) -> list[Deferred[Any]]:
        """Accept nobody any more. @return: each fires when something is closed."""
        closing: list[Deferred[Any]] = []
        closing += [maybeDeferred(port.stopListening) for port in self._listening]
        if self._http is not None:
            closing.append(self._http.stopService())
        return closing

    def reload(self, settings: Settings) -> list[str]:
        """Read the files of TLS again, for the connections to come; end those of MQTT clients whose
        certificates are revoked by now.

        @return: what went wrong; there the old ones stay in force.
        """
        problems = []
        for name, files in tls_files(settings).items():
            if name in self._contexts:
                try:
                    self._contexts[name].load(files)
                except StartError as error:
                    problems.append(str(error))
        if "mqtt" in self._contexts:
            self._end_revoked(self._contexts["mqtt"])
        return problems

    def _end_revoked(self, context: TlsContext) -> None:
        for connection in list(self._doors.broker.connections):
            certificate = connection.peer.certificate()
            if certificate is not None and context.revokes(certificate):
                # Nobody hears the last will of who is not trusted any more.
                connection.close(CloseReason.REVOKED, "certificate", publish_will=False)

    async def _open_mqtt(self, mqtt: Mqtt) -> None:
        if not mqtt.auth_enabled:
            self._log.warn("mqtt.auth_enabled is false: MQTT clients are not checked at all")
        broker, tls = self._doors.broker, mqtt.tls
        plain, socket = MqttFactory(broker), MqttWebSocketFactory(broker)
        wanted: list[tuple[str, str, str, IProtocolFactory, bool]] = [
            ("mqtt", "MQTT", mqtt.endpoint or _tcp(mqtt.host, mqtt.port), plain, False),
            (
                "mqtt_websocket",
                "MQTT over WebSocket",
                mqtt.websocket_endpoint or _if_on(mqtt.host, mqtt.websocket_port),
                socket,
                False,
            ),
            ("mqtt_tls", "MQTT over TLS", tls.endpoint or _if_on(mqtt.host, tls.port), plain, True),
            (
                "mqtt_websocket_tls",
                "MQTT over WebSocket over TLS",
                tls.websocket_endpoint or _if_on(mqtt.host, tls.websocket_port),
                socket,
                True,
            ),
        ]
        for name, title, endpoint, factory, encrypted in wanted:
            if not endpoint:
                continue
            if encrypted:
                factory = TLSMemoryBIOFactory(self._context("mqtt"), False, factory)
            if mqtt.proxy_protocol:
                networks, patience = mqtt.proxy_protocol, mqtt.connect_timeout
                factory = ProxyFactory(factory, networks, self._reactor, patience)
            self.ports[name] = await self._listen(title, endpoint, factory)

    async def _open_http(self, http: Http) -> None:
        endpoint = http.tls_endpoint or _if_on(http.host, http.tls_port)
        if endpoint:
            above = TLSMemoryBIOFactory(self._context("http"), False, self._doors.site)
            self.ports["https"] = await self._listen("HTTPS", endpoint, above)
        endpoint = http.endpoint or _tcp(http.host, http.port)
        door = HttpDoor(self._doors.site, endpoint, self._reactor, self._settings.stop_grace)
        await door.listen()
        self._http = door
        self.ports["http"] = door.port or 0

    def _context(self, name: str) -> TlsContext:
        if name not in self._contexts:
            self._contexts[name] = TlsContext(tls_files(self._settings)[name])
        return self._contexts[name]

    async def _listen(self, name: str, endpoint: str, factory: IProtocolFactory) -> int:
        try:
            port = await serverFromString(self._reactor, endpoint).listen(factory)
        except Exception as error:
            raise StartError(f"{name} cannot listen on {endpoint}: {error}") from error
        self._listening.append(port)
        return getattr(port.getHost(), "port", 0)


def _if_on(host: str, port: int) -> str:
    return _tcp(host, port) if port else ""


def _tcp(host: str, port: int) -> str:
    escaped = host.replace("\\", "\\\\").replace(":", "\\:")
    return f"tcp:{port}:interface={escaped}:backlog=1024"
