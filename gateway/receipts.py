"""What a device is told: the verdicts on its proofs, and the receipt that follows from the ledger (§5.1).

- The newest MAX_VERDICTS of a device stay, until it begins another log; how many there were of a reason is
  counted for good.
- A receipt speaks of the open log; or, while proofs of a log that never began are held, of that log with head
  0, so that its first proof is asked for. Not where that one was refused, nor where that of another log was
  since: a device that has lost its store must hear which log it has to name.
- It is a function of the ledger: asking again gives the same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gateway import held
from gateway.store import Store
from proof import chain
from proof.chain import Head
from proof.claims import Gap
from proof.reasons import Reason, Verdict
from proof.receipt import MAX_DETAIL, MAX_MISSING, MAX_VERDICTS, NO_LOG, ProofVerdict, Receipt
from proof.verify import DeviceRecord


def say(store: Store, device: int, seq: int, verdict: Verdict, received_s: float) -> None:
    """`verdict` stands at number `seq`."""
    code = verdict.reason.value
    sql = "INSERT INTO verdict (device, seq, code, detail, received_s) VALUES (?, ?, ?, ?, ?)"
    store.run(sql, (device, seq, code, verdict.detail[:MAX_DETAIL], received_s))
    store.run(
        "DELETE FROM verdict WHERE device = ? AND id <= "
        "(SELECT id FROM verdict WHERE device = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (device, device, MAX_VERDICTS),
    )
    store.run(
        "INSERT INTO verdict_count VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
        (device, code),
    )


def forget(store: Store, device: int) -> None:
    """What was said, of a log that the device has left."""
    store.run("DELETE FROM verdict WHERE device = ?", (device,))


def receipt(
    store: Store,
    device: int,
    record: DeviceRecord,
    received_s: float,
    gaps: Callable[[str, bytes], tuple[Gap, ...]],
) -> Receipt:
    """Of the device in row `device`, whose newest accepted proof came at `received_s`."""
    head = record.head
    waiting = held.waiting(store, device)
    sql = "SELECT log, received_s FROM evidence WHERE device = ? AND seq = 1 AND code = ?"
    refused = dict(store.rows(sql, (device, Reason.ROLLED_BACK.value))) if waiting else {}
    since_s = max(refused.values(), default=-math.inf)
    unopened = [
        log
        for log, _seq, held_s in waiting
        if head is None or (log not in (head.log, *refused) and held_s > since_s)
    ]
    if unopened or head is None:
        head = Head(unopened[-1] if unopened else NO_LOG, 0, None)
    seqs = [seq for log, seq, _held_s in waiting if log == head.log]
    missing = chain.missing(seqs, head.seq, MAX_MISSING, gaps(record.device, head.log) if seqs else ())
    verdicts = store.rows("SELECT seq, code, detail FROM verdict WHERE device = ? ORDER BY id", (device,))
    return Receipt(
        device=record.device,
        log=head.log,
        head_seq=head.seq,
        head_hash=head.hash,
        received_at_s=int(received_s),
        missing=missing,
        verdicts=tuple(ProofVerdict(*verdict) for verdict in verdicts),
    )
