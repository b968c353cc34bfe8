"""What a receipt does to the journal (§5.3, §5.4), inside one transaction.

- It fits our log: proofs up to its head become evictable, its verdicts are kept for the owner.
- It speaks of a log we closed ourselves, of one the gateway held before the newest receipt we know, or of a
  proof so long receipted that its hash is forgotten: old news.
- It speaks of a log this store has never seen, or its head is not what we signed: a new log is opened that
  names the gateway's head, and the readings without a receipt are sealed again in it (`agent.succession`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from agent import papers, succession
from agent.journal import Journal
from agent.sealer import Sealer
from proof.reasons import Reason
from proof.receipt import ProofVerdict, Receipt, Standing, standing

_OF_THE_DEVICE = (Reason.REVOKED, Reason.SUSPENDED)
_OF_THE_CHAIN = (Reason.EQUIVOCATION, Reason.ROLLED_BACK, Reason.BROKEN_CHAIN)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`head` is the newest receipted sequence number of the open log; `verdicts` are those not heard before;
    `new_log_because` is a reason or ""."""

    head: int
    receipted: int = 0
    verdicts: tuple[ProofVerdict, ...] = ()
    new_log_because: str = ""


def accept(
    journal: Journal,
    receipt: Receipt,
    data: bytes,
    sealer: Sealer,
    random: Callable[[int], bytes] = secrets.token_bytes,
    *,
    offered: bool = False,
) -> Outcome:
    """Raises nothing of its own: a receipt that is not for the open log changes nothing. `data` are the
    signed bytes of `receipt`, kept as evidence; `offered`: proofs of the open log may be on their way."""
    log = journal.open_log()
    if log is None:
        raise RuntimeError("a journal always has an open log")
    if receipt.log == log.log and receipt.head_seq and journal.has_forgotten(log.id, receipt.head_seq):
        return Outcome(journal.receipted_seq(log.id))
    stands = standing(receipt, log.log, lambda seq: journal.hash_at(log.id, seq))
    if stands is Standing.FITS:
        if receipt.head_seq >= journal.receipted_seq(log.id):
            papers.keep_receipt(journal, log.id, data)
        receipted = journal.mark_receipted(log.id, receipt.head_seq, receipt.received_at_s)
        told = papers.store_verdicts(journal, log.id, [v for v in receipt.verdicts if v.seq <= log.seq])
        if all(last < log.seq for _, last in receipt.missing):
            return Outcome(receipt.head_seq, receipted, told)
        stands = Standing.ROLLED_BACK  # what is asked for lies before a proof that is held: not one of ours
    contradicted = stands is Standing.ROLLED_BACK
    reason = succession.reason_to_leave(journal, log, receipt, contradicted, offered)
    told = papers.store_verdicts(
        journal, log.id, [v for v in receipt.verdicts if _is_kept(v, log.seq, reason)]
    )
    if not reason:
        return Outcome(journal.receipted_seq(log.id), verdicts=told)
    succession.leave(journal, log, receipt, reason, sealer, random)
    return Outcome(0, verdicts=told, new_log_because=reason)


def _is_kept(verdict: ProofVerdict, newest_seq: int, reason: str) -> bool:
    """Of a receipt that speaks of another log, or of another head: a verdict names no log, so what it says
    of a number may be of another's. What is said of the device as a whole; of a log that is left, why."""
    if verdict.code in _OF_THE_DEVICE:
        return verdict.seq <= newest_seq
    return bool(reason) and verdict.code in _OF_THE_CHAIN and verdict.seq <= newest_seq
