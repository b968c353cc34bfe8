"""Joining (§8.1-8.3): the claim as text, the request that proves its secret, the membership."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from proof import cbor, cose, joining
from proof.cose import Typ
from proof.joining import JoinClaim, Membership
from proof.keys import device_id, key_id
from proof.reasons import Reason, Refused
from tests.proof_samples import (
    CLAIM,
    DESCRIPTOR,
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    GATEWAY_ID,
    MEMBERSHIP,
    NETWORK,
    NEXT_KEY,
    NOW_S,
    STRANGER,
    STRANGER_ID,
)

TEXT = CLAIM.to_text()
NEXT_HASH = cose.object_hash(NEXT_KEY.public_key)
REQUEST = joining.sign_enrolment(CLAIM, DESCRIPTOR, NEXT_HASH, DEVICE, NOW_S)


def test_a_claim_is_read_back_from_its_text_even_with_white_space_around_it():
    assert TEXT.startswith("fp1.")
    assert joining.parse_claim(f"  {TEXT}\n") == CLAIM


def test_a_claim_with_the_broker_s_authority_is_read_back_and_one_without_has_no_field_for_it():
    with_authority = replace(CLAIM, broker_ca=b"\x30" * 400)
    assert joining.parse_claim(with_authority.to_text()) == with_authority
    assert joining.parse_claim(TEXT).broker_ca == b""


def test_a_claim_s_secret_is_not_shown_where_the_claim_is_printed():
    assert repr(CLAIM.secret) not in repr(CLAIM)


@pytest.mark.parametrize("size", range(len(TEXT)))
def test_a_claim_with_its_end_cut_off_is_refused(size):
    assert refusal(joining.parse_claim, TEXT[:size]) is Reason.MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        TEXT[4:],
        "fp2." + TEXT[4:],
        TEXT.upper(),
        TEXT + "A" * 4,
        TEXT[:40] + " " + TEXT[40:],
        TEXT[:40] + "é" + TEXT[41:],
        "fp1." + "A" * 3000,
        "fp1.====",
        "hello",
        "",
    ],
)
def test_a_text_that_is_no_claim_is_refused(text):
    assert refusal(joining.parse_claim, text) is Reason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {1: "Moor"},
        {1: ""},
        {1: "m" * 33},
        {2: "prod"},
        {3: []},
        {3: [bytes(31)]},
        {3: [bytes(32)] * 17},
        {4: "x" * 257},
        {5: bytes(7)},
        {6: bytes(31)},
        {7: -1},
        {7: None},
        {8: 0},
        {8: b""},
        {8: "authority"},
        {9: b"x"},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_claim_with_a_wrong_or_unknown_field_is_refused(changes):
    body = TEXT.removeprefix("fp1.")
    fields = cbor.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), 2048, "claim")
    packed = base64.urlsafe_b64encode(cbor.encode({**fields, **changes})).decode()
    assert refusal(joining.parse_claim, "fp1." + packed) is Reason.MALFORMED


def test_whether_a_claim_has_expired_is_for_the_caller_to_say():
    assert joining.parse_claim(replace(CLAIM, expires_s=1).to_text()).expires_s == 1


def test_a_request_shows_the_secret_without_carrying_it():
    opened = joining.open_enrolment(REQUEST)
    assert (opened.device, opened.network, opened.public_key) == (DEVICE_ID, NETWORK, DEVICE.public_key)
    assert (opened.descriptor, opened.claim_id, opened.next_key_hash) == (
        DESCRIPTOR,
        CLAIM.claim_id,
        NEXT_HASH,
    )
    assert joining.knows_secret(opened, CLAIM.secret)
    assert CLAIM.secret not in REQUEST


def test_a_request_made_with_another_secret_does_not_show_this_one():
    other = replace(CLAIM, secret=bytes(32))
    opened = joining.open_enrolment(joining.sign_enrolment(other, DESCRIPTOR, NEXT_HASH, DEVICE, NOW_S))
    assert not joining.knows_secret(opened, CLAIM.secret)


def test_another_device_s_proof_of_the_secret_is_of_no_use():
    stolen = cbor.decode(cose.parse(REQUEST, Typ.ENROLMENT).payload, 65_536, "request")
    payload = cbor.encode({**stolen, 1: STRANGER.public_key})
    claims = {1: STRANGER_ID, 3: NETWORK, 6: NOW_S}
    opened = joining.open_enrolment(cose.sign(Typ.ENROLMENT, claims, payload, STRANGER))
    assert not joining.knows_secret(opened, CLAIM.secret)


def test_a_request_that_another_key_signed_is_refused():
    payload = cose.parse(REQUEST, Typ.ENROLMENT).payload
    claims = {1: DEVICE_ID, 3: NETWORK, 6: NOW_S}
    assert (
        refusal(joining.open_enrolment, cose.sign(Typ.ENROLMENT, claims, payload, STRANGER)) is Reason.BAD_KEY
    )


def test_a_request_may_be_signed_by_a_later_key_of_the_device():
    opened = joining.open_enrolment(joining.sign_enrolment(CLAIM, DESCRIPTOR, NEXT_HASH, NEXT_KEY, NOW_S))
    assert (opened.device, opened.public_key) == (DEVICE_ID, NEXT_KEY.public_key)


@pytest.mark.parametrize(
    "changes",
    [{1: bytes(31)}, {2: {}}, {3: bytes(7)}, {4: bytes(31)}, {5: None}, {6: 0}],
    ids=lambda c: str(c)[:40],
)
def test_a_request_with_a_wrong_or_unknown_field_is_malformed(changes):
    fields = cbor.decode(cose.parse(REQUEST, Typ.ENROLMENT).payload, 65_536, "request")
    data = cose.sign(
        Typ.ENROLMENT, {1: DEVICE_ID, 3: NETWORK, 6: NOW_S}, cbor.encode({**fields, **changes}), DEVICE
    )
    assert refusal(joining.open_enrolment, data) is Reason.MALFORMED


@pytest.mark.parametrize("expires_s", [None, 0, NOW_S])
def test_a_membership_is_read_back_as_it_was_signed(expires_s):
    sent = replace(MEMBERSHIP, expires_s=expires_s, gateway_keys=(GATEWAY.public_key, STRANGER.public_key))
    assert opened(joining.sign_membership(sent, GATEWAY, NOW_S)) == sent


def test_a_membership_by_a_key_outside_the_claim_is_refused():
    forged = joining.sign_membership(MEMBERSHIP, STRANGER, NOW_S)
    assert refusal(opened, forged) is Reason.BAD_KEY


def test_a_membership_that_only_names_the_gateway_s_key_is_refused():
    forged = joining.sign_membership(MEMBERSHIP, STRANGER, NOW_S).replace(
        key_id(STRANGER.public_key), key_id(GATEWAY.public_key)
    )
    assert refusal(opened, forged) is Reason.BAD_SIGNATURE


def test_a_membership_of_another_device_is_refused():
    other = joining.sign_membership(replace(MEMBERSHIP, device=STRANGER_ID), GATEWAY, NOW_S)
    assert refusal(opened, other) is Reason.UNKNOWN_DEVICE


@pytest.mark.parametrize(
    "changes",
    [
        {2: "MOOR"},
        {3: "prod"},
        {4: []},
        {5: []},
        {5: {1: 2.0}},
        {5: {"a": "b"}},
        {5: {"a": float("nan")}},
        {6: None},
        {7: -1},
        {7: True},
        {7: 1.5},
        {8: 0},
    ],
    ids=str,
)
def test_a_membership_with_a_wrong_or_unknown_field_is_malformed(changes):
    good = joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S)
    fields = cbor.decode(cose.parse(good, Typ.MEMBERSHIP).payload, 65_536, "membership")
    claims = {1: GATEWAY_ID, 2: DEVICE_ID, 6: NOW_S}
    data = cose.sign(Typ.MEMBERSHIP, claims, cbor.encode({**fields, **changes}), GATEWAY)
    assert refusal(opened, data) is Reason.MALFORMED


def test_what_a_device_is_told_about_its_network_is_what_the_claim_said():
    claim: JoinClaim = joining.parse_claim(TEXT)
    membership: Membership = opened(joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S))
    assert (membership.network, membership.kind) == (claim.network, claim.kind)
    assert {device_id(key) for key in membership.gateway_keys} == {GATEWAY_ID}


def opened(data: bytes) -> Membership:
    return joining.open_membership(data, CLAIM.gateway_keys, DEVICE_ID)


def refusal(opener, *arguments) -> Reason:
    with pytest.raises(Refused) as refused:
        opener(*arguments)
    return refused.value.verdict.reason
