"""REST: how many requests a second are answered, how soon, and what each costs in CPU time.

    python bench/rest.py [--database sqlite|mysql] [--seconds N] [--log-level L] [--json] [CASE ...]

Starts the real server on a new database and drives it with `wrk` over keep-alive connections:
readings of a device (each stored before it is answered; the rows are counted), a request that does
nothing, and lists of ten and of a thousand sensors. The server has one core for itself; `wrk` and
the database share the others.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from aemos.storage.transaction import Transaction  # noqa: E402 - needs the path above
from bench.ingest import cpu_seconds, new_database, reading_count  # noqa: E402
from tests.integration.server import Server  # noqa: E402

_SCRIPT = """
wrk.method = "%(method)s"
wrk.headers["Authorization"] = "Bearer %(token)s"
wrk.headers["Content-Type"] = "application/json"
wrk.body = %(body)s
function done(summary, latency, requests)
  io.write(string.format(
    '\\n{"requests": %%d, "duration_us": %%d, "failed": %%d, "p50_us": %%d, "p99_us": %%d}\\n',
    summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@attrs.frozen
class Case:
    """One sort of request."""

    path: str
    token: str = ""
    method: str = "GET"
    body: str = ""
    connections: int = 32


@attrs.frozen
class Result:
    """Medians of the runs of one case; `unstored` = answered readings that are not stored."""

    case: str
    requests: int
    failed: int
    unstored: int
    per_s: int
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    database_cpu_ms: float


def main() -> int:
    """@return: 1 if a request failed or an answered reading is not stored."""
    options = _options()
    if shutil.which("wrk") is None:
        sys.exit(
            "bench/rest.py needs wrk, which is not installed (Debian, Ubuntu: apt-get install wrk)"
        )
    with new_database(options.database) as (url, folder, database_pid):
        server = Server(folder, url, log={"level": options.log_level})
        server.wrapper = ["taskset", "-c", "0"]
        try:
            server.start()
            results = []
            for name, case in _cases(server).items():
                if not options.case or name in options.case:
                    results.append(_measure(name, case, server, database_pid, options))
                    if not options.json:
                        print(_shown(results[-1]), flush=True)
        finally:
            server.close()
    if options.json:
        print(json.dumps([attrs.asdict(result) for result in results], indent=1))
    return 1 if any(result.failed or result.unstored for result in results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", nargs="*", help="reading, liveness, sensors-10, sensors-1000")
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="mysql")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="of each case; medians are shown")
    parser.add_argument("--log-level", default="warn", help="info writes a line for each request")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _cases(server: Server) -> dict[str, Case]:
    sensor = server.add_sensor()
    ten, thousand = _organization(server, "ten", 10), _organization(server, "thousand", 1000)
    reading = json.dumps({"value": "25.6", "variableName": "temperature"})
    sensors = "/api/v1/sensors?organizationId="
    return {
        "reading": Case("/api/v1/datastreams/token", sensor.token, "POST", reading),
        "liveness": Case("/api/v1/health/liveness"),
        "sensors-10": Case(f"{sensors}{ten}", server.sign_in("ten")),
        "sensors-1000": Case(f"{sensors}{thousand}", server.sign_in("thousand"), connections=1),
    }


def _organization(server: Server, name: str, sensors: int) -> int:
    """@return: the id of a new organization with so many sensors."""
    first = server.add_sensor(organization=name)

    def add(tx: Transaction) -> None:
        area = tx.value("SELECT areaId FROM AreaSensor WHERE sensorId = %s", (first.id,))
        for number in range(1, sensors):
            row = {"name": f"sensor {number}", "uuid": str(uuid.uuid4()), "status": "active"}
            tx.insert("AreaSensor", {"areaId": area, "sensorId": tx.insert("Sensor", row)})

    server.sql(add)
    return first.organization


def _measure(
    name: str, case: Case, server: Server, database_pid: int | None, options: argparse.Namespace
) -> Result:
    script = server.folder / "request.lua"
    body = f"[[{case.body}]]" if case.body else "nil"
    script.write_text(_SCRIPT % {"method": case.method, "token": case.token, "body": body})
    _load(server, case, script, 1)  # warm up
    stored_before, runs = reading_count(server), []
    for _ in range(options.runs):
        cpu = cpu_seconds(server.pid), cpu_seconds(database_pid)
        figures = _load(server, case, script, options.seconds)
        count = max(figures["requests"], 1)
        figures["server"] = (cpu_seconds(server.pid) - cpu[0]) / count * 1000
        figures["database"] = (cpu_seconds(database_pid) - cpu[1]) / count * 1000
        figures["per_s"] = count / figures["duration_us"] * 1e6
        runs.append(figures)
    requests = sum(run["requests"] for run in runs)
    stored = reading_count(server) - stored_before if case.method == "POST" else requests

    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    return Result(
        case=name,
        requests=requests,
        failed=sum(run["failed"] for run in runs),
        unstored=max(0, requests - stored),
        per_s=round(median("per_s")),
        p50_ms=round(median("p50_us") / 1000, 2),
        p99_ms=round(median("p99_us") / 1000, 2),
        server_cpu_ms=round(median("server"), 3),
        database_cpu_ms=round(median("database"), 3),
    )


def _load(server: Server, case: Case, script: Path, seconds: int) -> Any:
    """@return: what the script printed about one run."""
    cores = os.cpu_count() or 1
    command = [
        *(["taskset", "-c", f"1-{cores - 1}"] if cores > 1 else []),
        "wrk",
        "--threads=1",
        f"--connections={case.connections}",
        f"--duration={seconds}s",
        f"--script={script}",
        f"http://127.0.0.1:{server.ports['http']}{case.path}",
    ]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.strip().rpartition("\n")[2])


def _shown(result: Result) -> str:
    trouble = f", {result.failed} FAILED" if result.failed else ""
    trouble += f", {result.unstored} NOT STORED" if result.unstored else ""
    return (
        f"{result.case:13} {result.per_s:6,}/s  p50 {result.p50_ms:6.2f} ms"
        f"  p99 {result.p99_ms:6.2f} ms"
        f"  CPU per request: server {result.server_cpu_ms:.3f} ms,"
        f" database {result.database_cpu_ms:.3f} ms{trouble}"
    )


if __name__ == "__main__":
    sys.exit(main())
