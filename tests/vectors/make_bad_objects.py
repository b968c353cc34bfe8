"""Bad payloads, messages, receipts, memberships, requests, claims and bundles; see `make_bad`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from proof import cbor, cose, joining, receipt, wire
from proof.claims import TimeClaim
from proof.cose import Typ
from proof.receipt import Receipt
from proof.senml import Measured
from tests.proof_samples import (
    BURST,
    CLAIM,
    DESCRIPTOR,
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    GATEWAY_ID,
    LOG,
    MEMBERSHIP,
    NOW_S,
    STRANGER,
    STRANGER_ID,
    VALUES,
    proof,
    reading,
)  # fmt: skip
from tests.vectors.make_bad import FIRST, bad, flipped, with_payload
from tests.vectors.make_good import ENROLMENT, HEAD, Vector


def with_record(**changes: Any) -> bytes:
    record = {
        "bn": f"{DEVICE_ID}/",
        "bt": NOW_S - 3600,
        "n": "bme280-76/temperature",
        "u": "Cel",
        "v": 21,
        **changes,
    }
    labels = {"bn": -2, "bt": -3, "n": 0, "u": 1, "v": 2, "t": 6}
    return with_payload(cbor.encode([{labels[name]: value for name, value in record.items()}]))


def noted(name: str, shows: str, data: bytes, note: str) -> Vector:
    return Vector(name, "proof", shows, data, extra={"notes": [note]})


def payloads() -> Iterator[Vector]:
    """Accepted into the chain, with the reason as a note: the readings are not used."""
    reasons = "bad_payload"
    yield noted("value_nan", "a value that is not a number", with_record(v=float("nan")), reasons)
    yield noted("value_infinite", "a value that is not finite", with_record(v=float("inf")), reasons)
    yield noted("value_boolean", "true is not a value", with_record(v=True), reasons)
    yield noted("value_huge_exponent", "10 to the 120th", with_record(v=Decimal("1E+120")), reasons)
    yield noted("unit_unknown", "degF is not in the registry", with_record(u="degF"), "unknown_unit")
    yield noted("unit_array", "a unit that is no text", with_record(u=[]), "unknown_unit")
    yield noted("time_relative_to_now", "a base time below 2^28", with_record(bt=3600), reasons)
    yield noted(
        "name_of_another_device", "readings in a stranger's name", with_record(bn=f"{STRANGER_ID}/"), reasons
    )
    yield noted("payload_indefinite_array", "the pack has no length", with_payload(b"\x9f\xff"), reasons)
    yield noted(
        "payload_long_integer",
        "bt in eight bytes",
        with_payload(b"\x81\xa3\x21\x1b" + (NOW_S).to_bytes(8, "big") + b"\x00\x60\x02\x01"),
        reasons,
    )
    yield noted("payload_unsorted_keys", "v before n", with_payload(b"\x81\xa2\x02\x01\x00\x61n"), reasons)
    yield noted(
        "value_twice",
        "one name twice for one time",
        with_payload(
            cbor.encode(
                [{-2: f"{DEVICE_ID}/", -3: NOW_S, 0: "a/t", 1: "Cel", 2: 1}, {0: "a/t", 1: "Cel", 2: 2}]
            )
        ),
        reasons,
    )
    warmer = (Measured("temperature", "Cel", Decimal("24.72")), *VALUES[1:])
    yield noted(
        "evidence_mismatch",
        "a degree warmer than the chip said",
        proof(reading(raw=BURST, values=warmer)),
        "evidence_mismatch",
    )
    yield noted("clock_ahead", "sealed an hour from now", proof(sealed_at_s=NOW_S + 3600), "clock_ahead")
    yield noted(
        "clock_behind",
        "sealed before its beacon was",
        proof(sealed_at_s=NOW_S - 3600, time=TimeClaim(1, 1, 1000)),
        "clock_behind",
    )
    yield noted(
        "beacon_unknown", "names a beacon nobody sent", proof(freshness=(bytes(32),)), "unknown_beacon"
    )


def messages() -> Iterator[Vector]:
    packed = wire.deflate(FIRST)
    other = zlib.compressobj(zdict=b"another dictionary")
    yield bad(
        "zip_bomb", "a mebibyte of zeros in a kilobyte", zlib.compress(b"\xd2" + bytes(2**20), 9), "too_large"
    )
    yield bad("zlib_trailing_bytes", "a byte after the stream", packed + b"\x00", "malformed")
    yield bad("zlib_truncated", "the stream is cut", packed[:-5], "malformed")
    yield bad(
        "zlib_other_dictionary",
        "another preset dictionary",
        other.compress(FIRST) + other.flush(),
        "malformed",
    )
    yield bad("json", "not this protocol", b'{"temperature": 21.5}', "malformed")


def other_objects() -> Iterator[Vector]:
    signer, by_gateway = GATEWAY.public_key, {1: GATEWAY_ID, 2: DEVICE_ID, 6: NOW_S}
    head_hash = cose.object_hash(FIRST)
    fields = {1: LOG, 2: 1, 3: head_hash, 4: [], 5: [], 6: NOW_S}

    def signed_receipt(changes: dict[int, Any], issuer: str = GATEWAY_ID) -> bytes:
        payload = cbor.encode({**fields, **changes})
        return cose.sign(Typ.RECEIPT, {**by_gateway, 1: issuer}, payload, GATEWAY)

    for name, shows, data, reason in (
        (
            "receipt_forged",
            "signed by a stranger",
            receipt.sign(Receipt(DEVICE_ID, LOG, 1, head_hash, NOW_S), STRANGER, NOW_S),
            "bad_key",
        ),
        (
            "receipt_flipped",
            "one bit of the head hash",
            flipped(signed_receipt({}), head_hash),
            "bad_signature",
        ),
        ("receipt_unknown_field", "field 7", signed_receipt({7: 0}), "malformed"),
        ("receipt_head_without_hash", "head 1 and null", signed_receipt({3: None}), "malformed"),
        (
            "receipt_of_another_device",
            "for a stranger",
            receipt.sign(Receipt(STRANGER_ID, LOG, 1, head_hash, NOW_S), GATEWAY, NOW_S),
            "unknown_device",
        ),
        (
            "receipt_of_another_issuer",
            "the issuer is not the key",
            signed_receipt({}, STRANGER_ID),
            "bad_key",
        ),
        ("receipt_is_a_proof", "a proof where a receipt belongs", FIRST, "wrong_typ"),
    ):
        yield Vector(name, "receipt", shows, data, reason, signer=signer)
    rolled_back = {"own_hashes": {"1": head_hash.hex()}, "own_log": LOG.hex()}
    yield Vector(
        "receipt_rolled_back",
        "receipt",
        "the gateway holds seq 4, this store ends at 1",
        HEAD,
        "rolled_back",
        rolled_back,
        signer,
    )
    yield Vector(
        "membership_forged",
        "membership",
        "signed by a key outside the claim",
        joining.sign_membership(MEMBERSHIP, STRANGER, NOW_S),
        "bad_key",
        signer=STRANGER.public_key,
    )
    yield Vector(
        "membership_of_another_device",
        "membership",
        "for a stranger",
        joining.sign_membership(replace(MEMBERSHIP, device=STRANGER_ID), GATEWAY, NOW_S),
        "unknown_device",
        signer=signer,
    )
    wrong_secret = joining.sign_enrolment(
        replace(CLAIM, secret=bytes(32)), DESCRIPTOR, bytes(32), DEVICE, NOW_S
    )
    yield Vector(
        "enrolment_wrong_secret", "enrolment", "made with another secret", wrong_secret, "claim_refused"
    )
    yield Vector(
        "enrolment_flipped",
        "enrolment",
        "one bit of the claim id",
        flipped(ENROLMENT, CLAIM.claim_id),
        "bad_signature",
    )
    text = CLAIM.to_text()
    yield Vector(
        "claim_cut_off", "claim", "the last 20 characters are missing", text[:-20].encode(), "malformed"
    )
    yield Vector("claim_wrong_prefix", "claim", "another version", f"fp2.{text[4:]}".encode(), "malformed")
    expired = replace(CLAIM, expires_s=NOW_S - 1).to_text().encode()
    yield Vector(
        "claim_expired", "claim", "well formed: expiry is for the caller to judge", expired, "claim_refused"
    )


def vectors() -> Iterator[Vector]:
    yield from (*payloads(), *messages(), *other_objects())
