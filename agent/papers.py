"""What others signed, kept in the journal as evidence (§11): receipts, the beacons proofs name, verdicts;
and what an export or a report reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent import succession
from agent.journal import Journal, unpacked
from agent.retention import bytes_used
from proof import sealing
from proof.descriptor import Descriptor
from proof.reasons import ANNOTATIONS, Reason
from proof.receipt import ProofVerdict, refused_hash

MAX_BEACONS = MAX_VERDICTS = 10_000
_NEWEST = 64
MOST_AT_ONCE = 256  # rows: so long a sampler may wait for one who reads
_NEXT = 256  # more than are on their way at once
Place = tuple[int, int]
"""(log id, seq) in the journal."""
Row = tuple[int, int, bytes, bytes]
"""A kept proof: its place, its bytes as stored, and its hash."""
_COUNT = "SELECT count(*), coalesce(sum(readings), 0) FROM proofs INDEXED BY unreceipted "


@dataclass(frozen=True, slots=True)
class Counts:
    """`captured` counts every sample ever appended to this store. `receipted_at_s` is the gateway's time of
    the newest receipt, -1 before the first."""

    captured: int
    unsealed: int
    proofs: int
    unreceipted: int
    unreceipted_readings: int
    receipted_seq: int
    receipted_at_s: int
    bytes_used: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the journal says of how it stands with the network, as cheap as it can be had: somebody asks every
    half minute.

    `last_receipted_s` is the wall time of the newest receipted reading: what "healthy" is measured by.
    `refused` is what the gateway says of the first proof of the open log that it does not take. Of
    `bytes_used` about `unreceipted_share` (0 to 1) has no receipt and cannot be given up without a loss."""

    last_receipted_s: int | None
    superseded: bool
    bytes_used: int
    unreceipted_share: float = 0.0
    refused: ProofVerdict | None = None


NOTHING_COUNTED, NOTHING_STORED = Counts(0, 0, 0, 0, 0, 0, -1, 0), Stored(None, False, 0)


def store_verdicts(journal: Journal, log_id: int, found: Sequence[ProofVerdict]) -> tuple[ProofVerdict, ...]:
    """The newest `MAX_VERDICTS` stay. Those that were not known before: receipts repeat the last ones."""
    sql = "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?)"
    new = tuple(v for v in found if journal.execute(sql, (log_id, v.seq, v.code, v.detail)).rowcount)
    journal.execute(
        "DELETE FROM verdicts WHERE (log_id, seq, code) <= (SELECT log_id, seq, code FROM verdicts "
        "ORDER BY log_id DESC, seq DESC, code DESC LIMIT 1 OFFSET ?)",
        (MAX_VERDICTS,),
    )
    return new


def refused_proof(journal: Journal, verdict: ProofVerdict) -> ProofVerdict | None:
    """§5.1: `verdict` on the proof it names by its hash, where that is one of the next to be receipted; or by
    its number, where a gateway that has accepted none yet speaks of no log."""
    log, proof_hash = journal.open_log(), refused_hash(verdict)
    if log is None:
        return None
    head = journal.receipted_seq(log.id)
    if proof_hash is None:
        return verdict if head < verdict.seq <= log.seq else None
    row = journal.execute(
        "SELECT seq FROM proofs WHERE log_id = ? AND seq > ? AND seq <= ? AND hash = ?",
        (log.id, head, head + _NEXT, proof_hash),
    ).fetchone()
    if row is None:
        return None
    return ProofVerdict(row[0], verdict.code, verdict.detail.rpartition("proof ")[0].strip())


def note_refused(journal: Journal, verdict: ProofVerdict) -> tuple[ProofVerdict, ...]:
    """A verdict on a proof of the open log, unless it is known."""
    log = journal.open_log()
    return store_verdicts(journal, log.id, [verdict]) if log else ()


def verdicts(journal: Journal, limit: int) -> list[tuple[int, str, str]]:
    """(seq, code, detail), newest first."""
    return journal.execute(
        "SELECT seq, code, detail FROM verdicts ORDER BY log_id DESC, seq DESC LIMIT ?", (limit,)
    ).fetchall()


def keep_receipt(journal: Journal, log_id: int, data: bytes) -> None:
    """The newest signed receipt of a log: evidence of what the gateway holds."""
    journal.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?)", (log_id, data))


def keep_beacon(journal: Journal, beacon_hash: bytes, data: bytes) -> None:
    """The signed beacon a proof names: evidence that it was signed after."""
    journal.execute("INSERT OR IGNORE INTO beacons (hash, data) VALUES (?, ?)", (beacon_hash, data))
    journal.execute("DELETE FROM beacons WHERE id <= (SELECT max(id) FROM beacons) - ?", (MAX_BEACONS,))


def beacons(journal: Journal, after_id: int) -> list[tuple[int, bytes]]:
    """The next of the signed beacons kept for a bundle (§11), each with what to go on after; oldest first."""
    return journal.execute(
        "SELECT id, data FROM beacons WHERE id > ? ORDER BY id LIMIT ?", (after_id, MOST_AT_ONCE)
    ).fetchall()


def receipts(journal: Journal) -> list[bytes]:
    """The newest signed one of each log."""
    return [row[0] for row in journal.execute("SELECT data FROM receipts ORDER BY log_id").fetchall()]


def kept_proofs(journal: Journal, after: Place, last: Place, limit: int) -> list[Row]:
    """The next kept proofs after place `after` up to `last`, in chain order."""
    return journal.execute(
        "SELECT log_id, seq, data, hash FROM proofs WHERE (log_id, seq) > (?, ?) AND (log_id, seq) <= (?, ?) "
        "AND data IS NOT NULL ORDER BY log_id, seq LIMIT ?",
        (*after, *last, min(limit, MOST_AT_ONCE)),
    ).fetchall()


def proofs_before(journal: Journal, place: Place, limit: int) -> list[Row]:
    """Kept proofs before `place`, newest first: one of them may carry its descriptor."""
    return journal.execute(
        "SELECT log_id, seq, data, hash FROM proofs WHERE (log_id, seq) < (?, ?) AND data IS NOT NULL "
        "ORDER BY log_id DESC, seq DESC LIMIT ?",
        (*place, min(limit, MOST_AT_ONCE)),
    ).fetchall()


def proof_of(row: Row) -> bytes:
    """What was signed, inflated and compared with its hash; it takes a while: not in the journal's thread."""
    _, seq, data, proof_hash = row
    return unpacked(data, proof_hash, seq)


def overlapping(
    journal: Journal, place: Place, since_s: int, until_s: int, backwards: bool = False
) -> list[tuple[int, int, bool]]:
    """The next places from `place` on, and whether a proof of that time is kept there: every row is looked
    at, and never more than a piece of them."""
    beyond, way = ("<", "DESC") if backwards else (">", "ASC")
    sql = (
        "SELECT log_id, seq, data IS NOT NULL AND last_s >= ? AND first_s <= ? FROM proofs "  # noqa: S608 two words of ours
        f"WHERE (log_id, seq) {beyond} (?, ?) ORDER BY log_id {way}, seq {way} LIMIT ?"
    )
    return journal.execute(sql, (since_s, until_s, *place, MOST_AT_ONCE)).fetchall()


def gaps(journal: Journal, after: Place) -> list[tuple[int, int, int, int | None]]:
    """The next gaps after `after`, (log id, first seq): with their last seq, and who declares them."""
    return journal.execute(
        "SELECT log_id, first_seq, last_seq, carrier_seq FROM gaps WHERE (log_id, first_seq) > (?, ?) "
        "ORDER BY log_id, first_seq LIMIT ?",
        (*after, MOST_AT_ONCE),
    ).fetchall()


def newest_descriptor(journal: Journal) -> Descriptor | None:
    """The one in force, where a kept proof still carries it."""
    newest_first = "FROM proofs WHERE data IS NOT NULL ORDER BY log_id DESC, seq DESC"
    rows = journal.execute(f"SELECT data, hash, seq {newest_first}")
    said = (sealing.parse(unpacked(*row)).claims.descriptor for row in rows)
    return next(filter(None, said), None)


def counts(journal: Journal) -> Counts:
    sealed = journal.execute("SELECT coalesce(sum(sealed), 0) FROM instruments").fetchone()[0]
    unsealed = journal.execute("SELECT count(*) FROM samples").fetchone()[0]
    log = journal.open_log()
    unreceipted, readings = _backlog(journal, log.id) if log else (0, 0)
    receipted_seq = journal.receipted_seq(log.id) if log else 0
    return Counts(
        sealed + unsealed,
        unsealed,
        log.seq if log else 0,
        unreceipted,
        readings,
        receipted_seq,
        journal.receipted_at_s(),
        bytes_used(journal),
    )


def stored(journal: Journal) -> Stored:
    log = journal.open_log()
    return Stored(
        last_receipted_s(journal),
        succession.gives_way(log),
        bytes_used(journal),
        _unreceipted_share(journal, log.id) if log else 0.0,
        _refused(journal, log.id, journal.receipted_seq(log.id)) if log else None,
    )


def _refused(journal: Journal, log_id: int, head_seq: int) -> ProofVerdict | None:
    """That the network takes nothing of this device at all comes first."""
    rows = journal.execute(
        "SELECT seq, code, detail FROM verdicts WHERE log_id = ? AND seq > ? "
        "ORDER BY code NOT IN (?, ?), seq LIMIT 200",
        (log_id, head_seq, Reason.REVOKED.value, Reason.SUSPENDED.value),
    )
    return next((ProofVerdict(*row) for row in rows if row[1] not in ANNOTATIONS), None)


def _unreceipted_share(journal: Journal, open_id: int) -> float:
    """By numbers of proofs; none of them is looked at, only the ends of their indices. What earlier logs had
    without a receipt was sealed again in the open one."""
    evictable = 0
    for (log_id,) in journal.execute("SELECT id FROM logs").fetchall():
        first = journal.execute(
            "SELECT seq FROM proofs INDEXED BY receipted WHERE log_id = ? AND receipted_s IS NOT NULL "
            "AND data IS NOT NULL ORDER BY seq LIMIT 1",
            (log_id,),
        ).fetchone()
        evictable += journal.receipted_seq(log_id) - first[0] + 1 if first else 0
    ends = (
        "SELECT seq FROM proofs INDEXED BY unreceipted WHERE log_id = ? AND receipted_s IS NULL ORDER BY seq"
    )
    first, last = (journal.execute(f"{ends} {way} LIMIT 1", (open_id,)).fetchone() for way in ("ASC", "DESC"))
    unreceipted = last[0] - first[0] + 1 if first and last else 0
    return unreceipted / (evictable + unreceipted) if unreceipted else 0.0


def waiting(journal: Journal) -> int:
    """Proofs without a receipt, as cheap as it can be had: whoever asks does so every half minute."""
    log = journal.open_log()
    return _backlog(journal, log.id)[0] if log else 0


def _backlog(journal: Journal, log_id: int) -> tuple[int, int]:
    """Proofs that are kept without a receipt, and their readings. Of the open log the index says all; in
    those before it hardly any are left."""
    waiting = journal.execute(f"{_COUNT} WHERE receipted_s IS NULL AND log_id = ?", (log_id,)).fetchone()
    given_up = journal.execute(
        f"{_COUNT} JOIN gaps USING (log_id) WHERE receipted_s IS NULL AND log_id = ? "
        "AND seq BETWEEN first_seq AND last_seq",
        (log_id,),
    ).fetchone()
    left = journal.execute(
        f"{_COUNT} WHERE receipted_s IS NULL AND data IS NOT NULL AND log_id < ?", (log_id,)
    ).fetchone()
    count, readings = (w - g + o for w, g, o in zip(waiting, given_up, left, strict=True))
    return count, readings


def last_receipted_s(journal: Journal) -> int | None:
    """Wall time of the newest reading the gateway has receipted: what "healthy" is measured by. A proof of an
    earlier boot may be among the newest; to look at all of them would be to read the whole store."""
    row = journal.execute(
        "SELECT max(last_s) FROM (SELECT last_s FROM proofs INDEXED BY receipted "
        "WHERE receipted_s IS NOT NULL ORDER BY log_id DESC, seq DESC LIMIT ?)",
        (_NEWEST,),
    ).fetchone()
    return None if row[0] is None else int(row[0])
