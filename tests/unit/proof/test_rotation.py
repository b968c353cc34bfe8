"""The rotation object (§8.4): shape, signatures, what it commits to, and where it counts."""

from __future__ import annotations

import pytest

from proof import cbor, cose, rotation, sealing, verify
from proof.cose import Typ
from proof.reasons import Reason, Refused
from proof.rotation import DeviceKey
from tests.proof_samples import (
    AFTER_NEXT_KEY,
    DEVICE,
    DEVICE_ID,
    FIRST_KEY,
    LOG,
    NEXT_KEY,
    NOW_S,
    STRANGER,
    World,
    following,
    proof,
    reading,
    turn,
)

SECOND_KEY = DeviceKey(
    NEXT_KEY.public_key, rotation.commitment(AFTER_NEXT_KEY.public_key), 1, DEVICE.public_key
)
PAYLOAD = {1: LOG, 2: 2, 3: NEXT_KEY.public_key, 4: bytes(32)}
CLAIMS = {1: DEVICE_ID, 6: NOW_S}


def wrapped(payload=PAYLOAD, inner_claims=CLAIMS, outer_claims=CLAIMS, content_type=60) -> bytes:
    inner = cose.sign(Typ.NEW_KEY, inner_claims, cbor.encode(payload), NEXT_KEY, content_type)
    return cose.sign(Typ.ROTATION, outer_claims, inner, DEVICE)


def test_what_was_signed_is_read_back():
    found = rotation.parse(turn(2))
    assert (found.device, found.log, found.seq, found.public_key) == (DEVICE_ID, LOG, 2, NEXT_KEY.public_key)
    assert rotation.succeed(found, FIRST_KEY) == SECOND_KEY


def test_a_repeated_rotation_changes_nothing_and_needs_the_key_before():
    assert rotation.succeed(rotation.parse(turn(7)), SECOND_KEY) == SECOND_KEY
    for old in (NEXT_KEY, STRANGER):
        with pytest.raises(Refused, match="not signed by the key it follows"):
            rotation.succeed(rotation.parse(turn(7, old=old)), SECOND_KEY)


def test_the_first_key_cannot_repeat_itself():
    with pytest.raises(Refused, match="not signed by the key it follows"):
        rotation.succeed(rotation.parse(turn(2, new=DEVICE)), FIRST_KEY)


@pytest.mark.parametrize(
    "data",
    [
        wrapped({**PAYLOAD, 1: bytes(7)}),
        wrapped({**PAYLOAD, 2: 0}),
        wrapped({**PAYLOAD, 3: bytes(31)}),
        wrapped({**PAYLOAD, 4: None}),
        wrapped({**PAYLOAD, 5: 0}),
        wrapped({1: LOG}),
        wrapped(inner_claims={**CLAIMS, 2: "x"}),
        wrapped(outer_claims={6: NOW_S}),
        wrapped(outer_claims={**CLAIMS, 1: STRANGER.device}),
        wrapped(content_type=112),
        cose.sign(Typ.ROTATION, CLAIMS, cbor.encode(PAYLOAD), DEVICE),
        cose.parse(turn(), Typ.ROTATION).payload,
        turn() + b"\0",
        b"",
    ],
)
def test_what_is_not_a_whole_rotation_is_a_bad_one(data):
    with pytest.raises(Refused) as refused:
        rotation.parse(data)
    assert refused.value.verdict.reason is Reason.BAD_ROTATION


def test_the_new_key_itself_must_have_signed():
    """Its public key alone, which may be known, is not enough."""
    inner = cose.sign(Typ.NEW_KEY, CLAIMS, cbor.encode(PAYLOAD), STRANGER)
    forged = rotation.parse(cose.sign(Typ.ROTATION, CLAIMS, inner, DEVICE))
    with pytest.raises(Refused, match="not signed by the new key"):
        rotation.succeed(forged, FIRST_KEY)


def test_a_verifier_that_was_not_told_the_commitment_goes_by_the_signatures():
    untold = DeviceKey(DEVICE.public_key)
    assert rotation.succeed(rotation.parse(turn(2, new=STRANGER)), untold).public_key == STRANGER.public_key


def test_each_proof_is_signed_by_the_key_in_force_at_its_place():
    first = proof()
    second = following(first, reading(1), rotation=turn(2), signer=NEXT_KEY)
    third = following(second, reading(2), signer=NEXT_KEY)
    world = World()
    for data in (first, second, third):
        judgement = verify.verify(data, NOW_S, world)
        assert judgement.verdict.reason is Reason.ACCEPTED
        world.accept(data)
    numbers = [verify.signed_by(sealing.parse(data), world).number for data in (first, second, third)]
    assert numbers == [0, 1, 1]
    assert verify.verify(first, NOW_S, world).verdict.reason is Reason.DUPLICATE
