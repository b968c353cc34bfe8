"""Receipts (§5): whose word counts, and what it means for the device's own log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proof import cbor, cose, receipt
from proof.cose import Typ
from proof.reasons import Reason, Refused
from proof.receipt import ProofVerdict, Receipt, Standing
from tests.proof_samples import DEVICE_ID, GATEWAY, GATEWAY_ID, LOG, NOW_S, STRANGER, STRANGER_ID

HASH = bytes(range(32))
FULL = Receipt(
    DEVICE_ID,
    LOG,
    9,
    HASH,
    NOW_S,
    missing=((4, 6), (8, 8)),
    verdicts=(ProofVerdict(7, "clock_ahead", "12 s"),),
)
EMPTY = Receipt(DEVICE_ID, LOG, 0, None, NOW_S)


@pytest.mark.parametrize("sent", [FULL, EMPTY], ids=["full", "before the first proof"])
def test_a_receipt_is_read_back_as_it_was_signed(sent):
    assert opened(receipt.sign(sent, GATEWAY, NOW_S)) == sent


def test_a_receipt_by_a_key_outside_the_membership_is_refused():
    assert refusal(receipt.sign(FULL, STRANGER, NOW_S)) is Reason.BAD_KEY


def test_a_receipt_whose_bytes_were_changed_is_refused():
    data = receipt.sign(FULL, GATEWAY, NOW_S)
    forged = data.replace(HASH, bytes(32))
    assert forged != data
    assert refusal(forged) is Reason.BAD_SIGNATURE


def test_a_receipt_of_another_device_is_refused():
    assert refusal(receipt.sign(replace(FULL, device=STRANGER_ID), GATEWAY, NOW_S)) is Reason.UNKNOWN_DEVICE


def test_a_receipt_that_claims_another_issuer_than_its_key_is_refused():
    assert refusal(signed_receipt(issuer=STRANGER_ID)) is Reason.BAD_KEY


@pytest.mark.parametrize(
    "changes",
    [
        {1: bytes(7)}, {2: -1}, {2: True}, {2: 0}, {3: None}, {3: bytes(31)}, {4: [[2, 1]]}, {4: [[0, 1]]},
        {4: [[1]]}, {4: [[True, 1]]}, {4: [[1, 1]] * 65}, {5: [[1, "x" * 33, ""]]},
        {5: [[1, "held", "x" * 161]]},
        {5: [[1, "held", "\x1b[31m"]]}, {5: [[-1, "held", ""]]}, {5: [[1, "held", ""]] * 65}, {6: None},
        {7: 0}, {"8": 0},
    ],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
def test_a_signed_receipt_with_a_wrong_or_unknown_field_is_malformed(changes):
    assert refusal(signed_receipt(changes)) is Reason.MALFORMED


def test_what_does_not_fit_into_a_receipt_is_left_for_the_next():
    many = replace(
        FULL,
        missing=tuple((seq, seq) for seq in range(1, 200, 2)),
        verdicts=tuple(ProofVerdict(seq, "held", "x" * 500) for seq in range(1, 200)),
    )
    read = opened(receipt.sign(many, GATEWAY, NOW_S))
    assert read.missing == many.missing[: receipt.MAX_MISSING]
    assert [v.seq for v in read.verdicts] == list(range(200 - receipt.MAX_VERDICTS, 200))
    assert {len(v.detail) for v in read.verdicts} == {receipt.MAX_DETAIL}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({9: HASH}, Standing.FITS),
        ({9: bytes(32)}, Standing.ROLLED_BACK),
        ({8: HASH}, Standing.ROLLED_BACK),
        ({}, Standing.ROLLED_BACK),
    ],
    ids=["the same hash", "another hash", "a head beyond ours", "an empty store"],
)
def test_a_head_that_is_not_ours_means_the_store_was_rolled_back(own, expected):
    assert receipt.standing(FULL, LOG, own.get) is expected


def test_a_receipt_before_the_first_proof_fits_every_store():
    assert receipt.standing(EMPTY, LOG, lambda seq: None) is Standing.FITS


def test_a_receipt_of_another_log_says_nothing_of_the_open_one():
    assert receipt.standing(FULL, bytes(8), lambda seq: HASH) is Standing.OTHER_LOG


def opened(data: bytes) -> Receipt:
    return receipt.open_receipt(data, [GATEWAY.public_key], DEVICE_ID)


def refusal(data: bytes) -> Reason:
    with pytest.raises(Refused) as refused:
        opened(data)
    return refused.value.verdict.reason


def signed_receipt(changes: dict | None = None, issuer: str = GATEWAY_ID) -> bytes:
    """A rightly signed receipt whose payload differs from that of `FULL` by `changes`."""
    payload = {1: LOG, 2: 9, 3: HASH, 4: [], 5: [], 6: NOW_S, **(changes or {})}
    return cose.sign(Typ.RECEIPT, {1: issuer, 2: DEVICE_ID, 6: NOW_S}, cbor.encode(payload), GATEWAY)


def test_a_refused_proof_is_named_by_its_hash_in_a_detail_of_any_length_and_in_no_other_verdict():
    proof_hash = bytes(range(32))
    told = receipt.of_refused("bad_key", "kid 12" + "x" * 200, proof_hash)
    assert (told.seq, told.code, len(told.detail) <= receipt.MAX_DETAIL) == (0, "bad_key", True)
    assert receipt.refused_hash(told) == proof_hash
    assert receipt.refused_hash(receipt.of_refused("malformed", "", proof_hash)) == proof_hash
    others = (
        ProofVerdict(3, "bad_key", told.detail),
        ProofVerdict(0, "bad_key", "kid 12"),
        ProofVerdict(0, "bad_key", "proof 12ab"),
        ProofVerdict(0, "bad_key", f"proof {'g' * 64}"),
    )
    assert [receipt.refused_hash(other) for other in others] == [None] * 4
