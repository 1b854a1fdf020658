"""Live events: how soon a published reading is at its listeners, and what listeners cost.

    python bench/live.py [--database sqlite|mysql] [--seconds N] [--sockets N] [--json]

Starts the real server on a new database. A device publishes readings over MQTT with QoS 1, each
with the time in it; one listener on `/ws/v1`, then one of Server-Sent Events, tells how long each
was under way, through the commit, at 20 and at 1,000 readings a second. Then many sockets join one
room: how much memory each takes, and when the last of them has one event. Publisher and listeners
are one process beside the server, so their time is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.ingest import cpu_seconds, new_database  # noqa: E402 - needs the path above
from tests.integration.server import Sensor, Server  # noqa: E402

_EVENTS = 20  # told to all sockets, one after the other
_MARK = b'"value":"'  # in each event, before the time


@attrs.frozen
class Latency:
    """From publish to event, in ms."""

    door: str
    rate: int
    p50: float
    p99: float
    missing: int


@attrs.frozen
class Crowd:
    """Many sockets in one room: KB of memory each, ms until the last one has an event.

    `cpu_us` is the CPU time of the server for one event to one socket, in microseconds.
    """

    sockets: int
    kilobytes: float
    first_p50: float
    last_p50: float
    last_max: float
    cpu_us: float


@attrs.frozen
class Opening:
    """What a client sends: a request, and a message when it is signed in."""

    request: bytes
    then: bytes = b""


class Listener(asyncio.Protocol):
    """A raw client of either door; tells `heard` about the value of each event."""

    def __init__(self, opening: Opening, heard: Callable[[bytes], object]) -> None:
        self._opening, self._heard = opening, heard
        self._rest = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(self._opening.request)

    def data_received(self, data: bytes) -> None:
        if self._opening.then and b'"authenticated"' in data:
            self.transport.write(self._opening.then)
        if not self.answered.done() and (b'"subscribed"' in data or b"event: subscribed" in data):
            self.answered.set_result(None)
        parts = (self._rest + data).split(_MARK)
        for part in parts[1:]:
            self._heard(part.partition(b'"')[0])
        # What may be the beginning of the next mark; a value never spans two packets in practice.
        self._rest = b"" if len(parts) > 1 else parts[0][-len(_MARK) :]


def main() -> int:
    """@return: 1 if an event is missing."""
    options = _options()
    with new_database(options.database) as (url, folder, _):
        server = Server(folder, url, realtime={"max_connections": options.sockets + 100})
        if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
            server.wrapper = ["taskset", "-c", "0"]
        try:
            server.start()
            results, crowd = asyncio.run(_measure(server, options))
        finally:
            server.close()
    if options.json:
        shown = {
            "latency": [attrs.asdict(result) for result in results],
            "crowd": attrs.asdict(crowd),
        }
        print(json.dumps(shown, indent=1))
    else:
        for result in results:
            print(
                f"{result.door} at {result.rate}/s: p50 {result.p50:.2f} ms, p99 {result.p99:.2f}"
                f" ms, missing {result.missing}"
            )
        print(
            f"{crowd.sockets} sockets in one room: {crowd.kilobytes:.1f} KB each; the last one has"
            f" an event after {crowd.last_p50:.0f} ms (at worst {crowd.last_max:.0f}), the first"
            f" after {crowd.first_p50:.1f} ms; {crowd.cpu_us:.1f} us of CPU for each"
        )
    return 1 if any(result.missing for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="mysql")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


async def _measure(server: Server, options: argparse.Namespace) -> tuple[list[Latency], Crowd]:
    sensor = server.add_sensor("temperature")
    token, room = server.sign_in(), f"telemetry-{sensor.variables['temperature']}"
    publish, hang_up = await _publisher(server, sensor)
    results = []
    for door, opening in (("/ws/v1", _handshake(token, room)), ("SSE", _request(token, room))):
        for rate in (20, 1000):
            results.append(await _latency(server, door, opening, rate, options.seconds, publish))
    crowd = await _crowd(server, _handshake(token, room), options.sockets, publish)
    hang_up()
    return results, crowd


async def _latency(
    server: Server,
    door: str,
    opening: Opening,
    rate: int,
    seconds: float,
    publish: Callable[[bytes], object],
) -> Latency:
    took: list[float] = []
    listener = await _listen(server, opening, lambda value: took.append(_since(value)))
    count, begins = int(rate * seconds), time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, begins + number / rate - time.monotonic()))
        publish(_now())
    await _in_time(lambda: len(took) >= count)
    listener.transport.abort()
    return Latency(door, rate, *_percentiles(took), count - len(took))


async def _crowd(
    server: Server, opening: Opening, sockets: int, publish: Callable[[bytes], object]
) -> Crowd:
    took: list[float] = []
    before = rss(server.pid)
    listeners = []
    for start in range(0, sockets, 100):
        listeners += await asyncio.gather(
            *(
                _listen(server, opening, lambda value: took.append(_since(value)))
                for _ in range(min(100, sockets - start))
            )
        )
    memory = (rss(server.pid) - before) * 1024 / sockets
    firsts, lasts = [], []
    cpu = cpu_seconds(server.pid)
    for _ in range(_EVENTS):
        took.clear()
        publish(_now())
        await _in_time(lambda: len(took) >= sockets)
        firsts.append(min(took))
        lasts.append(max(took))
        await asyncio.sleep(0.2)
    cpu = cpu_seconds(server.pid) - cpu
    for listener in listeners:
        listener.transport.abort()
    return Crowd(
        sockets,
        round(memory, 1),
        round(statistics.median(firsts), 1),
        round(statistics.median(lasts), 1),
        round(max(lasts), 1),
        round(cpu * 1e6 / sockets / _EVENTS, 1),
    )


async def _listen(server: Server, opening: Opening, heard: Callable[[bytes], object]) -> Listener:
    loop = asyncio.get_running_loop()
    port = server.ports["http"]
    _, listener = await loop.create_connection(lambda: Listener(opening, heard), "127.0.0.1", port)
    await asyncio.wait_for(listener.answered, 30)
    return listener


async def _publisher(
    server: Server, sensor: Sensor, more: bytes = b""
) -> tuple[Callable[[bytes], object], Callable[[], object]]:
    """@param more: JSON behind the value.

    @return: what publishes a reading of this value, and what closes the connection.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["mqtt"])
    variable_header = b"\0\4MQTT\4\xc2\0\0" + _text("bench") + _text(sensor.uuid)
    writer.write(_packet(0x10, variable_header + _text(sensor.token)))
    answer = await reader.readexactly(4)
    assert answer[3] == 0, answer
    drain = asyncio.ensure_future(_discard(reader))
    topic = _text(sensor.datastream)
    number = 0

    def publish(value: bytes) -> None:
        nonlocal number
        number = number % 60_000 + 1
        payload = b'{"variableName":"temperature","value":"%b"%b}' % (value, more)
        writer.write(_packet(0x32, topic + number.to_bytes(2, "big") + payload))

    def hang_up() -> None:
        drain.cancel()
        writer.close()

    return publish, hang_up


async def _discard(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass


def _packet(kind: int, body: bytes) -> bytes:
    length = len(body)
    remaining = bytes((length,)) if length < 128 else bytes((length % 128 | 128, length // 128))
    return bytes((kind,)) + remaining + body


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _handshake(token: str, room: str) -> Opening:
    """@return: the request for a WebSocket, and the subscription as a frame masked with zeros."""
    head = (
        "GET /ws/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: aemos.v1, {token}\r\n\r\n"
    )
    message = json.dumps({"type": "subscribe", "rooms": [room]}).encode()
    assert len(message) < 126, message
    frame = bytes((0x81, 0x80 | len(message), 0, 0, 0, 0)) + message
    return Opening(head.encode(), frame)


def _request(token: str, room: str) -> Opening:
    head = (
        f"GET /api/v1/events?rooms={room} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    return Opening(head.encode())


def _now() -> bytes:
    return b"%d" % time.perf_counter_ns()


def _since(value: bytes) -> float:
    return (time.perf_counter_ns() - int(value)) / 1e6


def rss(pid: int) -> float:
    """@return: MB of memory that a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _percentiles(took: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(took, n=100)
    return round(cuts[49], 2), round(cuts[98], 2)


async def _in_time(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
