"""Beacons and challenges (§6): one network's, one device's, and nobody else's."""

from __future__ import annotations

import pytest

from proof import beacon, cbor, cose
from proof.beacon import Challenge
from proof.cose import Typ
from proof.reasons import Reason, Refused
from tests.proof_samples import (
    BEACON,
    BEACON_BYTES,
    DEVICE_ID,
    GATEWAY,
    GATEWAY_ID,
    NETWORK,
    NOW_S,
    STRANGER,
    STRANGER_ID,
)

NONCE = bytes(range(16))
CHALLENGE = beacon.sign_challenge(DEVICE_ID, NONCE, 60, GATEWAY, NOW_S)
KEYS = [GATEWAY.public_key]


def test_a_beacon_is_read_back_and_named_by_the_hash_of_its_bytes():
    assert (BEACON.network, BEACON.number, BEACON.nonce, BEACON.issued_at_s) == (
        NETWORK,
        7,
        NONCE,
        NOW_S - 30,
    )
    assert BEACON.hash == cose.object_hash(BEACON_BYTES)


def test_a_beacon_of_another_network_is_refused():
    assert refusal(beacon.open_beacon, BEACON_BYTES, KEYS, "heath") is Reason.WRONG_NETWORK


def test_a_beacon_by_a_strange_key_is_refused():
    forged = beacon.sign_beacon(NETWORK, 7, NONCE, STRANGER, NOW_S)
    assert refusal(beacon.open_beacon, forged, KEYS, NETWORK) is Reason.BAD_KEY


@pytest.mark.parametrize(
    "payload",
    [{1: 0}, {1: 7.0}, {2: bytes(15)}, {2: None}, {3: 7}, {4: 0}],
    ids=str,
)
def test_a_beacon_with_a_wrong_or_unknown_field_is_malformed(payload):
    data = cbor.encode({1: 7, 2: NONCE, 3: NETWORK, **payload})
    signed = cose.sign(Typ.BEACON, {1: GATEWAY_ID, 6: NOW_S}, data, GATEWAY)
    assert refusal(beacon.open_beacon, signed, KEYS, NETWORK) is Reason.MALFORMED


def test_a_gateway_cannot_speak_in_the_name_of_another():
    data = cbor.encode({1: 7, 2: NONCE, 3: NETWORK})
    signed = cose.sign(Typ.BEACON, {1: STRANGER_ID, 6: NOW_S}, data, GATEWAY)
    assert refusal(beacon.open_beacon, signed, KEYS, NETWORK) is Reason.BAD_KEY
    challenge = cose.sign(
        Typ.CHALLENGE, {1: STRANGER_ID, 2: DEVICE_ID, 6: NOW_S}, cbor.encode({1: NONCE, 2: 60}), GATEWAY
    )
    assert refusal(beacon.open_challenge, challenge, KEYS, DEVICE_ID) is Reason.BAD_KEY


def test_a_challenge_is_read_back_as_it_was_signed():
    assert beacon.open_challenge(CHALLENGE, KEYS, DEVICE_ID) == Challenge(DEVICE_ID, NONCE, 60, NOW_S)


def test_a_challenge_to_another_device_is_refused():
    assert refusal(beacon.open_challenge, CHALLENGE, KEYS, STRANGER_ID) is Reason.UNKNOWN_DEVICE


def test_a_challenge_by_a_strange_key_is_refused():
    forged = beacon.sign_challenge(DEVICE_ID, NONCE, 60, STRANGER, NOW_S)
    assert refusal(beacon.open_challenge, forged, KEYS, DEVICE_ID) is Reason.BAD_KEY


@pytest.mark.parametrize("deadline_s", [0, -1, 86_401])
def test_a_challenge_with_a_deadline_out_of_bounds_is_malformed(deadline_s):
    data = beacon.sign_challenge(DEVICE_ID, NONCE, deadline_s, GATEWAY, NOW_S)
    assert refusal(beacon.open_challenge, data, KEYS, DEVICE_ID) is Reason.MALFORMED


def test_a_beacon_over_two_kibibytes_is_too_large():
    assert refusal(beacon.open_beacon, bytes(2049), KEYS, NETWORK) is Reason.TOO_LARGE


def refusal(opener, *arguments) -> Reason:
    with pytest.raises(Refused) as refused:
        opener(*arguments)
    return refused.value.verdict.reason
