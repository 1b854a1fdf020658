"""Socket.IO: how soon a published reading is at its listeners, and what these cost.

    python bench/socketio.py [--database sqlite|mysql] [--seconds N] [--sockets N] [--churn N]

The same as `live.py` for `/socket.io`, over WebSockets. Readings are published as urgent, so that
each is told by itself; without that, those of a busy variable wait up to a second for their batch.
Then sockets come, join rooms, and leave or are cut off, for `--churn` seconds: does the memory of
the server grow?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.ingest import new_database  # noqa: E402 - needs the path above
from bench.live import _in_time, _now, _percentiles, _publisher, _since, rss  # noqa: E402
from tests.integration.server import Server  # noqa: E402

_EVENTS = 20  # told to all sockets, one after the other
_AT_ONCE = 100
_REQUEST = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_MARK = b'"value":"'


class Client(asyncio.Protocol):
    """Enters, joins a room and answers pings; tells `heard` about the value of each event."""

    def __init__(self, token: str, room: str, heard: Callable[[bytes], object]) -> None:
        self._token, self._room, self._heard = token, room, heard
        self._rest = b""
        self._upgraded = False
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(_REQUEST)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.joined.done():
            self.joined.cancel()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._upgraded:
            _, found, data = data.partition(b"\r\n\r\n")
            self._upgraded = bool(found)
        while (end := _frame_end(data)) is not None:
            start, end = end
            self._take(data[start:end])
            data = data[end:]
        self._rest = data

    def _take(self, packet: bytes) -> None:
        if packet.startswith(b"0"):
            self._say("40" + json.dumps({"token": self._token}))
        elif packet == b"2":
            self._say("3")
        elif packet.startswith(b"40"):
            self._say("421" + json.dumps(["join", self._room]))
        elif packet.startswith(b"431"):
            self.joined.set_result(None)
        elif packet.startswith(b"42") and _MARK in packet:
            self._heard(packet.partition(_MARK)[2].partition(b'"')[0])

    def _say(self, packet: str) -> None:
        """Send a frame, masked with zeros."""
        length = len(packet)
        head = bytes((0x80 | length,)) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self.transport.write(b"\x81" + head + bytes(4) + packet.encode())


def _frame_end(data: bytes) -> tuple[int, int] | None:
    """@return: where the payload of the first frame begins and ends, None = it is not complete."""
    if len(data) < 2:
        return None
    length, start = data[1], 2
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 4
    return (start, start + length) if start + length <= len(data) else None


def main() -> int:
    """@return: 1 if an event is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="mysql")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each latency measurement")
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--churn", type=float, default=120.0, help="seconds")
    options = parser.parse_args()
    with new_database(options.database) as (url, folder, _):
        realtime = {"socket_io": {"max_connections": options.sockets + 500}}
        server = Server(folder, url, realtime=realtime)
        if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
            server.wrapper = ["taskset", "-c", "0"]
        try:
            server.start()
            missing = asyncio.run(_measure(server, options))
        finally:
            server.close()
    return 1 if missing else 0


async def _measure(server: Server, options: argparse.Namespace) -> int:
    sensor = server.add_sensor("temperature")
    token, room = server.sign_in(), f"telemetry-{sensor.variables['temperature']}"
    publish, hang_up = await _publisher(server, sensor, b',"urgent":true')
    missing = 0
    for rate in (20, 1000):
        took: list[float] = []
        client = await _join(
            server, token, room, lambda value, took=took: took.append(_since(value))
        )
        count, begins = int(rate * options.seconds), time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begins + number / rate - time.monotonic()))
            publish(_now())
        await _in_time(lambda count=count, took=took: len(took) >= count)
        client.transport.abort()
        missing += count - len(took)
        p50, p99 = _percentiles(took)
        print(f"at {rate}/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms, missing {count - len(took)}")
    await _crowd(server, token, room, options.sockets, publish)
    await _churn(server, token, room, options.churn, publish)
    hang_up()
    return missing


async def _crowd(
    server: Server, token: str, room: str, sockets: int, publish: Callable[[bytes], object]
) -> None:
    took: list[float] = []
    before, clients = rss(server.pid), []
    for start in range(0, sockets, _AT_ONCE):
        wanted = min(_AT_ONCE, sockets - start)
        joining = [
            _join(server, token, room, lambda value: took.append(_since(value)))
            for _ in range(wanted)
        ]
        clients += await asyncio.gather(*joining)
    memory = (rss(server.pid) - before) * 1024 / sockets
    lasts = []
    for _ in range(_EVENTS):
        took.clear()
        publish(_now())
        await _in_time(lambda: len(took) >= sockets)
        lasts.append(max(took) if len(took) == sockets else float("inf"))
        await asyncio.sleep(0.2)
    for client in clients:
        client.transport.abort()
    print(
        f"{sockets} sockets in one room: {memory:.1f} KB each; the last one has an event after"
        f" {statistics.median(lasts):.0f} ms (at worst {max(lasts):.0f})"
    )


async def _churn(
    server: Server, token: str, room: str, seconds: float, publish: Callable[[bytes], object]
) -> None:
    """Sockets come and go, a quarter of them cut off in the middle of entering."""
    ends, came, shown = time.monotonic() + seconds, 0, 0.0
    while time.monotonic() < ends:
        if time.monotonic() >= shown:
            print(f"  {came} sockets came and went: {rss(server.pid):.1f} MB")
            shown = time.monotonic() + seconds / 6
        joining = [
            asyncio.ensure_future(_join(server, token, room, lambda value: None))
            for _ in range(_AT_ONCE)
        ]
        came += _AT_ONCE
        await asyncio.sleep(random.random() * 0.1)
        for task in joining[: _AT_ONCE // 4]:
            task.cancel()
        clients = [
            client
            for client in await asyncio.gather(*joining, return_exceptions=True)
            if isinstance(client, Client)
        ]
        publish(_now())
        await asyncio.sleep(0.05)
        for client in clients:
            client.transport.abort() if random.random() < 0.5 else client.transport.close()
    await asyncio.sleep(1)
    print(f"  {came} sockets came and went: {rss(server.pid):.1f} MB")


async def _join(server: Server, token: str, room: str, heard: Callable[[bytes], object]) -> Client:
    loop = asyncio.get_running_loop()
    port = server.ports["http"]
    _, client = await loop.create_connection(lambda: Client(token, room, heard), "127.0.0.1", port)
    try:
        await asyncio.wait_for(client.joined, 30)
    except asyncio.CancelledError:
        client.transport.abort()
        raise
    return client


if __name__ == "__main__":
    sys.exit(main())
