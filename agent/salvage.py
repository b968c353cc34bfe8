"""What a quarantined journal still gives: copied, best effort, into the new one, in the caller's transaction.

- Logs, boots, rotations, what each instrument has given, the diary, samples, losses; of the newest log the
  proofs without a receipt, whose readings the keeper seals again in the new log, and the gaps, which it
  declares there as losses. The others stay in the quarantined file.
- Each table is read from both ends towards the damage. A row of the wrong types, a sample that cannot be
  decoded and a proof that is not what its hash says are left behind.
- Boot counts go on above every boot that was found, in the order of the samples (§4.7).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from agent.clock import Wall
from agent.journal import Journal, unpacked
from agent.sample import readable
from proof import sealing
from proof.chain import SUPERSEDED
from proof.claims import HASH_BYTES, LOG_BYTES, Predecessor
from proof.reasons import Refused

CORRUPT = "store corrupt"
_MAX_ROWS = 1_000_000
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)  # the second where SQLite quotes what is damaged
_SAMPLES = "id, instrument, boot_id, boottime_ns, wall_ns, source, maxerror_us, record"
_SAMPLE_TYPES = (int, str, bytes, int, int, int, int, bytes)
_LOSSES = "id, instrument, boot_id, from_ns, to_ns, count, reason"
_LOSS_TYPES = (int, str, bytes, int, int, int, str)
_ROTATIONS = "id, public_key, log_id, seq, data"
_PROOFS = "log_id, seq, hash, readings, first_s, last_s, data"
_PROOF_TYPES = (int, int, bytes, int, int, int, bytes)
_DIARY = "id, at_s, until_s, clock_sure, count, code, detail"
_GAPS = "log_id, first_seq, last_seq, first_hash, last_hash, reason"
_DIARY_TYPES = (int, int, int, int, int, str, str)
_GAP_TYPES = (int, int, int, bytes, bytes, str)


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes neither the file nor its write-ahead log."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def salvage(path: Path, journal: Journal) -> Predecessor | None:
    """Copy what can be read of `path` into the empty `journal`; the newest log found and its head."""
    with closing(read_only(path)) as old:
        for row in _rows(old, "id, log", "logs ORDER BY id", (int, bytes)):
            if len(row[1]) == LOG_BYTES:
                _insert(journal, "logs", "id, log", row)
        for row in _rows(old, "boot_id, bootcount", "boots ORDER BY bootcount", (bytes, int)):
            _insert(journal, "boots", "boot_id, bootcount", row)
        for row in _rows(old, _ROTATIONS, "rotations ORDER BY id", (int, bytes, int, int, bytes)):
            _insert(journal, "rotations", _ROTATIONS, row)
        given = "name, boot_id, boottime_ns, sealed"
        for row in _rows(old, given, "instruments ORDER BY name", (str, bytes, int, int)):
            _insert(journal, "instruments", given, row)
        for row in _rows(old, _DIARY, "diary WHERE until_s IS NOT NULL ORDER BY id", _DIARY_TYPES):
            _insert(journal, "diary", _DIARY, row)
        newest = journal.open_log()
        if newest:
            _copy_proofs(old, journal, newest.id)
            _copy_gaps(old, journal, newest.id)
        for row in _rows(old, _SAMPLES, "samples ORDER BY id", _SAMPLE_TYPES):
            _, instrument, boot_id, boottime_ns, *wall, record = row
            if readable(record, instrument, boot_id, boottime_ns, Wall(*wall)):
                journal.bootcount(row[2])
                _insert(journal, "samples", _SAMPLES, row)
        for row in _rows(old, _LOSSES, "losses ORDER BY id", _LOSS_TYPES):
            journal.bootcount(row[2])
            _insert(journal, "losses", _LOSSES, row)
        if newest is None:
            return None
        return _gave_way(old, newest.id) or Predecessor(newest.log, _head_hash(old, newest.id), CORRUPT)


def _gave_way(old: sqlite3.Connection, log_id: int) -> Predecessor | None:
    """What the newest log gave way to: damage does not put a superseded store back into its place."""
    sql = "SELECT prev_log, prev_head FROM logs WHERE id = ? AND reason = ?"
    with suppress(*_UNREADABLE):
        for log, head in old.execute(sql, (log_id, SUPERSEDED)):
            if isinstance(log, bytes) and len(log) == LOG_BYTES:
                return Predecessor(log, head if isinstance(head, bytes) else None, SUPERSEDED)
    return None


def _copy_proofs(old: sqlite3.Connection, journal: Journal, log_id: int) -> None:
    kept = f"proofs WHERE log_id = {log_id} AND receipted_s IS NULL AND data IS NOT NULL ORDER BY seq"
    newest_boot = 0
    for row in _rows(old, _PROOFS, kept, _PROOF_TYPES):
        with suppress(Refused, *_UNREADABLE):
            data = unpacked(row[-1], row[2], row[1])
            newest_boot = max(newest_boot, sealing.parse(data).claims.bootcount)
            _insert(journal, "proofs", _PROOFS, row)
    known = journal.execute("SELECT coalesce(max(bootcount), 0) FROM boots").fetchone()[0]
    if newest_boot > known:
        journal.execute("INSERT INTO boots VALUES (?, ?)", (secrets.token_bytes(16), newest_boot))


def _copy_gaps(old: sqlite3.Connection, journal: Journal, log_id: int) -> None:
    """With the rows of what was given up: they say how many readings that was."""
    for row in _rows(old, _GAPS, f"gaps WHERE log_id = {log_id} ORDER BY first_seq", _GAP_TYPES):
        _insert(journal, "gaps", _GAPS, row)
    given_up = f"proofs WHERE log_id = {log_id} AND receipted_s IS NULL AND data IS NULL ORDER BY seq"
    columns, types = _PROOFS.removesuffix(", data"), _PROOF_TYPES[:-1]
    for row in _rows(old, columns, given_up, types):
        _insert(journal, "proofs", columns, row)


def _head_hash(old: sqlite3.Connection, log_id: int) -> bytes | None:
    newest = "SELECT hash FROM proofs WHERE log_id = ? ORDER BY seq DESC LIMIT 1"
    with suppress(*_UNREADABLE):
        row = old.execute(newest, (log_id,)).fetchone()
        if row and isinstance(row[0], bytes) and len(row[0]) == HASH_BYTES:
            return row[0]
    return None


def _rows(old: sqlite3.Connection, columns: str, which: str, types: tuple[type, ...]) -> Iterator[Any]:
    """Rows of `types` from the first on, then from the last back: damage ends a walk. Some come twice."""
    for order in ("", " DESC"):
        with suppress(*_UNREADABLE):
            sql = f"SELECT {columns} FROM {which}{order} LIMIT {_MAX_ROWS}"  # noqa: S608 our own names
            for row in old.execute(sql):
                if tuple(map(type, row)) == types:
                    yield row


def _insert(journal: Journal, table: str, columns: str, row: tuple[Any, ...]) -> None:
    marks = ", ".join("?" * len(row))
    sql = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 our own names
    journal.execute(sql, row)
