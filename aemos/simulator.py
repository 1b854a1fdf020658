"""Plays the sensors of the demo farm: signs in as each of them over MQTT and publishes readings."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from aemos.errors import Unavailable
from aemos.mqtt.client import Client, connect
from aemos.services.simulation import payload, turns
from aemos.storage.demo_farm import NewSensor

_SHORTEST_TICK = 0.02  # seconds; at higher rates a tick sends several readings
_WINDOW = 1000  # messages that may wait for their acknowledgement


@attrs.frozen
class Totals:
    """What a simulation did."""

    sent: int
    acknowledged: int


class Simulator:
    """Publishes at an even rate until it has sent enough or is told to stop."""

    def __init__(
        self, clock: Any, sensors: Sequence[NewSensor], rate: float, count: int | None
    ) -> None:
        """@param rate: readings per second, of all sensors together.

        @param count: how many in all; None = until `stop`.
        """
        self._clock, self._sensors, self._rate, self._count = clock, sensors, rate, count
        self._clients: list[Client] = []
        self._turns = turns([sensor.variables for sensor in sensors])
        self._chance = random.Random()  # noqa: S311 - weather, not secrets
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock
        self._started = 0.0
        self._sent = 0
        self._acknowledged = 0
        self._done: Deferred[None] = Deferred()

    @property
    def totals(self) -> Totals:
        """What was done so far."""
        return Totals(self._sent, self._acknowledged)

    async def run(self, host: str, port: int) -> Totals:
        """Connect, publish, and wait for the last acknowledgement.

        @raise Unauthenticated: a sensor was refused. @raise Unavailable: no or no more connection.
        """
        try:
            for sensor in self._sensors:
                self._clients.append(await self._connect(host, port, sensor))
            self._started = self._clock.seconds()
            self._ticks.start(max(_SHORTEST_TICK, 1 / self._rate)).addErrback(self._fail)
            await self._done
        finally:
            await gatherResults([client.disconnect() for client in self._clients])
        return self.totals

    async def _connect(self, host: str, port: int, sensor: NewSensor) -> Client:
        endpoint = HostnameEndpoint(self._clock, host, port)
        try:
            return await connect(self._clock, endpoint, sensor.uuid, sensor.token)
        except Unavailable as error:
            raise Unavailable(f"{host} port {port}: {error}") from error

    def stop(self) -> None:
        """Send nothing more; `run` ends when what was sent is acknowledged."""
        self._count = self._sent
        self._check_end()

    def _tick(self) -> None:
        due = 1 + int((self._clock.seconds() - self._started) * self._rate)
        if self._count is not None:
            due = min(due, self._count)
        for _ in range(min(due - self._sent, _WINDOW - self._sent + self._acknowledged)):
            index, variable = next(self._turns)
            self._publish(self._clients[index], self._sensors[index].uuid, variable)
        self._check_end()

    def _publish(self, client: Client, uuid: str, variable: str) -> None:
        reading = payload(variable, self._clock.seconds(), self._chance)
        self._sent += 1
        client.publish(f"devices/{uuid}/datastream", reading).addCallbacks(
            lambda _: self._took(), self._fail
        )

    def _took(self) -> None:
        self._acknowledged += 1
        self._check_end()

    def _check_end(self) -> None:
        if self._sent == self._count == self._acknowledged and not self._done.called:
            self._halt()
            self._done.callback(None)

    def _fail(self, failure: Failure) -> None:
        self._halt()
        if not self._done.called:
            self._done.errback(failure)

    def _halt(self) -> None:
        if self._ticks.running:
            self._ticks.stop()
