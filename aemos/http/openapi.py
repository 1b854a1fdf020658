"""Describes the API as an OpenAPI 3.1 document, from the table of routes.

Nothing is written down twice: paths, parameters and bodies come from the declared routes and their
structs, rows from `aemos.storage.tables`, texts from docstrings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aemos import __version__
from aemos.http.render import Shape
from aemos.http.routing import Auth, Endpoint, Route
from aemos.json import END
from aemos.storage.tables import TABLES, Kind, Table

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_FORMS = ("application/json", "application/x-www-form-urlencoded")
_SECURITY: Mapping[Auth, list[Json]] = {
    Auth.OPEN: [],
    Auth.USER: [{"webToken": []}],
    Auth.DEVICE: [{"deviceToken": []}],
}
_BY_KEY: Json = {"apiKey": []}
_SCHEMES: Json = {
    "webToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `token` of `POST /api/v1/auth/login`.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The `key` of `POST /api/v1/api-keys`; or as a bearer token.",
    },
    "deviceToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of a sensor, made by `POST /api/v1/device-tokens`.",
    },
}
_MESSAGE: Json = {"type": "string", "examples": ["Area not found"]}
_FAILURES: Json = {
    Shape.E1.name: {
        "title": "Failure",
        "type": "object",
        "properties": {
            "status": {"enum": ["fail", "error"]},
            "statusCode": {"type": "integer"},
            "message": _MESSAGE,
        },
        "required": ["status", "statusCode", "message"],
    },
    Shape.E2.name: {
        "title": "Failure without its code",
        "type": "object",
        "properties": {"status": {"const": "error"}, "message": _MESSAGE},
        "required": ["status", "message"],
    },
    "NotParsed": {
        "title": "A body that is not JSON",
        "type": "object",
        "properties": {
            "status": {"type": "integer"},
            "statusCode": {"type": "integer"},
            "message": {"type": "string"},
        },
        "required": ["status", "statusCode", "message"],
    },
}
_ANY_FAILURE: Json = {
    "type": "object",
    "properties": {"status": {"type": ["string", "integer"]}, "message": {"type": "string"}},
    "required": ["status"],
}
_RESPONSES: Json = {
    "429": {
        "description": "Too many requests; `Retry-After` tells the seconds to wait.",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "application/json": {"schema": _ANY_FAILURE},
        },
    },
    "413": {
        "description": "The body is too large.",
        "content": {"application/json": {"schema": _ANY_FAILURE}},
    },
    "431": {
        "description": "The URL or a header is too long.",
        "content": {"application/json": {"schema": _ANY_FAILURE}},
    },
    "default": {
        "description": "Any other failure.",
        "content": {"application/json": {"schema": _ANY_FAILURE}},
    },
}
_REASONS = {
    401: "What was given for a proof is not valid.",
    404: "There is nothing of that id.",
    409: "It does not go with what there is already.",
}
_KINDS: Mapping[Kind, Json] = {
    Kind.ID: {"type": ["integer", "null"]},
    Kind.INT: {"type": ["integer", "null"]},
    Kind.NUMBER: {"type": ["number", "null"]},
    Kind.TEXT: {"type": ["string", "null"]},
    Kind.BOOL: {"type": ["boolean", "null"]},
    Kind.INSTANT: {
        "type": ["string", "null"],
        "format": "date-time",
        "examples": ["2026-01-31T12:00:00.000Z"],
    },
    Kind.JSON: {},
    Kind.JSON_TEXT: {"type": ["string", "null"], "contentMediaType": "application/json"},
    Kind.BLOB: {"type": ["string", "null"], "contentEncoding": "base64"},
}
_SCALARS: Mapping[object, Json] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"type": "array", "items": {}},
    dict: {"type": "object"},
}
_HIDDEN = {("User", "password"), ("api_key", "digest")}
_IDS: Mapping[str, Json] = {
    "DataStream": {
        "type": ["integer", "null"],
        "description": "null: a repeat of a reading that cannot be found any more",
    }
}
_PARAMETER = re.compile(r"<(\w+)>")


def describe(endpoints: Iterable[Endpoint]) -> Json:
    """@return: the document.

    @raise ValueError: a struct has the name of a table whose rows are answered.
    """
    endpoints = list(endpoints)
    structs = _Structs([endpoint.route for endpoint in endpoints])
    paths: Json = {}
    tags: dict[str, str] = {}
    rows: set[str] = set()
    for endpoint in endpoints:
        group = type(endpoint.handler.__self__)  # type: ignore[attr-defined]
        tag = _tag(endpoint.route)
        tags.setdefault(tag, inspect.cleandoc(group.__doc__ or "").partition("\n")[0])
        path = _PARAMETER.sub(r"{\1}", endpoint.rules[0])
        operation = _operation(endpoint, tag, structs)
        paths.setdefault(path, {})[endpoint.route.method.lower()] = operation
        rows |= _tables(endpoint.route.data)
    clash = rows & structs.components.keys()
    if clash:
        raise ValueError(f"both a table and a struct: {', '.join(sorted(clash))}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AEMOS",
            "version": __version__,
            "description": "An acknowledged message is a stored message. Paths are"
            " case-insensitive, a trailing slash is accepted, HEAD works on every GET, and"
            " numbers and booleans may be sent as text.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {
            "securitySchemes": _SCHEMES,
            "responses": _RESPONSES,
            "schemas": {
                **_FAILURES,
                **{name: _row(TABLES[name]) for name in sorted(rows)},
                **structs.components,
            },
        },
    }


class _Structs:
    """The JSON Schemas of all queries and bodies."""

    def __init__(self, routes: Sequence[Route]) -> None:
        bodies = _distinct(route.body for route in routes)
        queries = _distinct(route.query for route in routes)
        schemas, components = msgspec.json.schema_components(bodies, ref_template=_REFERENCE)
        self.components = _in_ecma(components)
        self.bodies: Mapping[type, Json] = dict(zip(bodies, schemas, strict=True))
        self._queries = {query: _in_ecma(msgspec.json.schema(query)) for query in queries}

    def parameters(self, query: type[msgspec.Struct]) -> list[Json]:
        """@return: a parameter for each field."""
        schema = self._queries[query]
        definition = schema["$defs"][schema["$ref"].rpartition("/")[2]]
        return [
            {
                "name": name,
                "in": "query",
                "required": name in definition["required"],
                "schema": _without_null(field),
            }
            for name, field in definition["properties"].items()
        ]


def _distinct(structs: Iterable[type[msgspec.Struct] | None]) -> list[type[msgspec.Struct]]:
    return list(dict.fromkeys(struct for struct in structs if struct is not None))


def _in_ecma(schema: Any) -> Any:
    """@return: the schema with its patterns in the dialect of JSON Schema (ECMA-262)."""
    if isinstance(schema, list):
        return [_in_ecma(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: part.replace(END, "$")
        if key == "pattern" and isinstance(part, str)
        else _in_ecma(part)
        for key, part in schema.items()
    }


def _without_null(schema: Json) -> Json:
    """A query has texts only: null stands for a key that was not sent."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if not choices:
        return schema
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _operation(endpoint: Endpoint, tag: str, structs: _Structs) -> Json:
    route = endpoint.route
    operation: Json = {
        "operationId": route.name.replace("Routes", ""),
        "tags": [tag],
        "summary": route.summary,
        "security": [*_SECURITY[route.auth], *([_BY_KEY] if _takes_keys(route) else [])],
        "parameters": [_path_parameter(name, kind) for name, kind in route.parameters.items()],
        "responses": {str(route.status): _success(route), **_failures(route)},
    }
    details = [inspect.cleandoc(endpoint.handler.__doc__ or "").partition("\n")[2].strip()]
    if route.permission:
        details.append(f"Needs the permission `{route.permission}`.")
    if endpoint.rules[1:]:
        details.append(f"Also at {', '.join(f'`{rule}`' for rule in endpoint.rules[1:])}.")
    if any(details):
        operation["description"] = "\n\n".join(text for text in details if text)
    if route.query is not None:
        operation["parameters"] += structs.parameters(route.query)
    if route.body is not None:
        schema = structs.bodies[route.body]
        required = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {
            "required": required,
            "content": {form: {"schema": schema} for form in _FORMS},
        }
    elif route.consumes:
        operation["requestBody"] = {"content": {kind: {} for kind in route.consumes}}
    return operation


def _takes_keys(route: Route) -> bool:
    return route.auth is Auth.USER and route.keys


def _tag(route: Route) -> str:
    return route.name.partition(".")[0].removesuffix("Routes")


def _path_parameter(name: str, kind: type) -> Json:
    schema = {"type": "integer", "minimum": 0} if kind is int else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _success(route: Route) -> Json:
    if route.status == 204:
        return {"description": "Done; there is nothing to show."}
    if route.produces:
        return {"description": "Done.", "content": {kind: {} for kind in route.produces}}
    schema: Json = {"type": "object"}
    if route.data is not None:
        schema["properties"] = {
            "status": {"const": "success"},
            "results": {"type": "integer", "description": "how many there are in this answer"},
            "message": {"type": "string"},
            "data": _shape(route.data),
        }
        schema["required"] = ["status", "data"]
    return {"description": "Done.", "content": {"application/json": {"schema": schema}}}


def _shape(data: object) -> Json:
    """@param data: as `Route.data` declares it."""
    if isinstance(data, str):
        return {"$ref": _REFERENCE.format(name=data)}
    if isinstance(data, Mapping):
        return {
            "type": "object",
            "properties": {key: _shape(value) for key, value in data.items()},
            "required": list(data),
        }
    if isinstance(data, list):
        return {"type": "array", "items": _shape(data[0]) if data else {}}
    return _SCALARS.get(data, {})


def _tables(data: object) -> set[str]:
    if isinstance(data, str):
        return {data}
    inner = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return {name for value in inner for name in _tables(value)}


def _row(table: Table) -> Json:
    """The row of a table; what a route adds to it, such as related rows, is not listed."""
    columns = {
        _wire_name(name): _KINDS[kind]
        for name, kind in table.columns.items()
        if (table.name, name) not in _HIDDEN
    }
    if "id" in columns:
        columns["id"] = _IDS.get(table.name, {"type": "integer"})
    return {"type": "object", "properties": columns, "required": ["id"] if "id" in columns else []}


def _wire_name(column: str) -> str:
    """Columns of the tables that aemos adds are written `like_this`, fields `likeThis`."""
    first, *rest = column.split("_")
    return first + "".join(word.title() for word in rest)


def _failures(route: Route) -> Json:
    """The usual errors with their exact shapes, and `default` for all others."""
    known: Json = {}
    if route.query is not None or route.body is not None:
        more = ["NotParsed"] if route.body is not None else []
        known["400"] = _failure("What was sent breaks a rule.", Shape.E1, route.errors, *more)
    if route.auth is not Auth.OPEN:
        first = Shape.E2 if route.auth is Auth.DEVICE else Shape.E1
        known["401"] = _failure("No token, or one that is not valid.", first, route.errors)
    if route.auth is Auth.USER:
        known["403"] = _failure("The caller may not do this.", Shape.E1, route.errors)
    named = route.parameters or _names_rows(route.query) or _names_rows(route.body)
    for failure in (*([404] if named else []), *route.failures):
        known.setdefault(str(failure), _failure(_REASONS[failure], Shape.E2, Shape.E1))
    takes = ["413"] if route.body is not None or route.consumes else []
    for status in (*takes, "429", "431", "default"):
        known[status] = {"$ref": f"#/components/responses/{status}"}
    return known


def _names_rows(struct: type[msgspec.Struct] | None) -> bool:
    """@return: whether a field is the id of a row, which there may not be."""
    return struct is not None and any(
        field.name.endswith(("Id", "Ids")) for field in msgspec.structs.fields(struct)
    )


def _failure(description: str, *shapes: Shape | str) -> Json:
    names = dict.fromkeys(shape if isinstance(shape, str) else shape.name for shape in shapes)
    choices = [{"$ref": _REFERENCE.format(name=name)} for name in names]
    schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
