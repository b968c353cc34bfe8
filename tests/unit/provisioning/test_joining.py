"""Joining without a network: which claims are taken, what is asked, which answers count."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from agent.membership import Joined
from agent.mqtt_events import Message
from proof import joining, receipt, wire
from proof.descriptor import Descriptor
from proof.joining import JoinClaim, Membership
from proof.keys import SeedSigner, device_id
from proof.reasons import Refused
from proof.receipt import ProofVerdict, Receipt
from provisioning.joining import ClaimRefused, date, judge, newer, read_claim, request, require_good_for

GATEWAY, STRANGER = SeedSigner(bytes(32), "file"), SeedSigner(bytes([1]) * 32, "file")
SIGNER, NEXT = SeedSigner(bytes([2]) * 32, "file"), SeedSigner(bytes([3]) * 32, "file")
DEVICE = device_id(SIGNER.public_key)
CLAIM = JoinClaim(
    "alps", "live", (GATEWAY.public_key,), "mqtts://b.example.net", bytes(8), bytes([9]) * 32, 2_000_000_000
)
NOW_S = 1_900_000_000
DESCRIPTOR = Descriptor("fieldproof", "1", "file", False, "a board", ())
ASKED = request(CLAIM, DESCRIPTOR, SIGNER, NEXT.public_key, NOW_S)
MEMBERSHIP = Membership(DEVICE, "alps", "live", (GATEWAY.public_key,), (), NOW_S, None)


def membership_message(signer=GATEWAY, retain=False, **changes):
    signed = joining.sign_membership(replace(MEMBERSHIP, **changes), signer, NOW_S)
    return Message(wire.topic("alps", DEVICE, "membership"), wire.deflate(signed), retain)


def receipt_message(code="claim_refused", signer=GATEWAY, retain=False, log=receipt.NO_LOG):
    verdicts = (ProofVerdict(0, code, "used by another device"),) if code else ()
    body = Receipt(DEVICE, log, 0, None, NOW_S, verdicts=verdicts)
    return Message(
        wire.topic("alps", DEVICE, "receipt"), wire.deflate(receipt.sign(body, signer, NOW_S)), retain
    )


def test_a_claim_is_read_with_the_white_space_that_copying_adds():
    assert read_claim(f"\n  {CLAIM.to_text()} \r\n") == CLAIM


@pytest.mark.parametrize("length", [0, 3, 4, 5, 20, 100, -8, -2])
def test_a_claim_that_was_cut_off_says_so(length):
    with pytest.raises(ClaimRefused, match=r"not a whole claim: .*Copy all of it"):
        read_claim(CLAIM.to_text()[:length])


@pytest.mark.parametrize("text", ["hello", "fp2.AAAA", "fp1.ÄÖÜ", "fp1." + "A" * 5000, "\0", "fp1.\udcff"])
def test_what_is_no_claim_says_so(text):
    with pytest.raises(ClaimRefused, match="not a whole claim"):
        read_claim(text)


def test_an_expired_claim_shows_both_dates():
    with pytest.raises(
        ClaimRefused, match=r"expired on 2033-05-18 03:33 UTC, .* clock says 2033-05-18 03:33"
    ):
        require_good_for(CLAIM, CLAIM.expires_s, None)
    require_good_for(CLAIM, CLAIM.expires_s - 1, None)
    assert date(2**63) == "2100-01-01 00:00 UTC"


def test_a_member_may_ask_again_with_an_expired_claim_but_not_with_one_of_another_network():
    require_good_for(CLAIM, CLAIM.expires_s, CLAIM.network)
    with pytest.raises(ClaimRefused, match="is a member of hills, and its journal belongs there"):
        require_good_for(CLAIM, 0, "hills")


def test_a_membership_never_gives_way_to_an_older_one():
    old, new = (
        Joined("mqtts://b", CLAIM.gateway_keys, b"", replace(MEMBERSHIP, issued_s=issued))
        for issued in (1, 2)
    )
    assert newer(None, old) is old
    assert newer(old, new) is new
    assert newer(new, old) is new
    assert newer(replace(new, broker_url="mqtts://before"), new) is new, "as old: the claim's broker counts"


def test_a_simulated_device_does_not_even_ask_a_live_network():
    simulated = replace(DESCRIPTOR, key_class="sim", simulated=True)
    with pytest.raises(ClaimRefused, match=r"alps is a live network\. A simulated device cannot join"):
        request(CLAIM, simulated, SIGNER, NEXT.public_key, NOW_S)
    request(replace(CLAIM, kind="test"), simulated, SIGNER, NEXT.public_key, NOW_S)


def test_the_request_is_the_device_s_own_and_never_holds_the_secret():
    opened = joining.open_enrolment(wire.inflate(ASKED.message))
    assert (opened.device, opened.network, opened.claim_id) == (DEVICE, "alps", CLAIM.claim_id)
    assert joining.knows_secret(opened, CLAIM.secret)
    assert opened.next_key_hash == hashlib.sha256(NEXT.public_key).digest()
    assert CLAIM.secret not in wire.inflate(ASKED.message)
    assert CLAIM.secret.hex() not in repr(ASKED)
    assert ASKED.topic == wire.topic("alps", DEVICE, "enrol")


def test_the_gateway_s_membership_is_what_the_device_keeps():
    joined = judge(ASKED, membership_message(), NOW_S)
    assert joined is not None
    assert (joined.membership, joined.gateway_keys) == (MEMBERSHIP, CLAIM.gateway_keys)
    assert joined.broker_url == "mqtts://b.example.net"
    assert joining.open_membership(joined.membership_bytes, CLAIM.gateway_keys, DEVICE) == MEMBERSHIP


@pytest.mark.parametrize("code", ["claim_refused", "simulated_on_live", "some_new_reason"])
def test_a_signed_no_is_the_end_and_gives_its_reason(code):
    with pytest.raises(
        ClaimRefused, match=r"alps refuses this device \([a-z_]+\)\. .*used by another device"
    ):
        judge(ASKED, receipt_message(code), NOW_S)


def test_a_no_says_what_to_do():
    with pytest.raises(ClaimRefused, match="Ask the operator for a new claim"):
        judge(ASKED, receipt_message(), NOW_S)


@pytest.mark.parametrize(
    "message",
    [
        membership_message(retain=True, expires_s=NOW_S),
        receipt_message(retain=True),
        receipt_message(code=""),
        receipt_message(log=bytes([1]) * 8),
        Message(wire.beacon_topic("alps"), b"\xd2", False),
    ],
)
def test_what_answers_another_question_is_no_answer(message):
    assert judge(ASKED, message, NOW_S) is None


@pytest.mark.parametrize(
    "message",
    [
        membership_message(signer=STRANGER),
        membership_message(device=device_id(STRANGER.public_key)),
        membership_message(network="other"),
        membership_message(kind="test"),
        receipt_message(signer=STRANGER),
        replace(membership_message(), payload=b""),
        replace(membership_message(), payload=b"\x78\x9c garbage"),
        replace(membership_message(), payload=receipt_message().payload),
        replace(receipt_message(), payload=bytes(100_000)),
    ],
)
def test_what_no_gateway_of_the_claim_signed_for_this_is_refused(message):
    with pytest.raises(Refused):
        judge(ASKED, message, NOW_S)


def test_a_membership_that_has_ended_is_not_kept():
    with pytest.raises(ClaimRefused, match="membership in alps ended on"):
        judge(ASKED, membership_message(expires_s=NOW_S), NOW_S)
