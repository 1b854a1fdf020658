"""How queries name times, stretches of time and the place where a page goes on."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from aemos.errors import BadRequest
from aemos.http.schemas import FreeQuery
from aemos.model import Instant
from aemos.services.history import MAX_PAGE
from aemos.storage.queries import Position, Range

_SECONDS_BELOW = 100_000_000_000  # a smaller number is seconds, a larger one milliseconds
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_CURSOR = re.compile(r"(-?[0-9]{1,15})\.([0-9]{1,19})")


class TimeRange(FreeQuery):
    """`?from=&to=`: ISO 8601, or seconds or milliseconds since 1970; `to` itself is left out."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""

    @property
    def start(self) -> Instant | None:
        """@raise BadRequest: no time."""
        return moment("from", self.from_)

    @property
    def end(self) -> Instant | None:
        """@raise BadRequest: no time."""
        return moment("to", self.to)


class ReadingPage(TimeRange):
    """Which readings of a variable: a stretch of time, an order, and a page by offset or cursor."""

    order: Literal["asc", "desc", ""] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] | None = None
    offset: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    cursor: str = ""

    @property
    def whole(self) -> bool:
        """@return: whether the client asked for no part of the history: it gets all of it."""
        return self.range() is None and self.limit is None and self.offset is None

    def range(self) -> Range | None:
        """@return: None = everything, also readings without a time.

        @raise BadRequest: a field cannot be read.
        """
        if not (self.from_ or self.to or self.order or self.cursor):
            return None
        return Range(self.start, self.end, _position(self.cursor), self.order == "desc")


def moment(field: str, text: str) -> Instant | None:
    """Read a time of a query; seconds may have decimals.

    @return: None for no text. @raise BadRequest: neither ISO 8601 nor a number.
    """
    if not text:
        return None
    try:
        if _NUMBER.fullmatch(text):
            number = float(text)
            at = Instant(number * 1000 if abs(number) < _SECONDS_BELOW else number)
        else:
            # The + of a zone is a space when the client did not escape it.
            at = Instant.parse(text.replace(" ", "+") if "T" in text else text)
        if 1000 <= at.datetime().year <= 9999:  # what DATETIME can hold
            return at
    except (ValueError, OverflowError, OSError):
        pass
    raise BadRequest(f'Invalid query parameters: "{field}" must be a valid date')


def cursor(position: Position | None) -> str | None:
    """@return: the text by which a client asks for what comes after this place."""
    return None if position is None else f"{position.at:d}.{position.id}"


def _position(text: str) -> Position | None:
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[2]) >= 2**63:
        raise BadRequest('Invalid query parameters: "cursor" is not one that was given out')
    return Position(Instant(found[1]), int(found[2]))
