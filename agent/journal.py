"""The journal: what the device has sampled, signed and not yet seen receipted, on disk.

- SQLite, WAL, `synchronous=FULL`, exactly one connection, used by one thread (`agent.keeper`).
- What a committed transaction stored survives SIGKILL and a power cut. Callers commit; nothing here does.
- `samples` are readings not yet sealed, in append order; an append touches no other table, because each page
  it touches is written to the card. `instruments` says how many of each were sealed, and the newest boot time
  that a proof accounts for.
- A sequence number is allotted in the transaction that stores the signed bytes; both never change.
- `proofs` are sealed, their bytes in the form of a message (§7.3: a sixth); evicted ones keep their sequence
  number and hash and lose their bytes (`agent.retention`). `losses` are samples that should exist and do not,
  until sealed.
- `rotations` are the keys that took effect after the first one, each with the proof that carries it, and the
  rotation object (`agent.rotation`).
- One log is open: the newest row of `logs`. A journal knows its device and opens for no other.
- Beside it lies how far it has published (`agent.mark`).
- A damaged file is renamed and kept, a new one takes its place (`agent.store`). What SQLite reads and cannot
  be true (a sample or a proof that is not what its checksum or hash says) is damage too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.clock import Wall
from agent.mark import Mark, Published
from agent.sample import Captured, Missed, from_record
from agent.schema import set_up
from proof import wire
from proof.claims import HASH_BYTES, Lost, Predecessor
from proof.cose import object_hash
from proof.reasons import Refused

_SEALED = (
    "INSERT INTO instruments VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET sealed = sealed + ?4, "
    "boottime_ns = iif(boot_id = ?2, max(boottime_ns, ?3), ?3), boot_id = ?2"
)


@dataclass(frozen=True, slots=True)
class OpenLog:
    """The log that is open, its newest sequence number and that proof's hash."""

    id: int
    log: bytes
    seq: int
    hash: bytes | None
    predecessor: Predecessor | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Unsealed samples and losses, and the boot and boot time of the oldest sample."""

    samples: int
    losses: int
    boot_id: bytes | None
    oldest_ns: int | None


@dataclass(frozen=True, slots=True)
class StoredProof:
    """`message` carries `data` (§7.3)."""

    seq: int
    data: bytes
    readings: int
    message: bytes


def unpacked(message: bytes, proof_hash: bytes, seq: int) -> bytes:
    """The proof that a stored `message` carries; raises `sqlite3.DatabaseError` where it is another."""
    with suppress(Refused):
        data = wire.inflate(message)
        if object_hash(data) == proof_hash:
            return data
    raise sqlite3.DatabaseError(f"the stored proof {seq} is not what was signed")


class Journal:
    """See the module's rules. Opened by `agent.store.open_journal`."""

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.device = path, device
        self.mark = Mark(path.with_name(f"{path.name}.mark"), device)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            set_up(self._db, device)
        except BaseException:  # whatever it is: tidy up and raise it again
            self._db.close()
            raise

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """For `agent.retention` and `agent.papers`, which keep their own tables in this file."""
        return self._db.execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> sqlite3.Cursor:
        return self._db.executemany(sql, rows)

    def give_back_space(self) -> None:
        """Outside a transaction: all free pages, and the write-ahead log, go back to the file system."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        # `execute` takes one step of this pragma, and a step frees one page; a script runs to its end.
        self._db.executescript("PRAGMA incremental_vacuum")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        with suppress(sqlite3.Error):  # sqlite has already rolled back after a full disk or an I/O error
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()

    # Boots and logs

    def bootcount(self, boot_id: bytes) -> int:
        """The number of this boot: 1, 2, 3 …, allotted when it is first seen."""
        row = self._db.execute("SELECT bootcount FROM boots WHERE boot_id = ?", (boot_id,)).fetchone()
        if row is None:
            row = self._db.execute(
                "INSERT INTO boots SELECT ?, coalesce(max(bootcount), 0) + 1 FROM boots RETURNING bootcount",
                (boot_id,),
            ).fetchone()
        return int(row[0])

    def open_log(self) -> OpenLog | None:
        row = self._db.execute(
            "SELECT id, log, prev_log, prev_head, reason FROM logs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        log_id, log, prev_log, prev_head, reason = row
        newest = self._db.execute(
            "SELECT seq, hash FROM proofs WHERE log_id = ? ORDER BY seq DESC LIMIT 1", (log_id,)
        ).fetchone()
        seq, head = newest or (0, None)
        return OpenLog(log_id, log, seq, head, Predecessor(prev_log, prev_head, reason) if prev_log else None)

    def publishing(self, log: OpenLog) -> None:
        """Before proofs of the open `log` leave this store. Raises `TryAgain`: then they may not."""
        self.mark.cover(Published(log.log, log.seq, log.hash or bytes(HASH_BYTES)))

    def knows_log(self, log: bytes) -> bool:
        """Whether this store opened `log`, or names it as the one before its own."""
        known = "SELECT 1 FROM logs WHERE ? IN (log, prev_log)"
        return self._db.execute(known, (log,)).fetchone() is not None

    def closed_logs(self) -> list[int]:
        """Ids of logs before the open one that still keep proofs without a receipt, or gaps not declared."""
        rows = self._db.execute(
            "WITH newest AS (SELECT max(id) FROM logs) "
            "SELECT log_id FROM proofs INDEXED BY unreceipted "
            "WHERE receipted_s IS NULL AND log_id < (SELECT * FROM newest) AND data IS NOT NULL "
            "UNION SELECT log_id FROM gaps WHERE carrier_seq IS NOT 0 AND log_id < (SELECT * FROM newest) "
            "ORDER BY log_id"
        )
        return [row[0] for row in rows]

    def start_log(self, log: bytes, predecessor: Predecessor | None) -> None:
        prev = (predecessor.log, predecessor.head_hash, predecessor.reason) if predecessor else (None,) * 3
        self._db.execute(
            "INSERT INTO logs (log, prev_log, prev_head, reason) VALUES (?, ?, ?, ?)", (log, *prev)
        )

    # Samples

    def append(self, sample: Captured) -> None:
        wall = sample.wall
        self._db.execute(
            "INSERT INTO samples (instrument, boot_id, boottime_ns, wall_ns, source, maxerror_us, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                sample.instrument,
                sample.boot_id,
                sample.boottime_ns,
                wall.ns,
                wall.source,
                wall.maxerror_us,
                sample.record(),
            ),
        )

    def note_missed(self, missed: Missed) -> None:
        """Neighbouring losses of one instrument for one reason become one row."""
        row = self._db.execute(
            "SELECT id FROM losses WHERE instrument = ?1 AND boot_id = ?2 AND reason = ?3 "
            "AND id = (SELECT max(id) FROM losses WHERE instrument = ?1) "
            "AND NOT EXISTS (SELECT 1 FROM samples WHERE instrument = ?1 AND boottime_ns > to_ns)",
            (missed.instrument, missed.boot_id, missed.reason),
        ).fetchone()
        if row:
            self._db.execute(
                "UPDATE losses SET to_ns = max(to_ns, ?), count = count + ? WHERE id = ?",
                (missed.to_ns, missed.count, *row),
            )
        else:
            self._db.execute(
                "INSERT INTO losses (instrument, boot_id, from_ns, to_ns, count, reason) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    missed.instrument,
                    missed.boot_id,
                    missed.from_ns,
                    missed.to_ns,
                    missed.count,
                    missed.reason,
                ),
            )

    def oldest_boot(self) -> bytes | None:
        """The earliest boot that has samples or losses: boot counts never fall within a log (§4.7)."""
        row = self._db.execute(
            "SELECT boot_id FROM (SELECT boot_id FROM samples UNION SELECT boot_id FROM losses) "
            "LEFT JOIN boots USING (boot_id) ORDER BY bootcount IS NULL, bootcount LIMIT 1"
        ).fetchone()
        return bytes(row[0]) if row else None

    def oldest_samples(self, boot_id: bytes, limit: int) -> list[tuple[int, Captured]]:
        """Up to `limit` unsealed samples of one boot, in append order, with their ids."""
        rows = self._db.execute(
            "SELECT id, instrument, boottime_ns, wall_ns, source, maxerror_us, record FROM samples "
            "WHERE boot_id = ? ORDER BY id LIMIT ?",
            (boot_id, limit),
        )
        try:
            return [
                (row_id, from_record(record, name, boot_id, boottime_ns, Wall(wall_ns, source, maxerror_us)))
                for row_id, name, boottime_ns, wall_ns, source, maxerror_us, record in rows
            ]
        except (Refused, TypeError, ValueError) as error:
            raise sqlite3.DatabaseError(f"a stored sample cannot be decoded: {error}") from None

    def waiting(self) -> Waiting:
        """What a proof could be made of now."""
        samples = self._db.execute("SELECT count(*) FROM samples").fetchone()[0]
        losses = self._db.execute("SELECT count(*) FROM losses").fetchone()[0]
        oldest = self._db.execute("SELECT boot_id, boottime_ns FROM samples ORDER BY id LIMIT 1").fetchone()
        return Waiting(samples, losses, *(oldest or (None, None)))

    def newest_ns(self, instrument: str, boot_id: bytes) -> int | None:
        """Boot time of the newest sample of `instrument` ever appended, or loss ever noted, in this boot."""
        row = self._db.execute(
            "SELECT max(boottime_ns) FROM ("
            "SELECT boottime_ns FROM samples WHERE instrument = ?1 AND boot_id = ?2 "
            "UNION ALL SELECT to_ns FROM losses WHERE instrument = ?1 AND boot_id = ?2 "
            "UNION ALL SELECT boottime_ns FROM instruments WHERE name = ?1 AND boot_id = ?2)",
            (instrument, boot_id),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def retire_samples(self, sealed: Sequence[tuple[int, Captured]]) -> None:
        """Remove samples that the proof stored in this transaction holds."""
        if self._db.execute("SELECT count(*) FROM samples").fetchone() == (len(sealed),):
            self._db.execute("DELETE FROM samples")  # in one go: pages that become free are not written
        else:
            self._db.executemany("DELETE FROM samples WHERE id = ?", [(row_id,) for row_id, _ in sealed])
        self._db.executemany(
            _SEALED, [(sample.instrument, sample.boot_id, sample.boottime_ns, 1) for _, sample in sealed]
        )

    def take_losses(self, boot_id: bytes, limit: int) -> tuple[Lost, ...]:
        rows = self._db.execute(
            "SELECT id, instrument, from_ns, to_ns, count, reason FROM losses "
            "WHERE boot_id = ? ORDER BY id LIMIT ?",
            (boot_id, limit),
        ).fetchall()
        self._db.executemany("DELETE FROM losses WHERE id = ?", [(row[0],) for row in rows])
        self._db.executemany(_SEALED, [(name, boot_id, to_ns, 0) for _, name, _, to_ns, _, _ in rows])
        return tuple(Lost(*row[1:]) for row in rows)

    # Proofs

    def store_proof(
        self, log: OpenLog, seq: int, proof_hash: bytes, data: bytes, readings: int, first_s: int, last_s: int
    ) -> None:
        if seq != log.seq + 1:
            raise ValueError(f"seq {seq} does not follow {log.seq}")
        self._db.execute(
            "INSERT INTO proofs (log_id, seq, hash, data, readings, first_s, last_s) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (log.id, seq, proof_hash, wire.deflate(data), readings, first_s, last_s),
        )

    def hash_at(self, log_id: int, seq: int) -> bytes | None:
        row = self._db.execute(
            "SELECT hash FROM proofs WHERE log_id = ? AND seq = ?", (log_id, seq)
        ).fetchone()
        return bytes(row[0]) if row else None

    def has_forgotten(self, log_id: int, seq: int) -> bool:
        """Whether `seq` lies before everything that is remembered of a log (`agent.retention`)."""
        row = self._db.execute("SELECT min(seq) FROM proofs WHERE log_id = ?", (log_id,)).fetchone()
        return row[0] is not None and seq < row[0]

    def proof_at(self, log_id: int, seq: int) -> StoredProof | None:
        """None where there is none, or its bytes were evicted."""
        row = self._db.execute(
            "SELECT data, readings, hash FROM proofs WHERE log_id = ? AND seq = ? AND data IS NOT NULL",
            (log_id, seq),
        ).fetchone()
        if row is None:
            return None
        message, readings, proof_hash = row
        return StoredProof(seq, unpacked(message, proof_hash, seq), readings, message)

    def next_unreceipted(self, log_id: int, after_seq: int) -> int | None:
        """The lowest sequence number above `after_seq` whose proof is kept and not receipted."""
        row = self._db.execute(
            "SELECT min(seq) FROM proofs "
            "WHERE log_id = ? AND seq > ? AND receipted_s IS NULL AND data IS NOT NULL",
            (log_id, after_seq),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def unreceipted(self, log_id: int) -> Iterator[StoredProof]:
        seq = 0
        while (found := self.next_unreceipted(log_id, seq)) is not None:
            proof = self.proof_at(log_id, found)
            if proof is not None:
                yield proof
            seq = found

    def mark_receipted(self, log_id: int, head_seq: int, received_at_s: int) -> int:
        """§5.4: how many proofs became evictable. All before the newest receipted one are so already."""
        return self._db.execute(
            "UPDATE proofs SET receipted_s = ? WHERE log_id = ? AND seq > ? AND seq <= ?",
            (received_at_s, log_id, self.receipted_seq(log_id), head_seq),
        ).rowcount

    def receipted_seq(self, log_id: int) -> int:
        """The newest receipted sequence number of a log, 0 before the first."""
        row = self._db.execute(  # the index by name: SQLite would walk down the whole backlog instead
            "SELECT seq FROM proofs INDEXED BY receipted WHERE log_id = ? AND receipted_s IS NOT NULL "
            "ORDER BY seq DESC LIMIT 1",
            (log_id,),
        ).fetchone()
        return int(row[0]) if row else 0

    def receipted_at_s(self) -> int:
        """The gateway's time of the newest receipt this store knows, -1 before the first."""
        row = self._db.execute(
            "SELECT receipted_s FROM proofs INDEXED BY receipted WHERE receipted_s IS NOT NULL "
            "ORDER BY log_id DESC, seq DESC LIMIT 1"
        ).fetchone()
        return int(row[0]) if row else -1

    def drop_bytes(self, log_id: int, seq: int) -> None:
        """Forget the bytes of a proof whose readings were sealed again in another log."""
        self._db.execute("UPDATE proofs SET data = NULL WHERE log_id = ? AND seq = ?", (log_id, seq))
