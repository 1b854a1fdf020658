"""JSON as aemos reads and writes it, for every door.

Reading follows JavaScript's parser: NaN, comments and trailing commas are refused, and whatever
goes wrong (also nesting too deep for the parser) is one error, `MalformedJson`. Writing gives
compact UTF-8; an `Instant` becomes the ISO text that existing clients expect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from aemos.errors import BadRequest
from aemos.model import Instant

T = TypeVar("T")

END = r"$(?!\n)"
"""The end of a pattern of a field: for Python, `$` alone is also before a last line feed."""


class MalformedJson(BadRequest):
    """The bytes are not JSON (RFC 8259)."""

    code = "malformed_json"


class WrongShape(BadRequest):
    """The JSON is well-formed but not what the place needs; the text names the field."""

    code = "wrong_shape"


def _enc_hook(value: Any) -> Any:
    if isinstance(value, Instant):
        return value.iso()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def encode(value: Any) -> bytes:
    """@return: compact UTF-8 JSON of dicts, lists, scalars, msgspec structs and `Instant`."""
    return _encoder.encode(value)


def decode(raw: bytes | str) -> Any:
    """@raise MalformedJson: the text is not JSON, or nested deeper than the parser can follow."""
    return _decode_any(raw)


def decoder(shape: type[T], *, strict: bool = True) -> Callable[[bytes | str], T]:
    """Make a function that decodes bytes straight into `shape`, checking as it goes.

    @param strict: False also takes numeric and boolean text where a number or boolean is meant.
    @raise MalformedJson, WrongShape: (the function) as named there.
    """
    parse = msgspec.json.Decoder(shape, strict=strict).decode

    def decode(raw: bytes | str) -> T:
        try:
            return parse(raw)
        except (ValueError, RecursionError) as error:
            raise _translated(error) from None

    return decode


def _translated(error: Exception) -> BadRequest:
    """What a failure of the parser means; msgspec's errors and UnicodeError are ValueErrors."""
    if isinstance(error, msgspec.ValidationError):
        return WrongShape(str(error))
    if isinstance(error, RecursionError):
        return MalformedJson("not JSON that can be read: nested too deeply")
    return MalformedJson(f"not JSON: {error}")


def text(value: str | int | float | bool) -> str:
    """Write a JSON scalar the way JavaScript's String() does: 25.0 -> "25", True -> "true".

    Stored values are text (spec/data-model.md, DataStream.value); the original was JavaScript.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # JavaScript reads every number as a double: long integers lose their tail there as well.
        return str(value) if -(2**53) <= value <= 2**53 else number_text(float(value))
    return number_text(value)


def number_text(value: float) -> str:
    """ECMAScript Number::toString for a finite double (ECMA-262, section 6.1.6.1.20)."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr() gives the shortest digits that read back as the same double, as ECMAScript asks for.
    mantissa, _, exponent_text = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent_text or 0)
    if whole == "0":
        point -= len(whole) + len(fraction) - len((whole + fraction).lstrip("0"))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    tail = f"e{'+' if power > 0 else '-'}{abs(power)}"
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + tail


_decode_any = decoder(object)
