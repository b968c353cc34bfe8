"""What the gateway does with a proof. Pure: bytes, a time and what is known in; an outcome out.

- An outcome is about one proof. After one that was accepted or held, `release` names the next held proof
  whose turn has come; the caller asks until there is none.
- Nothing a stranger can send is kept (§4.12): without a member's valid signature an outcome keeps nothing.
- A member's proof that is refused is kept as evidence; of an equivocation both proofs are (§4.6).
- An equivocation suspends, unless a key signed it that the device has rotated out (§4.6): a thief of that key
  must not be able to stop the device.
- A proof of a log that a later one has closed is not followed. Where it names a beacon that came after the
  closing, two boards sign with the key (§4.7).
- What is ahead of the head is held (§4.7). A gap counts from the moment a valid proof declares it, held or
  not: proofs after the gap may then follow the head before the declaring proof itself does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from proof import chain, sealing, wire
from proof.chain import Head
from proof.cose import object_hash
from proof.keys import public_key_of
from proof.reasons import Reason, Refused, Verdict
from proof.rotation import DeviceKey
from proof.sealing import Proof
from proof.senml import Reading
from proof.verify import DeviceRecord, Judgement, Known, annotate, verify

# These are decided before the signature is looked at, or by it.
_UNSIGNED = frozenset(
    {
        Reason.TOO_LARGE,
        Reason.MALFORMED,
        Reason.WRONG_TYP,
        Reason.UNKNOWN_DEVICE,
        Reason.BAD_KEY,
        Reason.BAD_ROTATION,
        Reason.BAD_SIGNATURE,
    }
)


class Keep(Enum):
    """What the ledger does with the proof of an outcome."""

    NOTHING = "nothing"
    ACCEPTED = "accepted"
    HELD = "held"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`member`: the proof bears a member's valid signature, so its device gets a receipt.

    `readings` are those of a valid payload. `suspends` only with an equivocation. `key` signed the proof:
    if that carries a rotation, it is in force from there on. `outdated`: a key of the device signed it that
    was rotated out; nothing is kept, and the device is told.
    """

    verdict: Verdict
    keep: Keep = Keep.NOTHING
    member: bool = False
    proof: Proof | None = None
    received_at_s: float = 0.0
    notes: tuple[Verdict, ...] = ()
    readings: tuple[Reading, ...] = ()
    suspends: bool = False
    key: DeviceKey | None = None
    outdated: bool = False


class LedgerView(Known, Protocol):
    """What the rules read: all a verifier knows, and the proofs that wait."""

    def held(self, device: str, log: bytes, seq: int) -> tuple[bytes, float] | None:
        """(COSE bytes, received at in s) of the held proof, None if there is none."""

    def keys(self, device: str) -> Iterable[bytes]:
        """All public keys of a device, those that were rotated out too."""

    def closed_s(self, device: str, log: bytes) -> float | None:
        """When the first proof of the log after `log` was received; None where `log` is open or never was."""


def receive(message: bytes, device: str, now_s: float, known: LedgerView) -> Outcome:
    """The outcome of one message on `device`'s proof topic."""
    judgement = verify(message, now_s, known)
    verdict, proof = judgement.verdict, judgement.proof
    if proof is None or verdict.reason in _UNSIGNED:
        outdated = proof is not None and verdict.reason is Reason.BAD_KEY and _was_a_key(proof, device, known)
        return Outcome(verdict, proof=proof, outdated=outdated)
    if proof.claims.device != device:
        return Outcome(
            Verdict(Reason.UNKNOWN_DEVICE, "the topic names another device than the proof"), proof=proof
        )
    if verdict.reason is Reason.DUPLICATE:
        return Outcome(verdict, member=True, proof=proof)
    if verdict.reason is Reason.HELD:
        verdict = _of_a_closed_log(proof, judgement.key, known) or verdict
    outcome = _outcome(verdict, proof, now_s, judgement.notes, judgement.readings or ())
    return replace(outcome, key=judgement.key, suspends=_suspends(judgement, device, known))


def to_be_told(message: bytes, outcome: Outcome, device: str, known: LedgerView) -> bytes | None:
    """§5.1: the hash by which `device` is told that `message` was refused; None where nobody is told.

    What a member's topic brought is told there, whoever sent it: only who has such a proof knows its hash. A
    stranger is told of what he signed himself. Nothing is said of a key that may come to be known (§4.4)."""
    proof, record = outcome.proof, known.device(device)
    if outcome.member or (proof is not None and proof.claims.device != device):
        return None
    if record is None:
        return proof.hash if proof is not None and _signed_by_its_name(proof) else None
    if proof is None:
        try:
            return object_hash(wire.inflate(message))
        except Refused:
            return None
    ahead = record.head is not None and proof.claims.seq > record.head.seq + 1
    return None if outcome.verdict.reason is Reason.BAD_KEY and ahead and not outcome.outdated else proof.hash


def _signed_by_its_name(proof: Proof) -> bool:
    try:
        return bool(proof.signed.require_signature([public_key_of(proof.claims.device)]))
    except Refused:
        return False


def release(device: str, log: bytes, known: LedgerView) -> Outcome | None:
    """The outcome of the next held proof of `log` that can be decided, None if all must wait."""
    record = known.device(device)
    # A device's first log may begin with a declared gap: then its first proofs wait with no head yet.
    head = record.head or Head(log, 0, None) if record else None
    if record is None or head is None or head.log != log:
        return None
    gaps = tuple(known.gaps(device, head.log))
    # Real data before a declared gap over it.
    for seq in dict.fromkeys((head.seq + 1, chain.reach(head, gaps)[0] + 1)):
        waiting = known.held(device, head.log, seq)
        if waiting is not None:
            return _decide_held(*waiting, record, known)
    return None


def _decide_held(data: bytes, received_at_s: float, record: DeviceRecord, known: LedgerView) -> Outcome:
    # Signature, audience and shape were checked when it came; only its place was open.
    proof = sealing.parse(data)
    claims = proof.claims
    gaps = known.gaps(claims.device, claims.log)
    verdict = chain.place(claims, proof.hash, record.head, record.bootcount, None, gaps)
    notes, readings = annotate(proof, received_at_s, known)
    return _outcome(verdict, proof, received_at_s, notes, readings or ())


def _outcome(
    verdict: Verdict,
    proof: Proof,
    received_at_s: float,
    notes: tuple[Verdict, ...],
    readings: tuple[Reading, ...],
) -> Outcome:
    match verdict.reason:
        case Reason.ACCEPTED:
            return Outcome(verdict, Keep.ACCEPTED, True, proof, received_at_s, notes, readings)
        case Reason.HELD:
            return Outcome(verdict, Keep.HELD, True, proof, received_at_s)
    return Outcome(verdict, Keep.EVIDENCE, True, proof, received_at_s)


def _suspends(judgement: Judgement, device: str, known: Known) -> bool:
    """§4.6: an equivocation, and not by a key that was rotated out."""
    record, key = known.device(device), judgement.key
    return (
        judgement.verdict.reason is Reason.EQUIVOCATION
        and record is not None
        and key is not None
        and key.number >= record.key.number
    )


def _was_a_key(proof: Proof, device: str, known: LedgerView) -> bool:
    """Whether a key that `device` has rotated out signed its proof."""
    try:
        return proof.claims.device == device and bool(proof.signed.require_signature(known.keys(device)))
    except Refused:
        return False


def _of_a_closed_log(proof: Proof, key: DeviceKey | None, known: LedgerView) -> Verdict | None:
    """What is said of a proof whose log was open once and is no longer; None for any other."""
    claims, record = proof.claims, known.device(proof.claims.device)
    closed_s = known.closed_s(claims.device, claims.log)
    if closed_s is None:
        return None
    if key is not None and record is not None and key.number < record.key.number:
        return Verdict(Reason.ROLLED_BACK, "its log was closed, and its key rotated out")
    beacon = known.beacon(claims.freshness[0]) if claims.freshness else None
    if beacon is not None and beacon.issued_at_s > closed_s:
        return Verdict(Reason.TWO_BOARDS, f"signed after log {claims.log.hex()} was closed")
    return Verdict(Reason.ROLLED_BACK, f"log {claims.log.hex()} was closed by a later one")
