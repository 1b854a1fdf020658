"""Ranges, latest values and summaries of readings (docs/history.rst)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aemos.model import Instant
from tests.farm import Farm

MAY = Instant.parse("2026-05-01T00:00:00Z")
RANGE = "/datastreams/telemetry/1"


def at(seconds: float) -> Instant:
    return Instant(MAY + seconds * 1000)


async def plant(farm: Farm, *readings: tuple[Any, str], variable: int = 1) -> list[int]:
    """Store (time, value) pairs. @return: their ids."""
    rows = [(value, variable, moment) for moment, value in readings]
    columns = ("value", "telemetryDataId", "recievedAt")
    return list(
        await farm.database.transact(lambda tx: tx.insert_rows("DataStream", columns, rows))
    )


async def values(farm: Farm, query: str) -> Sequence[str]:
    reply = await farm.call("GET", f"{RANGE}?{query}", "north-viewer")
    assert reply.status == 200, reply
    return [row["value"] for row in reply.data["dataStreams"]]


async def test_a_range_holds_its_beginning_and_not_its_end(farm: Farm) -> None:
    await plant(farm, *((at(n), str(n)) for n in (3, 1, 2, 0, 4)))
    begin, end = MAY // 1000 + 1, MAY // 1000 + 3
    for query in (
        "from=2026-05-01T00:00:01Z&to=2026-05-01T00:00:03Z",
        "from=2026-05-01T02:00:01+02:00&to=2026-05-01T00:00:03",
        f"from={begin}&to={end}",
        f"from={begin * 1000}&to={end * 1000}",
    ):
        assert await values(farm, query) == ["1", "2"]
    reply = await farm.call("GET", f"{RANGE}?from={begin}&order=desc&limit=2", "north-viewer")
    assert [row["value"] for row in reply.data["dataStreams"]] == ["4", "3"]
    assert (reply.body["results"], reply.body["total"]) == (2, 4)
    assert reply.headers["x-total-count"] == "4"
    assert await values(farm, f"from={begin}&order=desc&limit=2&offset=2") == ["2", "1"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_cursors_lead_through_a_history_without_gap_or_repeat(farm: Farm, order: str) -> None:
    # Many readings of one time: a page may end among them.
    await plant(farm, *((at(n // 4), str(n)) for n in range(22)), (None, "timeless"))
    seen: list[str] = []
    cursor = ""
    while True:
        reply = await farm.call(
            "GET", f"{RANGE}?order={order}&limit=5&cursor={cursor}", "north-viewer"
        )
        seen += [row["value"] for row in reply.data["dataStreams"]]
        await plant(farm, (at(-100 if order == "asc" else 100), "while it is read"))
        if (cursor := reply.body["nextCursor"]) is None:
            break
    expected = [str(n) for n in range(22)]
    assert seen == (expected if order == "asc" else expected[::-1])
    assert "total" not in reply.body


@pytest.mark.parametrize(
    "query", ["from=noon", "to=99999999999999999", "order=up", "limit=0", "cursor=7", "cursor=1.x"]
)
async def test_a_query_that_cannot_be_read_is_named(farm: Farm, query: str) -> None:
    reply = await farm.call("GET", f"{RANGE}?{query}", "north-viewer")
    assert reply.status == 400
    assert f'"{query.partition("=")[0]}"' in reply.body["message"]


async def test_latest_is_the_newest_event_time_and_then_the_last_stored(farm: Farm) -> None:
    await farm.run(
        "INSERT INTO TelemetryData (id, variableName, datatype, sensorId)"
        " VALUES (11, 'silent', 'float', 1)"
    )
    ids = await plant(farm, (at(5), "old"), (at(9), "tie"), (at(9), "tie, later"), (at(1), "late"))
    for query in ("sensorId=1", "deviceId=1", "areaId=1", "organizationId=1"):
        reply = await farm.call("GET", f"/telemetry/latest?{query}", "north-viewer")
        assert reply.status == 200, query
        temperature, silent = reply.data["telemetryData"]
        assert reply.body["results"] == 2
        assert temperature["variableName"] == "temperature"
        assert temperature["latest"] == {
            "id": ids[2],
            "value": "tie, later",
            "telemetryDataId": 1,
            "recievedAt": "2026-05-01T00:00:09.000Z",
        }
        assert silent["latest"] is None


@pytest.mark.parametrize("query", ["deviceId", "areaId", "organizationId", "sensorId"])
async def test_latest_values_of_another_organization_are_refused(farm: Farm, query: str) -> None:
    reply = await farm.call("GET", f"/telemetry/latest?{query}=1", "south-admin")
    assert reply.status == 403
    missing = await farm.call("GET", f"/telemetry/latest?{query}=99", "north-viewer")
    assert missing.status == (403 if query == "organizationId" else 404)


@pytest.mark.parametrize("query", ["", "sensorId=1&areaId=1", "sensorId=x", "sensor=1"])
async def test_latest_values_need_exactly_one_place(farm: Farm, query: str) -> None:
    reply = await farm.call("GET", f"/telemetry/latest?{query}", "north-viewer")
    assert reply.status == 400


async def test_buckets_count_every_value_and_calculate_with_the_numbers(farm: Farm) -> None:
    await plant(
        farm,
        (at(30), "1.5"),
        (at(10), "off"),
        (at(20), "-3"),
        (at(50), " 2e1 "),
        (at(40), "12 C"),
        (at(3600), "on"),
        (at(3600), "9007199254740993"),
        (at(7300), "0x10"),
    )
    reply = await farm.call(
        "GET", f"{RANGE}/aggregate?bucket=1h&fn=count,avg,min,max,sum,first,last", "north-viewer"
    )
    assert reply.status == 200
    assert reply.data["buckets"] == [
        {"from": "2026-05-01T00:00:00.000Z", "count": 5, "avg": 18.5 / 3, "min": -3, "max": 20,
         "sum": 18.5, "first": "off", "last": " 2e1 "},
        {"from": "2026-05-01T01:00:00.000Z", "count": 2, "avg": 2.0**53, "min": 2.0**53,
         "max": 2.0**53, "sum": 2.0**53, "first": "on", "last": "9007199254740993"},
        {"from": "2026-05-01T02:00:00.000Z", "count": 1, "avg": None, "min": None, "max": None,
         "sum": None, "first": "0x10", "last": "0x10"},
    ]  # fmt: skip


@pytest.mark.parametrize("bucket", ["5m", "1h", "1d"])
async def test_buckets_of_a_range_begin_where_those_of_the_clock_begin(
    farm: Farm, bucket: str
) -> None:
    await plant(farm, *((at(n * 60), str(n)) for n in range(180)))
    reply = await farm.call(
        "GET",
        f"{RANGE}/aggregate?bucket={bucket}&fn=count&from=2026-05-01T00:58:00Z"
        "&to=2026-05-01T01:04:00Z",
        "north-viewer",
    )
    counted = {row["from"][11:16]: row["count"] for row in reply.data["buckets"]}
    assert (
        counted
        == {
            "5m": {"00:55": 2, "01:00": 4},
            "1h": {"00:00": 2, "01:00": 4},
            "1d": {"00:00": 6},
        }[bucket]
    )


@pytest.mark.parametrize(
    ("day", "begins", "hours"),
    [
        ("2026-03-29", "2026-03-28T23:00:00.000Z", 23),
        ("2026-10-25", "2026-10-24T22:00:00.000Z", 25),
    ],
)
async def test_a_day_when_the_clocks_change_has_23_or_25_hours(
    farm: Farm, day: str, begins: str, hours: int
) -> None:
    noon = Instant.parse(f"{day}T12:00:00Z")
    await plant(farm, *((Instant(noon + n * 1_800_000), "1") for n in range(-96, 96)))
    query = "fn=count,first,last&tz=Europe/Berlin&bucket="
    days = await farm.call("GET", f"{RANGE}/aggregate?{query}1d", "north-viewer")
    (found,) = [row for row in days.data["buckets"] if row["from"] == begins]
    assert found == {"from": begins, "count": 2 * hours, "first": "1", "last": "1"}
    assert sum(row["count"] for row in days.data["buckets"]) == 192
    hourly = await farm.call("GET", f"{RANGE}/aggregate?{query}1h", "north-viewer")
    assert [row["count"] for row in hourly.data["buckets"]] == [2] * 96


@pytest.mark.parametrize("query", ["bucket=0h", "bucket=1y", "tz=Moon/Base", "fn=median", "fn=,"])
async def test_an_aggregation_that_cannot_be_read_is_named(farm: Farm, query: str) -> None:
    reply = await farm.call("GET", f"{RANGE}/aggregate?{query}", "north-viewer")
    assert reply.status == 400
    assert f'"{query.partition("=")[0]}"' in reply.body["message"]


async def test_too_many_buckets_are_refused_before_anything_is_read(farm: Farm) -> None:
    await plant(farm, (at(0), "1"), (at(10_000 * 60 + 61), "1"))
    reply = await farm.call("GET", f"{RANGE}/aggregate?bucket=1m", "north-viewer")
    assert (reply.status, "10000 buckets" in reply.body["message"]) == (400, True)
    assert (await farm.call("GET", f"{RANGE}/aggregate?bucket=2m", "north-viewer")).status == 200


async def test_a_variable_without_readings_has_no_buckets(farm: Farm) -> None:
    reply = await farm.call("GET", f"{RANGE}/aggregate", "north-viewer")
    assert (reply.status, reply.data["buckets"]) == (200, [])
