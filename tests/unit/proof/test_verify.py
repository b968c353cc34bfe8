"""Verification of a proof (§4): what decides, what only annotates, and in which order."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from proof import chain, verify, wire
from proof.chain import Head
from proof.claims import Gap, Predecessor, TimeClaim
from proof.reasons import QUALITY_REASONS, Reason
from proof.senml import Measured
from tests.proof_samples import (
    BEACON,
    BME280,
    BURST,
    DESCRIPTOR,
    DEVICE_ID,
    LOG,
    NOW_S,
    STRANGER,
    STRANGER_ID,
    VALUES,
    World,
    following,
    heartbeat,
    proof,
    reading,
)


def judged(message: bytes, world: World | None = None, now_s: float = NOW_S) -> verify.Judgement:
    return verify.verify(message, now_s, world or World())


def reason(message: bytes, world: World | None = None) -> Reason:
    return judged(message, world).verdict.reason


def notes(message: bytes, world: World | None = None, now_s: float = NOW_S) -> list[Reason]:
    judgement = judged(message, world, now_s)
    assert judgement.verdict.reason is Reason.ACCEPTED
    return [note.reason for note in judgement.notes]


def test_a_good_proof_is_accepted_with_its_readings_and_without_a_note():
    judgement = judged(wire.deflate(proof()))
    assert judgement.verdict.reason is Reason.ACCEPTED
    assert judgement.notes == ()
    assert judgement.readings == (reading(),)
    assert judgement.proof is not None
    assert judgement.proof.data == proof()


def test_what_is_known_is_only_read():
    world = World()
    before = repr(world)
    judged(proof(), world)
    assert repr(world) == before


def test_a_heartbeat_continues_the_chain():
    first = proof()
    judgement = judged(heartbeat(first), World().accept(first))
    assert judgement.verdict.reason is Reason.ACCEPTED
    assert judgement.readings == ()


def test_bytes_that_are_no_proof_give_a_verdict_and_nothing_else():
    judgement = judged(b"\xd2rubbish")
    assert judgement.verdict.reason is Reason.MALFORMED
    assert (judgement.proof, judgement.notes, judgement.readings) == (None, (), None)


def test_a_proof_of_a_stranger_is_refused():
    assert reason(proof(signer=STRANGER, device=STRANGER_ID)) is Reason.UNKNOWN_DEVICE


def test_a_proof_signed_by_a_stranger_in_the_device_s_name_is_refused():
    assert reason(proof(signer=STRANGER)) is Reason.BAD_KEY


def test_a_proof_for_another_network_is_refused():
    assert reason(proof(), World(network="heath")) is Reason.WRONG_NETWORK


def test_a_simulated_device_is_refused_on_a_live_network_and_only_there():
    real = replace(DESCRIPTOR, simulated=False, key_class="file")
    for pretended in (DESCRIPTOR, replace(real, key_class="sim"), replace(real, simulated=True)):
        assert reason(proof(descriptor=pretended), World(kind="live")) is Reason.SIMULATED_ON_LIVE
    assert reason(proof(descriptor=real), World(kind="live")) is Reason.ACCEPTED


def test_a_proof_seen_before_is_a_duplicate_and_another_at_its_place_an_equivocation():
    world = World().accept(proof())
    assert reason(proof(), world) is Reason.DUPLICATE
    assert reason(proof(reading(1)), world) is Reason.EQUIVOCATION


def test_a_revoked_key_is_good_up_to_its_last_good_seq():
    first = proof()
    second = following(first)
    world = World().accept(first).change(good_until=(LOG, 2))
    assert reason(second, world) is Reason.ACCEPTED
    assert reason(second, world.change(good_until=(LOG, 1))) is Reason.REVOKED


@pytest.mark.parametrize("log", [bytes(8), b"\xff" * 8])
def test_a_revoked_key_cannot_open_a_new_log_whatever_its_number(log):
    world = World().accept(proof()).change(good_until=(LOG, 1))
    new_log = proof(log=log, prev=Predecessor(LOG, None, "store lost"))
    assert reason(new_log, world) is Reason.REVOKED


def test_a_suspended_device_is_refused_but_its_duplicates_are_answered_and_its_forks_kept():
    world = World().accept(proof()).change(suspended=True)
    assert reason(following(proof()), world) is Reason.SUSPENDED
    assert reason(proof(), world) is Reason.DUPLICATE
    assert reason(proof(reading(1)), world) is Reason.EQUIVOCATION


def test_a_forged_proof_says_nothing_of_what_is_known():
    world = World().accept(proof()).change(suspended=True)
    assert reason(proof(reading(1), signer=STRANGER), world) is Reason.BAD_KEY


def test_a_proof_ahead_of_the_head_is_held_with_its_notes():
    judgement = judged(following(proof(), reading(), seq=3), World().accept(proof()))
    assert judgement.verdict.reason is Reason.HELD
    assert judgement.readings == (reading(),)


def test_a_gap_declared_in_the_proof_itself_or_before_it_carries_the_chain_across():
    gap = Gap(2, 3, b"\x02" * 32, b"\x03" * 32, "disk full")
    world = World().accept(proof())
    assert reason(following(proof(), seq=4, prev=gap.last_hash, gaps=(gap,)), world) is Reason.ACCEPTED
    world.declared = (gap,)
    assert reason(following(proof(), seq=4, prev=gap.last_hash), world) is Reason.ACCEPTED


def test_the_head_of_an_accepted_proof_is_what_the_next_one_continues():
    world = World().accept(proof())
    head = world.members[DEVICE_ID].head
    assert head is not None
    assert chain.reach(head, ()) == (1, head.hash)
    assert reason(following(proof(), prev=b"\x01" * 32), world) is Reason.BROKEN_CHAIN
    world.change(head=Head(LOG, 1, b"\x01" * 32))
    assert reason(following(proof(), prev=b"\x01" * 32), world) is Reason.ACCEPTED


# §4.8: time


def test_a_beacon_is_stale_after_an_hour_and_not_before():
    issued_s = BEACON.issued_at_s
    assert notes(proof(), now_s=issued_s + verify.STALE_BEACON_S) == []
    assert notes(proof(), now_s=issued_s + verify.STALE_BEACON_S + 1) == [Reason.STALE_BEACON]


def test_a_beacon_the_network_never_sent_is_noted_and_a_proof_without_one_is_not():
    assert notes(proof(freshness=(b"\x01" * 32,))) == [Reason.UNKNOWN_BEACON]
    assert notes(proof(freshness=())) == []


def test_a_clock_ahead_of_the_receipt_by_more_than_its_stated_error_is_noted():
    error_s = 2
    time = TimeClaim(5, 1, error_s * 1_000_000)
    assert notes(proof(sealed_at_s=NOW_S + error_s + 1, time=time)) == []
    assert notes(proof(sealed_at_s=NOW_S + error_s + 2, time=time)) == [Reason.CLOCK_AHEAD]


def test_a_clock_behind_the_beacon_by_more_than_its_stated_error_is_noted():
    error_s = 2
    time = TimeClaim(5, 1, error_s * 1_000_000)
    assert notes(proof(sealed_at_s=BEACON.issued_at_s - error_s - 1, time=time)) == []
    assert notes(proof(sealed_at_s=BEACON.issued_at_s - error_s - 2, time=time)) == [Reason.CLOCK_BEHIND]


@pytest.mark.parametrize("sealed_at_s", [0, NOW_S * 2])
def test_a_clock_that_claims_nothing_is_not_held_to_it(sealed_at_s):
    assert notes(proof(sealed_at_s=sealed_at_s, time=TimeClaim(5, 0, 0))) == []


# §4.9: instruments


def test_an_instrument_with_another_serial_than_announced_is_noted():
    def announced(*serials: str) -> World:
        instruments = tuple(replace(BME280, serial=serial) for serial in serials)
        return World(in_force=replace(DESCRIPTOR, instruments=instruments))

    assert notes(proof(), announced("another")) == [Reason.INSTRUMENT_CHANGED]
    assert notes(proof(), announced(BME280.serial)) == []
    assert notes(proof(), announced()) == []


@pytest.mark.parametrize(
    ("before", "detail"),
    [
        ({"key_class": "tpm2"}, "tpm2, simulated became sim, simulated"),
        ({"simulated": False}, "sim became sim, simulated"),
    ],
)
def test_a_key_kept_in_another_way_than_announced_is_noted(before, detail):
    world = World(in_force=replace(DESCRIPTOR, **before))
    judgement = judged(proof(), world)
    assert judgement.verdict.reason is Reason.ACCEPTED
    assert [(note.reason, note.detail) for note in judgement.notes] == [(Reason.KEY_CLASS_CHANGED, detail)]


def test_a_descriptor_that_was_never_announced_is_noted():
    assert notes(proof(descriptor=None), World(descriptors={})) == [Reason.INSTRUMENT_CHANGED]
    assert notes(proof(descriptor=None)) == []


# §4.10: payload and evidence


def test_raw_words_that_give_the_published_values_leave_no_note():
    assert notes(proof(reading(raw=BURST))) == []


def test_raw_words_that_do_not_give_a_published_value_are_noted_by_name():
    warmer = (Measured("temperature", "Cel", Decimal("23.82")), *VALUES[1:])
    judgement = judged(proof(reading(raw=BURST, values=warmer)))
    assert [note.reason for note in judgement.notes] == [Reason.EVIDENCE_MISMATCH]
    assert judgement.notes[0].detail.startswith("bme280-76/temperature 23.82, raw words give 23.72")


def test_raw_words_are_judged_by_a_descriptor_known_only_by_its_hash():
    warmer = (Measured("temperature", "Cel", 24),)
    assert notes(proof(reading(raw=BURST, values=warmer), descriptor=None)) == [Reason.EVIDENCE_MISMATCH]


def test_a_bad_payload_is_noted_on_an_accepted_proof_and_gives_no_readings():
    bad = proof(reading(values=(Measured("temperature", "degF", 74),)))
    judgement = judged(bad)
    assert judgement.verdict.reason is Reason.ACCEPTED
    assert [note.reason for note in judgement.notes] == [Reason.UNKNOWN_UNIT]
    assert judgement.readings is None


# §4.11: quality


@pytest.mark.parametrize(("bit", "expected"), QUALITY_REASONS.items())
def test_each_quality_flag_is_counted_under_its_own_reason(bit, expected):
    judgement = judged(proof(reading(0, flags=bit), reading(1), reading(2, flags=bit)))
    assert [(note.reason, note.detail) for note in judgement.notes] == [(expected, "2 readings")]


def test_flags_of_one_reading_are_counted_each():
    both = Reason.QUALITY_RANGE, Reason.CALIBRATION_EXPIRED
    assert notes(proof(reading(flags=1 | 64))) == [*both]
