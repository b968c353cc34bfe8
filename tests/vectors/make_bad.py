"""Bad proofs: each is wrong in one way, and says which reason a verifier must give.

Most are signed rightly: a thief of nothing but bytes is the smaller part of what a verifier must refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proof import cbor, cose
from proof.claims import Predecessor
from proof.cose import Typ
from proof.keys import SeedSigner, key_id
from tests.proof_samples import (
    DEVICE,
    LOG,
    NEXT_KEY,
    STRANGER,
    STRANGER_ID,
    claims,
    following,
    proof,
    reading,
    turn,
)
from tests.vectors.make_good import BY_THE_NEW_KEY, ONE_READING, WITH_DESCRIPTOR, WITH_ROTATION, Vector

FIRST = WITH_DESCRIPTOR
PARTS = cose.parse(FIRST, Typ.PROOF)
HEADER = cbor.decode(PARTS.protected, 10_000, "the header")
AFTER_FIRST = {"after": ["proof_with_descriptor"]}


def flipped(data: bytes, part: bytes) -> bytes:
    """`data` with the middle bit of `part` inverted."""
    at = data.index(part) + len(part) // 2
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def framed(
    protected: bytes,
    payload: bytes,
    signature: bytes | None = None,
    unprotected: bytes = b"\xa0",
    signer: SeedSigner = DEVICE,
) -> bytes:
    """A COSE_Sign1 from its parts, signed rightly unless a signature is given."""
    if signature is None:
        signature = signer.sign(cbor.encode(["Signature1", protected, b"", payload]))
    return b"\xd2\x84" + cbor.bstr(protected) + unprotected + cbor.bstr(payload) + cbor.bstr(signature)


def with_header(changes: dict[Any, Any]) -> bytes:
    return framed(cbor.encode({**HEADER, **changes}), PARTS.payload)


def with_claims(changes: dict[int, Any]) -> bytes:
    """A proof whose claims no sealer of ours would write; a value of None leaves the claim out."""
    changed = {**claims().to_map(), **changes}
    return with_header({15: {label: value for label, value in changed.items() if value is not None}})


def with_payload(payload: bytes) -> bytes:
    return framed(PARTS.protected, payload)


def bad(
    name: str,
    shows: str,
    data: bytes,
    expected: str,
    extra: dict[str, Any] | None = None,
    signer: bytes = DEVICE.public_key,
) -> Vector:
    return Vector(name, "proof", shows, data, expected, extra or {}, signer)


def frames() -> Iterator[Vector]:
    malformed = "malformed"
    frame = FIRST[2:]
    yield bad(
        "signature_flipped", "one bit of the signature", flipped(FIRST, PARTS.signature), "bad_signature"
    )
    yield bad("payload_flipped", "one bit of a reading", flipped(FIRST, b"temperature"), "bad_signature")
    yield bad(
        "protected_flipped", "one bit of the boot seed", flipped(FIRST, bytes(range(16))), "bad_signature"
    )
    yield bad(
        "signature_of_zeros",
        "no signature at all",
        framed(PARTS.protected, PARTS.payload, bytes(64)),
        "bad_signature",
    )
    yield bad("truncated", "the last byte is missing", FIRST[:-1], malformed)
    yield bad("trailing_byte", "a byte after the object", FIRST + b"\x00", malformed)
    yield bad("empty_message", "no byte at all", b"", malformed)
    yield bad("untagged", "COSE_Sign1 without its tag 18", FIRST[1:], malformed)
    yield bad("tag_long_form", "tag 18 in two bytes", b"\xd8\x12" + FIRST[1:], malformed)
    yield bad(
        "outer_array_indefinite", "the outer array has no length", b"\xd2\x9f" + frame + b"\xff", malformed
    )
    yield bad(
        "unprotected_not_empty",
        "a header outside the signature",
        framed(PARTS.protected, PARTS.payload, PARTS.signature, b"\xa1\x04\x41\x01"),
        malformed,
    )
    yield bad(
        "payload_detached",
        "null where the payload belongs",
        FIRST[: -len(cbor.bstr(PARTS.payload)) - 66] + b"\xf6" + FIRST[-66:],
        malformed,
    )


def headers() -> Iterator[Vector]:
    yield bad("header_extra", "x5chain in the protected header", with_header({33: b"cert"}), "malformed")
    yield bad("header_crit", "crit names a header we do not know", with_header({2: [99]}), "malformed")
    yield bad("alg_es256", "alg -7 over an Ed25519 signature", with_header({1: -7}), "malformed")
    yield bad("alg_float", "alg -8.0", with_header({1: -8.0}), "malformed")
    yield bad("content_type_cbor", "a proof of content type 60", with_header({3: 60}), "malformed")
    yield bad(
        "kid_of_another_key",
        "the key id of a stranger",
        with_header({4: key_id(STRANGER.public_key)}),
        "bad_key",
    )
    yield bad(
        "signed_by_a_stranger",
        "a stranger signs in the device's name",
        proof(signer=STRANGER),
        "bad_key",
        signer=STRANGER.public_key,
    )
    yield bad(
        "unknown_device",
        "a device that never joined",
        proof(signer=STRANGER, device=STRANGER_ID),
        "unknown_device",
        signer=STRANGER.public_key,
    )
    for typ in Typ:
        if typ is not Typ.PROOF:
            name = typ.value.removeprefix("application/fieldproof-").removesuffix("+cose").replace("-", "_")
            yield bad(
                f"typ_{name}",
                f"a proof that calls itself a {name}",
                with_header({16: typ.value}),
                "wrong_typ",
            )
    for name, shows, header in (
        (
            "header_long_integer",
            "alg -8 in two bytes",
            PARTS.protected.replace(b"\x01\x27", b"\x01\x38\x07", 1),
        ),
        ("header_duplicate_key", "alg twice", b"\xa6\x01\x27" + PARTS.protected[1:]),
        (
            "header_unsorted_keys",
            "content type before alg",
            b"\xa5\x03\x18\x70\x01\x27" + PARTS.protected[len(b"\xa5\x01\x27\x03\x18\x70") :],
        ),
        (
            "header_true_as_key",
            "true where the key 1 belongs",
            PARTS.protected.replace(b"\x01\x27", b"\xf5\x27", 1),
        ),
        ("header_indefinite_map", "a map without a length", b"\xbf" + PARTS.protected[1:] + b"\xff"),
    ):
        yield bad(name, shows, framed(header, PARTS.payload), "malformed")


def claim_sets() -> Iterator[Vector]:
    yield bad("seq_zero", "numbers start at 1", with_claims({-70002: 0}), "malformed")
    yield bad(
        "seq_two_without_prev",
        "only the first proof has no predecessor",
        with_claims({-70002: 2}),
        "malformed",
    )
    yield bad("seq_true", "true is not the number 1", with_claims({-70002: True}), "malformed")
    yield bad("log_of_seven_bytes", "a log's name has 8 bytes", with_claims({-70001: bytes(7)}), "malformed")
    yield bad("claim_unknown", "a claim this version does not know", with_claims({-70009: 0}), "malformed")
    yield bad("rotation_not_bytes", "a map where the object belongs", with_claims({-70008: {}}), "malformed")
    yield bad("rotation_too_large", "more than 2,048 bytes", with_claims({-70008: bytes(2049)}), "too_large")
    yield bad("claim_missing_time", "no time claim", with_claims({-70004: None}), "malformed")
    yield bad("nonce_short", "eat_nonce is no hash", with_claims({10: bytes(8)}), "malformed")
    yield bad(
        "gap_backwards",
        "a gap that ends before it begins",
        with_claims({-70006: [[3, 2, bytes(32), bytes(32), ""]]}),
        "malformed",
    )
    yield bad("wrong_network", "sealed for another network", proof(network="heath"), "wrong_network")
    yield bad(
        "simulated_on_live", "the network is live", FIRST, "simulated_on_live", {"network_kind": "live"}
    )


def chains() -> Iterator[Vector]:
    new_log = proof(log=bytes(8), prev=Predecessor(LOG, None, "store lost"))
    yield bad("replayed", "the very same proof again", FIRST, "duplicate", AFTER_FIRST)
    yield bad(
        "equivocation", "another proof at the same place", proof(reading(9)), "equivocation", AFTER_FIRST
    )
    yield bad(
        "broken_chain", "prev is not the head", following(FIRST, prev=bytes(32)), "broken_chain", AFTER_FIRST
    )
    yield bad("ahead_of_the_head", "seq 2 is missing", following(ONE_READING), "held", AFTER_FIRST)
    yield bad("new_log_unnamed", "a new log that names none", proof(log=bytes(8)), "rolled_back", AFTER_FIRST)
    yield bad(
        "new_log_names_another",
        "a new log after a log that is not the open one",
        proof(log=bytes(8), prev=Predecessor(b"\xff" * 8, None, "")),
        "rolled_back",
        AFTER_FIRST,
    )
    yield bad(
        "bootcount_fell",
        "an earlier boot after a later one",
        following(FIRST, bootcount=2),
        "rolled_back",
        AFTER_FIRST,
    )
    yield bad(
        "revoked_later_seq",
        "after the last good number",
        ONE_READING,
        "revoked",
        {**AFTER_FIRST, "good_until": [LOG.hex(), 1]},
    )
    yield bad(
        "revoked_new_log",
        "a revoked key opens a new log",
        new_log,
        "revoked",
        {**AFTER_FIRST, "good_until": [LOG.hex(), 1]},
    )
    yield bad(
        "suspended", "the device forked before", ONE_READING, "suspended", {**AFTER_FIRST, "suspended": True}
    )


def rotations() -> Iterator[Vector]:
    def second(data: bytes, signer: SeedSigner = NEXT_KEY) -> bytes:
        return following(FIRST, reading(1), rotation=data, signer=signer)

    outer = cose.parse(turn(2), Typ.ROTATION)
    inner = cose.parse(outer.payload, Typ.NEW_KEY)
    by_another = cose.sign(Typ.NEW_KEY, inner.claims, inner.payload, STRANGER)
    forged = cose.sign(Typ.ROTATION, outer.claims, by_another, DEVICE)
    other_device = SeedSigner(bytes(range(32)), "sim", STRANGER_ID)
    wrong = (
        ("by_a_thief_of_the_key", "to a key nobody committed to", turn(2, new=STRANGER), STRANGER),
        ("by_a_thief_of_the_next_key", "the key in force did not sign", turn(2, old=NEXT_KEY), NEXT_KEY),
        ("of_another_seq", "made for the third proof", turn(3), NEXT_KEY),
        ("of_another_log", "made for another log", turn(2, log=bytes(8)), NEXT_KEY),
        ("of_another_device", "names another device", turn(2, old=other_device), NEXT_KEY),
        ("inner_flipped", "one bit of the new key's signature", flipped(turn(2), inner.signature), NEXT_KEY),
        ("outer_flipped", "one bit of the old key's signature", flipped(turn(2), outer.signature), NEXT_KEY),
        ("inner_by_another_key", "the new key is named and has not signed", forged, NEXT_KEY),
        ("inner_alone", "what the new key signed, and no more", outer.payload, NEXT_KEY),
        ("empty", "no object at all", b"", NEXT_KEY),
    )
    for name, shows, data, signer in wrong:
        yield bad(
            f"rotation_{name}", shows, second(data, signer), "bad_rotation", AFTER_FIRST, signer.public_key
        )
    yield bad(
        "rotation_signed_by_the_old_key",
        "the proof that carries it is the new key's",
        second(turn(2), DEVICE),
        "bad_key",
        AFTER_FIRST,
    )
    turned = {"after": ["proof_with_descriptor", "proof_with_rotation"]}
    yield bad(
        "rotated_out_next_proof",
        "the old key goes on after the rotation",
        following(WITH_ROTATION, reading(2)),
        "bad_key",
        turned,
    )
    yield bad(
        "rotated_out_new_log",
        "the old key opens a log",
        proof(log=bytes(8), prev=Predecessor(LOG, None, "store lost")),
        "bad_key",
        turned,
    )
    yield bad(
        "rotated_out_equivocation",
        "the old key forks what lies before the rotation: evidence, and no suspension",
        proof(reading(9)),
        "equivocation",
        turned,
    )
    yield bad(
        "rotated_out_is_known",
        "the old key's proof before the rotation, again",
        FIRST,
        "duplicate",
        turned,
    )
    yield bad(
        "new_key_not_known_yet",
        "the rotation did not arrive",
        BY_THE_NEW_KEY,
        "bad_key",
        AFTER_FIRST,
        NEXT_KEY.public_key,
    )


def vectors() -> Iterator[Vector]:
    yield from (*frames(), *headers(), *claim_sets(), *chains(), *rotations())
