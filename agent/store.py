"""Opening the journal, whatever state it is in.

- It is examined read-only first: one that is another device's, a newer agent's, or out of reach is a hard
  stop and stays as it is, to the byte.
- A corrupt one is renamed beside itself (`journal.db.corrupt-1` …, with its WAL) and kept. A new one takes
  over what can still be read (`agent.salvage`) and starts with a log that names the old log and its head.
- Nobody is ever asked to delete a file by hand.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FixStore
from agent.journal import Journal
from agent.salvage import read_only, salvage
from agent.schema import SCHEMA_VERSION
from proof.claims import LOG_BYTES

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
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        damaged = condemned or not is_sound(path, device)
        quarantined = _quarantine(path) if damaged else None
        return Opened(_opened(path, device, boot_id, quarantined), quarantined)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and is_damage(error) and not condemned:
            return open_journal(path, device, boot_id, condemned=True)
        raise FixStore(
            f"The journal {path} cannot be opened: {error}. Does the folder exist, and does this user own it?"
        ) from None


def _opened(path: Path, device: str, boot_id: bytes, quarantined: Path | None) -> Journal:
    journal = Journal(path, device)
    try:
        journal.begin()
        predecessor = salvage(quarantined, journal) if quarantined else None
        if quarantined or journal.open_log() is None:
            journal.start_log(secrets.token_bytes(LOG_BYTES), predecessor)
        journal.bootcount(boot_id)
        journal.commit()
    except BaseException:  # whatever it is: tidy up and raise it again
        journal.close()
        raise
    return journal


def is_sound(path: Path, device: str, connect: Callable[[Path], sqlite3.Connection] = read_only) -> bool:
    """False for a damaged file; raises `FixStore` for one that is not ours to use."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(connect(path)) as db:
            if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return True  # a crash before the tables were made
            owner = db.execute("SELECT device, version FROM meta").fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return False
    if owner is None:
        return False
    if owner[0] != device:
        raise FixStore(
            f"The journal {path} belongs to device {owner[0]}, the key is that of {device}: "
            "use the key it was made with, or another state_dir."
        )
    if owner[1] > SCHEMA_VERSION:
        raise FixStore(f"The journal {path} was written by a newer agent: upgrade this one.")
    return True


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python (text that is no UTF-8) or by us, not by SQLite
        return type(error) in (sqlite3.DatabaseError, sqlite3.OperationalError)
    return (code & 0xFF) in _DAMAGE


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite found no room on the disk."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL


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
