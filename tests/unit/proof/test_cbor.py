"""Deterministic CBOR (§2.5): one form for every value, and nothing but that form is read."""

from __future__ import annotations

from decimal import Decimal

import cbor2
import pytest

from proof import cbor
from proof.reasons import Reason, Refused

NOT_DETERMINISTIC = {
    "a long form of an integer": "1817",
    "a four-byte form of a one-byte integer": "1a00000018",
    "a long form of a length": "580141",
    "a double that fits a half": "fb3ff8000000000000",
    "a single that fits a half": "fa3fc00000",
    "a NaN with a payload": "f97e01",
    "an infinity as double": "fb7ff0000000000000",
    "keys out of order": "a202000100",
    "a duplicate key": "a201000100",
    "an integer key and the equal float": "a20100f93c0000",
    "an indefinite array": "9f01ff",
    "an indefinite map": "bf0100ff",
    "an indefinite byte string": "5f4101ff",
    "an indefinite text": "7f6161ff",
    "a trailing byte": "0100",
    "a second item": "a0a0",
    "a decimal fraction with a long mantissa": "c482201801",
}
NOT_OURS = {
    "a date as text": "c074323031332d30332d32315432303a30343a30305a",
    "a date as number": "c11a514b67b0",
    "a bignum": "c249010000000000000000",
    "a bigfloat": "c5822003",
    "a rational": "d81e820103",
    "a regular expression": "d82361ae",
    "a shared value": "d81c80",
    "a string reference": "d90100824161d81900",
    "a set": "d9010280",
    "an IP address": "d90104447f000001",
    "self-described CBOR": "d9d9f700",
    "an unknown tag": "d9ffff00",
    "COSE_Sign1 inside another object": "d284404040a0",
    "a float as key": "a1f93c0000",
    "true as key": "a1f500",
    "an array as key": "a18000",
    "a map as key": "a1a000",
    "a byte string as key": "a1410000",
    "a decimal fraction with a huge exponent": "c4821bffffffffffffffff01",
}
BROKEN = {
    "nothing": "",
    "a break alone": "ff",
    "a reserved length": "1c",
    "a cut integer": "19ff",
    "a cut text": "6361",
    "a text that is not UTF-8": "61ff",
    "an array said to be huge": "9bffffffffffffffff",
    "a map said to be huge": "ba7fffffff",
    "a byte string said to be huge": "5bffffffffffffffff",
}


@pytest.mark.parametrize("item", [*NOT_DETERMINISTIC.values()], ids=[*NOT_DETERMINISTIC])
def test_a_form_that_is_not_the_deterministic_one_is_refused(item):
    _assert_malformed(bytes.fromhex(item))


@pytest.mark.parametrize("item", [*NOT_OURS.values()], ids=[*NOT_OURS])
def test_a_value_this_protocol_has_no_use_for_is_refused(item):
    _assert_malformed(bytes.fromhex(item))


@pytest.mark.parametrize("item", [*BROKEN.values()], ids=[*BROKEN])
def test_broken_bytes_are_refused_without_allocating_what_they_announce(item):
    _assert_malformed(bytes.fromhex(item))


def test_deep_nesting_is_refused_and_sixteen_levels_are_not():
    assert cbor.decode(b"\x81" * 15 + b"\x80", 100, "nest") is not None
    _assert_malformed(b"\x81" * 17 + b"\x80")
    _assert_malformed(b"\x81" * 90_000 + b"\x80")


def test_no_tag_but_the_decimal_fraction_becomes_a_python_object():
    for tag in range(70_000):
        head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
        for content in (b"\x00", b"\x40", b"\x60", b"\x82\x01\x02", b"\xa0"):
            try:
                value = cbor.decode(head + content, 100, "tag")
            except Refused:
                continue
            assert (tag, value) == (4, Decimal(20))


def test_the_size_is_bounded_before_anything_is_decoded():
    with pytest.raises(Refused) as refused:
        cbor.decode(b"\xff" * 11, 10, "the thing")
    assert refused.value.verdict.reason is Reason.TOO_LARGE
    assert "the thing has 11 bytes, the limit is 10" in refused.value.verdict.detail


def test_integer_and_text_keys_sort_by_their_encodings():
    assert cbor.encode({"a": 0, -1: 0, 24: 0, 1: 0}).hex() == "a401002000181800616100"


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (23.722089, 2, Decimal("23.72")),
        (23.7, 2, Decimal("23.7")),
        (23.0, 2, 23),
        (-0.004, 2, 0),
        (-12.5, 1, Decimal("-12.5")),
        (100942.9655, 0, 100943),
        (100942.9655, -1, 100940),
        (100, 2, 100),
    ],
)
def test_a_number_takes_its_shortest_exact_form(value, decimals, expected):
    number = cbor.number(value, decimals)
    assert (number, type(number)) == (expected, type(expected))
    assert cbor.decode(cbor.encode(number), 16, "number") == expected


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_a_byte_string_is_written_as_cbor2_writes_it_and_read_back(size):
    data = bytes(size)
    assert cbor.bstr(data) == cbor2.dumps(data)
    item, rest = cbor.take_bstr(memoryview(cbor.bstr(data) + b"rest"))
    assert (item, bytes(rest)) == (data, b"rest")


@pytest.mark.parametrize(
    "item", ["", "00", "60", "a0", "5800", "581700", "590018", "5a00000100", "5b", "4200", "5818"]
)
def test_a_byte_string_in_another_form_or_cut_short_is_refused(item):
    with pytest.raises(Refused):
        cbor.take_bstr(memoryview(bytes.fromhex(item)))


def _assert_malformed(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        cbor.decode(data, 100_000, "the item")
    assert refused.value.verdict.reason is Reason.MALFORMED
    assert refused.value.verdict.detail.startswith("the item is not")
