"""The messages of the live channel `/ws/v1`, between JSON text and values (docs/realtime.rst)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from aemos import json
from aemos.errors import BadRequest
from aemos.realtime.hub import Event
from aemos.realtime.wishes import Wish

Ref: TypeAlias = Annotated[str, Meta(max_length=64)] | int | None
"""Chosen by the client, returned in the answer."""

Rooms: TypeAlias = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=1000)]


class Authenticate(Struct, tag_field="type", tag="authenticate"):
    token: str
    ref: Ref = None


class Subscribe(Wish, tag_field="type", tag="subscribe"):
    rooms: Rooms
    ref: Ref = None


class Unsubscribe(Struct, tag_field="type", tag="unsubscribe"):
    rooms: Rooms
    ref: Ref = None


class Ping(Struct, tag_field="type", tag="ping"):
    ref: Ref = None


ClientMessage: TypeAlias = Authenticate | Subscribe | Unsubscribe | Ping


class _OnlyRef(Struct):
    ref: Ref = None


_decode: Callable[[bytes | str], ClientMessage] = json.decoder(ClientMessage)  # type: ignore[arg-type]
_decode_ref = json.decoder(_OnlyRef)


def parse(payload: bytes) -> ClientMessage:
    """Read one message of a client; keys that are not known are passed over.

    @raise MalformedJson, WrongShape: it is none; the text says what is wrong.
    """
    return _decode(payload)


def ref_of(payload: bytes) -> Ref:
    """@return: the `ref` of a message that `parse` refused, as far as it can be found."""
    try:
        return _decode_ref(payload).ref
    except BadRequest:
        return None


def answer(kind: str, ref: Ref = None, **fields: Any) -> bytes:
    """@return: the WebSocket frame of a message of type `kind`; a `ref` of None is left out."""
    message = {"type": kind, **fields} if ref is None else {"type": kind, "ref": ref, **fields}
    return text_frame(json.encode(message))


def event_message(event: Event, room: str) -> bytes:
    """@return: the JSON of an event, for `Event.encoded`."""
    head = b'{"type":"event","id":"%b","event":"%b","room":"%b","data":'
    # Ids, names and rooms are made of characters that JSON does not escape.
    names = (event.id.encode(), event.name.encode(), room.encode())
    return head % names + event.json() + b"}"


def event_frame(event: Event, room: str) -> bytes:
    """@return: the WebSocket frame of an event, for `Event.encoded`."""
    return text_frame(event_message(event, room))


def text_frame(payload: bytes) -> bytes:
    """@return: one final, unmasked text frame [RFC 6455 section 5.2]."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 0x10000:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
