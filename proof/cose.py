"""Signed objects: COSE_Sign1 (§2, RFC 9052 §4.2).

- Tag 18, unprotected header empty, external_aad empty, payload embedded.
- Protected header: alg 1, content type 3, kid 4, CWT claims 15 (RFC 9597), typ 16 (RFC 9596); nothing else.
- Signature input: `84 | "Signature1" | bstr(protected) | bstr("") | bstr(payload)`.
- Opening is two calls: `parse` gives shape (§2.1-2.5), `SignedObject.require_signature` gives trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proof import cbor
from proof.keys import SIGNATURE_BYTES, Signer, key_id, signature_fits
from proof.reasons import Reason, Refused

ALG_EDDSA, ALG_ED25519 = -8, -19
CONTENT_SENML_CBOR, CONTENT_CBOR = 112, 60
H_ALG, H_CONTENT, H_KID, H_CLAIMS, H_TYP = 1, 3, 4, 15, 16
_HEADERS = {H_ALG, H_CONTENT, H_KID, H_CLAIMS, H_TYP}
ISS, SUB, AUD, IAT = 1, 2, 3, 6  # CWT claims (RFC 8392 §3.1)

MAX_BYTES = 256 * 1024 + 4096
_FRAME_START, _EMPTY_MAP = b"\xd2\x84", b"\xa0"  # tag 18, array of four; the unprotected header


class Typ(StrEnum):
    """§2.4: the typ header separates domains."""

    PROOF = "application/fieldproof-proof+cose"
    RECEIPT = "application/fieldproof-receipt+cose"
    BEACON = "application/fieldproof-beacon+cose"
    ENROLMENT = "application/fieldproof-enrolment+cose"
    MEMBERSHIP = "application/fieldproof-membership+cose"
    CALIBRATION = "application/fieldproof-calibration+cose"
    ROTATION = "application/fieldproof-rotation+cose"
    NEW_KEY = "application/fieldproof-new-key+cose"
    CHALLENGE = "application/fieldproof-challenge+cose"

    @property
    def word(self) -> str:
        """What people call it: `proof`, `receipt` …"""
        return self.value.removeprefix("application/fieldproof-").removesuffix("+cose")


@dataclass(frozen=True, slots=True)
class SignedObject:
    """A well-formed signed object whose signature has not been looked at yet."""

    typ: Typ
    kid: bytes
    content_type: int
    claims: dict[int, Any]
    payload: bytes
    protected: bytes
    signature: bytes
    hash: bytes  # §2.6: SHA-256 of the complete bytes as received

    def require_signature(self, public_keys: Iterable[bytes]) -> bytes:
        """The one of `public_keys` that signed this; raises `Refused` bad_key or bad_signature."""
        candidates = [key for key in public_keys if key_id(key) == self.kid]
        if not candidates:
            raise Refused(Reason.BAD_KEY, f"kid {self.kid.hex()}")
        to_be_signed = _to_be_signed(self.protected, self.payload)
        for key in candidates:
            if signature_fits(key, to_be_signed, self.signature):
                return key
        raise Refused(Reason.BAD_SIGNATURE)


def sign(
    typ: Typ, claims: dict[int, Any], payload: bytes, signer: Signer, content_type: int = CONTENT_CBOR
) -> bytes:
    """The complete COSE_Sign1 bytes."""
    protected = cbor.encode(
        {
            H_ALG: ALG_EDDSA,
            H_CONTENT: content_type,
            H_KID: key_id(signer.public_key),
            H_CLAIMS: claims,
            H_TYP: typ.value,
        }
    )
    signature = signer.sign(_to_be_signed(protected, payload))
    return _FRAME_START + cbor.bstr(protected) + _EMPTY_MAP + cbor.bstr(payload) + cbor.bstr(signature)


def parse(data: bytes, typ: Typ, limit: int = MAX_BYTES) -> SignedObject:
    """Check size and shape (§2.1-2.5); raises `Refused` too_large, malformed or wrong_typ."""
    if len(data) > limit:
        raise Refused(Reason.TOO_LARGE, f"the message has {len(data)} bytes, the limit is {limit}")
    protected, payload, signature = _frame(data)
    header = cbor.decode(protected, limit, "the protected header")
    if not isinstance(header, dict) or set(header) != _HEADERS:
        raise Refused(Reason.MALFORMED, "the protected header must hold 1, 3, 4, 15 and 16 and nothing else")
    if type(header[H_ALG]) is not int or header[H_ALG] not in (ALG_EDDSA, ALG_ED25519):
        raise Refused(Reason.MALFORMED, "alg must be -8 or -19")
    match (header[H_CONTENT], header[H_KID], header[H_CLAIMS], header[H_TYP]):
        case (int(content_type), bytes(kid), dict(claims), str(found)) if (
            type(content_type) is int and len(kid) == 8
        ):
            pass
        case _:
            raise Refused(Reason.MALFORMED, "a protected header field has the wrong type")
    if found != typ.value:
        raise Refused(Reason.WRONG_TYP, f"found {found[:64]!r}, expected {typ.value!r}")
    return SignedObject(
        typ=typ,
        kid=kid,
        content_type=content_type,
        claims=claims,
        payload=payload,
        protected=protected,
        signature=signature,
        hash=object_hash(data),
    )


def typ_of(data: bytes) -> Typ:
    """The typ an object claims, before anything else is checked; raises `Refused`."""
    protected, _payload, _signature = _frame(data)
    header = cbor.decode(protected, MAX_BYTES, "the protected header")
    try:
        return Typ(header[H_TYP])
    except (TypeError, LookupError, ValueError):
        raise Refused(Reason.WRONG_TYP, "no known typ") from None


def object_hash(data: bytes) -> bytes:
    """§2.6."""
    return hashlib.sha256(data).digest()


def _frame(data: bytes) -> tuple[bytes, bytes, bytes]:
    """(protected, payload, signature) of the one deterministic form there is of the outer array."""
    view = memoryview(data)
    protected, rest = cbor.take_bstr(view[len(_FRAME_START) :])
    payload, tail = cbor.take_bstr(rest[len(_EMPTY_MAP) :])
    signature, end = cbor.take_bstr(tail)
    if view[:2] != _FRAME_START or rest[:1] != _EMPTY_MAP or len(signature) != SIGNATURE_BYTES or len(end):
        raise Refused(Reason.MALFORMED, "not a tagged COSE_Sign1 with an empty unprotected header")
    return protected, payload, signature


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    return b"\x84\x6aSignature1" + cbor.bstr(protected) + b"\x40" + cbor.bstr(payload)
