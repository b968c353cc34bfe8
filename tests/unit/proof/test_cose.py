"""COSE_Sign1 (§2.1-2.4) against published values, and every way a header can be wrong."""

from __future__ import annotations

import pytest

from proof import cbor, cose
from proof.cose import SignedObject, Typ
from proof.keys import SeedSigner, key_id
from proof.reasons import Reason, Refused
from tests.proof_samples import DEVICE, STRANGER

# cose-wg/Examples, eddsa-examples/eddsa-sig-01.json; its key "11" is that of RFC 8032 §7.1, TEST 1.
EDDSA_SIG_01_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
EDDSA_SIG_01_TO_BE_SIGNED = "846a5369676e61747572653145a2012703004054546869732069732074686520636f6e74656e742e"
EDDSA_SIG_01_SIGNATURE = (
    "7142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb87"
    "11497dfa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d"
)


class Spy:
    """A signer that keeps what it was asked to sign."""

    public_key, key_class = DEVICE.public_key, "sim"

    device = "did:key:of-a-spy"

    def sign(self, message: bytes) -> bytes:
        self.message = message
        return DEVICE.sign(message)


def test_the_signature_of_the_cose_working_group_s_example_is_accepted():
    signer = SeedSigner(bytes.fromhex(EDDSA_SIG_01_SEED), "file")
    assert signer.sign(bytes.fromhex(EDDSA_SIG_01_TO_BE_SIGNED)).hex() == EDDSA_SIG_01_SIGNATURE
    signed = SignedObject(
        typ=Typ.PROOF,
        kid=key_id(signer.public_key),
        content_type=0,
        claims={},
        payload=b"This is the content.",
        protected=bytes.fromhex("a201270300"),
        signature=bytes.fromhex(EDDSA_SIG_01_SIGNATURE),
        hash=b"",
    )
    assert signed.require_signature([signer.public_key]) == signer.public_key


def test_what_is_signed_is_the_sig_structure_of_rfc_9052():
    spy = Spy()
    signed = cose.parse(cose.sign(Typ.BEACON, {1: "me"}, b"payload", spy), Typ.BEACON)
    assert spy.message == cbor.encode(["Signature1", signed.protected, b"", b"payload"])


def test_the_message_is_the_tagged_array_with_an_empty_unprotected_header():
    data = cose.sign(Typ.BEACON, {}, b"payload", DEVICE)
    signed = cose.parse(data, Typ.BEACON)
    assert data == b"\xd2" + cbor.encode([signed.protected, {}, b"payload", signed.signature])
    assert signed.hash == cose.object_hash(data)


@pytest.mark.parametrize("typ", [*Typ])
def test_an_object_of_one_typ_is_never_accepted_where_another_is_expected(typ):
    data = cose.sign(typ, {}, b"", DEVICE)
    assert cose.typ_of(data) is typ
    for expected in Typ:
        if expected is not typ:
            assert _reason(data, expected) is Reason.WRONG_TYP


def test_the_signature_of_another_key_with_the_same_key_id_is_refused():
    signed = cose.parse(cose.sign(Typ.BEACON, {}, b"", STRANGER), Typ.BEACON)
    with pytest.raises(Refused) as refused:
        signed.require_signature([DEVICE.public_key])
    assert refused.value.verdict.reason is Reason.BAD_KEY


def test_both_names_of_ed25519_are_accepted():
    assert cose.parse(framed({1: -19}), Typ.BEACON).require_signature([DEVICE.public_key])


@pytest.mark.parametrize(
    "header",
    [
        {1: -7}, {1: -35}, {1: -8.0}, {1: "EdDSA"}, {1: None}, {1: []},
        {3: "application/cbor"}, {3: True}, {4: b"short"}, {4: "12345678"}, {15: []}, {16: 18}, {16: None},
        {2: [3]}, {5: b""}, {33: b""}, {"x": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_protected_header_with_a_wrong_or_further_field_is_malformed(header):
    assert _reason(framed(header)) is Reason.MALFORMED


@pytest.mark.parametrize("label", [1, 3, 4, 15, 16])
def test_a_protected_header_that_lacks_a_field_is_malformed(label):
    assert _reason(framed({}, without=label)) is Reason.MALFORMED


@pytest.mark.parametrize("header", ["80", "8118", "60", "00", "f6", "", "a1f527", "a1f93c0027"])
def test_a_protected_header_that_is_no_map_of_labels_is_refused_by_both_ways_in(header):
    data = b"\xd2\x84" + cbor.bstr(bytes.fromhex(header)) + b"\xa0\x40" + cbor.bstr(bytes(64))
    assert _reason(data) is Reason.MALFORMED
    with pytest.raises(Refused):
        cose.typ_of(data)


def test_a_frame_in_any_other_form_is_malformed():
    good = cose.sign(Typ.BEACON, {}, b"payload", DEVICE)
    protected = cose.parse(good, Typ.BEACON).protected
    head, tail = b"\xd2\x84" + cbor.bstr(protected), cbor.bstr(b"payload") + good[-66:]
    assert head + b"\xa0" + tail == good
    for bad in (
        good[1:],  # untagged
        b"\xd8\x12" + good[1:],  # the tag in its long form
        b"\xd1" + good[1:],  # COSE_Mac0
        b"\xd2\xd2" + good[1:],
        b"\xd2\x9f" + good[2:] + b"\xff",  # an indefinite array
        head + b"\xa1\x04\x41\x01" + tail,  # something unprotected
        head + b"\xbf\xff" + tail,
        head + b"\xa0\xf6" + good[-66:],  # a detached payload
        good[:-66] + b"\x58\x3f" + good[-64:-1],  # a short signature
        good + b"\x00",
        b"",
        b"\xd2",
    ):
        assert _reason(bad) is Reason.MALFORMED


def test_an_object_over_its_limit_is_too_large():
    data = cose.sign(Typ.BEACON, {}, bytes(100), DEVICE)
    assert cose.parse(data, Typ.BEACON, len(data)).payload == bytes(100)
    with pytest.raises(Refused) as refused:
        cose.parse(data, Typ.BEACON, len(data) - 1)
    assert refused.value.verdict.reason is Reason.TOO_LARGE


def framed(changes: dict, without: int | None = None) -> bytes:
    """A beacon signed over a protected header that differs from a right one by `changes`."""
    header = {1: -8, 3: 60, 4: key_id(DEVICE.public_key), 15: {}, 16: Typ.BEACON.value, **changes}
    header.pop(without, None)
    protected = cbor.encode(header)
    signature = DEVICE.sign(cbor.encode(["Signature1", protected, b"", b""]))
    return b"\xd2\x84" + cbor.bstr(protected) + b"\xa0\x40" + cbor.bstr(signature)


def _reason(data: bytes, typ: Typ = Typ.BEACON) -> Reason:
    with pytest.raises(Refused) as refused:
        cose.parse(data, typ)
    return refused.value.verdict.reason
