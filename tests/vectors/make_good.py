"""The good vectors: one object of each kind, and one proof for each thing a proof can say."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from proof import beacon, bundle, cbor, cose, joining, receipt, sealing, wire
from proof.claims import Gap, Location, Lost, Predecessor
from proof.keys import SeedSigner
from proof.receipt import ProofVerdict, Receipt
from proof.senml import Measured, Reading
from tests.proof_samples import (
    BEACON,
    BEACON_BYTES,
    BURST,
    CLAIM,
    DESCRIPTOR,
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    LOG,
    MEMBERSHIP,
    NETWORK,
    NEXT_KEY,
    NOW_S,
    following,
    heartbeat,
    proof,
    reading,
    turn,
)


@dataclass(frozen=True)
class Vector:
    """`extra` goes into the index as it is: what a verifier must know, and what it must find."""

    name: str
    kind: str
    shows: str
    data: bytes
    expected: str = "accepted"
    extra: dict[str, Any] = field(default_factory=dict)
    signer: bytes = DEVICE.public_key


def minutes(count: int) -> tuple[Reading, ...]:
    """A made-up quiet morning: one row a minute, values in the instrument's resolution."""
    return tuple(
        Reading(
            "bme280-76",
            (NOW_S - 3600 + 60 * n) * 1000 + (n % 7),
            (
                Measured("temperature", "Cel", cbor.number(14.95 + 0.03 * n, 2)),
                Measured("pressure", "Pa", 103_008 - 2 * n),
                Measured("humidity", "%RH", cbor.number(73.72 - 0.11 * n, 2)),
            ),
        )
        for n in range(count)
    )


def receipt_of(head_seq: int, head_hash: bytes | None, **changes: Any) -> bytes:
    return receipt.sign(
        Receipt(DEVICE_ID, LOG, head_seq, head_hash, NOW_S + 9, **changes), GATEWAY, NOW_S + 9
    )


WITH_DESCRIPTOR = proof()
ONE_READING = following(WITH_DESCRIPTOR, reading(1))
SIXTY_READINGS = following(ONE_READING, *minutes(60))
HEARTBEAT = heartbeat(SIXTY_READINGS)
GAP = Gap(
    5, 7, cose.object_hash(b"the fifth, not kept"), cose.object_hash(b"the seventh, not kept"), "disk full"
)
GAP_AND_LOSS = following(
    HEARTBEAT,
    seq=8,
    prev=GAP.last_hash,
    gaps=(GAP,),
    lost=(Lost("bme280-76", 60_000_000_000, 240_000_000_000, 3, "bus stuck"),),
)
NEW_LOG = proof(
    log=bytes.fromhex("0102030405060708"),
    prev=Predecessor(LOG, cose.object_hash(GAP_AND_LOSS), "store lost"),
    bootcount=4,
)
RAW_EVIDENCE = proof(reading(raw=BURST, flags=16))
EVERYTHING = proof(
    reading(0, values=(Measured("temperature", "Cel", Decimal("-3.5")), Measured("pressure", "Pa", 98_012))),
    Reading("sds011-0", reading(0).time_ms, (Measured("pm2.5", "ug/m3", Decimal("4.2")),), 256),
    reading(1, values=(), flags=1),
    location=Location(Decimal("56.96"), Decimal("-2.21"), 54, 1000),
    freshness=(BEACON.hash, bytes(range(16, 32))),
)
TURN = turn(2)
WITH_ROTATION = following(WITH_DESCRIPTOR, reading(1), rotation=TURN, signer=NEXT_KEY)
BY_THE_NEW_KEY = following(WITH_ROTATION, reading(2), signer=NEXT_KEY)
CHAIN = (WITH_DESCRIPTOR, ONE_READING, SIXTY_READINGS, HEARTBEAT, GAP_AND_LOSS)
CHAIN_NAMES = (
    "proof_with_descriptor",
    "proof_one_reading",
    "proof_sixty_readings",
    "proof_heartbeat",
    "proof_with_gap_and_loss",
)
HEAD = receipt_of(4, cose.object_hash(HEARTBEAT))
JOINED = joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S - 3600)
ENROLMENT = joining.sign_enrolment(
    CLAIM, DESCRIPTOR, cose.object_hash(NEXT_KEY.public_key), DEVICE, NOW_S - 3660
)
CHALLENGE = beacon.sign_challenge(DEVICE_ID, bytes(range(16, 32)), 60, GATEWAY, NOW_S)
ASKING = receipt_of(
    4,
    cose.object_hash(HEARTBEAT),
    missing=((5, 6), (8, 8)),
    verdicts=(ProofVerdict(3, "clock_ahead", "12 s"),),
)
WITH_CA = replace(CLAIM, broker_ca=bytes(range(256))).to_text().encode()
REFUSED = ProofVerdict(0, "claim_refused", "the claim has expired")
REFUSAL = receipt.sign(Receipt(DEVICE_ID, bytes(8), 0, None, NOW_S, verdicts=(REFUSED,)), GATEWAY, NOW_S)
LAST_RECEIPT = receipt_of(8, cose.object_hash(GAP_AND_LOSS))
BUNDLE = b"".join(bundle.write(DEVICE_ID, NETWORK, (JOINED, BEACON_BYTES, *CHAIN, LAST_RECEIPT)))


TURNED = (WITH_DESCRIPTOR, WITH_ROTATION, BY_THE_NEW_KEY)
TURNED_RECEIPT = receipt_of(3, cose.object_hash(BY_THE_NEW_KEY))
TURNED_BUNDLE = b"".join(bundle.write(DEVICE_ID, NETWORK, (JOINED, BEACON_BYTES, *TURNED, TURNED_RECEIPT)))
LATER_BUNDLE = b"".join(bundle.write(DEVICE_ID, NETWORK, (JOINED, TURN, BY_THE_NEW_KEY)))


def readings_json(data: bytes) -> list[dict[str, Any]]:
    """The readings a verifier finds; exact numbers as texts."""
    return [
        {
            "instrument": row.instrument,
            "time_ms": row.time_ms,
            "values": {m.quantity: [str(m.value), m.unit] for m in row.values},
            **({"flags": row.flags} if row.flags else {}),
            **({"raw": row.raw.hex()} if row.raw else {}),
        }
        for row in sealing.parse(data).readings()
    ]


def proof_vector(
    name: str,
    shows: str,
    data: bytes,
    after: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    signer: SeedSigner = DEVICE,
) -> Vector:
    opened = sealing.parse(data)
    extra = {
        "after": list(after),
        "notes": list(notes),
        "log": opened.claims.log.hex(),
        "seq": opened.claims.seq,
        "hash": opened.hash.hex(),
        "readings": readings_json(data),
    }
    return Vector(name, "proof", shows, data, extra=extra, signer=signer.public_key)


def of_gateway(name: str, kind: str, shows: str, data: bytes) -> Vector:
    return Vector(name, kind, shows, data, signer=GATEWAY.public_key)


def packed(name: str, shows: str, data: bytes, form: str) -> Vector:
    return Vector(
        name,
        "proof",
        shows,
        data,
        extra={"after": CHAIN_NAMES[:2], "form": form, "inflates_to": CHAIN_NAMES[2]},
    )


def vectors() -> list[Vector]:
    one, two, three, four, five = CHAIN_NAMES
    return [
        proof_vector(one, "the first proof of a log carries the descriptor itself", WITH_DESCRIPTOR),
        proof_vector(two, "the smallest proof with a reading", ONE_READING, (one,)),
        proof_vector(three, "an hour of one row a minute", SIXTY_READINGS, (one, two)),
        proof_vector(four, "an empty window is a proof too", HEARTBEAT, (one, two, three)),
        proof_vector(five, "a declared gap carries the chain from 4 to 8", GAP_AND_LOSS, CHAIN_NAMES[:4]),
        proof_vector("proof_new_log", "a new log names the one whose store was lost", NEW_LOG, CHAIN_NAMES),
        proof_vector(
            "proof_raw_evidence", "words that give the values", RAW_EVIDENCE, (), ("quality_retried",)
        ),
        proof_vector(
            "proof_everything_optional",
            "location, challenge nonce, two instruments, a reading of flags alone",
            EVERYTHING,
            (),
            ("quality_range", "quality_late"),
        ),
        proof_vector(
            "proof_with_rotation", "the new key takes effect with it", WITH_ROTATION, (one,), signer=NEXT_KEY
        ),
        proof_vector(
            "proof_by_the_new_key",
            "what follows is signed by it",
            BY_THE_NEW_KEY,
            (one, "proof_with_rotation"),
            signer=NEXT_KEY,
        ),
        Vector("rotation", "rotation", "the old key signs what the new key signed", TURN),
        Vector(
            "new_key",
            "new-key",
            "the inner object of the rotation",
            cose.parse(TURN, cose.Typ.ROTATION).payload,
            signer=NEXT_KEY.public_key,
        ),
        packed(
            "proof_on_the_wire", "with the preset dictionary", wire.deflate(SIXTY_READINGS), "zlib+dictionary"
        ),
        packed("proof_on_the_wire_without_dictionary", "taken too", zlib.compress(SIXTY_READINGS, 9), "zlib"),
        of_gateway("receipt", "receipt", "everything up to seq 4 is durable at the gateway", HEAD),
        of_gateway("receipt_before_the_first_proof", "receipt", "head 0 goes with null", receipt_of(0, None)),
        of_gateway(
            "receipt_with_missing_and_verdicts", "receipt", "what is asked for again, and why", ASKING
        ),
        of_gateway("receipt_claim_refused", "receipt", "an enrolment refused: log of zeros, head 0", REFUSAL),
        of_gateway("beacon", "beacon", "what proofs of the next minute name", BEACON_BYTES),
        of_gateway("challenge", "challenge", "sample now and answer within 60 s", CHALLENGE),
        Vector("enrolment", "enrolment", "the secret is shown without being carried", ENROLMENT),
        of_gateway("membership", "membership", "what a device trusts follows from it", JOINED),
        Vector("claim", "claim", "made by the gateway's operator for one device", CLAIM.to_text().encode()),
        Vector("claim_with_authority", "claim", "its broker has an authority of its own", WITH_CA),
    ]
