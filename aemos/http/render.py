"""Turns what a handler gives back into bytes on the wire: shapes, ETag, compression.

Shapes are those of spec/http-api.md section 1.3. A handler returns an `Answer`; nothing is written
to the request before `write`, so an error on the way always finds an untouched response.
"""

from __future__ import annotations

import enum
import hashlib
import re
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.web.http import NO_BODY_CODES

from aemos import json
from aemos.errors import AemosError, DuplicateRow, StorageUnavailable
from aemos.http.bodies import BodyRefused
from aemos.services.sign_in_limits import TooManySignIns
from aemos.storage.listing import MAX_ROWS, Listed

if TYPE_CHECKING:
    from aemos.http.connection import ApiRequest

JSON = "application/json; charset=utf-8"
_COMPRESS_FROM = 1024  # bytes; below it the headers cost more than is won
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class Shape(enum.Enum):
    """Which of the two error bodies a route answers with (spec/http-api.md section 1.3)."""

    E1 = "E1"  # {"status": "fail"|"error", "statusCode": N, "message": ...}
    E2 = "E2"  # {"status": "error", "message": ...}


@attrs.frozen
class Answer:
    """What a handler answers. `body` is written as JSON, `bytes` as they are, None not at all.

    `status` None means the one that the route declares.
    """

    body: object = None
    status: int | None = None
    content_type: str = JSON
    headers: Mapping[str, str] = attrs.field(factory=dict)


_ABSENT = object()


def success(
    *,
    data: object = _ABSENT,
    results: int | None = None,
    message: str | None = None,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """@return: `{"status": "success"}` with those of results, data and message that are given."""
    body: dict[str, Any] = {"status": "success"}
    if results is not None:
        body["results"] = results
    if data is not _ABSENT:
        body["data"] = data
    if message is not None:
        body["message"] = message
    return Answer(body, status, headers=headers or {})


def listed(key: str, found: Listed) -> Answer:
    """@return: the rows of a list under `key`, with `total` if a page was asked for or is missing.

    A header tells when the list was cut.
    """
    body: dict[str, Any] = {"status": "success", "results": len(found.rows)}
    headers = {}
    if found.total is not None:
        body["total"] = found.total
        headers["X-Total-Count"] = str(found.total)
    if found.cut:
        headers["X-Result-Limit"] = str(MAX_ROWS)
    return Answer({**body, "data": {key: found.rows}}, headers=headers)


def failure(error: AemosError, shape: Shape = Shape.E1) -> Answer:
    """@return: the error as its route shows it; faults of ours keep their text to the log."""
    status, message = error.status, str(error)
    headers = {}
    if isinstance(error, DuplicateRow):
        # Compat: an unforeseen unique violation is a 400 with this text; services answer 409 where
        # they know what collided.
        status, message = 400, "A unique constraint was violated"
    elif status == 500:
        message = "Internal server error"
    elif status == 503:
        headers["Retry-After"] = "1"
        if isinstance(error, StorageUnavailable):
            message = "The database is not available, please try again"  # not where it is
    elif isinstance(error, TooManySignIns):
        headers["Retry-After"] = str(error.retry_after)
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, (json.MalformedJson, BodyRefused)):
        # Compat: what the body parser refused has a number where others have a word.
        body: dict[str, Any] = {"status": status, "statusCode": status, "message": message}
    elif shape is Shape.E2:
        body = {"status": "error", "message": message}
    else:
        body = {
            "status": "fail" if status < 500 else "error",
            "statusCode": status,
            "message": message,
        }
    return Answer({**body, **error.details}, status, headers=headers)


def write(request: ApiRequest, answer: Answer, status: int = 200) -> bytes:
    """Set status and headers for `answer`.

    @param status: the one for an answer that names none.
    @return: the body to send; b"" for HEAD, 204 and 304.
    """
    code = answer.status if answer.status is not None else status
    body = answer.body if isinstance(answer.body, bytes) else b""
    if answer.body is not None and not isinstance(answer.body, bytes):
        body = json.encode(answer.body)
    for name, value in answer.headers.items():
        request.responseHeaders.setRawHeaders(name, [value])
    lines = "\r\nVary: Accept-Encoding" if len(body) >= _COMPRESS_FROM else ""
    if code == 200 and request.method in (b"GET", b"HEAD"):
        tag = f'W/"{len(body):x}-{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        lines += f"\r\nETag: {tag}"
        if known(request.getHeader("If-None-Match"), tag):
            code = 304
    if code in NO_BODY_CODES:
        body = b""
    else:
        if answer.body is not None:
            lines += f"\r\nContent-Type: {answer.content_type}"
        if len(body) >= _COMPRESS_FROM:
            coding = accepted(request.getHeader("Accept-Encoding") or "")
            if coding is not None:
                lines += f"\r\nContent-Encoding: {coding}"
                body = _compressed(body, coding)
        request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
    request.setResponseCode(code)
    request.ready_lines += lines.encode()
    return b"" if request.method == b"HEAD" else body


def known(if_none_match: str | None, tag: str) -> bool:
    """@return: whether `If-None-Match` names the tag, by weak comparison (RFC 9110 13.1.2)."""
    if not if_none_match:
        return False
    opaque = tag.removeprefix("W/")
    return any(
        candidate.strip().removeprefix("W/") in ("*", opaque)
        for candidate in if_none_match.split(",")
    )


def _compressed(body: bytes, coding: str) -> bytes:
    compress = compressor(coding)
    return compress.compress(body) + compress.flush()


def compressor(coding: str) -> zlib._Compress:
    """@return: what makes a body of that coding. @param coding: as `accepted` gives it."""
    # Level 1: this runs in the reactor thread, and higher levels win little on JSON.
    return zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[coding])


_REFUSED = re.compile(r";\s*q=0(\.0*)?\s*$")


def accepted(accept_encoding: str) -> str | None:
    """@return: the coding to use; gzip before deflate, None if the client takes neither."""
    codings = {
        part.partition(";")[0].strip().lower()
        for part in accept_encoding.split(",")
        if not _REFUSED.search(part)
    }
    return next((coding for coding in _WINDOW_BITS if coding in codings or "*" in codings), None)
