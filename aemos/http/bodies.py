"""Reads request bodies: what is compressed, JSON, forms; and says what is wrong with them.

As the body parsers of the original: JSON may begin with a byte order mark, forms may nest objects
(`thresholds[min]=1`), and a body may be compressed (spec/http-api.md section 1.2).
"""

from __future__ import annotations

import re
import zlib
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from msgspec import Struct

from aemos import json
from aemos.errors import AemosError, BadRequest
from aemos.http.schemas import convert

S = TypeVar("S", bound=Struct)

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_BOM = b"\xef\xbb\xbf"
_MAX_FIELDS = 1000
_NESTED = re.compile(r"[^\[\]]+(\[[^\[\]]+\]){1,5}")


class BodyRefused(AemosError):
    """The body was refused before anybody looked for fields in it."""

    code, status = "body_refused", 400


class PayloadTooLarge(BodyRefused):
    """The request body is over the limit."""

    code, status = "payload_too_large", 413


class UnsupportedCoding(BodyRefused):
    """The body is compressed in a way that is not known here."""

    code, status = "unsupported_coding", 415


def inflated(raw: bytes, content_encoding: str, limit: int) -> bytes:
    """Undo the compression of a body.

    @param content_encoding: the header; "" = not compressed.
    @param limit: bytes of the result.
    @raise BodyRefused: `PayloadTooLarge`, `UnsupportedCoding`, or the bytes are broken.
    """
    coding = content_encoding.strip().lower()
    if coding in ("", "identity") or not raw:
        return raw
    if coding not in _WINDOW_BITS:
        raise UnsupportedCoding(f'unsupported content encoding "{coding[:50]}"')
    inflater = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        content = inflater.decompress(raw, limit + 1)
    except zlib.error:
        raise BodyRefused(f"the body is not {coding}") from None
    if len(content) > limit:
        raise PayloadTooLarge("request entity too large")
    if not inflater.eof:
        raise BodyRefused(f"the {coding} body is cut short")
    return content


def parse(raw: bytes, content_type: str) -> Any:
    """Read a JSON or urlencoded body; any other content type counts as `{}`, and so does none.

    @return: an object or array.
    @raise BadRequest: `MalformedJson`, or a form that cannot be read.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if raw and kind == "application/json":
        value = json.decode(raw.removeprefix(_BOM))
        if not isinstance(value, (dict, list)):
            raise json.MalformedJson("not JSON: an object or array was expected")
        return value
    if raw and kind == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError as error:
            raise BadRequest(f"Invalid request body: {error}") from None
        return _form(pairs)
    return {}


def decode_body(raw: bytes, content_type: str, shape: type[S]) -> S:
    """Read a body into a struct.

    @raise BadRequest: as `parse`, or `Invalid request body: "field" ...`.
    """
    return convert(parse(raw, content_type), shape, "Invalid request body")


def _form(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """@return: the fields of a form; of a repeated one the last value counts, `a[b]` is nested."""
    form: dict[str, Any] = {}
    for key, value in pairs:
        steps = key[:-1].replace("]", "").split("[") if _NESTED.fullmatch(key) else [key]
        place = form
        for step in steps[:-1]:
            inner = place.get(step)
            if not isinstance(inner, dict):
                inner = place[step] = {}
            place = inner
        place[steps[-1]] = value
    return form
