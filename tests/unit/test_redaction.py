"""Tokens never leave with a payload."""

from __future__ import annotations

import pytest

from aemos import json
from aemos.redaction import without_tokens


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b'{"value": 25.60,  "variableName":"t"}',
        b"not json",
        b"\x00\xff\xfe",
        b'{"value":"token"}',
        b'{"value":"\\u0074oken"}',
        b'{"tokens": 1}',
        b'"token"',
        b"the token is lost",
        b'{"dataStreams":[{"value":"token"}]}',
        b'[1,2,"token"]',
    ],
)
def test_payload_without_a_token_passes_byte_for_byte(payload: bytes) -> None:
    assert without_tokens(payload) is payload


@pytest.mark.parametrize(
    ("payload", "left"),
    [
        (b'{"token":"s3cret","value":1}', b'{"value":1}'),
        (b'{"accessToken":"s3cret","value":25.60}', b'{"value":25.60}'),
        (b'{"\\u0074oken":"s3cret","value":1}', b'{"value":1}'),
        (b'{"t\\u006Fken":"s3cret","value":1}', b'{"value":1}'),
        (b'{"token":"s3cret","token":"s3cret"}', b"{}"),
        (b' {"token":null}', b"{}"),
        (b'{"token":{"deep":"s3cret"}}', b"{}"),
        (
            b'{"dataStreams":[{"value":1,"token":"s3cret"},{"value":123456789012345678901234}]}',
            b'{"dataStreams":[{"value":1},{"value":123456789012345678901234}]}',
        ),
        (b'[{"token":"s3cret","value":1}]', b'[{"value":1}]'),
    ],
)
def test_token_is_taken_out_and_all_else_keeps_its_text(payload: bytes, left: bytes) -> None:
    assert without_tokens(payload) == left


@pytest.mark.parametrize(
    "payload",
    [
        b'{"value":1,"token":"s3cret"',
        b'{"token":"s3cret',
        b'{"token":"s3\\"s3cret","value":}',
        b'{"token": s3cret}',
        b"{'token': 's3cret'}",
        b'x "accessToken" : "s3cret"',
        b'{"\\u0074\\u006F\\u006Ben":"s3cret",}',
        b'{"token":"s3cret"}\n{"token":"s3cret"}',
        b'\xef\xbb\xbf{"token":"s3cret"}',
    ],
)
def test_token_in_something_that_only_looks_like_json_is_masked(payload: bytes) -> None:
    cleaned = without_tokens(payload)
    assert b"s3cret" not in cleaned
    assert b"***" in cleaned


def test_nesting_too_deep_to_parse_is_masked_like_other_broken_json() -> None:
    payload = b'{"token":"s3cret","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert b"s3cret" not in without_tokens(payload)


def test_what_is_left_is_still_json() -> None:
    payload = b'{"a":"\\u00e9\\n","token":"s","dataStreams":[{"token":"s","b":[1,{"c":null}]}]}'
    assert json.decode(without_tokens(payload)) == {
        "a": "é\n",
        "dataStreams": [{"b": [1, {"c": None}]}],
    }
