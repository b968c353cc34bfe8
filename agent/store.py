"""Opening the journal, whatever state it is in.

- It is examined read-only first: one that is another device's, a newer agent's, or out of reach is a hard
  stop and stays as it is, to the byte. One whose tables were made with other words than ours is corrupt:
  SQLite cannot tell a flipped bit there from another table.
- A corrupt one is renamed beside itself (`journal.db.corrupt-1` …, with its WAL) and kept. A new one takes
  over what can still be read (`agent.salvage`) and starts with a log that names the old log and its head. The
  newest three are kept: a failing card must not fill itself with them.
- One that does not know a proof which was published from it (`agent.mark`) goes on in a new log: no number is
  signed twice.
- A new one is made beside its place (`journal.db.making`) and comes there whole. Where it replaces another it
  waits as `journal.db.next`, finished, until the other is out of the way: a power cut between leaves one of
  the two in place, or the next start completes the change. Each step is on disk before the one that follows.
- A disk that is full, failing or read-only may be another one at the next start: try again, no hard stop.
- A start that meets a full disk gives up the reserve (`agent.reserve`), and with that room receipted proofs.
- Nobody is ever asked to delete a file by hand.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from agent import reserve, retention
from agent.errors import FixStore, TryAgain
from agent.journal import Journal, OpenLog
from agent.mark import Published
from agent.salvage import CORRUPT, read_only, salvage
from agent.schema import SCHEMA_VERSION, words, words_of
from proof.chain import SUPERSEDED
from proof.claims import HASH_BYTES, LOG_BYTES, Predecessor

_BESIDE = ("-wal", "-shm")
QUARANTINED_KEPT = 3
_GIVEN_UP = 512  # proofs, of a disk that was full at the start
_FLIPPED = 8  # characters of a device's name
# SQLite's own words for a damaged file; anything else (locked, read-only, full) is not damage.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BEHIND = (
    "The journal had lost what was already published from it, by damage or because an older copy was put "
    "back: a new log is open, so that no number is signed twice."
)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Opened:
    """`quarantined` is where a corrupt predecessor now lies. `behind`: the journal did not know all that it
    had published, so a new log is open."""

    journal: Journal
    quarantined: Path | None = None
    behind: bool = False


def open_journal(path: Path, device: str, boot_id: bytes, *, condemned: bool = False) -> Opened:
    """A journal of `device` with an open log and this boot counted; `condemned` says that its reader has
    met damage in it. Raises `FixStore`, or `TryAgain` where it is the disk that refuses."""
    quarantined = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tidy(path)
        if not path.exists() or path.stat().st_size == 0:
            _build(path, device, boot_id, path)
        elif condemned or not is_sound(path, device):
            _build(path, device, boot_id, _next(path), damaged=True)
            quarantined = _quarantine(path)
            _move_in(path)
        journal, behind = _opened(path, device, boot_id)
        reserve.keep(path)
        return Opened(journal, quarantined, behind)
    except (OSError, sqlite3.Error) as error:
        replaced = quarantined is not None  # what lies there now is the new one, and sound
        if reserve.give(path):
            opened = open_journal(path, device, boot_id, condemned=condemned and not replaced)
            return replace(_emptied(opened), quarantined=opened.quarantined or quarantined)
        if isinstance(error, sqlite3.Error) and is_damage(error) and not condemned and not replaced:
            return open_journal(path, device, boot_id, condemned=True)
        if replaced or may_pass(error, path):
            raise TryAgain(
                f"The journal {path} cannot be opened now: {error}. Look at the disk (`df`, `dmesg`); it is "
                "tried again."
            ) from None
        raise FixStore(
            f"The journal {path} cannot be opened: {error}. Does the folder exist, and does this user own it?"
        ) from None


def _emptied(opened: Opened) -> Opened:
    """With the room of the reserve more is made, of what the gateway has."""
    journal = opened.journal
    with suppress(sqlite3.Error):
        journal.begin()
        retention.evict_receipted(journal, _GIVEN_UP)
        journal.commit()
        journal.give_back_space()
    journal.rollback()
    reserve.keep(journal.path)
    return opened


def _opened(path: Path, device: str, boot_id: bytes) -> tuple[Journal, bool]:
    """And whether it was behind."""
    journal = Journal(path, device)
    try:
        journal.begin()
        log = journal.open_log()
        lost = _lost(journal, log)
        if log is None or lost:
            journal.start_log(secrets.token_bytes(LOG_BYTES), lost)
        journal.bootcount(boot_id)
        journal.commit()
        if journal.mark.published is None and (log := journal.open_log()):
            journal.mark.begin(Published(log.log, log.seq, log.hash or bytes(HASH_BYTES)))
    except BaseException:  # whatever it is: tidy up and raise it again
        journal.close()
        raise
    return journal, lost is not None


def _lost(journal: Journal, log: OpenLog | None) -> Predecessor | None:
    """What a new log has to name, because numbers of `log` were published that the journal does not know."""
    published = journal.mark.published
    if published is None or log is None:
        behind = log is not None and journal.mark.damaged  # nobody knows: as if it were
        head = log.hash if log else None
    elif published.log != log.log:
        behind, head = not journal.knows_log(published.log), published.hash
    else:
        known = journal.hash_at(log.id, published.seq)
        old = not published.seq or journal.has_forgotten(log.id, published.seq)
        behind, head = not old and known != published.hash, published.hash
    if not behind or log is None:
        return None
    if log.predecessor and log.predecessor.reason == SUPERSEDED:
        return log.predecessor
    return Predecessor(published.log if published else log.log, head, CORRUPT)


def is_sound(path: Path, device: str, connect: Callable[[Path], sqlite3.Connection] = read_only) -> bool:
    """False for a damaged file; raises `FixStore` for one that is not ours to use."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(connect(path)) as db:
            # Not `quick_check`: it does not see an index that lost entries, and what is read through that.
            if (problem := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(problem)
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return True  # a crash before the tables were made
            found = words(db)
            if found.get("meta") != words_of(1)["meta"]:
                return False
            owner = db.execute("SELECT device, version FROM meta").fetchone()
    except UnicodeDecodeError:  # SQLite quotes the damage, and Python cannot read the sentence
        return False
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return False
    if owner is None or tuple(map(type, owner)) != (str, int):
        return False
    its_device, version = owner
    if its_device != device:
        if _hardly_differ(its_device, device):
            return False
        raise FixStore(
            f"The journal {path} belongs to device {its_device}, the key is that of {device}: "
            "use the key it was made with, or another state_dir."
        )
    if version > SCHEMA_VERSION and found != words_of(SCHEMA_VERSION):
        raise FixStore(f"The journal {path} was written by a newer agent: upgrade this one.")
    return version <= SCHEMA_VERSION and found == words_of(version)


def _hardly_differ(one: str, other: str) -> bool:
    """Two devices have names of which hardly a character is the same; one with flipped bits has not."""
    return len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) <= _FLIPPED


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python (text that is no UTF-8) or by us, not by SQLite
        return type(error) in (sqlite3.DatabaseError, sqlite3.OperationalError)
    return (code & 0xFF) in _DAMAGE


def may_pass(error: OSError | sqlite3.Error, path: Path) -> bool:
    """Whether it is the disk that refuses: full, failing, or a file system that turned read-only. A start
    that met it is worth another; an owner or a permission is not."""
    if isinstance(error, OSError):
        refused = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    else:
        refused = (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
        )
    with suppress(OSError):
        refused = refused or bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    return refused


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite found no room on the disk."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL


def _build(path: Path, device: str, boot_id: bytes, place: Path, *, damaged: bool = False) -> None:
    """A new journal at `place`, whole; of a `damaged` one it has what can be read."""
    making = _making(path)
    journal = Journal(making, device)
    try:
        journal.begin()
        predecessor = salvage(path, journal) if damaged else None
        journal.start_log(secrets.token_bytes(LOG_BYTES), predecessor)
        journal.bootcount(boot_id)
        journal.commit()
        journal.give_back_space()
    finally:
        journal.close()
    making.rename(place)
    _settle(path.parent)


def _quarantine(path: Path) -> Path:
    """`path` out of the way; first the file, because what follows finds the rest by its absence."""
    numbers = _quarantined(path)
    target = _corrupt(path, max(numbers, default=0) + 1)
    path.rename(target)
    _settle(path.parent)
    _move_rest(path, target)
    for number in numbers[: 1 - QUARANTINED_KEPT]:
        old = _corrupt(path, number)
        for suffix in (*_BESIDE, ""):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
        _log.warning("quarantined journal removed", file=str(old), kept=QUARANTINED_KEPT)
    return target


def _quarantined(path: Path) -> list[int]:
    """Numbers of the quarantined journals, oldest first."""
    found = (file.name.rpartition("-")[2] for file in path.parent.glob(f"{path.name}.corrupt-*"))
    return sorted({int(number) for number in found if number.isdecimal()})


def _move_rest(path: Path, target: Path) -> None:
    for suffix in _BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    _settle(path.parent)


def _move_in(path: Path) -> None:
    _next(path).rename(path)
    _settle(path.parent)


def _tidy(path: Path) -> None:
    """Complete a replacement that was cut off, or remove what it left."""
    if _next(path).exists() and not path.exists():
        _move_rest(path, _corrupt(path, max(_quarantined(path), default=1)))
        _move_in(path)
    for file in (_next(path), _making(path)):
        for suffix in ("", "-journal", *_BESIDE):
            file.with_name(file.name + suffix).unlink(missing_ok=True)


def _corrupt(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.corrupt-{number}")


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _making(path: Path) -> Path:
    return path.with_name(f"{path.name}.making")


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
