#!/usr/bin/env python3
"""Measures codec, session and broker alone: bytes of a connection in, acknowledgements out.

A router accepts every message at once, transports are in memory, so what is left is the MQTT door's
own share of each publish. Prints microseconds per message, the best of several rounds.

usage: python bench/mqtt_core.py [--messages N] [--rounds N] [--profile NAME]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aemos.model import ACCEPTED, Burst, BurstDone, Done, Message
from aemos.mqtt.packets import PubAck, Publish, PubRel
from tests.mqtt_stage import Stage

PAYLOAD = b'{"value":"25.6","telemetryDataId":1}'
WINDOW = 50
TOPIC = "devices/11111111-1111-4111-8111-111111111111/datastream"


class AcceptingRouter:
    """Takes everything at once."""

    def handle(self, message: Message, done: Done) -> None:
        done(ACCEPTED)

    def handle_burst(self, burst: Burst, done: BurstDone) -> None:
        done([ACCEPTED] * len(burst.payloads))


def stage() -> Stage:
    made = Stage()
    made.broker.router = AcceptingRouter()  # type: ignore[assignment]
    return made


def pieces(raw: bytes, count: int, packets: int) -> list[bytes]:
    """@return: `count` packets in reads of `packets` packets."""
    return [raw * packets] * (count // packets)


def ingest(qos: int, packets: int) -> Callable[[int], float]:
    """Publishing readings that nobody is subscribed to."""

    def run(count: int) -> float:
        made = stage()
        client = made.client("c")
        raw = Publish(TOPIC, PAYLOAD, qos, packet_id=7 if qos else 0).encode()
        if qos == 2:
            raw += PubRel(7).encode()
        return timed(made, client.protocol.dataReceived, pieces(raw, count, packets))

    return run


def route(qos: int, receivers: int) -> Callable[[int], float]:
    """Publishing on a plain topic with subscribers that acknowledge; per delivered message."""

    def run(count: int) -> float:
        made = stage()
        subscribers = [made.client(f"s{n}") for n in range(receivers)]
        for subscriber in subscribers:
            subscriber.subscribe(("bench/#", qos))
        client = made.client("c")
        raw = Publish("bench/topic", PAYLOAD, qos, packet_id=7 if qos else 0).encode()
        delivered = 0

        def one(read: bytes) -> None:
            nonlocal delivered
            client.protocol.dataReceived(read)
            if qos:
                ids = range(delivered + 1, delivered + 1 + WINDOW)
                acks = b"".join(PubAck((n - 1) % 65535 + 1).encode() for n in ids)
                for subscriber in subscribers:
                    subscriber.protocol.dataReceived(acks)
            delivered += WINDOW

        reads = pieces(raw, max(count // receivers, WINDOW), WINDOW)
        return timed(made, one, reads) / receivers

    return run


def timed(made: Stage, feed: Callable[[bytes], object], reads: list[bytes]) -> float:
    """@return: seconds per element of `reads`."""
    begin = time.process_time()
    for read in reads:
        feed(read)
        made.clock.advance(0)
    return (time.process_time() - begin) / len(reads)


CASES: dict[str, tuple[Callable[[int], float], int]] = {
    "ingest QoS 1, 50 packets a read": (ingest(1, 50), 50),
    "ingest QoS 1, one packet a read": (ingest(1, 1), 1),
    "ingest QoS 0, 50 packets a read": (ingest(0, 50), 50),
    "ingest QoS 2, 50 packets a read": (ingest(2, 50), 50),
    "route QoS 0 to 1": (route(0, 1), 50),
    "route QoS 0 to 100": (route(0, 100), 50),
    "route QoS 1 to 1, acknowledged": (route(1, 1), 50),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", default="", help="profile the cases whose name holds this")
    options = parser.parse_args()
    for name, (run, per_read) in CASES.items():
        if options.profile:
            if options.profile in name:
                profile = cProfile.Profile()
                profile.runcall(run, options.messages)
                pstats.Stats(profile).sort_stats("tottime").print_stats(18)
            continue
        best = min(run(options.messages) for _ in range(options.rounds)) / per_read
        print(f"{name:35} {best * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
