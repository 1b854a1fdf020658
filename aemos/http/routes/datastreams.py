"""`/datastreams`: readings in, and stored readings out (spec/http-api.md section 4.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from aemos import json
from aemos.errors import BadRequest
from aemos.http.adapter import Intake, instant
from aemos.http.readings import (
    NewReading,
    NewReadings,
    NewUserReading,
    ReadingChange,
    sent,
    sent_by_device,
)
from aemos.http.render import JSON, Answer, Shape, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import FreeQuery, given
from aemos.http.streaming import Stream
from aemos.http.tables import JsonList
from aemos.services.history import MAX_PAGE, History


class Page(FreeQuery):
    """`?limit=&offset=`; without both all readings are meant."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] | None = None
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None


class DataStreamRoutes:
    """Readings of devices by their token, and of users by their rights on the sensor."""

    prefixes: ClassVar[tuple[str, ...]] = ("/api/v1/datastreams", "/api/v1/data-streams")

    def __init__(self, intake: Intake, history: History) -> None:
        self._intake, self._history = intake, history

    @route(
        "POST",
        "/token",
        auth=Auth.DEVICE,
        status=201,
        errors=Shape.E2,
        data="DataStream",
        aliases=("/api/datastreams/token",),
    )
    async def take(self, call: Call, body: NewReading) -> Answer:
        """Store a reading of the device whose token the request carries."""
        device = call.principal
        stored = await self._intake.store(device, device.name, json.encode(sent_by_device(body)))
        return success(data=(await self._history.rows_of(stored))[0])

    @route("POST", "/batch", auth=Auth.DEVICE, status=201, data={"dataStreams": ["DataStream"]})
    async def take_batch(self, call: Call, body: NewReadings) -> Answer:
        """Store readings of the device whose token the request carries: all or none."""
        device = call.principal
        items = [
            sent_by_device(item, f"dataStreams[{number}].")
            for number, item in enumerate(body.dataStreams)
        ]
        payload = json.encode({"dataStreams": items})
        stored = await self._intake.store(device, device.name, payload)
        rows = await self._history.rows_of(stored)
        return success(results=len(rows), data={"dataStreams": rows})

    @route("GET", "", data={"dataStreams": ["DataStream"]})
    async def list_all(self, call: Call, query: Page) -> Answer | Stream:
        """List readings of the caller's organizations in order of id."""
        rows, total = await self._history.page(
            call.principal, query.limit or MAX_PAGE, query.offset or 0
        )
        if total > len(rows) and query.limit is None and query.offset is None:
            whole = JsonList()
            body = whole.answer(self._history.all(call.principal, whole.items))
            return Stream(body, JSON, {"X-Total-Count": str(total)})
        return _page(rows, total)

    @route("POST", "", status=201, data={"dataStream": "DataStream"})
    async def create(self, call: Call, body: NewUserReading) -> Answer:
        """Store a reading for a variable that the caller may write to."""
        values = sent(body)
        uuid, variable_id = await self._history.target(
            call.principal,
            values.pop("telemetryDataId", None),
            values.pop("sensorId", None),
            values.pop("variableName", None),
        )
        payload = json.encode({**values, "telemetryDataId": variable_id})
        stored = await self._intake.store(call.principal, uuid, payload)
        return success(data={"dataStream": (await self._history.rows_of(stored))[0]})

    @route("GET", "/<reading_id>", data={"dataStream": "DataStream"})
    async def get(self, call: Call, reading_id: int) -> Answer:
        """Show a reading with its variable."""
        return success(data={"dataStream": await self._history.get(call.principal, reading_id)})

    @route("PATCH", "/<reading_id>", data={"dataStream": "DataStream"})
    async def change(self, call: Call, reading_id: int, body: ReadingChange) -> Answer:
        """Correct a reading."""
        changes = given(body)
        changes.pop("urgent", None)
        changes.pop("thresholds", None)
        if "value" in changes:
            changes["value"] = _text(changes["value"])
        if "recievedAt" in changes:
            changes["recievedAt"] = instant("recievedAt", changes["recievedAt"])
            if changes["recievedAt"] is None:
                del changes["recievedAt"]
        row = await self._history.change(call.principal, reading_id, changes)
        return success(data={"dataStream": row})

    @route("DELETE", "/<reading_id>", status=204)
    async def delete(self, call: Call, reading_id: int) -> Answer:
        """Delete a reading."""
        await self._history.delete(call.principal, reading_id)
        return Answer()


def _text(value: str | int | float | bool) -> str:
    text = json.text(value)
    if len(text) > 50:
        raise BadRequest('Invalid request body: "value" length must be less than or equal to 50')
    return text


def _page(rows: Sequence[Mapping[str, Any]], total: int) -> Answer:
    body = {
        "status": "success",
        "results": len(rows),
        "total": total,
        "data": {"dataStreams": rows},
    }
    return Answer(body, headers={"X-Total-Count": str(total)})
