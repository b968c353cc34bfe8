"""A second implementation (scitt-cose on the `cryptography` library) agrees with ours on every object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scitt_cose.cose_sign1 import CoseError, verify_sign1

from proof import beacon, joining, receipt
from proof.receipt import Receipt
from tests.proof_samples import (
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    LOG,
    MEMBERSHIP,
    NETWORK,
    NOW_S,
    following,
    heartbeat,
    proof,
    reading,
)  # fmt: skip

GOOD = Path(__file__).parents[1] / "vectors/good"
ENTRIES = [
    (entry["name"], (GOOD / entry["file"]).read_bytes(), bytes.fromhex(entry["signer"]))
    for entry in json.loads((GOOD / "index.json").read_text())["vectors"]
]
COSE_ENTRIES = [entry for entry in ENTRIES if entry[1][0] == 0xD2]
RECEIPT = Receipt(DEVICE_ID, LOG, 1, bytes(32), NOW_S)
FRESH = [
    ("a proof", proof(*(reading(n) for n in range(9))), DEVICE.public_key),
    ("a following proof", following(proof(), reading(1)), DEVICE.public_key),
    ("a heartbeat", heartbeat(proof()), DEVICE.public_key),
    (
        "a receipt",
        receipt.sign(Receipt(DEVICE_ID, LOG, 1, bytes(32), NOW_S), GATEWAY, NOW_S),
        GATEWAY.public_key,
    ),
    ("a beacon", beacon.sign_beacon(NETWORK, 8, bytes(16), GATEWAY, NOW_S), GATEWAY.public_key),
    ("a membership", joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S), GATEWAY.public_key),
]
OBJECTS = [*COSE_ENTRIES, *FRESH]


def pem(public_key: bytes) -> bytes:
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_the_vectors_hold_objects_of_every_kind():
    assert len(COSE_ENTRIES) >= 15


@pytest.mark.parametrize(("name", "data", "public_key"), OBJECTS, ids=[name for name, _, _ in OBJECTS])
def test_another_implementation_verifies_the_object(name, data, public_key):
    assert verify_sign1(data, public_key_pem=pem(public_key)).payload is not None


@pytest.mark.parametrize(("name", "data", "public_key"), OBJECTS, ids=[name for name, _, _ in OBJECTS])
def test_it_refuses_the_object_with_a_flipped_bit(name, data, public_key):
    for position in range(2, len(data), max(1, len(data) // 40)):
        changed = data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]
        with pytest.raises(CoseError):
            verify_sign1(changed, public_key_pem=pem(public_key))


def test_it_refuses_the_object_under_another_key():
    with pytest.raises(CoseError):
        verify_sign1(proof(), public_key_pem=pem(GATEWAY.public_key))
