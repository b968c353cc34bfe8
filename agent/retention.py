"""The journal within its bounds: what is given up, in which order, and how it is said.

- Receipted proofs go first, oldest first. Then unreceipted ones, oldest first: each leaves its sequence
  number and hash, and a gap record in the next proof (§3.2 -70006). Newest data is never refused.
- A proof that carries gap records may be given up too: its gaps join the new one and are said again.
- The birth proof of a later log, which names the log before it, and a proof that carries a rotation are never
  given up before their receipt: without them the gateway could accept nothing that follows.
- Where their log is left, the readings of given up proofs are declared as losses in the next one.
- What is left of a proof that was evicted is forgotten when a receipt is `HASHES_KEPT` proofs past it; a
  crowded store keeps no more beacons than proofs. So nothing here grows with the years.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent import reserve
from agent.journal import Journal
from agent.sample import Missed
from agent.settings import JournalSettings
from proof.claims import Gap

EVICTED = "store full"
SEVERAL = "*"  # instruments
NEXT_LOG = 0  # in the place of the proof that carries a gap record: it became a loss in the next log
# A receipted proof is no loss; of the others no more go than are needed.
_RECEIPTED_AT_ONCE, _UNRECEIPTED_AT_ONCE = 64, 8
HASHES_KEPT = 256  # a broker may have kept a receipt that is so much older than the newest


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
        reserve.give(journal.path)
        journal.give_back_space()
    try:
        while (force and not evicted) or _crowded(journal, settings):
            journal.begin()
            count = evict_receipted(journal, _RECEIPTED_AT_ONCE)
            log = journal.open_log()
            if not count and log:
                given_up = evict_unreceipted(journal, log.id, _UNRECEIPTED_AT_ONCE, EVICTED)
                count, gap = (1, given_up) if given_up else (0, gap)
            if log:
                _forget(journal, log.id)
            journal.commit()
            if not count:
                break
            evicted += count
            journal.give_back_space()
    finally:  # what was given up without success, too
        if force or evicted:
            reserve.keep(journal.path)
    return Room(evicted, gap)


def _crowded(journal: Journal, settings: JournalSettings) -> bool:
    if bytes_used(journal) > settings.max_bytes:
        return True
    return reserve.free_bytes(journal.path.parent) < settings.free_floor_bytes


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


def _forget(journal: Journal, open_id: int) -> None:
    """See the module's rules. Only what is forgotten is read: the rest is as large as the store."""
    for (log_id,) in journal.execute("SELECT id FROM logs").fetchall():
        below = journal.receipted_seq(log_id) - HASHES_KEPT
        kept = journal.execute(
            "SELECT seq FROM proofs INDEXED BY receipted WHERE log_id = ? AND receipted_s IS NOT NULL "
            "AND data IS NOT NULL ORDER BY seq LIMIT 1",
            (log_id,),
        ).fetchone()
        below = min(below, kept[0]) if kept else below
        journal.execute("DELETE FROM proofs WHERE log_id = ? AND seq < ?", (log_id, below))
        journal.execute("DELETE FROM gaps WHERE log_id = ? AND last_seq < ?", (log_id, below))
    journal.execute(
        "DELETE FROM beacons WHERE id <= (SELECT max(id) FROM beacons) - "
        "(SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM proofs WHERE log_id = ?)",
        (open_id,),
    )


def evict_unreceipted(journal: Journal, log_id: int, limit: int, reason: str) -> Gap | None:
    """Give up the oldest unreceipted proofs of the open log; the gap they leave, joined with the gap
    just before it, is said (again) in the next proof. None where nothing was left to give up."""
    rows = journal.execute(
        "SELECT seq, hash FROM proofs INDEXED BY unreceipted "
        "WHERE log_id = ?1 AND receipted_s IS NULL AND data IS NOT NULL "
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


def declare_given_up(journal: Journal, log_id: int, boot_id: bytes) -> None:
    """Of a log that is left: gaps speak of the log they stand in (§4.7), so what they would have said of it
    becomes losses, which the next proof declares. When those readings were taken is not known any more."""
    (count,) = journal.execute(
        "SELECT coalesce(sum(readings), 0) FROM proofs JOIN gaps USING (log_id) WHERE log_id = ? "
        "AND seq BETWEEN first_seq AND last_seq AND receipted_s IS NULL AND data IS NULL "
        "AND carrier_seq IS NOT ?",
        (log_id, NEXT_LOG),
    ).fetchone()
    if count:
        (log,) = journal.execute("SELECT log FROM logs WHERE id = ?", (log_id,)).fetchone()
        names = journal.execute("SELECT name FROM instruments").fetchall()
        name = names[0][0] if len(names) == 1 else SEVERAL
        journal.note_missed(Missed(name, boot_id, 0, 0, f"given up in log {log.hex()}", count))
    journal.execute("UPDATE gaps SET carrier_seq = ? WHERE log_id = ?", (NEXT_LOG, log_id))


def carrier_of(journal: Journal, log_id: int, seq: int) -> int | None:
    """The proof whose gap record covers evicted `seq`."""
    row = journal.execute(
        "SELECT carrier_seq FROM gaps WHERE log_id = ? AND ? BETWEEN first_seq AND last_seq",
        (log_id, seq),
    ).fetchone()
    return row[0] if row else None
