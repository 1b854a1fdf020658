"""`/datastreams`: readings in, and stored readings out (spec/http-api.md section 4.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from aemos import json
from aemos.errors import BadRequest
from aemos.http.adapter import Intake, instant
from aemos.http.render import Answer, Shape, success
from aemos.http.routing import Auth, Call, route
from aemos.http.schemas import UNSET, Body, FreeQuery, Id, Name, UnsetType, given
from aemos.services.history import MAX_PAGE, History

Value = Annotated[str, Meta(min_length=1, max_length=50)] | int | float | bool
Moment = str | int | float | None


class Thresholds(Struct, forbid_unknown_fields=True):
    """A value beyond them is announced at once."""

    min: float | None = None
    max: float | None = None


class NewReading(Body):
    """One reading: its variable by `telemetryDataId` or `variableName` (of the token's sensor)."""

    value: Value
    telemetryDataId: Id | UnsetType = UNSET
    variableName: Name | UnsetType = UNSET
    recievedAt: Moment | UnsetType = UNSET
    timestamp: Moment | UnsetType = UNSET
    messageId: str | int | UnsetType = UNSET
    urgent: bool | UnsetType = UNSET
    thresholds: Thresholds | UnsetType = UNSET


class NewReadings(Body):
    """Body of `POST /datastreams/batch`."""

    dataStreams: Annotated[list[NewReading], Meta(min_length=1, max_length=1000)]


class NewUserReading(NewReading):
    """Body of `POST /datastreams`: the variable by id, or by its sensor and name."""

    sensorId: Id | UnsetType = UNSET


class ReadingChange(Body):
    """Body of `PATCH /datastreams/:id`; the notification marks are taken and change nothing."""

    value: Value | UnsetType = UNSET
    telemetryDataId: Id | UnsetType = UNSET
    recievedAt: Moment | UnsetType = UNSET
    urgent: bool | UnsetType = UNSET
    thresholds: Thresholds | UnsetType = UNSET


class Page(FreeQuery):
    """`?limit=&offset=`; at most 10,000 readings are answered at once."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0


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
        stored = await self._intake.store(device, device.name, json.encode(_sent(body)))
        return success(data=(await self._history.rows_of(stored))[0])

    @route("POST", "/batch", auth=Auth.DEVICE, status=201, data={"dataStreams": ["DataStream"]})
    async def take_batch(self, call: Call, body: NewReadings) -> Answer:
        """Store readings of the device whose token the request carries: all or none."""
        device = call.principal
        payload = json.encode({"dataStreams": [_sent(item) for item in body.dataStreams]})
        stored = await self._intake.store(device, device.name, payload)
        rows = await self._history.rows_of(stored)
        return success(results=len(rows), data={"dataStreams": rows})

    @route("GET", "", data={"dataStreams": ["DataStream"]})
    async def list_all(self, call: Call, query: Page) -> Answer:
        """List readings of the caller's organizations in order of id."""
        rows, total = await self._history.page(call.principal, query.limit, query.offset)
        return _page(rows, total)

    @route("POST", "", status=201, data={"dataStream": "DataStream"})
    async def create(self, call: Call, body: NewUserReading) -> Answer:
        """Store a reading for a variable that the caller may write to."""
        sent = _sent(body)
        uuid, variable_id = await self._history.target(
            call.principal,
            sent.pop("telemetryDataId", None),
            sent.pop("sensorId", None),
            sent.pop("variableName", None),
        )
        payload = json.encode({**sent, "telemetryDataId": variable_id})
        stored = await self._intake.store(call.principal, uuid, payload)
        return success(data={"dataStream": (await self._history.rows_of(stored))[0]})

    @route("GET", "/telemetry/<variable_id>", data={"dataStreams": ["DataStream"]})
    async def list_of_variable(self, call: Call, variable_id: int, query: Page) -> Answer:
        """List the readings of one variable, oldest first."""
        rows, total = await self._history.of_variable(
            call.principal, variable_id, query.limit, query.offset
        )
        return _page(rows, total)

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


def _sent(reading: NewReading) -> dict[str, Any]:
    """@return: the reading as the router takes it, with its times read strictly.

    The router takes an unreadable time for none, as MQTT devices need it; over HTTP it is an error.
    """
    sent = given(reading)
    for name in ("recievedAt", "timestamp"):
        if name in sent:
            sent[name] = instant(name, sent[name])
    return sent


def _text(value: str | int | float | bool) -> str:
    text = json.text(value)
    if len(text) > 50:
        raise BadRequest('Invalid request body: "value" length must be less than or equal to 50')
    return text


def _page(rows: Sequence[Mapping[str, Any]], total: int) -> Answer:
    return success(
        results=len(rows), data={"dataStreams": rows}, headers={"X-Total-Count": str(total)}
    )
