"""Readings as bodies hold them, and how they go on to the router (spec/http-api.md section 4.8)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from aemos.errors import BadRequest
from aemos.http.adapter import instant
from aemos.http.schemas import UNSET, Body, Id, Invalid, Name, UnsetType, given

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


class ImportedReading(NewUserReading):
    """One line of `POST /datastreams/import`; the `id` of an exported line is passed over."""

    id: Id | UnsetType = UNSET


class ReadingChange(Body):
    """Body of `PATCH /datastreams/:id`; the notification marks are taken and change nothing."""

    value: Value | UnsetType = UNSET
    telemetryDataId: Id | UnsetType = UNSET
    recievedAt: Moment | UnsetType = UNSET
    urgent: bool | UnsetType = UNSET
    thresholds: Thresholds | UnsetType = UNSET


def sent_by_device(reading: NewReading, place: str = "") -> dict[str, Any]:
    """Read a reading whose sensor is that of the token.

    @param place: of the reading in the body, as texts of errors name it.
    @return: as `sent`.
    @raise Invalid: it does not say which variable it is of.
    """
    if reading.telemetryDataId is UNSET and reading.variableName is UNSET:
        names = f'"{place}telemetryDataId" or "{place}variableName"'
        raise Invalid(f"Invalid request body: {names} is required")
    return sent(reading)


def sent(reading: NewReading) -> dict[str, Any]:
    """@return: the reading as the router takes it, with its times read strictly.

    The router takes an unreadable time for none, as MQTT devices need it; over HTTP it is an error.

    @raise Invalid: a time cannot be read.
    """
    values = given(reading)
    for name in ("recievedAt", "timestamp"):
        if name in values:
            try:
                values[name] = instant(name, values[name])
            except BadRequest as error:
                raise Invalid(str(error)) from None
    return values
