#!/usr/bin/env python3
"""Measures the tree of subscriptions: time per match and memory, from a thousand to a million.

A farm's filters: each client has its own device's commands, a branch of its site and a wildcard
across all sites; ten clients see everything. Topics are asked for the first time (nothing is
remembered of them) and again (as the hot path does). The time per match, in CPU time, should not
depend on the number of subscriptions beyond what the caches of the processor do.

usage: python bench/subscriptions.py [--sizes 1000,10000,100000,1000000]
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from aemos.mqtt.subscriptions import Subscriptions

_ROUNDS = 5
_TOPICS = 20_000
_PER_CLIENT = 3


def filters(client: int) -> tuple[str, ...]:
    """@return: what one client of the farm subscribes to."""
    return (
        f"devices/{client:08x}-1111-4111-8111-111111111111/commands",
        f"site/{client // 100}/room/{client % 100}/#",
        f"site/+/room/{client % 100}/alarm/{client}",
    )


def topics(clients: int) -> list[str]:
    """@return: topics of clients picked at random: a command, an alarm, a reading in turn."""
    picked = random.Random(1).choices(range(clients), k=_TOPICS)
    found = []
    for number, client in enumerate(picked):
        command, room, _ = filters(client)
        alarm = f"site/x{number}/room/{client % 100}/alarm/{client}"
        found.append((command, alarm, f"{room[:-2]}/reading/{number}")[number % 3])
    return found


def resident() -> int:
    """@return: bytes of memory that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def best(call: Callable[[], object]) -> float:
    """@return: the CPU time of the best of several rounds, in seconds."""
    times = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def measure(size: int) -> None:
    """Fill a tree with `size` subscriptions and print a line about it."""
    gc.collect()
    before = resident()
    tree: Subscriptions[int] = Subscriptions(cache_size=_TOPICS + 1)
    for watcher in range(10):
        tree.add("#", -1 - watcher, 1)
    clients = max(1, size // _PER_CLIENT)
    began = time.process_time()
    for client in range(clients):
        for topic_filter in filters(client):
            tree.add(topic_filter, client, 1)
    added = time.process_time() - began
    used = resident() - before
    asked = topics(clients)

    def first_time() -> None:
        tree.add("none/+", 0, 0)  # a wildcard empties what is remembered
        for topic in asked:
            tree.match(topic)

    def again() -> None:
        for topic in asked:
            tree.match(topic)

    cold, warm = best(first_time), best(again)
    found = sum(len(tree.match(topic)) for topic in asked) / len(asked)
    print(
        f"{tree.count:>9,} subscriptions: first {cold / len(asked) * 1e6:5.2f} us,"
        f" again {warm / len(asked) * 1e6:5.2f} us a match ({found:.1f} holders),"
        f" add {added / (clients * _PER_CLIENT) * 1e6:4.1f} us, {used / tree.count:,.0f} bytes each"
    )


def main() -> None:
    """Measure each size in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    for size in parser.parse_args().sizes.split(","):
        measure(int(size))


if __name__ == "__main__":
    main()
