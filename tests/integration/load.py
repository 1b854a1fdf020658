"""Devices that publish as fast as they are acknowledged, and remember what was."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

from paho.mqtt.client import MQTTMessageInfo

from tests.integration.device import Device, acknowledged
from tests.integration.server import Sensor, Server, until

_WINDOW = 50


class _Publisher:
    """One device: each message carries its own name, as value and as message id."""

    def __init__(self, server: Server, sensor: Sensor, name: str) -> None:
        self.sensor, self.name = sensor, name
        self.device = Device.of(server, sensor)
        self._free = threading.Semaphore(_WINDOW)
        self.sent: list[tuple[str, MQTTMessageInfo]] = []
        self.device.client.on_publish = lambda *_: self._free.release()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, topic = self.device.client, self.sensor.datastream
        while not self._stopping.is_set():
            if not self._free.acquire(timeout=0.05):
                continue
            name = f"{self.name}-{len(self.sent)}"
            message = {"value": name, "variableName": "temperature", "messageId": name}
            info = client.publish(topic, json.dumps(message), 1)
            self.sent.append((name, info))

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def acknowledged(self) -> set[str]:
        return {name for name, info in tuple(self.sent) if acknowledged(info)}


class Load:
    """Several publishers at once."""

    def __init__(self, server: Server, sensors: Sequence[Sensor]) -> None:
        self._publishers = [
            _Publisher(server, sensor, f"d{number}") for number, sensor in enumerate(sensors)
        ]

    @property
    def devices(self) -> list[Device]:
        return [each.device for each in self._publishers]

    @property
    def count(self) -> int:
        """How many messages are acknowledged."""
        return sum(len(each.acknowledged()) for each in self._publishers)

    def run_until(self, count: int) -> None:
        """Wait until so many messages are acknowledged."""
        until(lambda: self.count >= count, f"{count} messages are acknowledged", 60)

    def stop(self) -> None:
        """Publish nothing more; what is on its way stays so."""
        for each in self._publishers:
            each.stop()

    def settle(self) -> None:
        """Wait until all that was sent is acknowledged."""
        total = sum(len(each.sent) for each in self._publishers)
        until(lambda: self.count == total, "everything is acknowledged", 60)

    def missing(self, server: Server) -> set[str]:
        """@return: what was acknowledged and is not in the database."""
        lost: set[str] = set()
        for each in self._publishers:
            stored = [row["value"] for row in server.stored(each.sensor)]
            assert len(stored) == len(set(stored)), "stored twice"
            lost |= each.acknowledged() - set(stored)
        return lost

    def send_again(self, server: Server) -> None:
        """Send all again on new connections, as devices do that do not know what arrived."""
        for each in self._publishers:
            device = Device.of(server, each.sensor)
            infos = []
            for name, _ in each.sent:
                message = {"value": name, "variableName": "temperature", "messageId": name}
                infos.append(device.client.publish(each.sensor.datastream, json.dumps(message), 1))
            until(lambda infos=infos: all(map(acknowledged, infos)), "sent again", 60)
            device.leave()
            each.sent = [(name, info) for (name, _), info in zip(each.sent, infos, strict=True)]

    def close(self) -> None:
        self.stop()
        for device in self.devices:
            device.cut()
