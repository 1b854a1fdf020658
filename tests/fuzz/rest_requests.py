"""Makes up HTTP requests from the OpenAPI document: half of each is right, the rest is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_from_bytes

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

GOOD_TOKEN = b"<good token>"
"""Stands for a token that is valid when the request is sent."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "M-SEARCH")
_NUMBERS = st.one_of(
    st.sampled_from((0, 1, 2, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**400, -0.0, 1e308)),
    st.integers(),
    st.floats(),  # also NaN and Infinity, which are no JSON
)
_TEXTS = st.one_of(
    st.sampled_from(("", "0", "1", "true", "null", "\0", "a\0b", "\ud800", "💧" * 30, "x" * 5000)),
    st.sampled_from(("' OR 1=1 --", "%s", "{}", "../../etc/passwd", "\r\nX: y", "é́", "\x7f")),
    st.sampled_from(("2026-01-31T12:00:00Z", "0000-00-00", "9999-12-31T23:59:59.999999+99:99")),
    st.text(st.characters(codec=None), max_size=60),  # also lone surrogates
)
_SCALARS = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_ANYTHING = st.one_of(
    _SCALARS,
    st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
        max_leaves=10,
    ),
)
_DEEP = st.builds(
    lambda opening, depth, closing: opening * depth + closing * depth,
    st.sampled_from((b"[", b'{"a":', b'{"dataStreams":[')),
    st.sampled_from((50, 1000, 100_000)),
    st.sampled_from((b"", b"]", b"}", b"]}")),
)
_BROKEN = st.one_of(
    _DEEP,
    st.binary(max_size=300),
    st.sampled_from((b"{", b'"', b"\xff\xfe{}", b'{"a":NaN}', b'{"a":1,}', b"a=1&a=2&=&&", b"\0")),
    st.just(b'{"value":' + b"9" * 5000 + b"}"),
)
_TYPES = st.sampled_from(
    (
        b"application/json",
        b"application/json; charset=utf-16",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"text/csv",
        b"application/x-ndjson",
        b"",
        b"\xff/\x80;;",
    )
)
_TOKENS = st.sampled_from((GOOD_TOKEN,) * 8 + (b"", b"x", b"eyJhbGciOiJub25lIn0.e30.", b"\xff" * 9))
_MORE_HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just(b"Accept-Encoding"), st.sampled_from((b"gzip", b"deflate;q=x", b"\xff"))),
        st.tuples(st.just(b"If-None-Match"), st.sampled_from((b"*", b'W/"', b"\xff,\xfe"))),
        st.tuples(st.just(b"X-API-Key"), st.sampled_from((b"", b"aemos_x", b"\xe4"))),
        st.tuples(st.just(b"X-Forwarded-For"), st.sampled_from((b"::1%x, 1.2.3.4", b"\xff"))),
        st.tuples(st.just(b"Range"), st.just(b"bytes=0-")),
        st.tuples(st.just(b"Cookie"), st.sampled_from((b"=;=", b"\xff"))),
        st.tuples(
            st.sampled_from((b"X-A", b"Origin", b"Expect", b"Last-Event-ID", b"Upgrade")),
            st.binary(max_size=40).filter(lambda value: not set(value) & set(b"\r\n")),
        ),
    ),
    max_size=3,
)


@attrs.frozen
class Request:
    """One request as it is sent, but for its token."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def encode(self, token: str) -> bytes:
        """@param token: for `GOOD_TOKEN`."""
        length = (b"Content-Length", b"%d" % len(self.body))
        lines = [b"%b %b HTTP/1.1" % (self.method, self.target), b"Host: x", b"Connection: close"]
        lines += [b"%b: %b" % header for header in (*self.headers, length)]
        head = b"\r\n".join(lines).replace(GOOD_TOKEN, token.encode())
        return head + b"\r\n\r\n" + self.body


def requests_for(document: Mapping[str, Any]) -> SearchStrategy[Request]:
    """@return: requests to the paths of an OpenAPI document, and to paths that resemble them."""
    components = document["components"]["schemas"]
    return st.one_of(
        [
            _requests(method.upper(), path, operation, components)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]
    )


def _requests(
    method: str, path: str, operation: Mapping[str, Any], components: Mapping[str, Any]
) -> SearchStrategy[Request]:
    names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
    return st.builds(
        lambda method, target, query, token, body, headers: Request(
            method.encode(),
            target + query,
            (
                (b"Authorization", b"Bearer " + token),
                (b"Content-Type", body[0]),
                *headers,
            ),
            body[1],
        ),
        st.sampled_from((method,) * 90 + _METHODS),
        _targets(path),
        _queries(names),
        # The good token must stay good.
        st.just(b"x") if path.endswith("/logout") else _TOKENS,
        _bodies(operation.get("requestBody"), components),
        _MORE_HEADERS,
    )


def _encoded(text: str) -> bytes:
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="").encode()


def _targets(path: str) -> SearchStrategy[bytes]:
    """@return: the path with something in place of its parameters; at times not quite that path."""
    ids = st.one_of(
        st.sampled_from((b"1", b"2", b"3", b"0", b"-1", b"9" * 30, b"%00", b"%ff", b"%2F", b"%")),
        _TEXTS.map(_encoded),
    )
    parts = [ids if part.startswith("{") else st.just(part.encode()) for part in path.split("/")]
    right: SearchStrategy[bytes] = st.tuples(*parts).map(b"/".join)
    return st.one_of(
        right,
        right,
        right,
        st.builds(
            lambda target, change: change(target),
            right,
            st.sampled_from(
                (
                    bytes.upper,
                    lambda target: target + b"/" * 3,
                    lambda target: target.replace(b"/", b"//"),
                    lambda target: target + b"/%c3%28",
                    lambda target: b"http://x" + target,
                    lambda target: target[1:] or b"*",
                )
            ),
        ),
    )


def _queries(names: list[str]) -> SearchStrategy[bytes]:
    known = st.sampled_from([*names, "limit"]) if names else st.just("limit")
    pair = st.builds(
        lambda name, value: _encoded(name) + b"=" + _encoded(value),
        st.one_of(known, known, _TEXTS),
        st.one_of(_TEXTS, _NUMBERS.map(str)),
    )
    noise = st.sampled_from((b"&&==", b"%ff=%fe", b"a" * 900, b"=1", b"?"))
    return st.one_of(
        st.just(b""),
        st.lists(st.one_of(pair, pair, pair, noise), min_size=1, max_size=4).map(
            lambda pairs: b"?" + b"&".join(pairs)
        ),
    )


def _bodies(
    declared: Mapping[str, Any] | None, components: Mapping[str, Any]
) -> SearchStrategy[tuple[bytes, bytes]]:
    """@return: content types with bodies, mostly JSON objects with the fields that are known."""
    content = {} if declared is None else declared["content"]
    schema = next(iter(content.values()), {}).get("schema", {})
    fitting = _resembling(schema, components, 0) if schema else _ANYTHING
    as_json = st.tuples(st.just(b"application/json"), fitting.map(_json))
    return st.one_of(
        as_json, as_json, as_json, st.tuples(_TYPES, _BROKEN), st.tuples(_TYPES, fitting.map(_json))
    )


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _resembling(
    schema: Mapping[str, Any], components: Mapping[str, Any], depth: int
) -> SearchStrategy[Any]:
    """@return: values that fit the schema, more or less."""
    if "$ref" in schema:
        return _resembling(components[schema["$ref"].rpartition("/")[2]], components, depth)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices and depth < 4:
        return st.one_of([_resembling(choice, components, depth + 1) for choice in choices])
    if "enum" in schema:
        return st.one_of(st.sampled_from(schema["enum"]), _ANYTHING)
    kind = schema.get("type")
    if kind == "object" and "properties" in schema and depth < 4:
        fields = {
            name: _resembling(field, components, depth + 1)
            for name, field in schema["properties"].items()
        }
        required = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
        right = st.fixed_dictionaries(required, optional=fields)
        # One key too many, or too few.
        return st.one_of(
            right,
            right,
            st.builds(lambda one, key, value: {**one, key: value}, right, _TEXTS, _ANYTHING),
            st.fixed_dictionaries({}, optional={**required, **fields}),
            _ANYTHING,
        )
    if kind == "array" and depth < 4:
        item = _resembling(schema.get("items", {}), components, depth + 1)
        return st.one_of(st.lists(item, max_size=3), _ANYTHING)
    likely: Mapping[Any, SearchStrategy[Any]] = {
        "integer": st.sampled_from((1, 2, 3, "1")),
        "number": st.sampled_from((1, 0.5, "2")),
        "boolean": st.booleans(),
        "string": st.sampled_from(("a", "name", "active", "1", "a@b.example", "x y")),
    }
    one = likely.get(kind) if isinstance(kind, str) else None
    return _ANYTHING if one is None else st.one_of(one, one, _ANYTHING)
