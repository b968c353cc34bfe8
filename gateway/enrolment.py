"""Who may join (§8.2, §8.3). Pure: a request, a time and the register in; an admission or a refusal out.

- A claim is good for one key, once, until it expires; the secret itself is never sent.
- A member that asks again gets the membership it has, whatever claim it shows, with any key it has or had:
  the bytes are public, and a device may ask before it knows that its rotation arrived (§8.4).
- A key that is not the device's is not answered: who is not a member signs with the key its id names.
- A refusal is only ever told to the key that signed the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from proof import joining, wire
from proof.joining import Enrolment, Kind, Membership
from proof.keys import Signer, device_id
from proof.reasons import Reason, Refused, Verdict


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """What the gateway kept of a claim; `used_by` is the device id that spent it."""

    secret: bytes = field(repr=False)
    expires_s: int
    owner: str
    used_by: str | None


@dataclass(frozen=True, slots=True)
class Admission:
    """`new`: to be written to the ledger; else the membership is the one given before."""

    enrolment: Enrolment
    request: bytes = field(repr=False)
    membership: bytes = field(repr=False)
    owner: str
    new: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """`device` is None where the request bears no valid signature of a key of that device."""

    verdict: Verdict
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """What every membership of this network says."""

    name: str
    kind: Kind
    quality: Mapping[str, float]


class Members(Protocol):
    def claim(self, claim_id: bytes) -> StoredClaim | None: ...

    def membership(self, device: str) -> bytes | None: ...

    def has_key(self, device: str, public_key: bytes) -> bool: ...

    def is_revoked(self, device: str) -> bool: ...


def enrol(
    message: bytes, device: str, now_s: int, network: Network, members: Members, signer: Signer
) -> Admission | Refusal:
    """The answer to one message on `device`'s enrol topic."""
    try:
        request = wire.inflate(message, joining.MAX_BYTES)
        enrolment = joining.open_enrolment(request)  # §8.2: its signature fits the key it names
    except Refused as refused:
        return Refusal(refused.verdict)
    if enrolment.device != device:
        return Refusal(Verdict(Reason.UNKNOWN_DEVICE, "the topic names another device than the request"))
    known = members.membership(device)
    own = device == device_id(enrolment.public_key)
    if not (own if known is None else members.has_key(device, enrolment.public_key)):
        return Refusal(Verdict(Reason.BAD_KEY, "the request is signed by a key that is not this device's"))
    if enrolment.network != network.name:
        return Refusal(Verdict(Reason.WRONG_NETWORK, f"asked for {enrolment.network!r}"), device)
    if known is not None and members.is_revoked(device):
        return Refusal(Verdict(Reason.REVOKED), device)
    if known is not None:
        return Admission(enrolment, request, known, "", new=False)
    if enrolment.descriptor.for_tests_only and network.kind == "live":
        return Refusal(Verdict(Reason.SIMULATED_ON_LIVE), device)
    claim = members.claim(enrolment.claim_id)
    if claim is None:
        return Refusal(Verdict(Reason.CLAIM_REFUSED, "the claim is unknown"), device)
    if not joining.knows_secret(enrolment, claim.secret):
        return Refusal(Verdict(Reason.CLAIM_REFUSED, "the claim's secret is wrong"), device)
    if claim.used_by is not None:
        return Refusal(Verdict(Reason.CLAIM_REFUSED, "the claim was used by another device"), device)
    if claim.expires_s == 0:
        return Refusal(Verdict(Reason.CLAIM_REFUSED, "the claim was withdrawn"), device)
    if now_s > claim.expires_s:
        return Refusal(Verdict(Reason.CLAIM_REFUSED, "the claim has expired"), device)
    membership = Membership(
        device=device,
        network=network.name,
        kind=network.kind,
        gateway_keys=(signer.public_key,),
        quality=tuple(sorted(network.quality.items())),
        issued_s=now_s,
        expires_s=None,
    )
    signed = joining.sign_membership(membership, signer, now_s)
    return Admission(enrolment, request, signed, claim.owner, new=True)
