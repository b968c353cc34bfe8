"""What the operator may do with a member: challenge, revoke, restore (§6.2, §8.5)."""

from __future__ import annotations

import pytest

from gateway import evidence
from gateway.errors import FixInput
from gateway.register import Register
from gateway.store import Store
from proof import bundle, wire
from proof.beacon import open_challenge
from proof.cose import object_hash
from proof.finding import Finding
from proof.keys import device_id
from tests.gateway_parts import GATEWAY, NETWORK, Device, Gateway, receipt_in, refused

NONCE = b"0123456789abcdef"


def test_a_challenge_goes_out_once_and_its_answer_is_timed(gateway):
    device = gateway.member()
    gateway.register.ask_challenge(device.id, NONCE, 60)
    (message,) = gateway.service.challenges()
    assert (message.topic, message.retain, message.expiry_s) == (
        wire.topic(NETWORK, device.id, "challenge"),
        False,
        60,
    )
    assert open_challenge(message.payload, [GATEWAY.public_key], device.id).nonce == NONCE
    assert gateway.service.challenges() == []
    assert gateway.register.round_trip_s(NONCE) is None
    beacon = object_hash(gateway.service.beacon().payload)
    gateway.now_s += 1.5
    gateway.send(device, device.seal(freshness=(beacon, NONCE)))
    gateway.now_s += 1.5
    gateway.send(device, device.seal(freshness=(beacon, NONCE)))
    assert gateway.register.round_trip_s(NONCE) == 1.5


def test_another_devices_proof_does_not_answer_a_challenge(gateway):
    device, other = gateway.member(1), gateway.member(2)
    gateway.register.ask_challenge(device.id, NONCE, 60)
    gateway.service.challenges()
    gateway.send(other, other.seal(freshness=(bytes(32), NONCE)))
    assert gateway.register.round_trip_s(NONCE) is None


def test_a_challenge_survives_a_restart_before_it_is_sent(gateway):
    device = gateway.member()
    gateway.register.ask_challenge(device.id, NONCE, 60)
    gateway.restart()
    assert len(gateway.service.challenges()) == 1


def test_a_revocation_in_another_process_holds_from_the_next_batch(gateway):
    device = gateway.member()
    one, two = device.seal(), device.seal()
    gateway.send(device, one)
    other = Store.open(gateway.path, NETWORK, "test", device_id(GATEWAY.public_key))
    Register(other).revoke(device.id, None)
    receipt = receipt_in(gateway.send(device, two), device)
    assert (receipt.head_seq, [verdict.code for verdict in receipt.verdicts]) == (1, ["revoked"])
    assert receipt_in(gateway.enrol(device), device).verdicts[0].code == "revoked"
    Register(other).restore(device.id)
    other.close()
    assert receipt_in(gateway.send(device, two), device).head_seq == 2


def test_a_device_revoked_before_its_first_proof_gets_nothing_in(gateway):
    device = gateway.member()
    gateway.register.revoke(device.id, None)
    assert receipt_in(gateway.send(device, device.seal()), device).head_seq == 0
    assert gateway.register.devices()[0].revoked


def test_a_restored_device_goes_on_after_an_equivocation_and_the_evidence_stays(gateway):
    device = gateway.member()
    rival = device.other()
    gateway.send(device, device.seal(), rival)
    gateway.register.restore(device.id)
    gateway.restart()
    assert receipt_in(gateway.send(device, device.seal()), device).head_seq == 2
    assert len(gateway.register.evidence(device.id)) == 2


def shown(gateway: Gateway, device: Device) -> Finding:
    pieces = evidence.pieces(device.id, gateway.ledger, gateway.register, GATEWAY, int(gateway.now_s))
    return bundle.examine(b"".join(pieces), [GATEWAY.public_key])


def test_a_revocation_in_the_past_keeps_what_lies_before_and_shows_nothing_behind(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.rotate(), device.seal(), device.seal())
    whole = shown(gateway, device)
    done = gateway.register.revoke(device.id, 2)
    gateway.restart()
    assert (done.last_good_seq, done.head_seq, done.left_out) == (2, 4, 2)
    good = shown(gateway, device)
    assert (good.proofs, good.last_seq, good.receipted_seq) == (2, 2, 2)
    assert good.signed_before_s is not None
    assert good.turns == whole.turns
    receipt = receipt_in(gateway.send(device, device.seal()), device)
    assert (receipt.head_seq, [verdict.code for verdict in receipt.verdicts]) == (4, ["revoked"])
    gateway.register.restore(device.id)
    gateway.restart()
    assert shown(gateway, device) == whole


def test_a_revocation_repeated_without_a_number_changes_nothing(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal(), device.seal())
    assert gateway.register.revoke(device.id, 1) == gateway.register.revoke(device.id, None)
    assert gateway.register.revoke(device.id, 3).left_out == 0


def test_a_last_good_proof_that_is_not_there_yet_is_refused(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    before = gateway.contents()
    with pytest.raises(FixInput, match=r"newest proof of .* is 1, so 2"):
        gateway.register.revoke(device.id, 2)
    assert gateway.contents() == before


def test_earlier_logs_stay_good_when_a_whole_log_is_revoked(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal())
    device.start_log(b"log-0002", device.log)
    gateway.send(device, device.seal())
    assert gateway.register.revoke(device.id, 0).left_out == 1
    assert (shown(gateway, device).proofs, shown(gateway, device).last_seq) == (2, 2)


def test_a_thief_s_logs_are_revoked_with_the_last_good_proof_of_an_earlier_one(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(), device.seal(), device.seal())
    first = device.log
    for stolen in (b"log-0002", b"log-0003"):
        device.start_log(stolen, device.log)
        gateway.send(device, device.seal())
    assert gateway.register.revoke(device.id, 3, first).left_out == 2
    assert (shown(gateway, device).proofs, shown(gateway, device).last_seq) == (3, 3)
    assert gateway.register.revoke(device.id, 2, first).left_out == 3
    assert gateway.register.revoke(device.id, None) == gateway.register.revoke(device.id, 2, first)
    assert gateway.register.revoke(device.id, None, b"log-0003").left_out == 0


def test_a_log_the_gateway_has_nothing_of_is_refused(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    before = gateway.contents()
    with pytest.raises(FixInput, match="in log 6c6f672d30303039 was accepted"):
        gateway.register.revoke(device.id, None, b"log-0009")
    assert gateway.contents() == before


def test_a_revoked_device_cannot_rotate_out_of_it(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    gateway.register.revoke(device.id, None)
    gateway.restart()
    receipt = receipt_in(gateway.send(device, device.rotate()), device)
    assert (receipt.head_seq, [verdict.code for verdict in receipt.verdicts]) == (1, ["revoked"])
    gateway.register.restore(device.id)
    gateway.restart()
    assert receipt_in(gateway.send(device, device.proofs[device.log, 2]), device).head_seq == 2


def test_what_another_key_signed_in_the_name_of_a_revoked_device_is_not_kept(gateway):
    device = gateway.member()
    gateway.send(device, device.seal())
    gateway.register.revoke(device.id, None)
    gateway.restart()
    before = gateway.contents()
    theirs = device.other(Device(9).signer)
    assert refused(gateway.send(device, theirs), device) == [("bad_key", object_hash(theirs))]
    assert gateway.contents() == before
