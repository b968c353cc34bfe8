"""What became of a proof, and what the network says of it: for `explain`, from the journal alone.

- Without a number: everything a gateway rejected or flagged lately, one line for each reason.
- With a number: that proof's way from its first reading to its receipt, the verdicts on it, and what was
  flagged in it, instrument by instrument. A number means the newest log that has it.
- Where a log was left, what was said of the same number in it stands under `earlier`.
- Every code comes with its sentence and what to do (§10).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from agent.journal import unpacked
from proof import sealing
from proof.reasons import ANNOTATIONS, QUALITY_REASONS, Reason, Refused
from proof.sealing import Proof

# What is the case with a proof, and what to do; `state` is the key.
STATES = {
    "none": ("There is no proof with this number in this journal.", "Numbers begin at 1."),
    "not_reached": ("No proof has this number yet.", "`fieldproof-agent status` says how many there are."),
    "forgotten": ("It was receipted long ago, and what it was is forgotten here.", "The gateway keeps it."),
    "evicted": ("It was receipted, and its bytes made room for newer ones.", "The gateway keeps it."),
    "given_up": (
        "The journal was full before it was receipted: it was given up, and the device says so, signed.",
        "See why proofs have no receipt, or allow the journal more (journal.max_bytes).",
    ),
    "sealed_again": ("Its log was left before it was receipted: its readings stand in a later log.", ""),
    "receipted": ("The network has it.", "Nothing to do."),
    "refused": ("A gateway refuses it, and waits with what follows.", "See what it says."),
    "waiting": ("It waits for its receipt.", "`fieldproof-agent status` says what is in the way."),
}


_TAKEN = (Reason.ACCEPTED, Reason.DUPLICATE, Reason.HELD)
_NOTHING: dict[str, Any] = {"verdicts": [], "flags": [], "lost": [], "earlier": []}


class Store(Protocol):
    def execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor: ...


def lately(store: Store) -> dict[str, Any]:
    """Of each reason: how many proofs, and the newest of them; refusals first."""
    found: dict[str, dict[str, Any]] = {}
    sql = "SELECT log, seq, code, detail FROM verdicts JOIN logs ON id = log_id ORDER BY id, seq"
    rows = store.execute(sql)
    for log, seq, code, detail in rows:
        count = found.pop(code, {"count": 0})["count"] + 1
        found[code] = {**told(code, detail), "count": count, "newest_seq": seq, "log": log.hex()}
    newest_first = list(found.values())[::-1]
    return {"verdicts": sorted(newest_first, key=lambda line: not line["refuses"])}


def proof(store: Store, seq: int, sent_s: Callable[[int, int], float | None] | None = None) -> dict[str, Any]:
    """That of number `seq`; `sent_s` says when the broker had it (log id, seq), where that is known."""
    seq = min(seq, 2**63 - 1)  # SQLite counts no further
    row = store.execute(
        "SELECT log_id, log, readings, first_s, last_s, receipted_s, data, hash FROM proofs "
        "JOIN logs ON id = log_id WHERE seq = ? ORDER BY log_id DESC LIMIT 1",
        (seq,),
    ).fetchone()
    if row is None:
        return {"seq": seq, **_state(_without_a_row(store, seq)), **_NOTHING}
    log_id, log, readings, first_s, last_s, receipted_s, data, proof_hash = row
    verdicts = [
        told(code, detail)
        for code, detail in store.execute(
            "SELECT code, detail FROM verdicts WHERE log_id = ? AND seq = ? ORDER BY code", (log_id, seq)
        )
    ]
    if receipted_s is not None:
        verdicts = [told(Reason.ACCEPTED.value), *verdicts]
    sealed = _sealed(data, proof_hash, seq)
    refused = receipted_s is None and any(verdict["refuses"] for verdict in verdicts)
    return {
        "seq": seq,
        "log": log.hex(),
        **_state(_of_a_row(store, log_id, seq, receipted_s, data is not None, refused)),
        "readings": readings,
        "captured_from_s": first_s,
        "captured_to_s": last_s,
        "sealed_at_s": sealed.claims.sealed_at_s if sealed else None,
        "sent_at_s": sent_s(log_id, seq) if sent_s else None,
        "receipted_at_s": receipted_s,
        "bytes": len(sealed.data) if sealed else None,
        "verdicts": verdicts,
        "flags": _flags(sealed) if sealed else [],
        "earlier": [
            {"log": left.hex(), **told(code, detail)}
            for left, code, detail in store.execute(
                "SELECT log, code, detail FROM verdicts JOIN logs ON id = log_id "
                "WHERE log_id < ? AND seq = ? ORDER BY id DESC, code",
                (log_id, seq),
            )
        ],
        "lost": [
            {"instrument": lost.instrument, "count": lost.count, "reason": lost.reason}
            for lost in (sealed.claims.lost if sealed else ())
        ],
    }


def told(code: str, detail: str = "") -> dict[str, Any]:
    """A verdict's code with its sentence and what to do; a newer gateway may know one that we do not."""
    reason = Reason.__members__.get(code.upper())
    return {
        "code": code,
        "sentence": reason.sentence if reason else "A reason that this version of the agent does not know.",
        "remedy": reason.remedy if reason else "Upgrade the agent.",
        "detail": detail,
        "refuses": reason is None or reason not in (*ANNOTATIONS, *_TAKEN),
    }


def _state(name: str) -> dict[str, str]:
    sentence, remedy = STATES[name]
    return {"state": name, "sentence": sentence, "remedy": remedy}


def nowhere(seq: int) -> dict[str, Any]:
    """Where there is no journal yet."""
    return {"seq": seq, **_state("none"), **_NOTHING}


def _without_a_row(store: Store, seq: int) -> str:
    row = store.execute(
        "SELECT min(seq), max(seq) FROM proofs WHERE log_id = (SELECT max(id) FROM logs)"
    ).fetchone()
    if seq < 1:
        return "none"
    first, last = row if row and row[0] is not None else (1, 0)
    return "not_reached" if seq > last else "forgotten" if seq < first else "none"


def _of_a_row(store: Store, log_id: int, seq: int, receipted_s: int | None, kept: bool, refused: bool) -> str:
    if receipted_s is not None:
        return "receipted" if kept else "evicted"
    if kept:
        return "refused" if refused else "waiting"
    gap = "SELECT 1 FROM gaps WHERE log_id = ? AND ? BETWEEN first_seq AND last_seq"
    return "given_up" if store.execute(gap, (log_id, seq)).fetchone() else "sealed_again"


def _sealed(message: bytes | None, proof_hash: bytes, seq: int) -> Proof | None:
    """None where its bytes were given up, or are not what was signed: that the agent finds out itself."""
    try:
        return None if message is None else sealing.parse(unpacked(message, proof_hash, seq))
    except (sqlite3.DatabaseError, Refused):
        return None


def _flags(sealed: Proof) -> list[dict[str, Any]]:
    """§9, by instrument."""
    try:
        readings = sealed.readings()
    except Refused:
        return []
    counts = Counter(
        (reading.instrument, bit) for reading in readings for bit in QUALITY_REASONS if reading.flags & bit
    )
    return [
        {"instrument": instrument, **told(QUALITY_REASONS[bit].value), "count": count}
        for (instrument, bit), count in sorted(counts.items())
    ]
