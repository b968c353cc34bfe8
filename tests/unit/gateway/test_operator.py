"""What the operator may do with a member: challenge, revoke, restore (§6.2, §8.5)."""

from __future__ import annotations

from gateway.register import Register
from gateway.store import Store
from proof import wire
from proof.beacon import open_challenge
from proof.cose import object_hash
from proof.keys import device_id
from tests.gateway_parts import GATEWAY, NETWORK, receipt_in

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
