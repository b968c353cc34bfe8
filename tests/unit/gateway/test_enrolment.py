"""Who may join (§8.2, §8.3), and what a refused device is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.service import Inbound
from proof import joining, wire
from proof.beacon import open_beacon
from proof.keys import SeedSigner
from proof.reasons import Reason
from proof.receipt import NO_LOG
from tests.gateway_parts import GATEWAY, NETWORK, Device, Gateway, descriptor, receipt_in


def refusal(answers, device):
    (message,) = answers
    assert not message.retain
    told = receipt_in(answers, device)
    assert (told.log, told.head_seq, told.head_hash) == (NO_LOG, 0, None)
    (verdict,) = told.verdicts
    assert verdict.seq == 0
    return verdict.code, verdict.detail


def test_a_claim_makes_a_member_and_the_membership_is_retained(gateway):
    device = Device()
    (message,) = gateway.enrol(device)
    assert message.topic == wire.topic(NETWORK, device.id, "membership")
    assert message.retain
    membership = joining.open_membership(message.payload, [GATEWAY.public_key], device.id)
    assert (membership.network, membership.kind, membership.expires_s) == (NETWORK, "test", None)
    assert membership.quality == (("frozen_s", 3600.0),)
    assert gateway.register.devices()[0].owner == "owner"


def test_asking_twice_gives_the_same_bytes_even_later_and_with_another_claim(gateway):
    device = Device()
    first = gateway.enrol(device)
    gateway.now_s += 1e6
    gateway.restart()
    assert gateway.enrol(device) == first
    assert len(gateway.register.devices()) == 1


def test_a_membership_given_again_spends_no_claim(gateway):
    device, claim = gateway.member(1), gateway.claim()
    gateway.enrol(device, claim)
    assert gateway.register.claim(claim.claim_id).used_by is None


def test_a_used_claim_is_refused_to_another_key(gateway):
    claim = gateway.claim()
    gateway.enrol(Device(1), claim)
    before = gateway.contents()
    other = Device(2)
    assert refusal(gateway.enrol(other, claim), other) == (
        "claim_refused",
        "the claim was used by another device",
    )
    assert gateway.contents() == before


def test_an_expired_claim_is_refused(gateway):
    claim, device = gateway.claim(valid_for_s=10), Device()
    gateway.now_s += 11
    assert refusal(gateway.enrol(device, claim), device) == ("claim_refused", "the claim has expired")


def test_a_claim_with_another_secret_is_refused(gateway):
    device = Device()
    forged = replace(gateway.claim(), secret=bytes(32))
    assert refusal(gateway.enrol(device, forged), device) == ("claim_refused", "the claim's secret is wrong")


def test_an_unknown_claim_is_refused(gateway):
    device = Device()
    unknown = replace(gateway.claim(), claim_id=bytes(8))
    assert refusal(gateway.enrol(device, unknown), device) == ("claim_refused", "the claim is unknown")


def test_a_request_for_another_network_is_refused(gateway):
    device = Device()
    claim = replace(gateway.claim(), network="other-net")
    assert refusal(gateway.enrol(device, claim), device)[0] == "wrong_network"


def test_a_simulated_device_cannot_join_a_live_network(tmp_path):
    gateway = Gateway(tmp_path, "live")
    device, claim = Device(), gateway.claim()
    assert refusal(gateway.enrol(device, claim), device)[0] == "simulated_on_live"
    silent = replace(descriptor(simulated=False), key_class="sim")  # that key lies open
    request = joining.sign_enrolment(claim, silent, bytes(32), device.signer, int(gateway.now_s))
    answers = gateway.service.take([Inbound(wire.topic(NETWORK, device.id, "enrol"), request)])
    assert refusal(answers, device)[0] == "simulated_on_live"
    (message,) = gateway.enrol(device, claim, simulated=False)
    assert message.topic.endswith("/membership")
    gateway.close()


@pytest.mark.parametrize("damage", ["signature", "topic", "garbage", "oversized"])
def test_a_request_that_its_key_did_not_sign_gets_no_answer(gateway, damage):
    device, claim = Device(), gateway.claim()
    request = joining.sign_enrolment(claim, descriptor(), bytes(32), device.signer, int(gateway.now_s))
    sender = Device(2).id if damage == "topic" else device.id
    payload = {"signature": request[:-1] + b"\0", "garbage": b"\xd2", "oversized": request + bytes(2**17)}
    before = gateway.contents()
    message = Inbound(wire.topic(NETWORK, sender, "enrol"), payload.get(damage, request))
    assert gateway.service.take([message]) == []
    assert gateway.contents() == before


def test_refusals_to_one_device_are_few_per_minute(gateway):
    device, claim = Device(), gateway.claim(valid_for_s=-1)
    answers = [gateway.enrol(device, claim) for _ in range(10)]
    assert sum(map(len, answers)) == 3
    gateway.now_s += 61
    assert gateway.enrol(device, claim)
    assert gateway.service.counts[Reason.CLAIM_REFUSED] == 11


def test_the_request_names_the_key_it_is_signed_with(gateway):
    device, claim = Device(), gateway.claim()
    thief = SeedSigner(bytes(31) + b"\x07", "sim")
    request = joining.sign_enrolment(claim, descriptor(), bytes(32), thief, int(gateway.now_s))
    assert gateway.service.take([Inbound(wire.topic(NETWORK, device.id, "enrol"), request)]) == []


def test_beacon_numbers_go_on_after_a_restart(gateway):
    numbers = []
    for _ in range(3):
        message = gateway.service.beacon()
        assert message.retain
        assert message.expiry_s == 300
        numbers.append(open_beacon(message.payload, [GATEWAY.public_key], NETWORK).number)
        gateway.restart()
    assert numbers == [1, 2, 3]
