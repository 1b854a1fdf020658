"""Durable sessions outlive `kill -9`: nothing acknowledged is missing, no QoS 2 comes twice."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv311

from tests.integration.server import Sensor, Server, until

# Whenever its loop starts again, paho drops the two sockets that woke the last one.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

_WINDOW = 20


class Peer:
    """A client with a persistent session on both sides: it goes on with the server's next run."""

    def __init__(self, server: Server, sensor: Sensor, client_id: str) -> None:
        self._server = server
        self._connected, self._lost = threading.Event(), threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=False,
            protocol=MQTTv311,
            reconnect_on_failure=False,
        )
        self.client.username_pw_set(sensor.uuid, sensor.token)
        self.client.max_inflight_messages_set(_WINDOW)
        self.client.on_connect = lambda *_: self._connected.set()
        self.client.on_disconnect = lambda *_: self._lost.set()
        self.received: list[tuple[int, str]] = []
        self.client.on_message = lambda _client, _data, message: self._note(message)

    def connect(self) -> None:
        self._connected.clear()
        self._lost.clear()
        self.client.connect("127.0.0.1", self._server.ports["mqtt"])
        self.client.loop_start()
        assert self._connected.wait(20), "no CONNACK"

    def subscribe(self, *filters: str) -> None:
        granted = threading.Event()
        self.client.on_subscribe = lambda *_: granted.set()
        self.client.subscribe([(topic_filter, 2) for topic_filter in filters])
        assert granted.wait(20), "no SUBACK"

    def wait_until_lost(self) -> None:
        assert self._lost.wait(20), "still connected"
        self.client.loop_stop()

    def leave(self) -> None:
        self.client.disconnect()
        self.wait_until_lost()

    def close(self) -> None:
        sock = self.client.socket()
        if sock is not None:
            sock.close()
        self.client.loop_stop()
        self.client.on_connect = self.client.on_disconnect = self.client.on_publish = None
        self.client.on_message = self.client.on_subscribe = None

    def names(self, qos: int) -> Counter[str]:
        """@return: how often each message of this QoS came."""
        return Counter(name for came, name in tuple(self.received) if came == qos)

    def _note(self, message: MQTTMessage) -> None:
        body = json.loads(message.payload)
        if "type" not in body:  # else it is the server's announcement of a reading
            self.received.append((message.qos, body["value"]))


class Publisher(Peer):
    """Publishes numbered messages as fast as they are acknowledged."""

    def __init__(
        self, server: Server, sensor: Sensor, client_id: str, topic: str, qos: int
    ) -> None:
        super().__init__(server, sensor, client_id)
        self._topic, self._qos = topic, qos
        self.sent: dict[int, str] = {}
        self._acknowledged: set[int] = set()
        self._free = threading.Semaphore(_WINDOW)
        self.client.on_publish = self._published
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def count(self) -> int:
        """How many messages are acknowledged."""
        return len(self._acknowledged)

    @property
    def names_sent(self) -> set[str]:
        return set(self.sent.values())

    def _published(self, _client: Client, _data: object, packet_id: int, *_: object) -> None:
        self._acknowledged.add(packet_id)
        self._free.release()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._free.acquire(timeout=0.02):
                name = f"{self._topic[:8]}:{len(self.sent)}"
                body = json.dumps({"value": name, "variableName": "temperature"})
                # What is published while the server is away is sent when it is back.
                self.sent[self.client.publish(self._topic, body, self._qos).mid] = name


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server on which everybody may publish to every topic."""
    server = Server(tmp_path, database_url, mqtt={"acl": {"mode": "open"}, "max_queued": 100_000})
    try:
        yield server.start()
    finally:
        server.close()


def test_kill_9_under_load_loses_and_doubles_nothing_for_durable_sessions(server: Server) -> None:
    sensor = server.add_sensor()
    present, absent = Peer(server, sensor, "present"), Peer(server, sensor, "absent")
    publishers = [
        Publisher(server, sensor, "p1", "load/1", 1),
        Publisher(server, sensor, "p2", "load/2", 2),
        Publisher(server, sensor, "p3", sensor.datastream, 2),
    ]
    try:
        for subscriber in (present, absent):
            subscriber.connect()
            subscriber.subscribe("load/#", sensor.datastream)
        absent.leave()
        _load_until_killed(server, publishers, random.randrange(200, 900))
        present.wait_until_lost()

        # Again, and now while the absent one is fetching what waits for it, too.
        server.start()
        for subscriber in (present, absent):
            subscriber.connect()
        _load_until_killed(server, publishers, random.randrange(200, 900))
        for subscriber in (present, absent):
            subscriber.wait_until_lost()

        server.start()
        for peer in (*publishers, present, absent):
            peer.connect()
        for publisher in publishers:
            until(
                lambda publisher=publisher: publisher.count == len(publisher.sent),
                "everything is acknowledged",
                60,
            )
        several = publishers[0].names_sent
        once = publishers[1].names_sent | publishers[2].names_sent
        for subscriber in (present, absent):
            until(
                lambda subscriber=subscriber: (
                    set(subscriber.names(1)) >= several and set(subscriber.names(2)) >= once
                ),
                "everything came",
                60,
            )
            assert [name for name, times in subscriber.names(2).items() if times > 1] == []
        stored = Counter(row["value"] for row in server.stored(sensor))
        assert set(stored) == publishers[2].names_sent
        assert [value for value, times in stored.items() if times > 1] == []
        assert "Traceback" not in server.log
    finally:
        for publisher in publishers:
            publisher.stop()
        for peer in (*publishers, present, absent):
            peer.close()


def _load_until_killed(server: Server, publishers: list[Publisher], count: int) -> None:
    """Publish until so many more messages are acknowledged, then kill the server."""
    for publisher in publishers:
        publisher.connect()
    goal = count + sum(publisher.count for publisher in publishers)
    for publisher in publishers:
        publisher.start()
    until(
        lambda: sum(publisher.count for publisher in publishers) >= goal,
        f"{goal} messages are acknowledged",
        60,
    )
    server.kill()
    for publisher in publishers:
        publisher.stop()
        publisher.wait_until_lost()
