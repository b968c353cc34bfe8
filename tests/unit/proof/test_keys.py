"""Keys and ids (§1.1, §2.2) against RFC 8032 and the did:key method's own examples."""

from __future__ import annotations

import pytest

from proof import keys
from proof.keys import SeedSigner
from proof.reasons import Reason, Refused
from tests.proof_samples import DEVICE, DEVICE_ID

# did:key method, test vectors for Ed25519: seeds 00…00, 00…01 and 00…02.
DID_KEYS = {
    0: "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
    1: "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG",
    2: "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf",
}


@pytest.mark.parametrize("number", DID_KEYS)
def test_the_did_key_of_a_published_seed_is_the_published_one(number):
    public_key = SeedSigner(number.to_bytes(32, "big"), "file").public_key
    assert keys.device_id(public_key) == DID_KEYS[number]
    assert keys.public_key_of(DID_KEYS[number]) == public_key


def test_a_signature_is_that_of_rfc_8032():
    # RFC 8032 §7.1, TEST 2: one byte, 0x72.
    signer = SeedSigner(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"), "file"
    )
    assert signer.public_key.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert signer.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:key:z6Mk",
        DEVICE_ID[:-1],
        DEVICE_ID + "1",
        DEVICE_ID.replace("did:key:", "did:web:"),
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",  # secp256k1
        "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc",  # X25519
        DEVICE_ID[:-1] + "0",  # not a base58 digit
        DEVICE_ID[:-1] + "é",
        "did:key:z" + "z" * 47,
        "did:key:z" + "1" * 47,
    ],
)
def test_a_text_that_names_no_ed25519_key_is_refused(did):
    with pytest.raises(Refused) as refused:
        keys.public_key_of(did)
    assert refused.value.verdict.reason is Reason.MALFORMED


def test_a_signature_for_other_bytes_or_of_another_size_does_not_fit():
    signature = DEVICE.sign(b"message")
    assert keys.signature_fits(DEVICE.public_key, b"message", signature)
    assert not keys.signature_fits(DEVICE.public_key, b"massage", signature)
    assert not keys.signature_fits(DEVICE.public_key, b"message", signature[:-1])
    assert not keys.signature_fits(DEVICE.public_key, b"message", b"")
    assert not keys.signature_fits(DEVICE.public_key[:-1], b"message", signature)


def test_a_signature_made_from_a_point_of_small_order_does_not_fit():
    # The neutral element as key and R, with S = 0, satisfies the equation for every message.
    neutral = b"\x01" + bytes(31)
    assert not keys.signature_fits(neutral, b"anything", neutral + bytes(32))


def test_s_plus_the_group_order_does_not_fit():
    order = 2**252 + 27742317777372353535851937790883648493
    signature = DEVICE.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + order
    assert not keys.signature_fits(DEVICE.public_key, b"message", signature[:32] + s.to_bytes(32, "little"))


def test_a_signer_never_shows_its_seed():
    seed = bytes(range(32))
    shown = repr(SeedSigner(seed, "sim"))
    assert seed.hex() not in shown
    assert repr(seed) not in shown


def test_a_seed_of_another_size_is_a_programming_error():
    with pytest.raises(ValueError, match="32 bytes"):
        SeedSigner(bytes(31), "file")


def test_the_topic_part_of_an_id_leaves_out_the_method():
    assert f"did:key:{keys.multibase_part(DEVICE_ID)}" == DEVICE_ID


def test_a_later_key_signs_for_the_device_of_the_first_one():
    first = keys.SeedSigner(bytes(32), "file")
    assert first.device == keys.device_id(first.public_key)
    assert keys.SeedSigner(b"\1" * 32, "file", first.device).device == first.device
