"""Which proofs to publish next, read from the journal.

- Those the gateway asked for come first, then those whose turn it is.
- A proof that was evicted is answered by the one whose gap record covers it.
- Before any is given out it is on disk how far this store has published (`agent.mark`).
- Of a log that gives way only the first goes: it tells the gateway of this board (`agent.succession`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent import retention
from agent.journal import Journal, StoredProof
from agent.succession import gives_way


@dataclass(frozen=True, slots=True)
class Batch:
    """Of the open log `log_id`, whose newest receipted proof is `receipted_seq`; `gives_way`: there is no
    more to publish than its first."""

    log_id: int
    receipted_seq: int
    asked: tuple[StoredProof, ...]
    in_turn: tuple[StoredProof, ...]
    gives_way: bool = False


def next_batch(journal: Journal, asked: Sequence[int], after: int, limit: int) -> Batch:
    """Up to `limit` proofs: those `asked` for, then the unreceipted ones after sequence number `after`."""
    log = journal.open_log()
    if log is None:
        raise RuntimeError("a journal always has an open log")
    if gives_way(log):
        first = journal.proof_at(log.id, 1) if after < 1 else None
        if first:
            journal.publishing(log)
        return Batch(log.id, 0, (), (first,) if first else (), gives_way=True)
    answers = {
        proof.seq: proof for seq in asked if (proof := _kept_or_carrier(journal, log.id, seq)) is not None
    }
    in_turn: list[StoredProof] = []
    while len(answers) + len(in_turn) < limit:
        found = journal.next_unreceipted(log.id, after)
        if found is None or (proof := journal.proof_at(log.id, found)) is None:
            break
        in_turn.append(proof)
        after = found
    if answers or in_turn:
        journal.publishing(log)
    return Batch(log.id, journal.receipted_seq(log.id), tuple(answers.values()), tuple(in_turn))


def receipted_proof(journal: Journal) -> StoredProof | None:
    """The newest proof of the open log that the gateway has receipted and whose bytes are kept."""
    log = journal.open_log()
    if log is None:
        raise RuntimeError("a journal always has an open log")
    row = journal.execute(
        "SELECT seq FROM proofs INDEXED BY receipted WHERE log_id = ? AND receipted_s IS NOT NULL "
        "AND data IS NOT NULL ORDER BY seq DESC LIMIT 1",
        (log.id,),
    ).fetchone()
    return journal.proof_at(log.id, row[0]) if row else None


def _kept_or_carrier(journal: Journal, log_id: int, seq: int) -> StoredProof | None:
    if (proof := journal.proof_at(log_id, seq)) is not None:
        return proof
    carrier = retention.carrier_of(journal, log_id, seq)
    return None if carrier is None else journal.proof_at(log_id, carrier)
