"""Claims and the descriptor (§3.2, §3.4): read back as written, bounded, and complete."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from proof import cbor
from proof import claims as claim_maps
from proof import descriptor as descriptors
from proof.claims import (
    BOOTCOUNT,
    DESCRIPTOR,
    GAPS,
    LOCATION,
    LOG,
    LOST,
    NONCE,
    PREV,
    SEQ,
    TIME,
    Gap,
    Location,
    Lost,
    Predecessor,
)
from proof.reasons import Reason, Refused
from tests.proof_samples import BME280, claims
from tests.proof_samples import DESCRIPTOR as SAMPLE

HASH = bytes(range(32))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"freshness": ()},
        {"freshness": (HASH, bytes(16))},
        {"seq": 2, "prev": HASH},
        {"prev": Predecessor(bytes(8), HASH, "store lost")},
        {"prev": Predecessor(bytes(8), None, "store lost, head unknown")},
        {"descriptor": None},
        {"location": Location(Decimal("56.963"), Decimal("-2.211"), 54, 100)},
        {
            "seq": 9,
            "prev": HASH,
            "gaps": (Gap(2, 4, HASH, bytes(32), "disk full"), Gap(6, 6, HASH, HASH, "")),
        },
        {"lost": (Lost("bme280-76", 5, 9_000_000_000, 3, "bus stuck"),)},
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_claims_are_read_back_as_they_were_written(changes):
    written = claims(**changes)
    assert claim_maps.from_map(through_cbor(written.to_map())) == written


def test_the_descriptor_travels_whole_or_as_its_hash():
    whole, by_hash = (claim_maps.from_map(claims(descriptor=d).to_map()) for d in (SAMPLE, None))
    assert whole.descriptor == SAMPLE
    assert by_hash.descriptor is None
    assert whole.descriptor_hash == by_hash.descriptor_hash == SAMPLE.hash()


WRONG = [
    {1: 7}, {1: "x" * 129}, {1: "line\nbreak"}, {3: "x" * 33}, {6: -1}, {6: 1.0}, {6: True},
    {2: "subject"}, {-70008: 0},
    {NONCE: b""}, {NONCE: [HASH]}, {NONCE: [HASH, bytes(15)]}, {NONCE: [HASH, bytes(16), b""]}, {NONCE: None},
    {BOOTCOUNT: 0}, {268: bytes(15)}, {LOG: bytes(7)}, {SEQ: 0}, {SEQ: -1}, {SEQ: 2**63}, {SEQ: True},
    {SEQ: 2},
    {PREV: HASH}, {SEQ: 2, PREV: bytes(31)}, {SEQ: 2, PREV: None}, {SEQ: 2, PREV: [bytes(8), HASH, ""]},
    {PREV: [bytes(7), HASH, ""]}, {PREV: [bytes(8), bytes(31), ""]}, {PREV: [bytes(8), HASH, "x" * 65]},
    {PREV: [bytes(8), HASH, "bell \a"]}, {PREV: [bytes(8), HASH]},
    {TIME: [0, 4, 0]}, {TIME: [-1, 1, 0]}, {TIME: [0, 1, -1]}, {TIME: [0.0, 1, 0]}, {TIME: [0, True, 0]},
    {TIME: [0, 1]}, {TIME: [0, 1, 0, 0]}, {TIME: 0},
    {LOCATION: {1: 91, 2: 0, 3: 0, 4: 1}}, {LOCATION: {1: 0, 2: 181, 3: 0, 4: 1}}, {LOCATION: {1: 0}},
    {LOCATION: {1: 0, 2: 0, 3: float("nan"), 4: 1}}, {LOCATION: {1: True, 2: 0, 3: 0, 4: 1}},
    {LOCATION: {1: 0, 2: 0, 3: 0, 4: 1, 5: 0}}, {LOCATION: []},
    {GAPS: [[1, 1, HASH, HASH, "itself"]]}, {SEQ: 3, PREV: HASH, GAPS: [[2, 3, HASH, HASH, "itself"]]},
    {GAPS: [[0, 1, HASH, HASH, ""]]}, {GAPS: [[2, 1, HASH, HASH, ""]]}, {GAPS: [[True, 1, HASH, HASH, ""]]},
    {GAPS: [[1, 1, HASH, bytes(31), ""]]}, {GAPS: [[1, 1, HASH, HASH, "\x1b[2J"]]},
    {GAPS: [[1, 1, HASH, HASH]]},
    {GAPS: [[1, 1, HASH, HASH, "x" * 65]]}, {GAPS: [[1, 1, HASH, HASH, ""]] * 65}, {GAPS: {}},
    {LOST: [["x" * 33, 0, 1, 1, ""]]}, {LOST: [["i", 1, 0, 1, ""]]}, {LOST: [["i", 0, 1, 0, ""]]},
    {LOST: [["i", 0, 1, True, ""]]}, {LOST: [["i\n", 0, 1, 1, ""]]}, {LOST: [["i", 0, 1, 1, ""]] * 257},
    {DESCRIPTOR: bytes(31)}, {DESCRIPTOR: None}, {DESCRIPTOR: []},
]  # fmt: skip


@pytest.mark.parametrize("changes", WRONG, ids=lambda changes: str(changes)[:60])
def test_a_claim_of_the_wrong_type_or_out_of_bounds_is_malformed(changes):
    with pytest.raises(Refused) as refused:
        claim_maps.from_map(through_cbor({**claims().to_map(), **changes}))
    assert refused.value.verdict.reason is Reason.MALFORMED


@pytest.mark.parametrize("label", [*claims(freshness=(), descriptor=None).to_map()])
def test_a_claim_that_is_not_optional_may_not_lack(label):
    value = claims(freshness=(), descriptor=None).to_map()
    del value[label]
    with pytest.raises(Refused) as refused:
        claim_maps.from_map(value)
    assert f"lacks field {label}" in refused.value.verdict.detail


def test_a_long_unknown_field_does_not_fill_the_owner_s_screen():
    value: dict = {**claims().to_map(), "x" * 100_000: 0}
    with pytest.raises(Refused) as refused:
        claim_maps.from_map(value)
    assert len(refused.value.verdict.detail) < 200


@pytest.mark.parametrize(
    "changes",
    [
        {1: "two\nlines"}, {1: 7}, {3: "hsm"}, {4: 1}, {5: "x" * 129}, {6: [{}]}, {6: None}, {6: [None]},
        {7: 0},
    ],
    ids=str,
)  # fmt: skip
def test_a_descriptor_with_a_wrong_field_is_malformed(changes):
    with pytest.raises(Refused) as refused:
        descriptors.from_map(through_cbor({**SAMPLE.to_map(), **changes}))
    assert refused.value.verdict.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {1: "x" * 33}, {6: None}, {8: [["t", "Cel", 0.01]]}, {8: [["t", "Cel", float("nan"), 1.0]]},
        {8: [["t", "Cel", "0.01", 1.0]]}, {8: [["x" * 65, "Cel", 1.0, 1.0]]},
        {8: [["t\x07", "Cel", 1.0, 1.0]]}, {8: [["t", "Cel", True, 1.0]]},
        {8: [["t", "Cel", 1.0, 1.0]] * 33}, {9: bytes(31)}, {9: 0}, {10: 1}, {11: ""},
        {12: 0},
    ],
    ids=lambda changes: str(changes)[:60],
)  # fmt: skip
def test_an_instrument_with_a_wrong_field_is_malformed(changes):
    instrument = {**SAMPLE.to_map()[6][0], **changes}
    with pytest.raises(Refused) as refused:
        descriptors.from_map(through_cbor({**SAMPLE.to_map(), 6: [instrument]}))
    assert refused.value.verdict.reason is Reason.MALFORMED


def test_a_descriptor_is_read_back_and_its_hash_changes_with_any_instrument():
    assert descriptors.from_map(through_cbor(SAMPLE.to_map())) == SAMPLE
    changed = replace(SAMPLE, instruments=(replace(BME280, serial="another"),))
    assert changed.hash() != SAMPLE.hash()


def through_cbor(value):
    return cbor.decode(cbor.encode(value), 200_000, "the claims")
