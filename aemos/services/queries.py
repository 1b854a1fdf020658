"""Questions to the history: latest values, ranges, summaries over time, and the whole as a stream.

Rights are those on the sensor (sensor.view), as everywhere in `services.history`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

import attrs

from aemos.errors import BadRequest, NotFound
from aemos.model import Instant, Principal
from aemos.services import access
from aemos.services.buckets import Buckets
from aemos.services.variables import sensor_for, variable_for
from aemos.storage import areas, history, queries, rollups, variables
from aemos.storage.database import Database
from aemos.storage.queries import Position, Range, Summary
from aemos.storage.transaction import Row, Transaction

MAX_VARIABLES = 10_000
"""So many latest values are answered at once."""

MAX_BUCKETS = 10_000
"""So many slots of an aggregation are answered at once."""

_EXPORT_PAGE = 2000  # readings held in memory at once; larger pages are hardly faster
_FIGURES = {"avg": "total", "sum": "total", "min": "low", "max": "high"}


@attrs.frozen
class Page:
    """Readings, how many there are in all (None = not asked), and where the next page begins."""

    rows: list[Row]
    total: int | None
    next: Position | None


@attrs.define
class Queries:
    """Reads only; every answer is bounded, or a stream that is read page by page."""

    _database: Database

    async def latest_of_sensor(self, by: Principal, sensor_id: int) -> list[Row]:
        """@return: the variables of a sensor, each with its newest reading as `latest` (or None).

        @raise NotFound: no such sensor. @raise Forbidden: no sensor.view in its organization.
        """

        def read(tx: Transaction) -> list[Row]:
            sensor_for(tx, by, "sensor.view", sensor_id)
            return _with_latest(tx, variables.of_sensor(tx, sensor_id))

        return await self._database.read(read)

    async def latest_of_device(self, by: Principal, device_id: int) -> list[Row]:
        """@return: as `latest_of_sensor`, for the sensors in the areas where the device works.

        @raise NotFound: no such device. @raise Forbidden: no sensor.view in its organization.
        """

        def read(tx: Transaction) -> list[Row]:
            places = queries.areas_of_device(tx, device_id)
            if places is None:
                raise NotFound("Device not found")
            access.require(by, "sensor.view", places[0]["organizationId"] if places else None)
            # It may lie in several areas, and those in several organizations.
            seen = [
                place["id"]
                for place in places
                if by.administrator or by.may("sensor.view", place["organizationId"])
            ]
            return _with_latest(tx, queries.variables_of_areas(tx, seen, MAX_VARIABLES))

        return await self._database.read(read)

    async def latest_of_area(self, by: Principal, area_id: int) -> list[Row]:
        """@return: as `latest_of_sensor`, for the sensors of an area.

        @raise NotFound: no such area. @raise Forbidden: no sensor.view in its organization.
        """

        def read(tx: Transaction) -> list[Row]:
            area = areas.find(tx, area_id)
            if area is None:
                raise NotFound(f"Area with ID {area_id} not found")
            access.require(by, "sensor.view", area["organizationId"])
            return _with_latest(tx, queries.variables_of_areas(tx, [area_id], MAX_VARIABLES))

        return await self._database.read(read)

    async def latest_of_organization(self, by: Principal, organization_id: int) -> list[Row]:
        """@return: as `latest_of_sensor`, for all sensors of an organization.

        @raise Forbidden: no sensor.view there.
        """
        access.require(by, "sensor.view", organization_id)

        def read(tx: Transaction) -> list[Row]:
            rows = queries.variables_of_organization(tx, organization_id, MAX_VARIABLES)
            return _with_latest(tx, rows)

        return await self._database.read(read)

    async def page(
        self,
        by: Principal,
        variable_id: int,
        within: Range | None,
        *,
        limit: int,
        offset: int,
        counted: bool,
    ) -> Page:
        """Read some readings of one variable.

        @param within: None = all, also those without a time, oldest first.
        @param counted: whether to tell the total: counting walks the whole range.
        @raise NotFound, Forbidden: as `variables.variable_for`.
        """

        def read(tx: Transaction) -> Page:
            variable_for(tx, by, "sensor.view", variable_id)
            total: int | None = None
            if within is None:
                rows, total = history.page_of_variable(tx, variable_id, limit, offset)
            else:
                rows = queries.page(tx, variable_id, within, limit, offset)
                if counted:
                    total = queries.count(tx, variable_id, within)
            return Page(rows, total, _after(rows) if len(rows) == limit else None)

        return await self._database.read(read)

    async def aggregate(
        self,
        by: Principal,
        variable_id: int,
        start: Instant | None,
        end: Instant | None,
        buckets: Buckets,
        functions: Collection[str],
    ) -> list[Row]:
        """Sum up readings by time slots; a slot without readings is left out.

        @param start: inclusive, None = the oldest reading. @param end: exclusive.
        @param functions: of `avg min max sum count first last`. A value that is no number counts in
            `count` and nowhere else; `first` and `last` are texts as stored.
        What was rolled up counts where its hour or day (UTC) begins.

        @return: `from` (when the slot begins) and the functions, in order of time.
        @raise BadRequest: more than `MAX_BUCKETS` slots.
        @raise NotFound, Forbidden: as `variables.variable_for`.
        """

        def read(tx: Transaction) -> list[Row]:
            variable_for(tx, by, "sensor.view", variable_id)
            extents = [queries.extent(tx, variable_id), rollups.extent(tx, variable_id)]
            known = [extent for extent in extents if extent is not None]
            if not known:
                return []
            first = min(oldest for oldest, _ in known)
            last = Instant(max(newest for _, newest in known) + 1)
            first = first if start is None else max(start, first)
            last = last if end is None else min(end, last)
            if (last - first) // buckets.width > MAX_BUCKETS:
                raise BadRequest(
                    f"more than {MAX_BUCKETS} buckets: take larger ones, or a shorter range"
                )
            found = _summed(tx, variable_id, first, last, buckets, functions)
            return [
                {"from": begin, **{name: _figure(name, found[begin]) for name in functions}}
                for begin in sorted(found)
            ]

        return await self._database.read(read)

    async def export(
        self,
        by: Principal,
        variable_id: int,
        start: Instant | None,
        end: Instant | None,
        encode: Callable[[Sequence[Row]], bytes],
        *,
        undated: bool = False,
    ) -> AsyncIterator[bytes]:
        """Read a range page by page, oldest first; the next page is read when it is asked for.

        @param encode: turns a page into bytes, in the thread that read it.
        @param undated: whether readings without a time come, too, before all others.
        @raise NotFound, Forbidden: as `variables.variable_for`, before the first page.
        """
        await self._database.read(variable_for, by, "sensor.view", variable_id)

        def read(tx: Transaction, after: Position | None) -> tuple[bytes, Position | None]:
            within = Range(start, end, after)
            rows = queries.page(tx, variable_id, within, _EXPORT_PAGE)
            return encode(rows), _after(rows) if len(rows) == _EXPORT_PAGE else None

        def read_undated(tx: Transaction, after: int) -> tuple[bytes, int | None]:
            rows = queries.undated(tx, variable_id, after, _EXPORT_PAGE)
            return encode(rows), rows[-1]["id"] if len(rows) == _EXPORT_PAGE else None

        async def pages() -> AsyncIterator[bytes]:
            last: int | None = 0 if undated else None
            while last is not None:
                chunk, last = await self._database.read(read_undated, last)
                yield chunk
            after: Position | None = None
            while True:
                chunk, after = await self._database.read(read, after)
                yield chunk
                if after is None:
                    return

        return pages()


def _with_latest(tx: Transaction, rows: Sequence[Row]) -> list[Row]:
    found = queries.latest(tx, [row["id"] for row in rows])
    return [{**row, "latest": found.get(row["id"])} for row in rows]


def _after(rows: Sequence[Row]) -> Position | None:
    """@return: where a page that ends with these rows is continued."""
    if not rows or rows[-1]["recievedAt"] is None:
        return None
    return Position(rows[-1]["recievedAt"], rows[-1]["id"])


def _summed(
    tx: Transaction,
    variable_id: int,
    start: Instant,
    end: Instant,
    buckets: Buckets,
    functions: Collection[str],
) -> dict[Instant, Summary]:
    """@return: when a slot begins -> what is in it."""
    found: dict[Instant, Summary] = {}
    figures = {_FIGURES[name] for name in functions if name in _FIGURES}
    at: Instant | None = start
    while at is not None and at < end:
        begin, until = buckets.slot(at, end)
        summary = queries.summary(tx, variable_id, at, until, figures)
        if summary is None:
            at = queries.next_time(tx, variable_id, until)
            continue
        _gather(found, begin, summary)  # twice where the clocks are changed within the slot
        at = until
    for begin, summary in rollups.within(tx, variable_id, start, end):
        _gather(found, buckets.start_of(begin), summary)
    if "first" in functions:
        times = [one.first_at for one in found.values() if one.first is None]
        texts = queries.values_at(tx, variable_id, times, last=False)
        for one in found.values():
            one.first = texts.get(one.first_at, one.first)
    if "last" in functions:
        times = [one.last_at for one in found.values() if one.last is None]
        texts = queries.values_at(tx, variable_id, times, last=True)
        for one in found.values():
            one.last = texts.get(one.last_at, one.last)
    return found


def _gather(found: dict[Instant, Summary], begin: Instant, summary: Summary) -> None:
    if begin in found:
        found[begin].add(summary)
    else:
        found[begin] = summary


def _figure(function: str, summary: Summary) -> Any:
    if function == "avg":
        return None if summary.total is None else summary.total / summary.numbers
    return {
        "min": summary.low,
        "max": summary.high,
        "sum": summary.total,
        "count": summary.count,
        "first": summary.first,
        "last": summary.last,
    }[function]
