"""Reading bodies and queries, and saying what is wrong with them."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Meta

from aemos.errors import BadRequest, NotFound
from aemos.http.bodies import decode_body
from aemos.http.schemas import (
    UNSET,
    BlankOrGuid,
    Body,
    Email,
    Guid,
    Id,
    Invalid,
    Name,
    Query,
    Short,
    UnsetType,
    decode_query,
    given,
    row_id,
)


class Everything(Body):
    name: Name | UnsetType = UNSET
    id: Id | UnsetType | None = UNSET
    short: Short | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    guid: Guid | UnsetType = UNSET
    blank: BlankOrGuid | UnsetType | None = UNSET
    word: Literal["", "open", "shut"] | UnsetType | None = UNSET
    ratio: Annotated[float, Meta(gt=0, lt=1)] | UnsetType = UNSET
    flag: bool | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    extra: dict[str, Any] | UnsetType | None = UNSET


class Needed(Body):
    name: Name


class Page(Query):
    page: Id = 1
    search: str = ""


def read(body: bytes) -> dict[str, Any]:
    return given(decode_body(body, "application/json", Everything))


def test_only_what_was_sent_is_given() -> None:
    assert read(b"{}") == {}
    assert read(b'{"id":null,"short":""}') == {"id": None, "short": ""}


def test_text_passes_for_numbers_and_booleans_but_not_the_other_way() -> None:
    assert read(b'{"id":"12","flag":"true","ratio":"0.5"}') == {
        "id": 12,
        "flag": True,
        "ratio": 0.5,
    }
    with pytest.raises(BadRequest, match='"short" must be a string'):
        read(b'{"short":5}')


@pytest.mark.parametrize(
    "guid",
    [
        "11111111-1111-4111-8111-11111111aBcD",
        "{11111111-1111-1111-1111-111111111111}",
        "00000000000000000000000000000000",
    ],
)
def test_a_guid_has_any_version_and_case(guid: str) -> None:
    assert read(b'{"guid":"%s"}' % guid.encode()) == {"guid": guid}
    assert read(b'{"blank":"%s"}' % guid.encode()) == {"blank": guid}


def test_what_is_optional_may_be_blank() -> None:
    assert read(b'{"blank":"","word":""}') == {"blank": "", "word": ""}
    assert read(b'{"blank":null,"word":null}') == {"blank": None, "word": None}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"x":1}', '"x" is not allowed'),
        (b'{"name":""}', '"name" is not allowed to be empty'),
        (b'{"name":null}', '"name" must be a string'),
        (b'{"short":"%s"}' % (b"x" * 51), '"short" length must be less than or equal to 50'),
        (b'{"id":"x"}', '"id" must be a number'),
        (b'{"id":""}', '"id" must be a number'),
        (b'{"id":1.5}', '"id" must be a number'),
        (b'{"id":-1}', '"id" must be greater than or equal to 0'),
        (b'{"id":99999999999999999999}', '"id" must be less than or equal to 9223372036854775807'),
        (b'{"email":"a@b"}', '"email" must be a valid email'),
        (b'{"email":"a b@c.d"}', '"email" must be a valid email'),
        (b'{"email":"a@b.c\\n"}', '"email" must be a valid email'),
        (b'{"guid":"xyz"}', '"guid" must be a valid GUID'),
        (b'{"guid":""}', '"guid" must be a valid GUID'),
        (b'{"blank":"\\n"}', '"blank" must be a valid GUID'),
        (b'{"blank":"xyz"}', '"blank" must be a valid GUID'),
        (b'{"word":"ajar"}', r'"word" must be one of \[open, shut\]'),
        (b'{"ratio":1}', '"ratio" must be less than 1'),
        (b'{"flag":"maybe"}', '"flag" must be a boolean'),
        (b'{"tags":["a",5]}', r'"tags\[1\]" must be a string'),
        (b'{"tags":"a"}', '"tags" must be an array'),
        (b'{"extra":[]}', '"extra" must be of type object'),
        (b"[]", '"value" must be of type object'),
    ],
)
def test_errors_name_the_field(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=rf"^Invalid request body: {message}"):
        read(body)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadRequest, match=r'^Invalid request body: "name" is required$'):
        decode_body(b"", "", Needed)


def test_queries_are_text_of_which_the_last_counts() -> None:
    page = decode_query({b"page": [b"1", b"7"], b"search": [b"\xc3\xa4"]}, Page)
    assert (page.page, page.search) == (7, "ä")
    assert decode_query({b"page": [b"7", b""]}, Page).page == 1
    with pytest.raises(BadRequest, match=r'^Invalid query parameters: "size" is not allowed$'):
        decode_query({b"size": [b"1"]}, Page)


@pytest.mark.parametrize("text", ["", "abc", "-1", "+1", " 1", "1.0", "1e3", "²", "٣", "9" * 19])
def test_what_is_no_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        row_id(text)


def test_a_parameter_that_was_not_filled_in_is_invalid() -> None:
    with pytest.raises(Invalid):
        row_id(":id")


def test_ids_are_numbers() -> None:
    assert row_id("007") == 7
    assert row_id(str(2**63 - 1)) == 2**63 - 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(Everything.__struct_fields__)), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@generated(st.binary() | _JSON.map(lambda value: repr(value).replace("'", '"').encode()))
def test_any_bytes_give_a_body_or_a_bad_request(raw: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        with suppress(BadRequest):
            decode_body(raw, kind, Everything)
