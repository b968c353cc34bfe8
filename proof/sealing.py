"""A proof: claims and readings, signed (§3).

`seal` makes one, `parse` opens one without trusting it yet; `verify` decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from proof import claims as claim_maps
from proof import cose, senml
from proof.claims import Claims
from proof.keys import Signer
from proof.reasons import Reason, Refused
from proof.senml import Reading


@dataclass(frozen=True, slots=True)
class Proof:
    """A well-formed proof. `data` are the COSE bytes as received, `signed.hash` names it."""

    data: bytes
    signed: cose.SignedObject
    claims: Claims

    @property
    def hash(self) -> bytes:
        return self.signed.hash

    def readings(self) -> tuple[Reading, ...]:
        """§4.10; raises `Refused` bad_payload or unknown_unit."""
        return senml.decode(self.signed.payload, self.claims.device)


def seal(claims: Claims, readings: tuple[Reading, ...], signer: Signer) -> bytes:
    """The COSE bytes of a proof. Raises ValueError where a proof's limits are exceeded (§3.6)."""
    payload = senml.encode(claims.device, readings)
    data = cose.sign(cose.Typ.PROOF, claims.to_map(), payload, signer, cose.CONTENT_SENML_CBOR)
    records = sum(reading.records() for reading in readings)
    if records > senml.MAX_RECORDS or len(payload) > senml.MAX_BYTES or len(data) > cose.MAX_BYTES:
        raise ValueError("a proof holds at most 4,096 records and 256 KiB")
    return data


def parse(data: bytes) -> Proof:
    """Raises `Refused` too_large, malformed or wrong_typ."""
    signed = cose.parse(data, cose.Typ.PROOF)
    if signed.content_type != cose.CONTENT_SENML_CBOR:
        raise Refused(Reason.MALFORMED, "a proof's content type is 112")
    return Proof(data=data, signed=signed, claims=claim_maps.from_map(signed.claims))
