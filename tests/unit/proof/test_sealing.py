"""Sealing (§3.6): what a device may put into one proof, and that every proof it seals can be opened."""

from __future__ import annotations

import pytest

from proof import cbor, cose, sealing
from proof.claims import Lost
from proof.cose import Typ
from proof.reasons import Reason, Refused
from proof.senml import Measured, Reading
from tests.proof_samples import DEVICE, claims, proof, reading


def one_record(number: int, instrument: str = "i", quantity: str = "t") -> Reading:
    return Reading(instrument, 1_800_000_000_000 + number, (Measured(quantity, "Cel", number),))


def test_a_proof_is_opened_as_it_was_sealed():
    opened = sealing.parse(proof(reading(0), reading(1)))
    assert opened.claims == claims()
    assert opened.readings() == (reading(0), reading(1))
    assert opened.hash == cose.object_hash(opened.data)


def test_4096_records_fit_and_one_more_does_not():
    rows = tuple(one_record(number) for number in range(4096))
    assert len(sealing.parse(sealing.seal(claims(), rows, DEVICE)).readings()) == 4096
    with pytest.raises(ValueError, match=r"4,096 records"):
        sealing.seal(claims(), (*rows, one_record(4096)), DEVICE)


def test_a_proof_over_the_size_a_gateway_takes_is_never_sealed():
    rows = tuple(one_record(number, "i" * 32, "t" * 5) for number in range(4096))
    assert sealing.parse(sealing.seal(claims(), rows, DEVICE))
    lost = tuple(Lost("instrument" * 3, 0, 2**62, 1, "r" * 64) for _ in range(256))
    with pytest.raises(ValueError, match="256 KiB"):
        sealing.seal(claims(lost=lost), rows, DEVICE)


def test_a_proof_with_another_content_type_is_malformed():
    data = cose.sign(Typ.PROOF, claims().to_map(), cbor.encode([]), DEVICE)
    with pytest.raises(Refused) as refused:
        sealing.parse(data)
    assert refused.value.verdict.reason is Reason.MALFORMED
