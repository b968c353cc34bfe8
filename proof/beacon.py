"""Beacons and challenges (§6): what makes a proof provably young.

- A beacon's hash inside a proof shows that the proof was signed after the beacon was.
- A challenge asks one device for a proof now; its nonce comes back in `eat_nonce`.
- Beacon payload map: 1 number, 2 nonce (16 bytes), 3 network. Challenge: 1 nonce (16 bytes), 2 deadline in s.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from proof import cbor, cose
from proof.claims import NONCE_BYTES
from proof.cose import IAT, ISS, SUB, Typ
from proof.fields import Fields
from proof.keys import Signer, device_id
from proof.reasons import Reason, Refused

PERIOD_S = 60
MAX_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Beacon:
    """`hash` names the signed beacon; a proof carries it."""

    network: str
    number: int
    nonce: bytes
    issued_at_s: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """The device samples every instrument and seals a proof within `deadline_s`."""

    device: str
    nonce: bytes
    deadline_s: int
    issued_at_s: int


def sign_beacon(network: str, number: int, nonce: bytes, signer: Signer, now_s: int) -> bytes:
    payload = cbor.encode({1: number, 2: nonce, 3: network})
    return cose.sign(Typ.BEACON, {ISS: device_id(signer.public_key), IAT: now_s}, payload, signer)


def open_beacon(data: bytes, gateway_keys: Collection[bytes], network: str) -> Beacon:
    """A beacon of `network` signed by one of its gateways; raises `Refused`."""
    signed = cose.parse(data, Typ.BEACON, MAX_BYTES)
    key = signed.require_signature(gateway_keys)
    claims = Fields(signed.claims, "the beacon's claims")
    issuer, issued_at_s = claims.text(ISS), claims.integer(IAT)
    claims.end()
    if issuer != device_id(key):
        raise Refused(Reason.BAD_KEY, "the issuer is not the signing gateway")
    fields = Fields(cbor.decode(signed.payload, MAX_BYTES, "the beacon"), "the beacon")
    beacon = Beacon(
        number=fields.integer(1, low=1),
        nonce=fields.data(2, NONCE_BYTES),
        network=fields.text(3, 32),
        issued_at_s=issued_at_s,
        hash=signed.hash,
    )
    fields.end()
    if beacon.network != network:
        raise Refused(Reason.WRONG_NETWORK, f"a beacon of network {beacon.network!r}")
    return beacon


def sign_challenge(device: str, nonce: bytes, deadline_s: int, signer: Signer, now_s: int) -> bytes:
    claims = {ISS: device_id(signer.public_key), SUB: device, IAT: now_s}
    return cose.sign(Typ.CHALLENGE, claims, cbor.encode({1: nonce, 2: deadline_s}), signer)


def open_challenge(data: bytes, gateway_keys: Collection[bytes], device: str) -> Challenge:
    """A challenge to `device`; raises `Refused`."""
    signed = cose.parse(data, Typ.CHALLENGE, MAX_BYTES)
    key = signed.require_signature(gateway_keys)
    claims = Fields(signed.claims, "the challenge's claims")
    issuer, subject, issued_at_s = claims.text(ISS), claims.text(SUB), claims.integer(IAT)
    claims.end()
    if issuer != device_id(key):
        raise Refused(Reason.BAD_KEY, "the issuer is not the signing gateway")
    if subject != device:
        raise Refused(Reason.UNKNOWN_DEVICE, "the challenge is for another device")
    fields = Fields(cbor.decode(signed.payload, MAX_BYTES, "the challenge"), "the challenge")
    challenge = Challenge(device, fields.data(1, NONCE_BYTES), fields.integer(2, 1, 86_400), issued_at_s)
    fields.end()
    return challenge
