"""Rotation of a device's key (§8.4), and which key is in force where.

- A rotation is two signed objects, one in the other: the key in force signs (typ rotation) what the new key
  has signed (typ new-key): log, seq, the new key, and the hash of the key after it.
- It takes effect with the proof that carries it: log and seq are that proof's, which the new key signs.
- The new key must be the one committed to: at enrolment, then by each rotation. Who stole the key in force
  cannot sign for it, and who stole only the next one cannot sign the outer object.
- A device that does not know whether a rotation arrived repeats it in the first proof of its next log. A
  rotation to the key in force changes nothing, and is checked like the first time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from proof import cbor, cose
from proof.claims import HASH_BYTES, LOG_BYTES, MAX_ROTATION_BYTES, Claims
from proof.cose import IAT, ISS, SignedObject, Typ
from proof.fields import Fields
from proof.keys import PUBLIC_KEY_BYTES, Signer
from proof.reasons import Reason, Refused


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """One key of a device, the `number`-th after its first. `next_hash` is what it commits to, None where a
    verifier was not told; `before` the public key it followed."""

    public_key: bytes
    next_hash: bytes | None = None
    number: int = 0
    before: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """A well-formed rotation object; whose signatures it bears is for `succeed` to say."""

    device: str
    log: bytes
    seq: int
    public_key: bytes
    next_hash: bytes
    outer: SignedObject
    inner: SignedObject


def commitment(public_key: bytes) -> bytes:
    """SHA-256 of a public key's 32 bytes: how a next key is named before its time."""
    return hashlib.sha256(public_key).digest()


def sign(log: bytes, seq: int, old: Signer, new: Signer, next_hash: bytes, now_s: int) -> bytes:
    """The rotation from `old` to `new` that proof `seq` of `log` is to carry."""
    claims = {ISS: old.device, IAT: now_s}
    payload = cbor.encode({1: log, 2: seq, 3: new.public_key, 4: next_hash})
    return cose.sign(Typ.ROTATION, claims, cose.sign(Typ.NEW_KEY, claims, payload, new), old)


def parse(data: bytes) -> Rotation:
    """Raises `Refused` bad_rotation."""
    try:
        outer = cose.parse(data, Typ.ROTATION, MAX_ROTATION_BYTES)
        inner = cose.parse(outer.payload, Typ.NEW_KEY, MAX_ROTATION_BYTES)
        fields = Fields(cbor.decode(inner.payload, MAX_ROTATION_BYTES, "the rotation"), "the rotation")
        rotation = Rotation(
            device=_issuer(outer),
            log=fields.data(1, LOG_BYTES),
            seq=fields.integer(2, low=1),
            public_key=fields.data(3, PUBLIC_KEY_BYTES),
            next_hash=fields.data(4, HASH_BYTES),
            outer=outer,
            inner=inner,
        )
        fields.end()
        if _issuer(inner) != rotation.device:
            raise Refused(Reason.MALFORMED, "the two objects name different devices")
    except Refused as refused:
        raise _bad(refused.verdict.detail) from None
    return rotation


def of_proof(claims: Claims) -> Rotation | None:
    """The rotation a proof carries, None where it carries none; raises `Refused` bad_rotation."""
    if claims.rotation is None:
        return None
    rotation = parse(claims.rotation)
    if (rotation.device, rotation.log, rotation.seq) != (claims.device, claims.log, claims.seq):
        raise _bad("it was made for another proof")
    return rotation


def succeed(rotation: Rotation, key: DeviceKey) -> DeviceKey:
    """The key in force after `rotation`, `key` being the one before; raises `Refused` bad_rotation."""
    repeated = rotation.public_key == key.public_key
    signer = key.before if repeated else key.public_key
    _require(rotation.outer, signer, "the key it follows")
    _require(rotation.inner, rotation.public_key, "the new key")
    if repeated:
        if key.next_hash not in (None, rotation.next_hash):
            raise _bad("it repeats a rotation and commits to another key")
        return key
    if key.next_hash not in (None, commitment(rotation.public_key)):
        raise _bad("the new key is not the one that was committed to")
    return DeviceKey(rotation.public_key, rotation.next_hash, key.number + 1, key.public_key)


def _require(signed: SignedObject, public_key: bytes | None, whose: str) -> None:
    try:
        signed.require_signature([public_key] if public_key else [])
    except Refused:
        raise _bad(f"it is not signed by {whose}") from None


def _issuer(signed: SignedObject) -> str:
    claims = Fields(signed.claims, "the rotation's claims")
    issuer = claims.text(ISS)
    claims.integer(IAT)
    claims.end()
    if signed.content_type != cose.CONTENT_CBOR:
        raise Refused(Reason.MALFORMED, "a rotation's content type is 60")
    return issuer


def _bad(detail: str) -> Refused:
    return Refused(Reason.BAD_ROTATION, detail)
