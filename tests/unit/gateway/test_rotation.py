"""The gateway and a device that changes its key (§8.4): what counts from where, and what a thief gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway import held
from gateway.ledger import MAX_EVIDENCE
from gateway.service import Inbound
from proof import bundle, joining, rotation, wire
from proof.claims import Predecessor
from proof.cose import object_hash
from proof.finding import Finding
from proof.keys import SeedSigner, key_id
from proof.reasons import Reason, Refused
from proof.receipt import NO_LOG
from tests.gateway_parts import GATEWAY, NETWORK, Device, Gateway, descriptor, receipt_in, refused


def head(gateway: Gateway, device: Device) -> tuple[bytes, int]:
    receipt = gateway.receipt(device)
    return receipt.log, receipt.head_seq


def suspended(gateway: Gateway) -> bool:
    return bool(gateway.register.devices()[0].suspended)


def forked(device: Device, seq: int, signer: SeedSigner) -> bytes:
    """Another proof for place `seq`, chained as it should be, signed by `signer`."""
    before = device.proofs.get((device.log, seq - 1))
    return device.other(signer, seq=seq, prev=object_hash(before) if before else None, sealed_at_s=1)


def examined(gateway: Gateway, device: Device) -> Finding:
    from gateway import evidence

    pieces = evidence.pieces(device.id, gateway.ledger, gateway.register, GATEWAY, int(gateway.now_s))
    return bundle.examine(b"".join(pieces), [GATEWAY.public_key])


def test_a_device_turns_its_key_twice_and_old_proofs_stay_duplicates(gateway):
    device = gateway.member()
    proofs = [device.seal(), device.rotate(), device.seal(), device.rotate(), device.seal()]
    gateway.send(device, *proofs)
    gateway.restart()
    assert head(gateway, device) == (device.log, 5)
    before = gateway.contents()
    assert receipt_in(gateway.send(device, *proofs), device).head_seq == 5
    assert gateway.contents() == before
    finding = examined(gateway, device)
    assert [(turn.seq, turn.new_key, turn.confirmed) for turn in finding.turns] == [
        (2, device.key(1).public_key, True),
        (4, device.key(2).public_key, True),
    ]


def test_the_first_proof_of_all_may_rotate(gateway):
    device = gateway.member()
    gateway.send(device, device.rotate(), device.seal())
    assert head(gateway, device) == (device.log, 2)


def test_a_proof_ahead_by_a_key_not_known_yet_is_refused_and_taken_when_it_comes_again(gateway):
    device = gateway.member()
    one, turn, after = device.seal(), device.rotate(), device.seal()
    gateway.send(device, one, after)
    assert head(gateway, device) == (device.log, 1)
    assert gateway.service.counts[Reason.BAD_KEY] == 1
    gateway.send(device, turn)
    gateway.send(device, after)
    assert head(gateway, device) == (device.log, 3)


def test_a_rotation_ahead_of_the_head_counts_at_once_for_what_follows_it(gateway):
    device = gateway.member()
    one, two, turn, four = device.seal(), device.seal(), device.rotate(), device.seal()
    gateway.send(device, one, turn, four)
    assert gateway.receipt(device).missing == ((2, 2),)
    gateway.restart()
    gateway.send(device, two)
    assert head(gateway, device) == (device.log, 4)


def test_a_gap_before_the_rotation_is_declared_by_the_new_key(gateway):
    """Else each would wait for the other: the rotation for the gap, the gap for the new key."""
    device = gateway.member()
    gateway.send(device, device.seal())
    device.seal(), device.seal()
    turn = device.rotate()
    carrier = device.seal(gaps=(device.gap(2, 3),))
    gateway.send(device, turn)
    gateway.send(device, carrier)
    assert head(gateway, device) == (device.log, 5)


def test_after_the_rotation_the_old_key_signs_nothing_more(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.rotate())
    before = gateway.contents()
    thief = device.key(0)
    named = Predecessor(device.log, None, "store lost")
    for proof in (
        device.other(thief),
        forked(device, 2, thief),
        device.other(thief, seq=9),
        device.other(thief, log=b"log-evil", seq=1, prev=named),
    ):
        gateway.send(device, proof)
    assert gateway.contents() == before
    gateway.send(device, device.seal())
    assert head(gateway, device) == (device.log, 3)


def test_who_signs_with_a_key_rotated_out_is_told_so_now_and_then_and_nothing_is_kept(gateway):
    """A board restored from a backup made before the rotation would wait for a receipt for ever (§5.1)."""
    device = gateway.member()
    gateway.send(device, device.seal(), device.rotate())
    old, stranger = device.key(0), SeedSigner(bytes([9]) * 32, "sim")
    answers = [gateway.send(device, device.other(old, seq=seq)) for seq in range(5, 10)]
    assert [len(each) for each in answers] == [1, 1, 1, 0, 0]
    assert not answers[0][0].retain
    told = receipt_in(answers[0], device)
    kid = key_id(old.public_key).hex()
    assert (told.log, told.head_seq) == (NO_LOG, 0)
    named = f"kid {kid} proof {object_hash(device.other(old, seq=5)).hex()}"
    assert [(v.seq, v.code, v.detail) for v in told.verdicts] == [(0, "bad_key", named)]
    gateway.now_s += 100
    assert refused(gateway.send(device, device.other(stranger)), device)
    forged = bytearray(device.other(old))
    forged[-1] ^= 1
    assert refused(gateway.send(device, bytes(forged)), device)


def test_an_equivocation_by_a_key_rotated_out_is_kept_and_suspends_nothing(gateway):
    device = gateway.member()
    one, two = device.seal(), device.seal()
    rival = forked(device, 1, device.key(0))
    gateway.send(device, one, two, device.rotate(), device.seal())
    gateway.send(device, rival)
    assert not suspended(gateway)
    assert {data for code, data in gateway.register.evidence(device.id) if code == "equivocation"} == {
        one,
        rival,
    }
    (verdict,) = gateway.receipt(device).verdicts
    assert "rotated out" in verdict.detail
    gateway.send(device, device.seal())
    assert head(gateway, device) == (device.log, 5)


def test_an_equivocation_by_the_key_in_force_suspends_wherever_it_lies(gateway):
    device = gateway.member()
    device.seal(), device.rotate(), device.seal()
    gateway.send(device, *device.proofs.values())
    gateway.send(device, forked(device, 3, device.signer))
    assert suspended(gateway)


def test_a_thief_of_an_old_key_cannot_push_out_the_evidence_of_a_fork(gateway):
    device = gateway.member()
    device.seal(), device.seal(), device.rotate(), device.seal()
    gateway.send(device, *device.proofs.values())
    fork = forked(device, 4, device.signer)
    gateway.send(device, fork)
    thief = device.key(0)
    gateway.send(
        device, *(device.other(thief, seq=1, prev=None, sealed_at_s=n) for n in range(MAX_EVIDENCE + 9))
    )
    kept = [data for _code, data in gateway.register.evidence(device.id)]
    assert len(kept) == MAX_EVIDENCE
    assert {fork, device.proofs[device.log, 4]} <= set(kept)


def test_a_thief_of_the_key_in_force_cannot_rotate(gateway):
    """He has no key that was committed to."""
    device, thief = gateway.member(), SeedSigner(b"t" * 32, "sim")
    gateway.send(device, device.seal())
    before = gateway.contents()
    turn = device.turn(old=device.key(0), new=thief)
    assert refused(gateway.send(device, device.other(thief, rotation=turn)), device)
    assert refused(gateway.send(device, device.other(device.key(0), rotation=turn)), device)
    assert gateway.service.counts[Reason.BAD_ROTATION] == 2
    assert gateway.contents() == before


def test_a_thief_of_the_next_key_cannot_rotate(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    before = gateway.contents()
    following = device.key(1)
    turn = device.turn(old=following, new=following)
    assert refused(gateway.send(device, device.other(following, rotation=turn)), device)
    assert refused(gateway.send(device, device.other(following)), device)
    assert gateway.contents() == before


def test_a_seen_rotation_is_worth_nothing_at_another_place(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    turn = device.turn()
    for changes in ({"seq": 3, "prev": bytes(32)}, {"log": b"another!", "seq": 1, "prev": None}):
        assert refused(gateway.send(device, device.other(device.key(1), rotation=turn, **changes)), device)
    assert gateway.service.counts[Reason.BAD_ROTATION] == 2


def test_what_a_thief_held_behind_the_rotation_is_forgotten(gateway):
    """Else the device's own proofs of those places would be equivocations, and his gaps break its chain."""
    device, thief = gateway.member(), Device()
    gateway.send(device, device.seal())
    for _ in range(3):
        thief.seal()
    gaps = (thief.gap(1, 3), replace(thief.gap(1, 2), first_seq=3, last_seq=7))
    fakes = [device.other(thief.signer, seq=seq, prev=bytes(32)) for seq in (3, 4, 9)]
    fakes.append(device.other(thief.signer, seq=10, prev=bytes(32), gaps=gaps))
    gateway.send(device, *fakes)
    assert gateway.register.devices()[0].held == 4
    two, three, four, five = device.rotate(), device.seal(), device.seal(), device.seal()
    gateway.send(device, two, four)
    assert gateway.receipt(device).missing == ((3, 3),)
    gateway.send(device, three, five)
    assert head(gateway, device) == (device.log, 5)
    assert not suspended(gateway)
    assert gateway.register.devices()[0].evidence == 0


def test_a_device_that_lost_its_head_to_a_thief_rotates_in_a_new_log(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    stolen = device.other(device.key(0))
    gateway.send(device, stolen)
    device.start_log(b"log-0002", device.log, "rolled back")
    first, second = device.rotate(), device.seal()
    gateway.send(device, second)
    gateway.send(device, first)
    gateway.send(device, second)
    assert head(gateway, device) == (b"log-0002", 2)
    assert (
        gateway.send(device, device.other(device.key(0), log=b"log-0001", seq=3, prev=object_hash(stolen)))
        != []
    )
    assert head(gateway, device) == (b"log-0002", 2)
    assert not suspended(gateway)
    assert [turn.log for turn in examined(gateway, device).turns] == [b"log-0002"]


def test_a_key_rotated_out_raises_no_alarm_of_a_second_board(gateway):
    """In a log that is closed (§4.7): its thief could write one for every beacon."""
    device = gateway.member()
    gateway.send(device, device.seal())
    device.start_log(b"log-0002", device.log)
    gateway.send(device, device.rotate())
    gateway.now_s += 60
    beacon = object_hash(gateway.service.beacon().payload)
    late = device.other(device.key(0), log=b"log-0001", seq=5, prev=bytes(32), freshness=(beacon,))
    gateway.send(device, late)
    assert gateway.register.evidence(device.id) == [("rolled_back", late)]


def test_a_held_rotation_is_the_last_to_go_when_too_much_is_held(gateway, monkeypatch):
    monkeypatch.setattr(held, "MAX_HELD", 3)
    device = gateway.member()
    one, two, three, four, turn, six = *(device.seal() for _ in range(4)), device.rotate(), device.seal()
    gateway.send(device, two, three, four, turn, six)
    assert gateway.register.has_key(device.id, device.key(1).public_key)
    gateway.send(device, one)
    assert head(gateway, device) == (device.log, 3)
    gateway.send(device, four)
    assert head(gateway, device) == (device.log, 5)
    gateway.send(device, six)
    assert head(gateway, device) == (device.log, 6)


@pytest.mark.parametrize("arrived", [True, False])
def test_a_rotation_is_repeated_in_the_next_log_whether_or_not_it_had_arrived(gateway, arrived):
    device = gateway.member()
    gateway.send(device, device.seal())
    lost = device.rotate()
    if arrived:
        gateway.send(device, lost)
    device.start_log(b"log-0002", device.log, "store corrupt")
    device.turns = 0
    gateway.send(device, device.rotate(), device.seal())
    assert head(gateway, device) == (b"log-0002", 2)
    assert len(examined(gateway, device).turns) == 1
    gateway.send(device, device.rotate())
    assert head(gateway, device) == (b"log-0002", 3)


def test_a_repeated_rotation_cannot_change_what_is_committed_to(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.rotate())
    device.start_log(b"log-0002", device.log, "store corrupt")
    device.turns = 0
    turn = device.turn(next_hash=bytes(32))
    assert refused(gateway.send(device, device.other(device.key(1), rotation=turn)), device)
    assert gateway.service.counts[Reason.BAD_ROTATION] == 1


def asked(gateway: Gateway, device: Device, signer: SeedSigner) -> list[str]:
    request = joining.sign_enrolment(gateway.claim(), descriptor(), bytes(32), signer, int(gateway.now_s))
    return [
        m.topic for m in gateway.service.take([Inbound(wire.topic(NETWORK, device.id, "enrol"), request)])
    ]


def test_the_membership_is_given_again_to_every_key_of_the_device_and_to_no_other(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.rotate())
    membership = wire.topic(NETWORK, device.id, "membership")
    assert asked(gateway, device, device.key(1)) == [membership]
    assert asked(gateway, device, device.key(0)) == [membership]
    for seed in (b"x" * 32, bytes(31) + b"\x09"):
        assert asked(gateway, device, SeedSigner(seed, "sim", device.id)) == []


def test_a_stranger_cannot_join_under_the_id_of_another_device(gateway):
    """Neither one that is a member, nor one that is none yet."""
    member, other = gateway.member(1), Device(2)
    for victim in (member, other):
        assert asked(gateway, victim, SeedSigner(b"s" * 32, "sim", victim.id)) == []
    assert [line.device for line in gateway.register.devices()] == [member.id]
    assert gateway.service.counts[Reason.BAD_KEY] == 2


def test_a_bundle_of_a_thief_who_rotated_to_his_own_key_is_not_confirmed(gateway):
    device, thief = gateway.member(), SeedSigner(b"t" * 32, "sim")
    gateway.send(device, device.seal())
    forged = device.other(thief, rotation=device.turn(new=thief))
    membership = gateway.register.membership(device.id)
    assert membership is not None
    data = b"".join(bundle.write(device.id, NETWORK, [membership, device.proofs[device.log, 1], forged]))
    assert [turn.confirmed for turn in bundle.examine(data, [GATEWAY.public_key]).turns] == [False]


def test_a_bundle_that_begins_behind_a_rotation_needs_it(gateway):
    device = gateway.member()
    device.seal()
    turn = device.turn()
    device.rotate(), device.seal()
    gateway.send(device, *device.proofs.values())
    membership = gateway.register.membership(device.id)
    last = device.proofs[device.log, 3]

    def examine(*objects: bytes) -> Finding:
        return bundle.examine(b"".join(bundle.write(device.id, NETWORK, objects)), [GATEWAY.public_key])

    assert [found.seq for found in examine(membership, turn, last).turns] == [2]
    with pytest.raises(Refused, match=r"object 2 \(proof, seq 3, .*\): kid"):
        examine(membership, last)
    with pytest.raises(Refused, match=r"object 1 \(rotation, .*\): the membership must come first"):
        examine(turn, membership, last)
    with pytest.raises(Refused, match=r"object 3 .*before the proofs"):
        examine(membership, device.proofs[device.log, 1], turn)
    wrong = rotation.sign(device.log, 2, device.key(5), device.key(1), bytes(32), 0)
    with pytest.raises(Refused, match=r"object 2 .*not signed by the key"):
        examine(membership, wrong, last)
