"""No proof survives a change: every single bit, every cut, in both forms on the wire."""

from __future__ import annotations

import pytest

from proof import cose, verify, wire
from proof.reasons import Reason, Refused
from tests.proof_samples import NOW_S, World, claims, proof, reading

# Small, so that every bit can be tried: the descriptor is known by its hash.
SMALL = proof(reading(), descriptor=None)
FORMS = {"COSE": SMALL, "zlib": wire.deflate(SMALL)}


def verdict(message: bytes) -> Reason:
    return verify.verify(message, NOW_S, World()).verdict.reason


@pytest.mark.parametrize("message", [*FORMS.values()], ids=[*FORMS])
def test_the_proof_itself_is_accepted(message):
    assert verdict(message) is Reason.ACCEPTED


def test_the_two_forms_are_two_forms():
    assert FORMS["COSE"][0] == 0xD2
    assert FORMS["zlib"][0] == 0x78
    assert claims(descriptor=None).descriptor is None


@pytest.mark.parametrize("message", [*FORMS.values()], ids=[*FORMS])
def test_no_flipped_bit_leaves_a_proof_that_is_accepted(message):
    for position in range(len(message) * 8):
        changed = bytearray(message)
        changed[position // 8] ^= 1 << position % 8
        if verdict(bytes(changed)) is Reason.ACCEPTED:
            # Deflate has bits that mean nothing: what was signed is then the same to the last bit.
            assert message[0] == 0x78
            assert wire.inflate(bytes(changed)) == SMALL


@pytest.mark.parametrize("message", [*FORMS.values()], ids=[*FORMS])
def test_no_cut_and_no_added_byte_leaves_a_proof_that_is_accepted(message):
    for size in range(len(message)):
        assert verdict(message[:size]) is not Reason.ACCEPTED
        assert verdict(message[size + 1 :]) is not Reason.ACCEPTED
    for byte in range(256):
        assert verdict(message + bytes([byte])) is not Reason.ACCEPTED
        assert verdict(bytes([byte]) + message) is not Reason.ACCEPTED


def test_no_byte_of_a_proof_can_be_left_out_or_doubled():
    for position in range(len(SMALL)):
        assert verdict(SMALL[:position] + SMALL[position + 1 :]) is not Reason.ACCEPTED
        doubled = SMALL[:position] + SMALL[position : position + 1] + SMALL[position:]
        assert verdict(doubled) is not Reason.ACCEPTED


@pytest.mark.parametrize("message", [*FORMS.values()], ids=[*FORMS])
def test_a_flipped_message_that_is_no_proof_gives_a_reason_and_no_readings(message):
    for position in range(len(message)):
        changed = message[:position] + bytes([message[position] ^ 0xFF]) + message[position + 1 :]
        judgement = verify.verify(changed, NOW_S, World())
        assert judgement.readings is None
        assert judgement.verdict.reason in (
            Reason.MALFORMED, Reason.TOO_LARGE, Reason.WRONG_TYP, Reason.UNKNOWN_DEVICE, Reason.BAD_KEY,
            Reason.BAD_SIGNATURE,
        )  # fmt: skip


def test_two_signed_objects_cannot_be_glued_from_their_parts():
    other = proof(reading(1), descriptor=None)
    first, second = (cose.parse(data, cose.Typ.PROOF) for data in (SMALL, other))
    assert first.protected == second.protected
    glued = SMALL[: -len(first.signature)] + second.signature
    assert verdict(glued) is Reason.BAD_SIGNATURE
    with pytest.raises(Refused):
        cose.parse(SMALL + other, cose.Typ.PROOF)
