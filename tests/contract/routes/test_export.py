"""Readings out as CSV and NDJSON, and in again, line by line (docs/history.rst)."""

from __future__ import annotations

import csv
import gc
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers

from aemos import json
from aemos.errors import StorageUnavailable
from aemos.model import Instant
from tests.farm import Farm
from tests.rows import until

EXPORT = "/datastreams/telemetry/1/export"
IMPORT = "/datastreams/import"
MAY = Instant.parse("2026-05-01T00:00:00Z")
COLUMNS = ("value", "telemetryDataId", "recievedAt")


async def plant(farm: Farm, *values: str) -> None:
    rows = [(value, 1, Instant(MAY + n * 1000)) for n, value in enumerate(values)]
    await farm.database.transact(lambda tx: tx.insert_rows("DataStream", COLUMNS, rows))


async def plant_many(farm: Farm, count: int, length: int = 1) -> None:
    for start in range(0, count, 10_000):
        rows = [
            (str(n).zfill(length), 1, Instant(MAY + n * 1000)) for n in range(start, start + 10_000)
        ]
        await farm.database.transact(
            lambda tx, rows=rows: tx.insert_rows("DataStream", COLUMNS, rows)
        )


async def send(farm: Farm, who: str, *lines: Any, kind: str = "application/x-ndjson") -> Any:
    """@return: the verdicts and the totals."""
    body = b"\n".join(line if isinstance(line, bytes) else json.encode(line) for line in lines)
    reply = await farm.raw("POST", IMPORT, who, body, **{"Content-Type": kind})
    assert reply.status == 200, reply
    *verdicts, totals = [json.decode(line) for line in reply.body.splitlines()]
    return verdicts, totals


async def test_an_export_holds_a_range_in_order_of_time(farm: Farm) -> None:
    await plant(farm, *(str(n) for n in range(5)))
    await farm.run("UPDATE DataStream SET recievedAt = %s WHERE value = '0'", Instant(MAY + 3500))
    query = "from=2026-05-01T00:00:02Z&to=2026-05-01T00:00:04Z"
    reply = await farm.raw("GET", f"{EXPORT}?format=ndjson&{query}", "north-viewer")
    assert reply.headers["content-type"] == "application/x-ndjson"
    rows = [json.decode(line) for line in reply.body.splitlines()]
    assert [row["value"] for row in rows] == ["2", "3", "0"]
    assert rows[0].keys() == {"id", "value", "telemetryDataId", "recievedAt"}
    reply = await farm.raw("GET", f"{EXPORT}?{query}", "north-viewer")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"] == 'attachment; filename="telemetry-1.csv"'
    assert reply.body.splitlines()[0] == b"id,telemetryDataId,value,recievedAt"
    assert list(csv.DictReader(io.StringIO(reply.body.decode()))) == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]


@pytest.mark.parametrize(
    ("accepted", "undone"), [("gzip, br", gzip.decompress), ("deflate", zlib.decompress)]
)
async def test_an_export_is_compressed_for_whoever_can_read_that(
    farm: Farm, accepted: str, undone: Callable[[bytes], bytes]
) -> None:
    await plant_many(farm, 10_000)
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    bodies = []
    for coding in (accepted, "br"):
        headers = {"Authorization": ["Bearer north-viewer"], "Accept-Encoding": [coding]}
        url = f"{farm.url}/api/v1{EXPORT}".encode()
        response = await agent.request(b"GET", url, Headers(headers))
        assert response.headers.getRawHeaders("Vary") == ["Accept-Encoding"]
        bodies.append((response, await treq.content(response)))
    (coded, packed), (plain, text) = bodies
    assert coded.headers.getRawHeaders("Content-Encoding") == [accepted.partition(",")[0]]
    assert plain.headers.getRawHeaders("Content-Encoding") is None
    assert undone(packed) == text
    assert len(packed) < len(text) / 3


async def test_head_tells_about_an_export_without_its_body(farm: Farm) -> None:
    reply = await farm.raw("HEAD", EXPORT, "north-viewer")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"


async def test_nobody_exports_what_others_own(farm: Farm) -> None:
    for who, status in (("south-admin", 403), ("member", 403), (None, 401)):
        assert (await farm.raw("GET", EXPORT, who)).status == status
    missing = await farm.raw("GET", "/datastreams/telemetry/99/export", "north-viewer")
    assert missing.status == 404


async def test_a_spreadsheet_finds_no_formula_and_an_import_finds_the_values_again(
    farm: Farm,
) -> None:
    values = ["=1+1", "+SUM(A1)", "-cmd|' /C calc'!A0", "@x", "\t=1", "'=1", "'", "it's", "-5.25",
              "+7", "1,2", 'say "x"', "two\r\nlines", " =1"]  # fmt: skip
    await plant(farm, *values)
    exported = (await farm.raw("GET", EXPORT, "north-viewer")).body
    cells = [row["value"] for row in csv.DictReader(io.StringIO(exported.decode(), newline=""))]
    assert cells == ["'=1+1", "'+SUM(A1)", "'-cmd|' /C calc'!A0", "'@x", "'\t=1", "''=1", "''",
                     "it's", "-5.25", "+7", "1,2", 'say "x"', "two\r\nlines", " =1"]  # fmt: skip
    await farm.run("DELETE FROM DataStream")
    verdicts, _ = await send(farm, "north-admin", exported, kind="text/csv")
    assert {verdict["status"] for verdict in verdicts} == {"stored"}
    rows = await farm.rows("SELECT value, recievedAt FROM DataStream ORDER BY recievedAt")
    assert [row["value"] for row in rows] == values
    assert [row["recievedAt"] for row in rows] == [MAY + n * 1000 for n in range(len(values))]


def resident(which: str) -> int:
    """@param which: `VmRSS` (now) or `VmHWM` (the most since `forget_peak`).

    @return: kilobytes of memory that this process has.
    """
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(which))


def forget_peak() -> None:
    """Begin to watch for a new peak (Linux, proc(5))."""
    Path("/proc/self/clear_refs").write_text("5")


class Sink(Protocol):
    """Counts the lines of a body and keeps nothing of it."""

    def __init__(self) -> None:
        self.lines = 0
        self.finished: Deferred[int] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.lines += data.count(b"\n")

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if reason.check(ResponseDone):
            self.finished.callback(self.lines)
        else:
            self.finished.errback(reason)


async def get(farm: Farm, path: str) -> Sink:
    headers = {"Authorization": "Bearer north-viewer"}
    response = await farm.client.request(
        "GET", f"{farm.url}/api/v1{path}", headers=headers, unbuffered=True
    )
    sink = Sink()
    response.original.deliverBody(sink)
    return sink


async def test_an_export_of_a_hundred_thousand_readings_holds_a_page_of_them_in_memory(
    farm: Farm,
) -> None:
    await plant_many(farm, 100_000)
    gc.collect()
    forget_peak()
    before = resident("VmRSS")
    sink = await get(farm, EXPORT)
    assert await sink.finished == 100_001
    assert resident("VmHWM") - before < 16_000  # the whole is 5 MB as text and 60 MB as rows


class Idle(Protocol):
    """Asks and does not read the answer."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        self.transport.write(
            f"GET /api/v1{EXPORT} HTTP/1.1\r\nHost: x\r\n"
            "Authorization: Bearer north-viewer\r\n\r\n".encode()
        )


async def test_pages_are_read_no_faster_than_the_client_takes_them_and_not_for_nobody(
    farm: Farm,
) -> None:
    await plant_many(farm, 80_000, length=50)  # 8 MB in 40 pages
    reads: list[object] = []
    read = farm.database.read

    def counted(*args: Any) -> Any:
        reads.append(args[0])
        return read(*args)

    farm.database.read = counted  # type: ignore[method-assign]
    try:
        client = await _connect(farm, Idle())
        seen = -1
        while len(reads) != seen:  # until the buffers of both sides are full
            seen = len(reads)
            await until_quiet()
        assert 2 < seen < 40
        client.transport.abortConnection()
        await until_quiet()
        assert len(reads) <= seen + 1
    finally:
        farm.database.read = read  # type: ignore[method-assign]
    assert (await farm.call("GET", "/telemetry/1", "north-viewer")).status == 200


async def _connect(farm: Farm, protocol: Any) -> Any:
    connected: Deferred[Any] = Deferred()

    class Factory(ClientFactory):
        noisy = False

        def buildProtocol(self, addr: object) -> Protocol:
            reactor.callLater(0, connected.callback, protocol)
            return protocol

    tcp: IReactorTCP = reactor
    tcp.connectTCP("127.0.0.1", int(farm.url.rpartition(":")[2]), Factory())
    return await connected


async def until_quiet() -> None:
    """Let half a second pass: what is to happen without a signal has happened by then."""
    passed: Deferred[None] = Deferred()
    reactor.callLater(0.5, passed.callback, None)
    await passed


async def test_an_export_that_breaks_off_does_not_look_complete(farm: Farm) -> None:
    await plant_many(farm, 10_000)
    pages = 0
    read = farm.database.read

    def failing(*args: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 4:  # the right, two pages
            raise StorageUnavailable("the database is away")
        return read(*args)

    farm.database.read = failing  # type: ignore[method-assign]
    try:
        sink = await get(farm, EXPORT)
        with pytest.raises(ResponseFailed):
            await sink.finished
    finally:
        farm.database.read = read  # type: ignore[method-assign]


async def test_each_line_of_an_import_has_its_verdict(farm: Farm) -> None:
    reading = {"telemetryDataId": 1, "value": 1, "recievedAt": "2026-05-01T00:00:00Z"}
    verdicts, totals = await send(
        farm,
        "north-admin",
        reading,
        {"sensorId": 1, "variableName": "temperature", "value": "2"},
        b"",
        b"{",
        [1],
        {**reading, "value": ""},
        {**reading, "recievedAt": "noon"},
        {**reading, "telemetryDataId": 99},
        {**reading, "telemetryDataId": 2},
        {"value": "1"},
        reading,
    )
    rows = {row["value"]: row for row in await farm.rows("SELECT * FROM DataStream")}
    assert rows.keys() == {"1", "2"}
    assert [(verdict["line"], verdict.get("code", verdict["status"])) for verdict in verdicts] == [
        (1, "stored"),
        (2, "stored"),
        (4, "INVALID_DATA_STREAM"),
        (5, "INVALID_DATA_STREAM"),
        (6, "INVALID_DATA_STREAM"),
        (7, "INVALID_DATA_STREAM"),
        (8, "TELEMETRY_NOT_FOUND"),
        (9, "NOT_AUTHORIZED"),
        (10, "INVALID_DATA_STREAM"),
        (11, "duplicate"),
    ]
    assert [verdict["id"] for verdict in verdicts[:2]] == [rows["1"]["id"], rows["2"]["id"]]
    assert '"recievedAt"' in verdicts[5]["message"]
    assert totals == {"lines": 10, "stored": 2, "duplicates": 1, "refused": 7}


async def test_csv_is_read_by_the_names_in_its_first_line(farm: Farm) -> None:
    text = (
        "\ufeffrecievedAt,value,telemetryDataId\r\n"
        "2026-05-01T00:00:00Z,21.5,1\r\n"
        ",22,1\r\n"
        "2026-05-01T00:00:00Z,1,1,2\r\n"
        "2026-05-01T00:00:00Z,,1\r\n"
    )
    verdicts, totals = await send(farm, "north-admin", text.encode(), kind="text/csv")
    assert [(v["line"], v["status"]) for v in verdicts] == [
        (2, "stored"), (3, "stored"), (4, "refused"), (5, "refused"),
    ]  # fmt: skip
    assert totals["stored"] == 2
    rows = await farm.rows("SELECT value FROM DataStream ORDER BY id")
    assert [row["value"] for row in rows] == ["21.5", "22"]


async def test_a_large_import_is_stored_in_common_transactions(farm: Farm) -> None:
    lines = [
        json.encode({"telemetryDataId": 1, "value": n, "recievedAt": MAY + n}) for n in range(3000)
    ]
    before = farm.database.writer.batches
    _, totals = await send(farm, "north-admin", *lines)
    assert totals == {"lines": 3000, "stored": 3000, "duplicates": 0, "refused": 0}
    assert farm.database.writer.batches - before < 100
    _, totals = await send(farm, "north-admin", *lines)
    assert totals == {"lines": 3000, "stored": 0, "duplicates": 3000, "refused": 0}


async def test_an_import_waits_while_the_writer_is_full(farm: Farm) -> None:
    writer = farm.database.writer
    lines = [
        json.encode({"telemetryDataId": 1, "value": n, "recievedAt": MAY + n}) for n in range(501)
    ]
    writer.queued += 1_000_000
    ended: list[object] = []
    sending = farm.raw("POST", f"{IMPORT}?format=ndjson", "north-admin", b"\n".join(lines))
    answer = ensureDeferred(sending).addCallback(ended.append)
    await until(lambda: writer.committed)
    await until_quiet()
    stored = await farm.rows("SELECT COUNT(*) AS n FROM DataStream")
    assert (stored[0]["n"], ended) == (500, [])
    writer.queued -= 1_000_000
    writer._tell_of_room()
    await answer
    stored = await farm.rows("SELECT COUNT(*) AS n FROM DataStream")
    assert stored[0]["n"] == 501


async def test_an_import_needs_the_right_and_a_known_form(farm: Farm) -> None:
    for who, status in (("north-viewer", 403), ("nobody", 403), (None, 401)):
        reply = await farm.raw("POST", f"{IMPORT}?format=ndjson", who, b"{}")
        assert reply.status == status
    for kind, body in (("application/json", b"{}"), ("text/csv", b"\xff")):
        reply = await farm.raw("POST", IMPORT, "north-admin", body, **{"Content-Type": kind})
        assert reply.status == 400
