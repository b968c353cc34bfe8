"""Opening the journal, whatever state it is in.

- A sound journal opens. Another device's, or one this user may not touch, is a hard stop: it is left alone.
- A corrupt one is renamed beside itself (`journal.db.corrupt-1` …, with its WAL) and kept; a new one starts
  with a log that names the old log and its last known head, as far as they can still be read.
- Nobody is ever asked to delete a file by hand.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FixStore
from agent.journal import Journal
from proof.claims import LOG_BYTES, Predecessor

CORRUPT = "store corrupt"
_SUFFIXES = ("", "-wal", "-shm")
# SQLite's own words for a damaged file; anything else (locked, read-only, full) is not damage.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class Opened:
    """`quarantined` is where a corrupt predecessor now lies."""

    journal: Journal
    quarantined: Path | None = None


def open_journal(path: Path, device: str, boot_id: bytes, *, condemned: bool = False) -> Opened:
    """A journal of `device` with an open log and this boot counted; `condemned` says that its reader has
    met damage in it. Raises `FixStore`."""
    quarantined, predecessor = None, None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = None if condemned else _sound(path, device)
        if journal is None:
            predecessor, quarantined = _last_known(path), _quarantine(path)
            journal = Journal(path, device)
    except (OSError, sqlite3.Error) as error:
        raise FixStore(
            f"The journal {path} cannot be opened: {error}. Does the folder exist, and does this user own it?"
        ) from None
    journal.begin()
    if journal.open_log() is None:
        journal.start_log(secrets.token_bytes(LOG_BYTES), predecessor)
    journal.bootcount(boot_id)
    journal.commit()
    return Opened(journal, quarantined)


def _sound(path: Path, device: str) -> Journal | None:
    try:
        return Journal(path, device)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # ours from quick_check has none
    return (code & 0xFF) in _DAMAGE


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite found no room on the disk."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL


def _last_known(path: Path) -> Predecessor | None:
    """The old log and its newest head, as far as a damaged file still tells."""
    with suppress(sqlite3.Error, TypeError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        log_id, log = db.execute("SELECT id, log FROM logs ORDER BY id DESC LIMIT 1").fetchone()
        with suppress(sqlite3.Error, TypeError):
            newest = "SELECT hash FROM proofs WHERE log_id = ? ORDER BY seq DESC LIMIT 1"
            return Predecessor(log, db.execute(newest, (log_id,)).fetchone()[0], CORRUPT)
        return Predecessor(log, None, CORRUPT)
    return None


def _quarantine(path: Path) -> Path:
    number = 1
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in _SUFFIXES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return target
