"""The evidence bundle (§11): what a stranger learns from one file, and which object spoils it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proof import beacon, bundle, cbor, cose, joining, receipt
from proof.claims import Gap, Lost, Predecessor
from proof.finding import Finding
from proof.keys import key_id
from proof.reasons import Reason, Refused
from proof.receipt import Receipt
from tests.proof_samples import (
    BEACON,
    BEACON_BYTES,
    BME280,
    DESCRIPTOR,
    DEVICE_ID,
    GATEWAY,
    LOG,
    MEMBERSHIP,
    NETWORK,
    NOW_S,
    STRANGER,
    STRANGER_ID,
    following,
    proof,
    reading,
)

JOINED = joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S)
FIRST = proof(reading(0), reading(1, flags=4))
SECOND = following(FIRST, reading(2, flags=4))


def receipt_for(data: bytes, seq: int, at_s: int = NOW_S + 9, log: bytes = LOG) -> bytes:
    return receipt.sign(Receipt(DEVICE_ID, log, seq, cose.object_hash(data), at_s), GATEWAY, at_s)


OBJECTS = (JOINED, BEACON_BYTES, FIRST, SECOND, receipt_for(FIRST, 1), receipt_for(SECOND, 2))


def test_a_whole_bundle_says_who_signed_what_and_when():
    finding = examine(*OBJECTS)
    assert (finding.device, finding.network, finding.key_class, finding.simulated) == (
        DEVICE_ID,
        NETWORK,
        "sim",
        True,
    )
    assert (finding.proofs, finding.readings, finding.first_seq, finding.last_seq) == (2, 3, 1, 2)
    assert (finding.signed_after_s, finding.signed_before_s) == (BEACON.issued_at_s, NOW_S + 9)
    assert (finding.receipted_seq, finding.instruments, finding.gaps, finding.lost) == (2, (BME280,), (), 0)
    assert finding.flags == (("quality_frozen", 2),)


def test_a_bundle_is_a_cbor_sequence_of_byte_strings_with_the_header_first():
    data = b"".join(bundle.write(DEVICE_ID, NETWORK, OBJECTS))
    header = cbor.encode({1: 1, 2: DEVICE_ID, 3: NETWORK})
    assert data == b"".join(cbor.encode(item) for item in (header, *OBJECTS))


def test_without_beacon_and_receipt_nothing_bounds_the_time():
    finding = examine(JOINED, FIRST)
    assert (finding.signed_after_s, finding.signed_before_s, finding.receipted_seq) == (None, None, 0)


def test_a_receipt_that_does_not_cover_the_last_proof_does_not_date_the_bundle():
    finding = examine(JOINED, FIRST, SECOND, receipt_for(FIRST, 1))
    assert (finding.signed_before_s, finding.receipted_seq) == (None, 1)


def test_a_receipt_of_a_log_that_never_began_covers_nothing():
    waiting = receipt.sign(Receipt(DEVICE_ID, LOG[::-1], 0, None, NOW_S, ((1, 1),)), GATEWAY, NOW_S)
    finding = examine(JOINED, FIRST, waiting)
    assert (finding.signed_before_s, finding.receipted_seq) == (None, 0)


def test_a_receipt_for_another_hash_covers_nothing():
    finding = examine(JOINED, FIRST, receipt_for(SECOND, 1))
    assert (finding.signed_before_s, finding.receipted_seq) == (None, 0)


def test_of_many_receipts_the_earliest_that_covers_all_dates_the_bundle():
    receipts = (receipt_for(FIRST, 1, at_s) for at_s in (NOW_S + 50, NOW_S + 20, NOW_S + 80))
    assert examine(JOINED, FIRST, *receipts).signed_before_s == NOW_S + 20


EARLY_BYTES = beacon.sign_beacon(NETWORK, 6, bytes(16), GATEWAY, NOW_S - 7200)
NAMES_THE_EARLY = proof(freshness=(cose.object_hash(EARLY_BYTES),))
NAMES_THE_LATE = following(NAMES_THE_EARLY, reading(1))


def test_only_the_beacon_that_the_first_proof_names_says_after_when_all_was_signed():
    assert examine(JOINED, EARLY_BYTES, BEACON_BYTES, NAMES_THE_EARLY, NAMES_THE_LATE).signed_after_s == (
        NOW_S - 7200
    )


def test_a_beacon_that_is_left_out_does_not_make_the_first_proof_younger():
    finding = examine(JOINED, BEACON_BYTES, NAMES_THE_EARLY, NAMES_THE_LATE)
    (part,) = finding.parts
    assert finding.signed_after_s is None
    assert part.beacon is not None
    assert (part.beacon.seq, part.beacon.issued_s) == (2, BEACON.issued_at_s)


def test_before_a_device_heard_a_beacon_nothing_says_after_when():
    first = proof(freshness=())
    assert examine(JOINED, BEACON_BYTES, first, following(first)).signed_after_s is None


NAMED = Predecessor(b"\7" * 8, bytes(32), "resumed")
OLD = proof(log=b"\1" * 8, prev=NAMED)
OLD_END = following(OLD)
YOUNG = proof(log=b"\2" * 8, prev=Predecessor(b"\1" * 8, cose.object_hash(OLD_END), "store lost"))
OLD_RECEIPT = receipt_for(OLD_END, 2, NOW_S + 9, b"\1" * 8)
YOUNG_RECEIPT = receipt_for(YOUNG, 1, NOW_S + 99, b"\2" * 8)


def test_a_receipt_covers_the_logs_before_whose_hash_the_later_one_names():
    assert examine(JOINED, OLD, OLD_END, YOUNG, YOUNG_RECEIPT).signed_before_s == NOW_S + 99
    assert examine(JOINED, OLD, OLD_END, YOUNG, OLD_RECEIPT).signed_before_s is None


def test_a_receipt_of_an_older_log_says_nothing_of_a_younger_one_that_was_put_before_it():
    finding = examine(JOINED, YOUNG, OLD, OLD_END, OLD_RECEIPT)
    assert (finding.signed_before_s, finding.receipted_seq) == (None, 2)
    assert [part.signed_before_s for part in finding.parts] == [None, NOW_S + 9]
    both = examine(JOINED, YOUNG, OLD, OLD_END, OLD_RECEIPT, YOUNG_RECEIPT)
    assert both.signed_before_s == NOW_S + 99


def test_a_log_that_names_an_older_head_than_that_here_is_a_part_of_its_own():
    fork = proof(log=b"\2" * 8, prev=Predecessor(b"\1" * 8, cose.object_hash(OLD), "rolled back"))
    finding = examine(JOINED, OLD, OLD_END, fork, receipt_for(fork, 1, NOW_S + 99, b"\2" * 8))
    assert (len(finding.parts), finding.signed_before_s, finding.elsewhere) == (2, None, ())


def test_every_part_needs_a_beacon_of_its_own():
    unheard = proof(log=b"\2" * 8, prev=NAMED, freshness=())
    assert examine(JOINED, BEACON_BYTES, OLD, unheard, following(unheard)).signed_after_s is None
    early = proof(log=b"\2" * 8, prev=NAMED, freshness=(cose.object_hash(EARLY_BYTES),))
    assert examine(JOINED, BEACON_BYTES, EARLY_BYTES, OLD, early).signed_after_s == NOW_S - 7200


REAL = replace(DESCRIPTOR, key_class="tpm2", simulated=False)
BY_REAL = proof(descriptor=REAL, descriptor_hash=REAL.hash())
UNKNOWN = following(BY_REAL, reading(1), descriptor_hash=bytes(32))


@pytest.mark.parametrize(
    ("objects", "simulated", "key_class"),
    [
        ((BY_REAL,), False, "tpm2"),
        ((UNKNOWN,), None, "not stated"),
        ((BY_REAL, UNKNOWN), None, "tpm2, not stated"),
        ((BY_REAL, UNKNOWN, following(UNKNOWN, descriptor=DESCRIPTOR)), True, "sim, tpm2, not stated"),
    ],
)
def test_what_is_not_described_is_neither_real_nor_of_a_key_class(objects, simulated, key_class):
    finding = examine(JOINED, *objects)
    assert (finding.simulated, finding.key_class) == (simulated, key_class)


def test_gaps_and_losses_are_told():
    gap = Gap(2, 5, b"\x02" * 32, b"\x05" * 32, "disk full")
    lost = (Lost("bme280-76", 0, 1, 3, "bus stuck"), Lost("bme280-76", 2, 3, 4, "bus stuck"))
    finding = examine(JOINED, FIRST, following(FIRST, seq=6, prev=gap.last_hash, gaps=(gap,), lost=lost))
    assert (finding.gaps, finding.lost, finding.last_seq) == ((gap,), 7, 6)


def test_a_new_log_that_names_the_one_before_continues_the_bundle():
    new = proof(log=bytes(8), prev=Predecessor(LOG, cose.object_hash(SECOND), "store lost"))
    assert examine(JOINED, FIRST, SECOND, new, receipt_for(new, 1, log=bytes(8))).receipted_seq == 1


@pytest.mark.parametrize(
    ("named", "reason"), [(b"\7" * 8, "resumed"), (b"\7" * 8, "superseded"), (LOG, "superseded")]
)
def test_a_log_that_follows_what_is_not_here_is_told(named, reason):
    """A board that was superseded, or resumed: what lies between is another board's."""
    prev = Predecessor(named, bytes(32), reason)
    new = proof(log=bytes(8), prev=prev)
    finding = examine(JOINED, FIRST, SECOND, new, following(new))
    assert (finding.proofs, finding.elsewhere) == (4, (prev,))


WRONG = {
    "no membership": ((FIRST,), 1, Reason.MALFORMED),
    "a beacon before the membership": ((BEACON_BYTES, JOINED, FIRST), 1, Reason.MALFORMED),
    "a membership by a stranger": (
        (joining.sign_membership(MEMBERSHIP, STRANGER, NOW_S), FIRST),
        1,
        Reason.BAD_KEY,
    ),
    "a header of another device than the membership": (
        (joining.sign_membership(replace(MEMBERSHIP, device=STRANGER_ID), GATEWAY, NOW_S), FIRST),
        0,
        Reason.UNKNOWN_DEVICE,
    ),
    "a header of another network than the membership": (
        (joining.sign_membership(replace(MEMBERSHIP, network="heath"), GATEWAY, NOW_S), FIRST),
        0,
        Reason.WRONG_NETWORK,
    ),
    "a proof twice": ((JOINED, FIRST, FIRST), 3, Reason.BROKEN_CHAIN),
    "a proof left out": ((JOINED, FIRST, following(SECOND)), 3, Reason.BROKEN_CHAIN),
    "proofs in the wrong order": ((JOINED, SECOND, FIRST), 3, Reason.BROKEN_CHAIN),
    "a forked proof": ((JOINED, FIRST, following(proof(reading(9)))), 3, Reason.BROKEN_CHAIN),
    "a new log out of nowhere": ((JOINED, FIRST, proof(log=bytes(8))), 3, Reason.BROKEN_CHAIN),
    "a log that was left, again": (
        (JOINED, OLD, OLD_END, proof(log=b"\2" * 8, prev=NAMED), OLD, OLD_END),
        5,
        Reason.BROKEN_CHAIN,
    ),
    "a proof of another device": ((JOINED, proof(device=STRANGER_ID)), 2, Reason.UNKNOWN_DEVICE),
    "a proof by another key": ((JOINED, proof(signer=STRANGER)), 2, Reason.BAD_KEY),
    "a proof of another network": ((JOINED, proof(network="heath")), 2, Reason.WRONG_NETWORK),
    "a forged receipt": (
        (JOINED, FIRST, receipt.sign(Receipt(DEVICE_ID, LOG, 0, None, NOW_S), STRANGER, NOW_S)),
        3,
        Reason.BAD_KEY,
    ),
    "a challenge": (
        (JOINED, beacon.sign_challenge(DEVICE_ID, bytes(16), 1, GATEWAY, NOW_S)),
        2,
        Reason.WRONG_TYP,
    ),
    "an object that is no object": ((JOINED, b"hello"), 2, Reason.MALFORMED),
    "an object whose header is an array": (
        (JOINED, b"\xd2\x84\x41\x80\xa0\x40" + cbor.bstr(bytes(64))),
        2,
        Reason.WRONG_TYP,
    ),
}


@pytest.mark.parametrize("case", [*WRONG.values()], ids=[*WRONG])
def test_one_wrong_object_spoils_the_bundle_and_is_named(case):
    objects, number, reason = case
    verdict = refusal(b"".join(bundle.write(DEVICE_ID, NETWORK, objects)))
    assert verdict.reason is reason
    assert verdict.detail.startswith(f"object {number} (")


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ((JOINED, FIRST, following(SECOND)), "missing 2 to 2, and no proof here declares that lost"),
        ((JOINED, SECOND, FIRST), "seq 1 comes after seq 2"),
        ((JOINED, FIRST, following(proof(reading(9)))), "prev of seq 2 is not the hash of"),
    ],
)
def test_what_is_wrong_with_the_chain_is_said_once_and_in_words_of_the_bundle(objects, why):
    verdict = refusal(b"".join(bundle.write(DEVICE_ID, NETWORK, objects)))
    assert why in verdict.detail
    assert str(verdict).count("broken_chain") == 1
    assert "held" not in verdict.detail


def test_of_another_gateways_key_it_is_said_that_it_did_not_sign_the_membership():
    data = b"".join(bundle.write(DEVICE_ID, NETWORK, OBJECTS))
    with pytest.raises(Refused) as refused:
        bundle.examine(data, [STRANGER.public_key])
    verdict = refused.value.verdict
    assert verdict.reason is Reason.BAD_KEY
    assert "the gateway key that signed it is not among those given" in verdict.detail
    assert key_id(GATEWAY.public_key).hex() in verdict.detail


def test_one_changed_byte_anywhere_in_an_object_is_named_by_that_object_s_number():
    start = len(cbor.bstr(cbor.encode({1: 1, 2: DEVICE_ID, 3: NETWORK})))
    data = b"".join(bundle.write(DEVICE_ID, NETWORK, OBJECTS))
    for number, item in enumerate(OBJECTS, start=1):
        inside = start + len(cbor.bstr(item)) - len(item)
        for position in range(inside, inside + len(item), 7):
            changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
            assert refusal(changed).detail.startswith(f"object {number} (")
        start += len(cbor.bstr(item))
    assert start == len(data)


@pytest.mark.parametrize(
    "header",
    [
        {1: 2, 2: DEVICE_ID, 3: NETWORK},
        {1: 1, 2: "did:key:zabc", 3: NETWORK},
        {1: 1, 2: DEVICE_ID},
        [],
        {1: 1, 2: DEVICE_ID, 3: NETWORK, 4: 0},
    ],
    ids=["another version", "no device", "no network", "no map", "more"],
)
def test_a_header_that_is_not_ours_is_refused(header):
    data = cbor.encode(cbor.encode(header)) + b"".join(map(cbor.encode, OBJECTS))
    assert refusal(data).reason is Reason.MALFORMED


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x40", b"\xff" * 99, b"not a bundle", bytes(1000)])
def test_a_file_that_is_no_bundle_is_refused(data):
    assert refusal(data).reason is Reason.MALFORMED


def test_a_bundle_cut_anywhere_is_refused_or_says_less():
    data = b"".join(bundle.write(DEVICE_ID, NETWORK, OBJECTS))
    ends = {len(b"".join([*bundle.write(DEVICE_ID, NETWORK, OBJECTS[:count])])) for count in range(3, 7)}
    for size in range(0, len(data), 3):
        if size not in ends:
            assert refusal(data[:size])


def examine(*objects: bytes) -> Finding:
    return bundle.examine(b"".join(bundle.write(DEVICE_ID, NETWORK, objects)), [GATEWAY.public_key])


def refusal(data: bytes):
    with pytest.raises(Refused) as refused:
        bundle.examine(data, [GATEWAY.public_key])
    return refused.value.verdict
