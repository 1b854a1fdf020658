"""What a client wants of the rooms that it subscribes to, whichever door it comes by."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from aemos.errors import BadRequest
from aemos.realtime.hub import Event, Wanted, is_event_id

_MAX = 1000
MAX_WINDOW = 60_000
"""Milliseconds: the slowest pace."""

Names = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(min_length=1, max_length=_MAX)]
Ids = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1, max_length=_MAX)]


class Wish(Struct, kw_only=True):
    """Which events, how often, and from when on; what is not given does not matter.

    `events` are names, `variables` ids of TelemetryData, `uuids` those of sensors and devices:
    an event must be of one of each that is given. `every` are milliseconds in which one value of
    a variable is enough, `after` is the id of the last event that the client has seen.
    """

    events: Names | None = None
    variables: Ids | None = None
    uuids: Names | None = None
    every: Annotated[int, Meta(ge=1, le=MAX_WINDOW)] | None = None
    after: str | None = None

    def check(self) -> None:
        """@raise BadRequest: `after` is not the id of an event."""
        if self.after is not None and not is_event_id(self.after):
            raise BadRequest('"after" is not the id of an event')

    def wanted(self) -> Wanted | None:
        """@return: the filter of the hub; None = all events."""
        if self.events is None and self.variables is None and self.uuids is None:
            return None
        names = None if self.events is None else frozenset(self.events)
        variables = None if self.variables is None else frozenset(self.variables)
        uuids = None if self.uuids is None else frozenset(self.uuids)

        def wanted(event: Event) -> bool:
            return (
                (names is None or event.name in names)
                and (variables is None or event.telemetry_id in variables)
                and (uuids is None or event.uuid in uuids)
            )

        return wanted
