"""Takes device tokens out of payloads before anybody but the server sees them.

Existing firmware repeats its token in each message, as `token` or `accessToken` beside the values
or inside the items of `dataStreams`. What is forwarded, retained, queued, logged or kept passes
here.
"""

from __future__ import annotations

import re

import msgspec

from aemos import json

_SECRET_KEYS = ("token", "accessToken")

_object = json.decoder(dict[str, msgspec.Raw])
_array = json.decoder(list[msgspec.Raw])


def _escaped(word: str) -> str:
    """@return: a pattern for `word` in which each letter may be a JSON escape."""
    return "".join(rf"(?:{letter}|\\u00{ord(letter):02x})" for letter in word)


_FRAGMENT = re.compile(
    rf"""(["'](?:{_escaped("token")}|{_escaped("accessToken")})["']\s*:\s*)"""
    r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[^\s,}\]"']+)""".encode(),
    re.DOTALL,
)
# The hexadecimal digits of an escape may be of either case; letters of the word may not.
_UPPER_ESCAPE = re.compile(rb"\\u00([0-9a-fA-F]{2})")


def without_tokens(payload: bytes) -> bytes:
    """@return: the payload without tokens; the very same object when there is none in it.

    In JSON the keys go, all other values keep their text. What is not JSON passes as it is, except
    that the value of something that reads like a `"token": ...` pair is masked.
    """
    # Every spelling of the keys has this run of letters, or hides some of it behind an escape.
    if b"oken" not in payload and b"\\u" not in payload:
        return payload
    try:
        return _clean(payload)
    except json.MalformedJson:
        return _masked(payload)


def _clean(raw: bytes) -> bytes:
    start = raw.lstrip()[:1]
    if start == b"{":
        return _clean_object(raw)
    if start == b"[":
        return _clean_array(raw)
    json.decode(raw)  # a scalar cannot hold a key; anything else is not JSON
    return raw


def _clean_object(raw: bytes) -> bytes:
    fields = _object(raw)
    changed = False
    for key in _SECRET_KEYS:
        changed |= fields.pop(key, None) is not None
    items = fields.get("dataStreams")
    if items is not None and bytes(items)[:1] == b"[":
        cleaned = _clean_array(bytes(items))
        if cleaned is not items and cleaned != bytes(items):
            fields["dataStreams"] = msgspec.Raw(cleaned)
            changed = True
    return json.encode(fields) if changed else raw


def _clean_array(raw: bytes) -> bytes:
    items = [bytes(item) for item in _array(raw)]
    cleaned = [_clean_object(item) if item[:1] == b"{" else item for item in items]
    if cleaned == items:
        return raw
    return json.encode([msgspec.Raw(item) for item in cleaned])


def _masked(payload: bytes) -> bytes:
    lowered = _UPPER_ESCAPE.sub(lambda found: found[0].lower(), payload)
    masked = _FRAGMENT.sub(rb'\1"***"', lowered)
    return payload if masked == lowered else masked
