"""Joining a network (§8.1-8.3): claim, enrolment request, membership.

- The claim is a text made by the gateway's operator; it authenticates both sides to each other.
- Its secret never travels: the request carries HMAC-SHA256(secret, public key).
- The membership is signed by a gateway key of the claim; everything a device trusts follows from it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from proof import cbor, cose
from proof import descriptor as descriptors
from proof.cose import AUD, IAT, ISS, SUB, Typ
from proof.descriptor import Descriptor
from proof.fields import Fields, finite
from proof.keys import PUBLIC_KEY_BYTES, Signer, device_id
from proof.reasons import Reason, Refused

Kind = Literal["live", "test"]
PREFIX = "fp1."
CLAIM_ID_BYTES, SECRET_BYTES, HASH_BYTES = 8, 32, 32
MAX_CLAIM_CHARS = 2048
MAX_BYTES = 64 * 1024
_MAX_KEYS = 16
_NETWORK = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class JoinClaim:
    """§8.1. One device each; `expires_s` is seconds since 1970, `broker_ca` DER (empty: the system's)."""

    network: str
    kind: Kind
    gateway_keys: tuple[bytes, ...]
    broker_url: str
    claim_id: bytes
    secret: bytes = field(repr=False)
    expires_s: int
    broker_ca: bytes = b""

    def to_text(self) -> str:
        fields: dict[int, Any] = {
            1: self.network,
            2: self.kind,
            3: list(self.gateway_keys),
            4: self.broker_url,
            5: self.claim_id,
            6: self.secret,
            7: self.expires_s,
        }
        if self.broker_ca:
            fields[8] = self.broker_ca
        return PREFIX + base64.urlsafe_b64encode(cbor.encode(fields)).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Enrolment:
    """§8.2, opened: the signature fits `public_key`, the secret is checked by `knows_secret`."""

    device: str
    network: str
    public_key: bytes
    descriptor: Descriptor
    claim_id: bytes
    secret_proof: bytes
    next_key_hash: bytes
    issued_at_s: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """§8.3. `quality` are the network's parameters, name -> number."""

    device: str
    network: str
    kind: Kind
    gateway_keys: tuple[bytes, ...]
    quality: tuple[tuple[str, float], ...]
    issued_s: int
    expires_s: int | None


def parse_claim(text: str) -> JoinClaim:
    """Raises `Refused` malformed; whether it is still valid is for the caller and the gateway."""
    text = text.strip()
    if len(text) > MAX_CLAIM_CHARS or not text.startswith(PREFIX):
        raise Refused(Reason.MALFORMED, f"a claim starts with {PREFIX!r}")
    body = text[len(PREFIX) :]
    try:
        packed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Reason.MALFORMED, "the claim is not base64url: was a part cut off?") from None
    fields = Fields(cbor.decode(packed, MAX_CLAIM_CHARS, "the claim"), "the claim")
    claim = JoinClaim(
        network=network_name(fields.text(1, 32)),
        kind=_kind(fields.text(2, 8)),
        gateway_keys=_keys(fields.array(3, _MAX_KEYS)),
        broker_url=fields.text(4, 256),
        claim_id=fields.data(5, CLAIM_ID_BYTES),
        secret=fields.data(6, SECRET_BYTES),
        expires_s=fields.integer(7),
        broker_ca=_authority(fields),
    )
    fields.end()
    return claim


def sign_enrolment(
    claim: JoinClaim, descriptor: Descriptor, next_key_hash: bytes, signer: Signer, now_s: int
) -> bytes:
    """The request a device sends; `next_key_hash` commits to the key a later rotation must use (§8.4)."""
    payload = {
        1: signer.public_key,
        2: descriptor.to_map(),
        3: claim.claim_id,
        4: _secret_proof(claim.secret, signer.public_key),
        5: next_key_hash,
    }
    claims = {ISS: signer.device, AUD: claim.network, IAT: now_s}
    return cose.sign(Typ.ENROLMENT, claims, cbor.encode(payload), signer)


def open_enrolment(data: bytes) -> Enrolment:
    """A request whose signature fits the key it names; raises `Refused`. Whether that key may speak for the
    device it names, which may be a stranger's, is for the gateway: it knows the keys of its members."""
    signed = cose.parse(data, Typ.ENROLMENT, MAX_BYTES)
    fields = Fields(cbor.decode(signed.payload, MAX_BYTES, "the enrolment"), "the enrolment")
    public_key = fields.data(1, PUBLIC_KEY_BYTES)
    signed.require_signature([public_key])
    claims = Fields(signed.claims, "the enrolment's claims")
    enrolment = Enrolment(
        device=claims.text(ISS),
        network=claims.text(AUD, 32),
        issued_at_s=claims.integer(IAT),
        public_key=public_key,
        descriptor=descriptors.from_map(fields.raw(2)),
        claim_id=fields.data(3, CLAIM_ID_BYTES),
        secret_proof=fields.data(4, HASH_BYTES),
        next_key_hash=fields.data(5, HASH_BYTES),
        hash=signed.hash,
    )
    claims.end()
    fields.end()
    return enrolment


def knows_secret(enrolment: Enrolment, secret: bytes) -> bool:
    """Whether the sender of `enrolment` holds the claim's secret (constant time)."""
    return hmac.compare_digest(_secret_proof(secret, enrolment.public_key), enrolment.secret_proof)


def sign_membership(membership: Membership, signer: Signer, now_s: int) -> bytes:
    payload = {
        1: membership.device,
        2: membership.network,
        3: membership.kind,
        4: list(membership.gateway_keys),
        5: {name: float(value) for name, value in membership.quality},
        6: membership.issued_s,
        7: membership.expires_s,
    }
    claims = {ISS: device_id(signer.public_key), SUB: membership.device, IAT: now_s}
    return cose.sign(Typ.MEMBERSHIP, claims, cbor.encode(payload), signer)


def open_membership(data: bytes, gateway_keys: Collection[bytes], device: str) -> Membership:
    """A membership of `device` signed by one of `gateway_keys`; raises `Refused`."""
    signed = cose.parse(data, Typ.MEMBERSHIP, MAX_BYTES)
    key = signed.require_signature(gateway_keys)
    claims = Fields(signed.claims, "the membership's claims")
    issuer, subject = claims.text(ISS), claims.text(SUB)
    claims.integer(IAT)
    claims.end()
    fields = Fields(cbor.decode(signed.payload, MAX_BYTES, "the membership"), "the membership")
    membership = Membership(
        device=fields.text(1),
        network=network_name(fields.text(2, 32)),
        kind=_kind(fields.text(3, 8)),
        gateway_keys=_keys(fields.array(4, _MAX_KEYS)),
        quality=_quality(fields.raw(5)),
        issued_s=fields.integer(6),
        expires_s=_expiry(fields.raw(7)),
    )
    fields.end()
    if issuer != device_id(key):
        raise Refused(Reason.BAD_KEY, "the issuer is not the signing gateway")
    if not subject == membership.device == device:
        raise Refused(Reason.UNKNOWN_DEVICE, "the membership is of another device")
    return membership


def network_name(text: str) -> str:
    """`text` if it is a network's name (§1.2); raises `Refused`."""
    if not _NETWORK.fullmatch(text):
        raise Refused(Reason.MALFORMED, "a network's name is 1 to 32 of a-z, 0-9 and -")
    return text


def _secret_proof(secret: bytes, public_key: bytes) -> bytes:
    return hmac.digest(secret, public_key, hashlib.sha256)


def _authority(fields: Fields) -> bytes:
    if not fields.has(8):
        return b""
    if not (authority := fields.data(8)):
        raise Refused(Reason.MALFORMED, "field 8 of the claim is empty")
    return authority


def _kind(text: str) -> Kind:
    if text not in ("live", "test"):
        raise Refused(Reason.MALFORMED, "a network is live or test")
    return cast(Kind, text)


def _keys(values: list[Any]) -> tuple[bytes, ...]:
    keys = tuple(value for value in values if isinstance(value, bytes) and len(value) == PUBLIC_KEY_BYTES)
    if not keys or len(keys) != len(values):
        raise Refused(Reason.MALFORMED, "gateway keys are one or more 32-byte keys")
    return keys


def _quality(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, dict) or len(value) > 64 or not all(isinstance(name, str) for name in value):
        raise Refused(Reason.MALFORMED, "quality parameters are not a map of names")
    return tuple((name, finite(number, name)) for name, number in value.items())


def _expiry(value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value
    raise Refused(Reason.MALFORMED, "expires is neither seconds nor null")
