"""Deterministic CBOR (§2.5, RFC 8949 §4.2.1).

- Encode: definite lengths, shortest forms, sorted keys.
- Decode: the size is bounded first; then the value is decoded, re-encoded and compared, so that
  anything not deterministic (long forms, duplicate keys, trailing bytes, indefinite lengths) is refused.
- Map keys are integers and texts; the only tag is the decimal fraction.
- A decimal is written as an integer where it is one, else as a decimal fraction (tag 4) without
  trailing zeros.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import cbor2

from proof.reasons import Reason, Refused

MAX_DEPTH = 16
# Foreign exceptions a hostile item can raise in the decoder or in the comparison by re-encoding.
_DECODER_ERRORS = (cbor2.CBORError, ValueError, ArithmeticError, TypeError, RecursionError, LookupError)
# Tags cbor2 would turn into dates, bignums, rationals, regexes, cyclic references, sets, addresses …
_FOREIGN_TAGS = frozenset({*range(4), 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261})
_FOREIGN_TAGS |= {1004, 43000, 55799}


def _refuse_tag(_value: Any, _immutable: bool) -> Any:
    raise ValueError("the only tag this protocol uses inside an object is the decimal fraction (4)")


def _plain_map(value: Any, _immutable: bool) -> Any:
    # Python takes the keys true and 1.0 for 1: another language would not.
    for key in value:
        if type(key) not in (int, str):
            raise ValueError("a key is neither an integer nor a text")
    return value


_DECODERS = dict.fromkeys(_FOREIGN_TAGS, _refuse_tag)


def encode(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, limit: int, what: str) -> Any:
    """Decode one deterministic item of at most `limit` bytes; raises `Refused`."""
    if len(data) > limit:
        raise Refused(Reason.TOO_LARGE, f"{what} has {len(data)} bytes, the limit is {limit}")
    try:
        value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_DECODERS,
            tag_hook=_refuse_tag,
            object_hook=_plain_map,
        )
        deterministic = encode(value) == data
    except _DECODER_ERRORS as error:
        raise Refused(Reason.MALFORMED, f"{what} is not CBOR: {type(error).__name__}") from None
    if not deterministic:
        raise Refused(Reason.MALFORMED, f"{what} is not deterministic CBOR")
    return value


def number(value: float | int, decimals: int) -> int | Decimal:
    """`value` rounded to `decimals` places (-1: to tens) in its shortest exact form (§3.3)."""
    if decimals < 0:
        unit: int = 10**-decimals
        return round(value / unit) * unit
    mantissa = round(value * 10**decimals)
    while decimals > 0 and mantissa % 10 == 0:
        mantissa //= 10
        decimals -= 1
    return mantissa if decimals == 0 else Decimal(mantissa).scaleb(-decimals)


def bstr(data: bytes) -> bytes:
    """A CBOR byte string (RFC 8949 §3.1, major type 2)."""
    size = len(data)
    if size < 24:
        return bytes([0x40 | size]) + data
    if size < 0x100:
        return b"\x58" + size.to_bytes(1, "big") + data
    if size < 0x10000:
        return b"\x59" + size.to_bytes(2, "big") + data
    return b"\x5a" + size.to_bytes(4, "big") + data


def take_bstr(view: memoryview) -> tuple[bytes, memoryview]:
    """The byte string at the start of `view` in its shortest form, and what follows it."""
    kind = view[0] if len(view) else 0
    if 0x40 <= kind < 0x58:
        width, size, least = 0, kind & 0x1F, 0
    elif 0x58 <= kind <= 0x5A:
        width = 1 << (kind - 0x58)
        size, least = int.from_bytes(view[1 : 1 + width], "big"), (24, 0x100, 0x10000)[kind - 0x58]
    else:
        raise Refused(Reason.MALFORMED, "a byte string was expected")
    end = 1 + width + size
    if size < least or end > len(view):
        raise Refused(Reason.MALFORMED, "a byte string is cut short or not in its shortest form")
    return bytes(view[1 + width : end]), view[end:]
