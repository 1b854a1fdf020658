"""Rule chains: evaluations a second, what they cost readings that nobody looks at, and replays.

    python bench/rules.py [--quick] [--seconds N] [--rounds N] [--json]

First in this process: a chain of three conditions over and over; the question "does a rule look at
this reading?" with 1,000 chains in memory; a replay over 100,000 stored readings. Then the real
server on SQLite with `mqttload`, in turns: without rules, with 1,000 chains that look at other
variables, and with one chain of three conditions for each sensor that publishes. All figures are
per second of CPU time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from twisted.internet import reactor  # noqa: E402 - needs the path above
from twisted.internet.defer import ensureDeferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from aemos.config import schema  # noqa: E402
from aemos.model import SERVER, Instant  # noqa: E402
from aemos.services.events import Events  # noqa: E402
from aemos.services.rules.execution import Plan, run  # noqa: E402
from aemos.services.rules.machinery import RuleMachinery  # noqa: E402
from aemos.services.rules.snapshot import Snapshot  # noqa: E402
from aemos.storage.database import open_database  # noqa: E402
from aemos.storage.readings import Reading  # noqa: E402
from aemos.storage.transaction import Transaction  # noqa: E402
from bench.ingest import _build, _load, cpu_seconds, new_database  # noqa: E402
from tests.integration.server import Sensor, Server  # noqa: E402

CHAINS = 1000
READINGS = 100_000
DEVICES = 50
_UUID = "11111111-1111-4111-8111-{:012d}"
_START = Instant.parse("2026-01-01T00:00:00Z")


@attrs.frozen
class Alone:
    """In this process: evaluations a second (filter false, true), ns of a look, of a replay s."""

    idle_per_s: float
    firing_per_s: float
    look_without_ns: float
    look_ns: float
    replay_s: float
    replay_cpu_s: float
    replay_fired: int


@attrs.frozen
class Served:
    """Messages that the server acknowledges a second of its CPU time, by what rules there are."""

    rules: str
    per_cpu_s: float
    per_s: float
    cpu_us: float


def main() -> None:
    options = _options()
    alone = _alone()
    if not options.json:
        print(
            f"evaluations of three conditions: {alone.idle_per_s:,.0f}/s, with an action"
            f" {alone.firing_per_s:,.0f}/s\n"
            f"a reading that no rule looks at: {alone.look_ns:.0f} ns with {CHAINS} chains,"
            f" {alone.look_without_ns:.0f} ns without\n"
            f"replay of {READINGS:,} readings: {alone.replay_s:.1f} s"
            f" ({alone.replay_cpu_s:.1f} s CPU), fired {alone.replay_fired:,} times",
            flush=True,
        )
    _build()
    served = [result for _ in range(options.rounds) for result in _in_turns(options)]
    if options.json:
        print(
            json.dumps(
                {"alone": attrs.asdict(alone), "served": [attrs.asdict(each) for each in served]},
                indent=1,
            )
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="does it work at all?")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 1.0, 1
    return options


# In this process


def _alone() -> Alone:
    results: list[Alone] = []

    async def measure(_: Any) -> None:
        with new_database("sqlite") as (url, _folder, _pid):
            settings = schema.Settings(database=schema.Database(url=url))
            database = open_database(reactor, settings)
            await database.start()
            rules = RuleMachinery(database, Events(), reactor, settings.rules)
            reading = Reading("25.6", 1, "temperature", _START)
            look_without = _cost(rules.engine.watch, [reading])
            await database.transact(_sow)
            await rules.start()
            assert len(rules.book.watched) == 3 * CHAINS
            look = _cost(rules.engine.watch, [reading])
            began, cpu = time.monotonic(), time.process_time()
            job = await rules.replays.begin(SERVER, 1, 1, _START, Instant(_START + READINGS * 1000))
            await job.ended
            replay = time.monotonic() - began, time.process_time() - cpu
            assert job.replay.outcome.evaluations >= READINGS
            await rules.stop()
            await database.stop()
        results.append(
            Alone(
                1e9 / _cost(_evaluate, 25),
                1e9 / _cost(_evaluate, 41),
                look_without,
                look,
                *replay,
                job.replay.outcome.fired,
            )
        )

    try:
        react(lambda _: ensureDeferred(measure(_)))
    except SystemExit as ended:
        if ended.code:
            raise
    return results[0]


def _cost(what: Callable[[Any], object], argument: Any) -> float:
    """@return: ns of CPU time of one call, the best of twenty attempts."""
    best = float("inf")
    for _ in range(20):
        began = time.process_time_ns()
        for _ in range(5000):
            what(argument)
        best = min(best, (time.process_time_ns() - began) / 5000)
    return best


def _leaf(key: str, operator: str, value: object, uuid: str = _UUID.format(1)) -> dict[str, Any]:
    source = {"sourceType": "sensor", "UUID": uuid, "key": key}
    return {**source, "operator": operator, "value": value}


def _nodes(uuid: str) -> list[dict[str, Any]]:
    members = [_leaf("a", ">", 30, uuid), _leaf("b", "<", 40, uuid), _leaf("c", ">=", 1, uuid)]
    command = {"deviceUuid": _UUID.format(1), "stateName": "power", "value": "on"}
    return [
        {"id": 1, "type": "filter", "config": {"type": "AND", "expressions": members}},
        {"id": 2, "type": "action", "config": {"type": "DEVICE_COMMAND", "command": command}},
    ]


_first, _second = _nodes(_UUID.format(1))
_PLAN = Plan.of([{**_first, "nextNodeId": 2}, {**_second, "nextNodeId": None}])


def _evaluate(value: float) -> None:
    """One run with the values that it looks at, as the engine does it."""
    data = Snapshot()
    for key, each in (("a", value), ("b", 20), ("c", 5)):
        data.put("sensor", _UUID.format(1), key, each, _START)
    run(_PLAN, data, Instant(_START + 1000))


def _sow(tx: Transaction) -> None:
    """1,000 chains over sensors of their own; the variable `a` of the first has a history."""
    tx.insert("Organization", {"id": 1, "name": "farm", "status": "active"})
    tx.insert("Area", {"id": 1, "name": "field", "organizationId": 1})
    for number in range(1, CHAINS + 1):
        sow_chain(tx, number, 1, 1)
    rows = [(str(number % 50), 1001, Instant(_START + number * 1000)) for number in range(READINGS)]
    rows += [("20", 1002, _START), ("5", 1003, _START)]
    for start in range(0, len(rows), 5000):
        tx.insert_rows(
            "DataStream", ("value", "telemetryDataId", "recievedAt"), rows[start : start + 5000]
        )


def sow_chain(tx: Transaction, number: int, organization: int, area: int) -> None:
    uuid = _UUID.format(number)
    sensor = tx.insert("Sensor", {"uuid": uuid, "name": "s", "status": "active"})
    tx.insert("AreaSensor", {"areaId": area, "sensorId": sensor})
    for place, name in enumerate("abc"):
        variable = {"id": 1000 * number + place + 1, "variableName": name, "sensorId": sensor}
        tx.insert("TelemetryData", {**variable, "datatype": "float"})
    chain = tx.insert("RuleChain", {"name": "c", "organizationId": organization})
    _sow_nodes(tx, chain, _nodes(uuid))


def _sow_nodes(tx: Transaction, chain: int, nodes: list[dict[str, Any]]) -> None:
    following = None
    for node in reversed(nodes):
        row = {"ruleChainId": chain, "name": node["type"], "type": node["type"]}
        following = tx.insert(
            "RuleChainNode", {**row, "config": node["config"], "nextNodeId": following}
        )


# The server


def _in_turns(options: argparse.Namespace) -> list[Served]:
    cases: Mapping[str, Callable[[Transaction, list[Sensor]], None]] = {
        "none": lambda tx, sensors: None,
        f"{CHAINS} on other variables": _sow_others,
        "one for each sensor": _sow_own,
    }
    results = []
    for name, sow in cases.items():
        with new_database("sqlite") as (url, folder, _):
            result = _serve(name, url, folder, sow, options)
        results.append(result)
        if not options.json:
            print(
                f"rules: {name}: {result.per_cpu_s:,.0f} messages per CPU second"
                f" ({result.cpu_us:.1f} us each), {result.per_s:,.0f}/s",
                flush=True,
            )
    return results


def _sow_others(tx: Transaction, sensors: list[Sensor]) -> None:
    row = tx.one("SELECT id, organizationId FROM Area ORDER BY id LIMIT 1")
    assert row is not None
    for number in range(1, CHAINS + 1):
        sow_chain(tx, number, row["organizationId"], row["id"])


def _sow_own(tx: Transaction, sensors: list[Sensor]) -> None:
    """A chain of three conditions on what each sensor publishes; none of them is ever true."""
    organization = tx.value("SELECT organizationId FROM Area ORDER BY id LIMIT 1")
    for sensor in sensors:
        chain = tx.insert("RuleChain", {"name": "c", "organizationId": organization})
        members = [
            _leaf("temperature", operator, value, sensor.uuid)
            for operator, value in ((">", 0), ("<", 99), (">", 40))
        ]
        _, action = _nodes(sensor.uuid)
        condition = {"type": "AND", "expressions": members}
        _sow_nodes(tx, chain, [{"type": "filter", "config": condition}, action])


def _serve(
    name: str,
    url: str,
    folder: Path,
    sow: Callable[[Transaction, list[Sensor]], None],
    options: argparse.Namespace,
) -> Served:
    server = Server(
        folder, url, mqtt={"publish_rate": 0, "publish_bytes": 0}, log={"level": "warn"}
    )
    server.wrapper = ["taskset", "-c", "0"]
    try:
        server.start()
        sensors = [server.add_sensor() for _ in range(DEVICES)]
        server.sql(sow, sensors)
        server.terminate()
        server.start()
        credentials = folder / "credentials"
        credentials.write_text("".join(f"{each.uuid} {each.token}\n" for each in sensors))
        before = cpu_seconds(server.pid)
        figures = _load(
            server, options, "fanin", "--creds", str(credentials), "--pubs", str(DEVICES)
        )
        cpu = cpu_seconds(server.pid) - before
        acked = figures["total_sent"] - figures["unacked"]
        return Served(name, acked / cpu, figures["acked_per_s"], 1e6 * cpu / acked)
    finally:
        server.close()


if __name__ == "__main__":
    main()
