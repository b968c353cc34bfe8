"""The journal within its bounds: what is given up, in which order, and how it is said.

- Receipted proofs go first, oldest first. Then unreceipted ones, oldest first: each leaves its sequence
  number and hash, and a gap record in the next proof (§3.2 -70006). Newest data is never refused.
- A proof that carries gap records may be given up too: its gaps join the new one and are said again.
- The birth proof of a later log, which names the log before it, and a proof that carries a rotation are never
  given up before their receipt: without them the gateway could accept nothing that follows.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from agent.journal import Journal
from agent.settings import JournalSettings
from proof.claims import Gap

EVICTED = "store full"
# A receipted proof is no loss; of the others no more go than are needed.
_RECEIPTED_AT_ONCE, _UNRECEIPTED_AT_ONCE = 64, 8


@dataclass(frozen=True, slots=True)
class Room:
    """How many proofs were given up; `gap` is what is to be said of those that had no receipt."""

    evicted: int = 0
    gap: Gap | None = None


def make_room(journal: Journal, settings: JournalSettings, force: bool = False) -> Room:
    """Bring the store within its bounds, in transactions of its own. `force` evicts at least once: the disk
    is full. Raises `sqlite3.Error` or `OSError`; the caller rolls back."""
    evicted, gap = 0, None
    if force:
        journal.give_back_space()
    while (force and not evicted) or _crowded(journal, settings):
        journal.begin()
        count = evict_receipted(journal, _RECEIPTED_AT_ONCE)
        log = journal.open_log()
        if not count and log:
            given_up = evict_unreceipted(journal, log.id, _UNRECEIPTED_AT_ONCE, EVICTED)
            count, gap = (1, given_up) if given_up else (0, gap)
        journal.commit()
        if not count:
            break
        evicted += count
        journal.give_back_space()
    return Room(evicted, gap)


def _crowded(journal: Journal, settings: JournalSettings) -> bool:
    if bytes_used(journal) > settings.max_bytes:
        return True
    return shutil.disk_usage(journal.path.parent).free < settings.free_floor_bytes


def bytes_used(journal: Journal) -> int:
    pages, free, size = (
        int(journal.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def evict_receipted(journal: Journal, limit: int) -> int:
    """Forget the bytes of the oldest receipted proofs; how many."""
    return journal.execute(
        "UPDATE proofs SET data = NULL WHERE (log_id, seq) IN (SELECT log_id, seq FROM proofs "
        "WHERE receipted_s IS NOT NULL AND data IS NOT NULL ORDER BY log_id, seq LIMIT ?)",
        (limit,),
    ).rowcount


def evict_unreceipted(journal: Journal, log_id: int, limit: int, reason: str) -> Gap | None:
    """Give up the oldest unreceipted proofs of the open log; the gap they leave, joined with the gap
    just before it, is said (again) in the next proof. None where nothing was left to give up."""
    rows = journal.execute(
        "SELECT seq, hash FROM proofs WHERE log_id = ?1 AND receipted_s IS NULL AND data IS NOT NULL "
        "AND NOT (seq = 1 AND EXISTS (SELECT 1 FROM logs WHERE id = ?1 AND prev_log IS NOT NULL)) "
        "AND seq NOT IN (SELECT seq FROM rotations WHERE log_id = ?1) ORDER BY seq LIMIT ?2",
        (log_id, limit),
    ).fetchall()
    run = [row for offset, row in enumerate(rows) if row[0] == rows[0][0] + offset]
    if not run:
        return None
    (first_seq, first_hash), (last_seq, last_hash) = run[0], run[-1]
    before = journal.execute(
        "SELECT first_seq, first_hash FROM gaps WHERE log_id = ? AND last_seq = ?",
        (log_id, first_seq - 1),
    ).fetchone()
    if before:
        first_seq, first_hash = before
    journal.execute(
        "UPDATE proofs SET data = NULL WHERE log_id = ? AND seq BETWEEN ? AND ?",
        (log_id, run[0][0], last_seq),
    )
    journal.execute(
        "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?, ?, NULL)",
        (log_id, first_seq, last_seq, first_hash, last_hash, reason),
    )
    return Gap(first_seq, last_seq, first_hash, last_hash, reason)


def take_gaps(journal: Journal, log_id: int, carrier_seq: int, limit: int) -> tuple[Gap, ...]:
    """Gaps not yet said, and not passed by a receipt since; proof `carrier_seq` says them now."""
    rows = journal.execute(
        "SELECT first_seq, last_seq, first_hash, last_hash, reason FROM gaps "
        "WHERE log_id = ? AND carrier_seq IS NULL AND last_seq > ? ORDER BY first_seq LIMIT ?",
        (log_id, journal.receipted_seq(log_id), limit),
    ).fetchall()
    journal.executemany(
        "UPDATE gaps SET carrier_seq = ? WHERE log_id = ? AND first_seq = ?",
        [(carrier_seq, log_id, row[0]) for row in rows],
    )
    return tuple(Gap(*row) for row in rows)


def carrier_of(journal: Journal, log_id: int, seq: int) -> int | None:
    """The proof whose gap record covers evicted `seq`."""
    row = journal.execute(
        "SELECT carrier_seq FROM gaps WHERE log_id = ? AND ? BETWEEN first_seq AND last_seq",
        (log_id, seq),
    ).fetchone()
    return row[0] if row else None
