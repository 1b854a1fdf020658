"""The history of readings: ranges, summaries, export, import, latest values (docs/history.rst)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import ClassVar, Literal

from aemos.errors import BadRequest
from aemos.http import tables
from aemos.http.bulk import BulkIntake
from aemos.http.ranges import ReadingPage, TimeRange, cursor
from aemos.http.render import JSON, Answer, success
from aemos.http.routing import Call, route
from aemos.http.schemas import FreeQuery, Id, Query
from aemos.http.streaming import Stream
from aemos.services.buckets import Buckets
from aemos.services.history import MAX_PAGE
from aemos.services.queries import Queries

_FUNCTIONS = ("avg", "min", "max", "sum", "count", "first", "last")


class Aggregation(TimeRange):
    """`?from=&to=&bucket=1h&fn=avg,max&tz=Europe/Berlin`."""

    bucket: str = "1h"
    fn: str = "avg,min,max,count"
    tz: str = "UTC"

    def functions(self) -> list[str]:
        """@raise BadRequest: one of them is unknown."""
        wanted = [name.strip() for name in self.fn.split(",") if name.strip()]
        if not wanted or not set(wanted) <= set(_FUNCTIONS):
            raise BadRequest(
                f'Invalid query parameters: "fn" must be some of [{", ".join(_FUNCTIONS)}]'
            )
        return list(dict.fromkeys(wanted))


class Export(TimeRange):
    """`?from=&to=&format=`."""

    format: Literal["csv", "ndjson"] = "csv"


class Import(FreeQuery):
    """`?format=`; without it the content type decides."""

    format: Literal["csv", "ndjson", ""] = ""


class LatestOf(Query):
    """One of `?sensorId=`, `?deviceId=`, `?areaId=`, `?organizationId=`."""

    sensorId: Id | None = None
    deviceId: Id | None = None
    areaId: Id | None = None
    organizationId: Id | None = None


class LatestRoutes:
    """Latest values of many variables in one call."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/telemetry",)

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    @route("GET", "/latest", permission="sensor.view", data={"telemetryData": ["TelemetryData"]})
    async def latest(self, call: Call, query: LatestOf) -> Answer:
        """List variables with their newest reading."""
        reads = {
            "sensorId": self._queries.latest_of_sensor,
            "deviceId": self._queries.latest_of_device,
            "areaId": self._queries.latest_of_area,
            "organizationId": self._queries.latest_of_organization,
        }
        stated = [name for name in reads if getattr(query, name) is not None]
        if len(stated) != 1:
            raise BadRequest(f"Invalid query parameters: exactly one of {', '.join(reads)}")
        rows = await reads[stated[0]](call.principal, getattr(query, stated[0]))
        return success(results=len(rows), data={"telemetryData": rows})


class HistoryRoutes:
    """Many readings at a time."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/datastreams", "/api/v1/data-streams")

    def __init__(self, queries: Queries, bulk: BulkIntake) -> None:
        self._queries, self._bulk = queries, bulk

    @route("GET", "/telemetry/<variable_id>", data={"dataStreams": ["DataStream"]})
    async def list_of_variable(
        self, call: Call, variable_id: int, query: ReadingPage
    ) -> Answer | Stream:
        """List readings of one variable, oldest first unless asked otherwise.

        Compat: who does not ask for a part of them gets all, however many there are.
        """
        page = await self._queries.page(
            call.principal,
            variable_id,
            query.range(),
            limit=query.limit or MAX_PAGE,
            offset=query.offset or 0,
            counted=not query.cursor,
        )
        if query.whole and page.total is not None and page.total > len(page.rows):
            whole = tables.JsonList()
            pages = await self._queries.export(
                call.principal, variable_id, None, None, whole.items, undated=True
            )
            body = whole.answer(pages, nextCursor=None)
            return Stream(body, JSON, {"X-Total-Count": str(page.total)})
        listed = {
            "status": "success",
            "results": len(page.rows),
            "nextCursor": cursor(page.next),
            "data": {"dataStreams": page.rows},
        }
        if page.total is None:
            return Answer(listed)
        headers = {"X-Total-Count": str(page.total)}
        return Answer({**listed, "total": page.total}, headers=headers)

    @route("GET", "/telemetry/<variable_id>/aggregate", data={"buckets": list})
    async def aggregate(self, call: Call, variable_id: int, query: Aggregation) -> Answer:
        """Sum up readings of one variable by time slots of a time zone."""
        functions = query.functions()
        rows = await self._queries.aggregate(
            call.principal,
            variable_id,
            query.start,
            query.end,
            Buckets.parse(query.bucket, query.tz),
            functions,
        )
        return success(results=len(rows), data={"buckets": rows})

    @route("GET", "/telemetry/<variable_id>/export", produces=("text/csv", "application/x-ndjson"))
    async def export(self, call: Call, variable_id: int, query: Export) -> Stream:
        """Stream readings of one variable as CSV or NDJSON, oldest first."""
        as_csv = query.format == "csv"
        pages = await self._queries.export(
            call.principal,
            variable_id,
            query.start,
            query.end,
            tables.csv_lines if as_csv else tables.ndjson_lines,
        )
        name = f"telemetry-{variable_id}.{query.format}"
        return Stream(
            _headed(tables.csv_head() if as_csv else b"", pages),
            tables.CSV if as_csv else tables.NDJSON,
            {"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @route(
        "POST",
        "/import",
        permission="sensor.update",
        consumes=("text/csv", "application/x-ndjson"),
        produces=("application/x-ndjson",),
    )
    async def take_many(self, call: Call, query: Import) -> Stream:
        """Store readings of any variables from CSV or NDJSON, with a verdict for each line."""
        kind = query.format or _format(call.request.getHeader("Content-Type") or "")
        read = tables.read_csv if kind == "csv" else tables.read_ndjson
        return Stream(self._bulk.store(call.principal, read(call.content)), tables.NDJSON)


async def _headed(head: bytes, pages: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if head:
        yield head
    async for page in pages:
        yield page


def _format(content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("text/csv", "application/csv"):
        return "csv"
    if kind in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
        return "ndjson"
    raise BadRequest('the content type must be text/csv or application/x-ndjson, or give "format"')
