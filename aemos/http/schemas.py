"""Reads values and queries into msgspec structs and says what is wrong with them, naming the field.

A route declares its structs by annotation (`aemos.http.routing`). Conversion is lax, as existing
clients need it: "2" passes for a number and "true" for a boolean. A change (PATCH) gives every
field the default `UNSET`, and `given` tells which ones were sent. Texts follow spec/http-api.md
section 1.4.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from aemos.errors import BadRequest, NotFound
from aemos.json import END

S = TypeVar("S", bound=Struct)

_BIGGEST = 2**63 - 1  # BIGINT
_EMAIL = rf"^[^@\s]{{1,64}}@[^@\s.]+(\.[^@\s.]+)+{END}"
_GUID = rf"^\{{?[0-9A-Fa-f]{{8}}-?([0-9A-Fa-f]{{4}}-?){{3}}[0-9A-Fa-f]{{12}}\}}?{END}"
_BLANK_OR_EMAIL, _BLANK_OR_GUID = f"^{END}|{_EMAIL}", f"^{END}|{_GUID}"
_PATTERNS = {
    _EMAIL: "must be a valid email",
    _BLANK_OR_EMAIL: "must be a valid email",
    _GUID: "must be a valid GUID",
    _BLANK_OR_GUID: "must be a valid GUID",
}

Id = Annotated[int, Meta(ge=0, le=_BIGGEST)]
"""A row id, also sent as numeric text."""
Name = Annotated[str, Meta(min_length=1, max_length=50)]
"""Text that is not empty and fits STRING(50)."""
Short = Annotated[str, Meta(max_length=50)]
"""Text that fits STRING(50), "" allowed."""
Email = Annotated[str, Meta(pattern=_EMAIL, max_length=256)]
BlankOrEmail = Annotated[str, Meta(pattern=_BLANK_OR_EMAIL, max_length=256)]
Guid = Annotated[str, Meta(pattern=_GUID, max_length=38)]
BlankOrGuid = Annotated[str, Meta(pattern=_BLANK_OR_GUID, max_length=38)]


class Invalid(BadRequest):
    """What was sent breaks a rule of its field; every route shows it in the shape E1."""


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of every request body; unknown keys are refused."""


class Query(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of every query; unknown keys are refused."""


class FreeQuery(Struct, kw_only=True):
    """Base of the queries of routes that ignore keys they do not know."""


class OfOrganization(Query):
    """`?organizationId=`, required, and no other key."""

    organizationId: Id


class Stated(Struct, kw_only=True):
    """Body of a DELETE: clients may state the organization here instead of in the query."""

    organizationId: Id | None = None


def given(body: Struct) -> dict[str, Any]:
    """@return: the fields that the client sent, by name."""
    return {
        name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET
    }


def row_id(text: str) -> int:
    """Read an id out of a path.

    @raise NotFound: not a number, so nothing can have that id (spec/http-api.md section 4).
    @raise Invalid: the name of a parameter, `:id`, which the client did not fill in.
    """
    if text.startswith(":"):
        raise Invalid(f"Invalid parameters: {text[:50]} stands for an id")
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _BIGGEST:
        return int(text)
    raise NotFound(f"Resource with ID {text[:50]} not found")


def decode_query(arguments: Mapping[bytes, Sequence[bytes]], shape: type[S]) -> S:
    """Read the query; of a repeated key the last value counts, and an empty one as not sent.

    @raise Invalid: `Invalid query parameters: "field" ...`.
    """
    last = {
        name.decode(errors="replace"): values[-1].decode(errors="replace")
        for name, values in arguments.items()
        if values[-1]
    }
    return convert(last, shape, "Invalid query parameters")


def convert(value: object, shape: type[S], place: str) -> S:
    """Read decoded JSON, or texts by name, into a struct.

    @param place: begins the text of an error.
    @raise Invalid: `place: "field" ...`.
    """
    try:
        return msgspec.convert(value, shape, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"{place}: {_explain(str(error), shape)}") from None
    except RecursionError:
        raise Invalid(f"{place}: nested too deeply") from None


_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_LENGTH = re.compile(r"^Expected `(?P<type>str|array)` of length (?P<sign>[<>]=) (?P<count>\d+)$")
_RANGE = re.compile(r"^Expected `(?:int|float)` (?P<sign>[<>]=?) (?P<bound>\S+)$")
_MATCHING = re.compile(r"^Expected `str` matching regex '(?P<pattern>.*)'$", re.DOTALL)
_FIELD = re.compile(
    r"^Object (?:missing required|contains unknown) field `(?P<field>.*)`$", re.DOTALL
)
_EXPECTED = re.compile(r"^Expected `(?P<types>[^`]*)`")
_TYPES = {
    "int": "a number",
    "float": "a number",
    "str": "a string",
    "bool": "a boolean",
    "object": "of type object",
    "array": "an array",
}


def _explain(error: str, shape: type[Struct]) -> str:
    """Reword msgspec's text so that it starts with the field's name in quotes."""
    parts = _AT.match(error)
    what, path = (parts["what"], parts["path"] or "") if parts else (error, "")
    if found := _FIELD.match(what):
        name = f"{path}.{found['field']}".lstrip(".")
        return f'"{name}" {"is required" if "missing" in what else "is not allowed"}'
    field = f'"{path or "value"}"'
    if found := _LENGTH.match(what):
        if found["type"] == "array":
            bound = "at least" if found["sign"] == ">=" else "at most"
            return f"{field} must contain {bound} {found['count']} items"
        if found["sign"] == "<=":
            return f"{field} length must be less than or equal to {found['count']} characters long"
        if found["count"] == "1":
            return f"{field} is not allowed to be empty"
        return f"{field} length must be at least {found['count']} characters long"
    if found := _RANGE.match(what):
        relation = {
            ">=": "greater than or equal to",
            "<=": "less than or equal to",
            ">": "greater than",
            "<": "less than",
        }
        return f"{field} must be {relation[found['sign']]} {found['bound']}"
    if found := _MATCHING.match(what):
        return f"{field} {_PATTERNS.get(_unescaped(found['pattern']), 'has the wrong form')}"
    if what.startswith("Invalid enum value"):
        return f"{field} must be one of [{', '.join(_choices(shape, path))}]"
    if found := _EXPECTED.match(what):
        wanted = [_TYPES.get(name.strip(), name.strip()) for name in found["types"].split("|")]
        kinds = dict.fromkeys(name for name in wanted if name != "null")
        return f"{field} must be {' or '.join(kinds)}"
    return f"{field} is not valid: {what}"


def _unescaped(pattern: str) -> str:
    return pattern.replace("\\\\", "\\")


def _choices(shape: type[Struct], path: str) -> list[str]:
    """@return: the words that a `Literal` field of `shape` takes."""
    hint = get_type_hints(shape, include_extras=True).get(path)
    found: list[str] = []
    waiting = [hint]
    while waiting:
        one = waiting.pop(0)
        if get_origin(one) is Literal:
            found += [str(choice) for choice in get_args(one) if choice != ""]
        elif get_origin(one) in (Union, types.UnionType, Annotated):
            waiting += get_args(one)
    return found


__all__ = [
    "UNSET",
    "BlankOrEmail",
    "BlankOrGuid",
    "Body",
    "Email",
    "FreeQuery",
    "Guid",
    "Id",
    "Invalid",
    "Name",
    "OfOrganization",
    "Query",
    "Short",
    "Stated",
    "UnsetType",
    "convert",
    "decode_query",
    "given",
    "row_id",
]
