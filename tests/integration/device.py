"""An MQTT client of the tests: paho-mqtt, asked and answered in order."""

from __future__ import annotations

import json
import os
import queue
import socket
from collections.abc import Mapping
from threading import Event
from typing import Any

import attrs
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import MQTTErrorCode

from tests.integration.server import Sensor, Server

_WAIT = 15.0  # seconds
NOT_AUTHORIZED = 135
"""What paho makes of CONNACK return code 5."""
REFUSED = 0x80
"""A filter that was not granted."""


@attrs.frozen
class Will:
    """What the server is to publish when this client is lost."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Device:
    """One client; `received` holds what the server sent it."""

    def __init__(
        self,
        server: Server,
        username: str | None,
        password: str | None,
        *,
        client_id: str = "",
        clean: bool = True,
        transport: str = "tcp",
        encrypted: bool = False,
        protocol: int = MQTTv311,
        keepalive: int = 60,
        will: Will | None = None,
    ) -> None:
        self._keepalive = keepalive
        port = "mqtt" if transport == "tcp" else "mqtt_websocket"
        self._port = server.ports[f"{port}_tls" if encrypted else port]
        self._answered, self._lost = Event(), Event()
        self._code = -1
        self._granted: queue.Queue[list[int]] = queue.Queue()
        self.session_present = False
        self.received: queue.Queue[MQTTMessage] = queue.Queue()
        self.client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            transport=transport,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(1000)
        client.on_socket_open = _send_at_once
        if encrypted:
            assert server.authority is not None
            client.tls_set(server.authority.path)
        if username is not None:
            client.username_pw_set(username, password)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._lost.set()
        client.on_message = lambda _client, _data, message: self.received.put(message)
        client.on_subscribe = lambda _client, _data, _mid, codes, _properties: self._granted.put(
            [code.value for code in codes]
        )

    def _on_connect(self, _client: Client, _data: Any, flags: Any, code: Any, _props: Any) -> None:
        self._code, self.session_present = code.value, flags.session_present
        self._answered.set()

    @classmethod
    def of(cls, server: Server, sensor: Sensor, **options: Any) -> Device:
        """@return: a client signed in as that sensor."""
        device = cls(server, sensor.uuid, sensor.token, **options)
        assert device.connect() == 0
        return device

    def connect(self) -> int:
        """@return: 0, or paho's number for why not."""
        self._answered.clear()
        self._lost.clear()
        self.client.connect("127.0.0.1", self._port, self._keepalive)
        self.client.loop_start()
        assert self._answered.wait(_WAIT), "no CONNACK"
        return self._code

    @property
    def connected(self) -> bool:
        return self.client.is_connected()

    def wait_until_lost(self) -> None:
        """Wait until the server, or the network, has ended the connection."""
        assert self._lost.wait(_WAIT), "still connected"

    def publish(self, topic: str, payload: object, qos: int = 1, retain: bool = False) -> None:
        """Publish and wait for the acknowledgement. @param payload: bytes, or sent as JSON."""
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        info = self.client.publish(topic, content, qos, retain)
        info.wait_for_publish(_WAIT)
        assert info.is_published(), "not acknowledged"

    def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """@return: the granted QoS, or `REFUSED`."""
        self.client.subscribe(topic_filter, qos)
        [code] = self._granted.get(timeout=_WAIT)
        return code

    def hear(self) -> MQTTMessage:
        """@return: the next message that came."""
        return self.received.get(timeout=_WAIT)

    def hear_json(self) -> Mapping[str, Any]:
        """@return: the payload of the next message that came."""
        content: Mapping[str, Any] = json.loads(self.hear().payload)
        return content

    def silent(self) -> bool:
        """@return: whether nothing came that was not heard yet."""
        return self.received.empty()

    def leave(self) -> None:
        """Disconnect properly."""
        self.client.disconnect()
        self._finish()

    def cut(self) -> None:
        """Lose the connection without a word."""
        sock = self.client.socket()
        if sock is not None:
            sock.close()
        self._finish()

    def _finish(self) -> None:
        self.client.loop_stop()
        # paho closes its last sockets when it is deleted, and in a cycle they might be first.
        self.client.on_connect = self.client.on_disconnect = None
        self.client.on_message = self.client.on_subscribe = None


def _send_at_once(_client: Client, _data: Any, connected: Any) -> None:
    """Do without the 40 ms that small packets wait for the receipt of those before them."""
    with socket.socket(fileno=os.dup(connected.fileno())) as same:
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def acknowledged(info: Any) -> bool:
    """@return: whether this publish was acknowledged (paho's `MQTTMessageInfo`)."""
    return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS and info.is_published()
