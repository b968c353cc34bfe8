"""Verification of a proof (§4): bytes, a time and what is known in; a judgement out. Pure.

- Steps 4.1-4.7 decide: accepted, duplicate, held or rejected. Nothing later changes that.
- Steps 4.8-4.11 annotate an accepted proof: each finding is a verdict of its own.
- What is known is only read, through `Known`; the caller changes its ledger, or does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from proof import chain, rotation, sealing, wire
from proof.beacon import Beacon
from proof.chain import Head
from proof.claims import Claims, Gap
from proof.descriptor import Descriptor
from proof.joining import Kind
from proof.reasons import QUALITY_REASONS, Reason, Refused, Verdict
from proof.recompute import mismatches
from proof.rotation import DeviceKey
from proof.sealing import Proof
from proof.senml import Reading

STALE_BEACON_S = 3600


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What is known of a member. `key` is in force at its head; `good_until` is (log, last good seq) of a
    revoked device (§8.5)."""

    device: str
    key: DeviceKey
    head: Head | None = None
    bootcount: int = 0
    suspended: bool = False
    good_until: tuple[bytes, int] | None = None


class Known(Protocol):
    """What a verifier knows; every call only reads."""

    @property
    def network(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def device(self, device: str) -> DeviceRecord | None: ...

    def key(self, device: str, log: bytes, seq: int) -> DeviceKey:
        """The key of a known device that is in force for proof `seq` of `log` (0: before its first).

        A rotation counts from the moment a valid proof carries it, accepted or held. A log that was never
        opened begins with the key in force at the head."""

    def hash_at(self, device: str, log: bytes, seq: int) -> bytes | None: ...

    def gaps(self, device: str, log: bytes) -> Iterable[Gap]: ...

    def beacon(self, beacon_hash: bytes) -> Beacon | None: ...

    def descriptor(self, device: str, descriptor_hash: bytes) -> Descriptor | None: ...

    def announced(self, device: str) -> Descriptor | None:
        """The descriptor last announced, by a proof or by the enrolment."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`proof` is None only where the bytes are not even a proof; `readings` only where they are not valid;
    `key` signed it, and is None where no key of the device did."""

    verdict: Verdict
    proof: Proof | None = None
    key: DeviceKey | None = None
    notes: tuple[Verdict, ...] = ()
    readings: tuple[Reading, ...] | None = None


def verify(message: bytes, now_s: float, known: Known) -> Judgement:
    """The judgement on one message of topic `…/proof`."""
    try:
        proof = sealing.parse(wire.inflate(message))  # §4.1, §4.2
    except Refused as refused:
        return Judgement(refused.verdict)
    # §4.3 Device known; its key in force. §4.4 Signature.
    record = known.device(proof.claims.device)
    if record is None:
        return Judgement(Verdict(Reason.UNKNOWN_DEVICE), proof)
    try:
        key = signed_by(proof, known)
    except Refused as refused:
        return Judgement(refused.verdict, proof)
    verdict = decide(proof, record, key, known)
    if verdict.reason not in (Reason.ACCEPTED, Reason.HELD):
        return Judgement(verdict, proof, key)
    notes, readings = annotate(proof, now_s, known)
    return Judgement(verdict, proof, key, notes, readings)


def signed_by(proof: Proof, known: Known) -> DeviceKey:
    """Steps 4.3 and 4.4 of a known device's proof: the key that was in force for it, and that signed it.

    A proof with a rotation is signed by the key that the rotation brings (§8.4). Raises `Refused`."""
    claims = proof.claims
    turn = rotation.of_proof(claims)
    key = known.key(claims.device, claims.log, claims.seq - 1 if turn else claims.seq)
    key = rotation.succeed(turn, key) if turn else key
    proof.signed.require_signature([key.public_key])
    return key


def decide(proof: Proof, record: DeviceRecord, key: DeviceKey, known: Known) -> Verdict:
    """Steps 4.3 (revocation) and 4.5 to 4.7, for a proof whose signature is that of `key`."""
    claims = proof.claims
    # §4.3 Not revoked.
    if record.good_until is not None and not _before(claims, *record.good_until):
        return Verdict(Reason.REVOKED)
    # §4.5 Audience.
    if claims.network != known.network:
        return Verdict(Reason.WRONG_NETWORK, f"sealed for {claims.network!r}")
    descriptor = claims.descriptor
    if descriptor is not None and descriptor.for_tests_only and known.kind == "live":
        return Verdict(Reason.SIMULATED_ON_LIVE)
    # §4.6, §4.7 Already known, then the chain. Evidence of equivocation outranks a suspension.
    known_hash = known.hash_at(claims.device, claims.log, claims.seq)
    gaps = (*known.gaps(claims.device, claims.log), *claims.gaps)
    verdict = chain.place(claims, proof.hash, record.head, record.bootcount, known_hash, gaps)
    if verdict.reason is Reason.EQUIVOCATION and key.number < record.key.number:
        return Verdict(Reason.EQUIVOCATION, f"{verdict.detail}, by a key rotated out: nothing is suspended")
    if record.suspended and verdict.reason not in (Reason.DUPLICATE, Reason.EQUIVOCATION):
        return Verdict(Reason.SUSPENDED)
    return verdict


def _before(claims: Claims, good_log: bytes, good_seq: int) -> bool:
    """§8.5; logs have no order, so only the named one counts."""
    return claims.log == good_log and claims.seq <= good_seq


def annotate(
    proof: Proof, now_s: float, known: Known
) -> tuple[tuple[Verdict, ...], tuple[Reading, ...] | None]:
    """Steps 4.8 to 4.11."""
    claims = proof.claims
    notes = [*_time_notes(claims, now_s, known)]
    # §4.9 Descriptor known; instruments and the key's class unchanged or announced.
    descriptor = claims.descriptor or known.descriptor(claims.device, claims.descriptor_hash)
    if descriptor is None:
        notes.append(Verdict(Reason.INSTRUMENT_CHANGED, "the descriptor in force was never announced"))
    else:
        notes += _changes(known.announced(claims.device) or descriptor, descriptor)
    # §4.10 Payload; raw evidence recomputes to the value.
    try:
        readings = proof.readings()
    except Refused as refused:
        return (*notes, refused.verdict), None
    if descriptor is not None:
        notes += [Verdict(Reason.EVIDENCE_MISMATCH, detail) for detail in mismatches(descriptor, readings)]
    # §4.11 Quality flags, counted by kind.
    flagged = [reading.flags for reading in readings if reading.flags]
    counts = Counter(bit for flags in flagged for bit in QUALITY_REASONS if flags & bit)
    notes += [Verdict(QUALITY_REASONS[bit], f"{count} readings") for bit, count in sorted(counts.items())]
    return tuple(notes), readings


def _changes(before: Descriptor, now: Descriptor) -> Iterable[Verdict]:
    """§4.9: what the device says of itself and said otherwise before."""
    if (before.key_class, before.simulated) != (now.key_class, now.simulated):
        was, became = (d.key_class + ", simulated" * d.simulated for d in (before, now))
        yield Verdict(Reason.KEY_CLASS_CHANGED, f"{was} became {became}")
    serials = {i.name: i.serial for i in before.instruments}
    for i in now.instruments:
        if serials.get(i.name, i.serial) != i.serial:
            yield Verdict(Reason.INSTRUMENT_CHANGED, f"{i.name}: {serials[i.name]} became {i.serial}")


def _time_notes(claims: Claims, now_s: float, known: Known) -> Iterable[Verdict]:
    """§4.8: beacon known and young; sealing time between beacon and receipt, within the stated error."""
    beacon = known.beacon(claims.freshness[0]) if claims.freshness else None
    if beacon is None:
        if claims.freshness:
            yield Verdict(Reason.UNKNOWN_BEACON)
    elif now_s - beacon.issued_at_s > STALE_BEACON_S:
        yield Verdict(Reason.STALE_BEACON, f"{now_s - beacon.issued_at_s:.0f} s old")
    if claims.time.source == 0:
        return
    error_s = claims.time.maxerror_us / 1e6 + 1  # iat is in whole seconds
    if claims.sealed_at_s > now_s + error_s:
        yield Verdict(Reason.CLOCK_AHEAD, f"{claims.sealed_at_s - now_s:.0f} s")
    if beacon is not None and claims.sealed_at_s < beacon.issued_at_s - error_s:
        yield Verdict(Reason.CLOCK_BEHIND, f"{beacon.issued_at_s - claims.sealed_at_s:.0f} s")
