"""Readings as CSV and NDJSON, written and read line by line, and whole lists as JSON.

A spreadsheet runs text as a formula when it begins with one of a few characters. Such a value gets
an apostrophe in front when it is written as CSV, unless it is a number, and loses it when read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any

import attrs

from aemos import json
from aemos.errors import BadRequest
from aemos.storage.transaction import Row

CSV, NDJSON = "text/csv; charset=utf-8", "application/x-ndjson"
"""Content types."""

_COLUMNS = ("id", "telemetryDataId", "value", "recievedAt")
_FORMULA = re.compile(r"['=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def csv_head() -> bytes:
    """@return: the line with the names of the columns."""
    return ",".join(_COLUMNS).encode() + b"\r\n"


def csv_lines(rows: Sequence[Row]) -> bytes:
    """@return: a line for each reading (RFC 4180)."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(
        (row["id"], row["telemetryDataId"], _shielded(row["value"]), row["recievedAt"].iso())
        for row in rows
    )
    return text.getvalue().encode()


def ndjson_lines(rows: Sequence[Row]) -> bytes:
    """@return: a line for each reading, in the form of every other answer."""
    return b"".join([json.encode(row) + b"\n" for row in rows])


@attrs.define
class JsonList:
    """Writes the JSON answer with a list of readings that is too long for memory, part by part."""

    count: int = 0

    def items(self, rows: Sequence[Row]) -> bytes:
        """@return: the readings with commas between them; they are counted."""
        self.count += len(rows)
        return b",".join(map(json.encode, rows))

    async def answer(
        self, pages: AsyncIterator[bytes], **more: object
    ) -> AsyncGenerator[bytes, None]:
        """@param pages: what `items` made of all pages, in order. @param more: keys of the body.

        @return: the body, a page at a time; how many there were comes at the end.
        """
        head = before = b'{"status":"success","data":{"dataStreams":['
        async for page in pages:
            if page:
                yield before + page
                before = b","
        totals = json.encode({"results": self.count, "total": self.count, **more})
        yield (b"" if self.count else head) + b"]}," + totals[1:]


def read_csv(raw: bytes) -> Iterator[tuple[int, dict[str, Any] | BadRequest]]:
    """Read lines by the names in the first one; an empty cell counts as not there.

    @return: (number of the line, its cells by name, or what is wrong with it).
    @raise BadRequest: not UTF-8.
    """
    return _csv_rows(_text(raw))


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | BadRequest]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    names: list[str] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, BadRequest(f"not CSV: {error}")
            continue
        if names is None:
            names = [name.strip() for name in cells]
        elif len(cells) > len(names):
            yield reader.line_num, BadRequest("more cells than there are columns")
        elif cells:
            row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            if "value" in row:
                row["value"] = _bare(row["value"])
            yield reader.line_num, row


def read_ndjson(raw: bytes) -> Iterator[tuple[int, dict[str, Any] | BadRequest]]:
    """Read one JSON object a line; empty lines are passed over.

    @return: (number of the line, the object, or what is wrong with it).
    """
    for number, line in enumerate(io.BytesIO(raw), 1):
        if not line.strip():
            continue
        try:
            value = json.decode(line)
        except BadRequest as error:
            yield number, error
            continue
        yield number, value if isinstance(value, dict) else BadRequest("an object was expected")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest("the CSV is not UTF-8") from None


def _shielded(value: str | None) -> str:
    if not value:
        return ""
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def _bare(value: str) -> str:
    return value[1:] if value[0] == "'" and _FORMULA.match(value, 1) else value
