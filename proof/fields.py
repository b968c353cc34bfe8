"""Typed access to decoded maps: every field has a type and a bound, or the object is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from proof.reasons import Reason, Refused


class Fields:
    """A decoded CBOR map of object `what`; each call takes one field out. `end` refuses what is left."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise Refused(Reason.MALFORMED, f"{what} is not a map")
        self._map = dict(value)
        self._what = what

    def _take(self, label: int | str) -> Any:
        if label not in self._map:
            raise Refused(Reason.MALFORMED, f"{self._what} lacks field {label}")
        return self._map.pop(label)

    def has(self, label: int | str) -> bool:
        return label in self._map

    def raw(self, label: int | str) -> Any:
        return self._take(label)

    def integer(self, label: int | str, low: int = 0, high: int = 2**63 - 1) -> int:
        value = self._take(label)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(label, f"an integer from {low} to {high}")
        return value

    def data(self, label: int | str, *sizes: int) -> bytes:
        value = self._take(label)
        if not isinstance(value, bytes) or (sizes and len(value) not in sizes):
            raise self._wrong(label, f"{' or '.join(map(str, sizes))} bytes")
        return value

    def text(self, label: int | str, longest: int = 128) -> str:
        value = self._take(label)
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise self._wrong(label, f"a text of at most {longest} printable characters")
        return value

    def boolean(self, label: int | str) -> bool:
        value = self._take(label)
        if not isinstance(value, bool):
            raise self._wrong(label, "true or false")
        return value

    def number(self, label: int | str) -> float:
        value = self._take(label)
        return finite(value, f"field {label} of {self._what}")

    def array(self, label: int | str, longest: int) -> list[Any]:
        value = self._take(label)
        if not isinstance(value, list | tuple) or len(value) > longest:
            raise self._wrong(label, f"an array of at most {longest}")
        return list(value)

    def end(self) -> None:
        if self._map:
            unknown = sorted(str(label)[:24] for label in self._map)[:5]
            raise Refused(Reason.MALFORMED, f"{self._what} has unknown fields {unknown}")

    def _wrong(self, label: int | str, expected: str) -> Refused:
        return Refused(Reason.MALFORMED, f"field {label} of {self._what} is not {expected}")


def row(value: Any, longest: int = 64) -> Any:
    """An array of plain items, for matching. None, which no pattern takes, where one of them is a boolean
    (Python takes true for 1) or a text that is not printable or longer than `longest`."""
    for item in value if isinstance(value, list | tuple) else ():
        if isinstance(item, bool) or (
            isinstance(item, str) and not (len(item) <= longest and item.isprintable())
        ):
            return None
    return value


def finite(value: Any, what: str) -> float:
    """A CBOR number as float; decimals are bounded before they are converted."""
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        if not isinstance(exponent, int) or not -18 <= exponent <= 18 or len(digits) > 30:
            raise Refused(Reason.MALFORMED, f"{what} is not a plain decimal")
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.MALFORMED, f"{what} is not a number")
    number = float(value) if abs(value) < 1e30 else float("inf")
    if number in (float("inf"), float("-inf")) or number != number:
        raise Refused(Reason.MALFORMED, f"{what} is not finite")
    return number
