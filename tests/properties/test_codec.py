"""What goes in comes out, for any readings and claims a device can have; and any bytes are an answer."""

from __future__ import annotations

import itertools
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from proof import cbor, chain, claims, cose, joining, keys, sealing, senml, wire
from proof.claims import Claims, Gap, Location, Lost, Predecessor, TimeClaim
from proof.keys import SeedSigner
from proof.reasons import Refused
from proof.senml import Measured, Reading
from tests.proof_samples import DESCRIPTOR, DEVICE, DEVICE_ID

INSTRUMENTS = st.sampled_from(["bme280-76", "sds011-0", "scd30-61", "a"])
QUANTITIES = st.sampled_from(["temperature", "pressure", "humidity", "pm2.5", "co2", "x"])
NUMBERS = st.integers(-(2**53), 2**53) | st.builds(
    lambda mantissa, places: cbor.number(mantissa / 10**places, places),
    st.integers(-(10**9), 10**9),
    st.integers(0, 6),
)
VALUES = st.builds(Measured, QUANTITIES, st.sampled_from(sorted(senml.UNITS)), NUMBERS)
ROWS = st.builds(
    Reading,
    INSTRUMENTS,
    st.integers(senml.EARLIEST_TIME_MS, 2**40 * 1000 - 1),
    st.lists(VALUES, max_size=4, unique_by=lambda value: value.quantity).map(tuple),
    st.integers(0, 1023),
    st.binary(max_size=64),
).filter(lambda row: row.records() > 0)


def neighbours_differ(rows: list[Reading]) -> bool:
    """Two reads of one instrument at one millisecond would be one reading."""
    return all((a.instrument, a.time_ms) != (b.instrument, b.time_ms) for a, b in itertools.pairwise(rows))


PACKS = st.lists(ROWS, max_size=8).filter(neighbours_differ).map(tuple)
HASHES = st.binary(min_size=32, max_size=32)
LOGS = st.binary(min_size=8, max_size=8)
COUNTS = st.integers(0, 2**63 - 1)
REASONS = st.text(st.characters(categories=["L", "N", "P"]), max_size=64)
DEGREES = st.integers(-90 * 10**6, 90 * 10**6).map(lambda micro: cbor.number(micro / 10**6, 6))


def gaps_before(seq):
    """A proof can only have lost what it signed before itself."""
    if seq == 1:
        return st.just(())
    ends = st.tuples(st.integers(1, seq - 1), st.integers(1, seq - 1))
    gap = st.builds(
        lambda span, a, b, why: Gap(min(span), max(span), a, b, why), ends, HASHES, HASHES, REASONS
    )
    return st.lists(gap, max_size=3).map(tuple)


LOSSES = st.builds(
    lambda name, start, more, count, why: Lost(name, start, start + more, count, why),
    INSTRUMENTS, st.integers(0, 2**61), st.integers(0, 2**61), st.integers(1, 2**32 - 1), REASONS,
)  # fmt: skip
ALL_CLAIMS = st.one_of(
    st.tuples(st.just(1), st.none() | st.builds(Predecessor, LOGS, st.none() | HASHES, REASONS)),
    st.tuples(st.integers(2, 2**63 - 1), HASHES),
).flatmap(
    lambda place: st.builds(
        Claims,
        device=st.just(DEVICE_ID),
        network=st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
        sealed_at_s=COUNTS,
        freshness=st.just(()) | st.tuples(HASHES) | st.tuples(HASHES, st.binary(min_size=16, max_size=16)),
        bootcount=st.integers(1, 2**63 - 1),
        bootseed=st.binary(min_size=16, max_size=16),
        log=LOGS,
        seq=st.just(place[0]),
        prev=st.just(place[1]),
        time=st.builds(TimeClaim, COUNTS, st.integers(0, 3), COUNTS),
        descriptor_hash=st.just(DESCRIPTOR.hash()),
        descriptor=st.none() | st.just(DESCRIPTOR),
        location=st.none()
        | st.builds(Location, DEGREES, DEGREES, st.integers(-400, 9000), st.integers(0, 10**7)),
        gaps=gaps_before(place[0]),
        lost=st.lists(LOSSES, max_size=3).map(tuple),
    )
)


@given(PACKS)
def test_readings_of_several_instruments_are_read_back_as_they_were_written(rows):
    assert senml.decode(senml.encode(DEVICE_ID, rows), DEVICE_ID) == rows


@given(ALL_CLAIMS, PACKS)
def test_a_proof_is_opened_as_it_was_sealed_whatever_it_claims(sealed, rows):
    opened = sealing.parse(wire.inflate(wire.deflate(sealing.seal(sealed, rows, DEVICE))))
    assert opened.claims == sealed
    assert opened.readings() == rows
    assert opened.signed.require_signature([DEVICE.public_key]) == DEVICE.public_key


@given(st.floats(-1e9, 1e9), st.integers(-3, 6))
def test_a_rounded_number_lies_within_half_a_unit_and_is_written_in_one_form(value, decimals):
    number = cbor.number(value, decimals)
    assert abs(Decimal(value) - number) <= Decimal(10) ** -decimals / 2 + Decimal("1e-6")
    assert isinstance(number, int) or number != int(number)
    assert cbor.decode(cbor.encode(number), 32, "number") == number


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_a_did_and_every_did_its_key(seed):
    public_key = SeedSigner(seed, "file").public_key
    did = keys.device_id(public_key)
    assert did.startswith("did:key:z6Mk")
    assert keys.public_key_of(did) == public_key


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused_and_nothing_else(data):
    for parse in (
        lambda: cbor.encode(cbor.decode(data, 300, "bytes")) == data,
        lambda: wire.inflate(data),
        lambda: sealing.parse(data),
        lambda: cose.typ_of(b"\xd2\x84" + cbor.bstr(data) + b"\xa0\x40" + cbor.bstr(bytes(64))),
        lambda: senml.decode(data, DEVICE_ID),
    ):
        try:
            assert parse()
        except Refused:
            continue
        except AssertionError:
            assert data == b"\x80", "only the empty pack is falsy"


@given(st.text(max_size=100))
def test_any_text_is_a_claim_or_refused(text):
    for claim in (text, "fp1." + text):
        try:
            joining.parse_claim(claim)
        except Refused:
            continue


KEYS = st.sampled_from(
    [-8, -5, -4, -3, -2, 0, 1, 2, 3, 4, 6, 8, 10, 15, 16, 264, 267, 268, *range(-70007, -70000), "a"]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=33) | st.decimals(allow_nan=False, allow_infinity=False, places=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(ALL_CLAIMS, KEYS, PLAIN)
@settings(max_examples=200)
def test_claims_with_any_one_field_replaced_are_read_or_refused(written, label, value):
    changed = {**written.to_map(), label: value}
    try:
        read = claims.from_map(cbor.decode(cbor.encode(changed), 10**5, "claims"))
    except Refused:
        return
    assert claims.from_map(read.to_map()) == read


@given(st.lists(st.dictionaries(KEYS, PLAIN, max_size=5), max_size=4))
@settings(max_examples=200)
def test_any_pack_is_read_or_refused(records):
    for first in ({}, {-2: f"{DEVICE_ID}/", -3: 1_800_000_000, 0: "a/t", 1: "Cel", 2: 1}):
        try:
            senml.decode(cbor.encode([first, *records]), DEVICE_ID)
        except Refused:
            continue


SHORT_GAPS = st.builds(
    lambda first, more: Gap(first, first + more, b"", b"", ""), st.integers(1, 60), st.integers(0, 9)
)


@given(st.sets(st.integers(1, 60)), st.integers(0, 60), st.lists(SHORT_GAPS, max_size=4))
def test_what_is_missing_is_what_is_neither_held_nor_declared(held, after, gaps):
    declared = {seq for gap in gaps for seq in range(gap.first_seq, gap.last_seq + 1)}
    missing = {seq for a, b in chain.missing(held, after, 1000, gaps) for seq in range(a, b + 1)}
    highest = max(held | declared, default=0)
    assert missing == set(range(after + 1, highest + 1)) - held - declared
