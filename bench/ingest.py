"""Durable ingest: how many readings a second are stored and acknowledged, and how soon.

    python bench/ingest.py [--quick] [--database sqlite|mysql] [--devices N] [--window N] [--json]

Starts the real server on a new database, each device signed in with its own token; `mqttload`
publishes with QoS 1 and counts acknowledgements, and the rows are counted in the database. Beside
it, in the same run, the same server with batches of one row: what group commit is worth. The server
has one core for itself; the load generator and the database share the others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.integration.server import Server  # noqa: E402 - needs the path above
from tests.mariadb import MariaDB  # noqa: E402

MQTTLOAD = ROOT / "bench" / "mqttload"
_PAYLOAD = '{"value":"25.6","variableName":"temperature","seq":{seq},"token":"{pass}"}'
_RATE = 2000  # messages a second, for the latency at light load


@attrs.frozen
class Result:
    """Figures of one server: times in ms, memory in MB, missing = acknowledged - stored."""

    database: str
    max_batch: int
    acked_per_s: float
    stored_per_s: float
    acked: int
    stored: int
    missing: int
    busy_p50: float
    busy_p99: float
    light_p50: float
    light_p99: float
    server_cpu_s: float
    database_cpu_s: float
    acked_per_cpu_s: float
    rss_mb: float


def main() -> int:
    """@return: 1 if anything acknowledged is missing."""
    options = _options()
    _build()
    results = []
    for kind in options.database or ("sqlite", "mysql"):
        for max_batch in (500, 1):
            with new_database(kind) as (url, folder, database_pid):
                result = _measure(kind, url, folder, database_pid, max_batch, options)
            results.append(result)
            if not options.json:
                _show(result)
    if options.json:
        print(json.dumps([attrs.asdict(result) for result in results], indent=1))
    return 1 if any(result.missing for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="one second each: does it work at all?"
    )
    parser.add_argument("--database", action="append", choices=("sqlite", "mysql"))
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--window", type=int, default=20, help="messages in flight per device")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.quick:
        options.seconds = 1.0
    return options


def _build() -> None:
    if shutil.which("cc") is None and not MQTTLOAD.exists():
        sys.exit("bench/mqttload must be built, and no C compiler (cc) is installed")
    subprocess.run(["make", "--silent", "-C", MQTTLOAD.parent, "mqttload"], check=True)


@contextlib.contextmanager
def new_database(kind: str) -> Iterator[tuple[str, Path, int | None]]:
    with tempfile.TemporaryDirectory(prefix="aemos-bench-") as name:
        folder = Path(name)
        if kind == "sqlite":
            yield f"sqlite:///{folder / 'aemos.sqlite'}", folder, None
            return
        mariadb = MariaDB()
        try:
            mariadb.install()
            mariadb.start()
            yield mariadb.url(mariadb.new_database()), folder, mariadb.pid
        finally:
            mariadb.stop()


def _measure(
    kind: str,
    url: str,
    folder: Path,
    database_pid: int | None,
    max_batch: int,
    options: argparse.Namespace,
) -> Result:
    server = Server(
        folder,
        url,
        database={"max_batch": max_batch},
        mqtt={"publish_rate": 0, "publish_bytes": 0},
        log={"level": "warn"},
    )
    server.wrapper = ["taskset", "-c", "0"]
    try:
        server.start()
        sensors = [server.add_sensor() for _ in range(options.devices)]
        credentials = folder / "credentials"
        credentials.write_text("".join(f"{each.uuid} {each.token}\n" for each in sensors))
        common = ["--creds", str(credentials), "--pubs", str(options.devices)]
        light = _load(server, options, "latency", *common, "--rate", str(_RATE))
        stored_before = reading_count(server)
        cpu = cpu_seconds(server.pid), cpu_seconds(database_pid)
        busy, stored_per_s = _watched(server, options, *common, "--window", str(options.window))
        server_cpu, database_cpu = (
            cpu_seconds(server.pid) - cpu[0],
            cpu_seconds(database_pid) - cpu[1],
        )
        rss = _rss(server.pid)
        acked = busy["total_sent"] - busy["unacked"]
        stored = reading_count(server) - stored_before
        return Result(
            database=kind,
            max_batch=max_batch,
            acked_per_s=busy["acked_per_s"],
            stored_per_s=round(stored_per_s),
            acked=acked,
            stored=stored,
            missing=max(0, acked - stored),
            busy_p50=busy["latency_us"]["p50"] / 1000,
            busy_p99=busy["latency_us"]["p99"] / 1000,
            light_p50=light["latency_us"]["p50"] / 1000,
            light_p99=light["latency_us"]["p99"] / 1000,
            server_cpu_s=round(server_cpu, 2),
            database_cpu_s=round(database_cpu, 2),
            acked_per_cpu_s=round(acked / max(server_cpu, 0.01)),
            rss_mb=round(rss, 1),
        )
    finally:
        server.close()


def _command(server: Server, options: argparse.Namespace, mode: str, *more: str) -> list[str]:
    return [
        *(["taskset", "-c", "1-" + str(cores - 1)] if (cores := os.cpu_count() or 1) > 1 else []),
        str(MQTTLOAD),
        mode,
        "--json",
        "--qos=1",
        "--subs=0",
        "--ack-latency",
        "--topic=devices/{user}/datastream",
        f"--payload={_PAYLOAD}",
        f"--port={server.ports['mqtt']}",
        f"--duration={options.seconds}",
        "--warmup=0.5",
        "--drain=10",
        *more,
    ]


def _load(server: Server, options: argparse.Namespace, mode: str, *more: str) -> dict[str, Any]:
    command = _command(server, options, mode, *more)
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    figures: dict[str, Any] = json.loads(output)
    return figures


def _watched(
    server: Server, options: argparse.Namespace, *more: str
) -> tuple[Mapping[str, Any], float]:
    """@return: the figures of the load at full speed, and the rows a second in the middle of it."""
    running = subprocess.Popen(_command(server, options, "fanin", *more), stdout=subprocess.PIPE)
    with running:
        time.sleep(0.5 + options.seconds * 0.2)
        began, first = time.monotonic(), _last_id(server)
        time.sleep(options.seconds * 0.5)
        ended, last = time.monotonic(), _last_id(server)
        output, _ = running.communicate()
    if running.returncode:
        raise SystemExit(f"mqttload ended with {running.returncode}")
    return json.loads(output), (last - first) / (ended - began)


def _last_id(server: Server) -> int:
    # Ids have no gaps here, and this is one look into the index where counting would be a scan.
    return int(server.sql(lambda tx: tx.value("SELECT MAX(id) FROM DataStream")) or 0)


def reading_count(server: Server) -> int:
    return int(server.sql(lambda tx: tx.value("SELECT COUNT(*) FROM DataStream")))


def cpu_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _show(result: Result) -> None:
    cpu_second = f"{result.acked_per_cpu_s:,} messages per second of it"
    lines = (
        f"{result.database}, batches of at most {result.max_batch}:",
        f"  acknowledged {result.acked_per_s:,.0f}/s, stored {result.stored_per_s:,.0f}/s,"
        f" missing {result.missing} of {result.acked:,}",
        f"  at full speed: p50 {result.busy_p50:.1f} ms, p99 {result.busy_p99:.1f} ms",
        f"  at {_RATE} messages/s: p50 {result.light_p50:.2f} ms, p99 {result.light_p99:.1f} ms",
        f"  CPU: server {result.server_cpu_s} s ({cpu_second}), database {result.database_cpu_s} s",
        f"  server memory {result.rss_mb} MB",
    )
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
