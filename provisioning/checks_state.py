"""Checks of what the device keeps: configuration, state folder, key, journal, membership, and the agent that
may be running on them.

- The lock of the state folder is read from the kernel's list, not tried: whoever takes it for a moment could
  stop an agent that starts just then.
- The journal of a running agent is not opened. Any other is read without leaving a file beside it: SQLite
  makes a shared-memory file for every reader of a write-ahead log, which would then belong to this user.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent import membership as memberships
from agent.cli import check
from agent.clock import Clock
from agent.conditions import HEALTHY_S
from agent.control import ask_status
from agent.errors import AgentError, TryAgain
from agent.journal import unpacked
from agent.keystore import Board, open_key, open_next_key
from agent.settings import Settings, load
from agent.store import is_sound
from proof.keys import Signer, signature_fits
from provisioning.checks import FAIL, PASS, SKIPPED, WARN, Finding, failed
from provisioning.checks_machine import user_name
from provisioning.joining import date

SOON_S = 14 * 86_400
MAX_COPY_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Books:
    """What the journal says; `known` is the newest proof with a receipt whose bytes are still there."""

    proofs: int
    unreceipted: int
    receipted_s: int | None
    known: bytes | None = None


def configuration(path: Path) -> Finding:
    if not path.exists():
        to_do = "Give --config FILE, or make one: fieldproof-provision init --write-config"
        return Finding(FAIL, f"There is no configuration at {path}.", to_do)
    settings = check(load(path))
    names = ", ".join(instrument.name for instrument in settings.instrument)
    return Finding(PASS, f"{path}; instruments: {names}.", "", settings)


def state_folder(settings: Settings) -> Finding:
    folder = settings.state_dir
    try:
        status = folder.stat()
    except FileNotFoundError:
        return Finding(FAIL, f"{folder} is not there.", "fieldproof-provision init makes it.")
    owner, this = user_name(status.st_uid), user_name(os.geteuid())
    said = f"{folder}, owner {owner}, mode {stat.S_IMODE(status.st_mode):04o}"
    if not stat.S_ISDIR(status.st_mode):
        return Finding(FAIL, f"{folder} is no folder.", "Correct state_dir in the configuration.")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return Finding(FAIL, f"{said}: {this} may not write there.", f"Run this as {owner}.")
    if status.st_uid != os.geteuid():
        return Finding(WARN, f"{said}, and this runs as {this}.", f"Run this as {owner}.", folder)
    if status.st_mode & 0o002:
        to_do = f"chmod 0700 {folder}, and look at what is in it."
        return Finding(FAIL, f"{said}: everybody may write there.", to_do)
    if status.st_mode & 0o077:
        return Finding(WARN, f"{said}: others may look in.", f"chmod 0700 {folder}", folder)
    return Finding(PASS, f"{said}.", "", folder)


def agent(settings: Settings, locks: Path) -> Finding:
    """The value is the running agent's report, empty where none runs."""
    folder = settings.state_dir
    try:
        report = ask_status(settings.control_socket)
    except TryAgain:
        if (holder := lock_holder(folder, locks)) is None:
            return Finding(PASS, f"None runs in {folder}.", "", {})
        if not os.access(folder, os.X_OK, effective_ids=True):
            return Finding(SKIPPED, f"Process {holder} runs in {folder}, and only its owner may ask it.")
        to_do = f"It may be starting: examine again. Else restart it (process {holder})."
        return Finding(FAIL, f"Process {holder} holds {folder} and does not answer.", to_do)
    if not (report["healthy"] and report["answered"]):
        why = " ".join(map(str, report["why"] if isinstance(report["why"], list) else []))
        said = "is not healthy" if report["answered"] else "its journal does not answer"
        return Finding(WARN, f"It runs and {said}. {why}", "See the lines below.", report)
    age_s = report["last_receipted_reading_age_s"]
    return Finding(PASS, f"It runs and is healthy; newest receipted reading {age_s:.0f} s old.", "", report)


def lock_holder(folder: Path, locks: Path) -> int | None:
    """The process that holds an exclusive flock on `folder`."""
    if not folder.exists():
        return None
    status = folder.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in locks.read_text().splitlines():
        match line.split():
            case [_, "FLOCK", _, "WRITE", pid, found, *_] if found == place:
                return int(pid)
    return None


def key(settings: Settings, board: Board) -> Finding:
    signer = open_key(settings.key, board)
    message = b"fieldproof doctor " + secrets.token_bytes(16)
    said = f"Class {signer.key_class}{_mode_of(settings.key)}, of {signer.device}"
    if not signature_fits(signer.public_key, message, signer.sign(message)):
        return Finding(FAIL, f"{said}: it signs what it cannot verify.", "Restore it from its backup.")
    try:
        open_next_key(settings.key, board)
    except AgentError as error:
        told = failed(error.sentence)
        found = f"{said}; signs. It cannot be rotated: {told.found}"
        return Finding(WARN, found, "Restore PATH.next from a backup of this board.", signer)
    return Finding(PASS, f"{said}; signs and verifies; the next key is there.", "", signer)


def membership(folder: Path, signer: Signer, settings: Settings, clock: Clock) -> Finding:
    now_s = clock.wall().ns // 10**9
    joined = memberships.load(settings.membership_path, signer.device, now_s)
    said = f"{joined.membership.network} ({joined.membership.kind}), signed by its gateway"
    expires_s = joined.membership.expires_s
    if expires_s is None:
        return Finding(PASS, f"{said}, without an end.", "", joined)
    if expires_s - now_s < SOON_S:
        to_do = f"Ask the operator of {joined.membership.network} to renew it."
        return Finding(WARN, f"{said}, ends on {date(expires_s)}.", to_do, joined)
    return Finding(PASS, f"{said}, until {date(expires_s)}.", "", joined)


def journal(folder: Path, signer: Signer, report: dict[str, Any], settings: Settings) -> Finding:
    path = settings.journal_path
    if report:
        return _journal_of(report)
    if not path.exists() or not path.stat().st_size:
        return Finding(PASS, "None yet: the agent makes it at its first start.", "", Books(0, 0, None))
    wal = path.with_name(f"{path.name}-wal")
    waits = wal.stat().st_size if wal.exists() else 0
    if waits and waits + path.stat().st_size > MAX_COPY_BYTES:
        to_do = "Start the agent: it examines its journal, and keeps a damaged one."
        return Finding(SKIPPED, f"The agent was killed, and {path} is too big to be copied.", to_do)
    with _still(path, copied=waits > 0) as still:
        if not is_sound(path, signer.device, lambda _: sqlite3.connect(still, uri=True)):
            to_do = "Start the agent: it keeps the damaged file, saves what it can, and goes on."
            return Finding(FAIL, f"{path} is damaged.", to_do)
        with closing(sqlite3.connect(still, uri=True)) as db:
            books = _books(db)
    size = path.stat().st_size / 1e6
    said = f"{size:,.1f} MB, sound, of this device; {books.proofs} proofs, {books.unreceipted} unreceipted"
    return Finding(PASS, f"{said}.", "", books)


def receipt(books: Books, report: dict[str, Any], clock: Clock) -> Finding:
    """How old the newest receipt is; with a running agent, the newest reading that has one."""
    if not books.proofs:
        return Finding(SKIPPED, "Nothing was sealed yet that could have a receipt.")
    age_s: float | None = report.get("last_receipted_reading_age_s")
    if not report and books.receipted_s is not None:
        age_s = clock.wall().ns / 1e9 - books.receipted_s
    to_do = "Is the agent running? See the broker's lines below."
    if age_s is None:
        return Finding(WARN, f"None of {books.proofs} proofs has one.", to_do)
    if abs(age_s) > HEALTHY_S:
        return Finding(WARN, f"The newest is {age_s / 3600:,.1f} h old.", to_do)
    return Finding(PASS, f"The newest is {max(0.0, age_s):.0f} s old.")


def _journal_of(report: dict[str, Any]) -> Finding:
    if not report["answered"]:
        to_do = "Look at the disk (`df`, `dmesg`), and examine again."
        return Finding(FAIL, "The journal of the running agent does not answer.", to_do)
    found, proofs = report["journal"], report["proofs"]
    books = Books(proofs["sealed"], proofs["unreceipted"], None)
    said = f"{found['bytes'] / 1e6:,.1f} MB, held by the running agent; {books.proofs} proofs"
    return Finding(PASS, f"{said}, {books.unreceipted} unreceipted.", "", books)


@contextmanager
def _still(path: Path, copied: bool) -> Iterator[str]:
    """A URI to read the journal by that leaves no file beside it."""
    if not copied:
        yield f"{path.absolute().as_uri()}?immutable=1"
        return
    with tempfile.TemporaryDirectory(prefix="fieldproof-doctor-") as folder:
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", Path(folder) / f"copy.db{suffix}")
        yield (Path(folder) / "copy.db").as_uri()


def _books(db: sqlite3.Connection) -> Books:
    one = partial(_one, db)
    log = one("SELECT max(id) FROM logs") or 0
    known = db.execute(
        "SELECT data, hash FROM proofs WHERE log_id = ? AND receipted_s IS NOT NULL AND data IS NOT NULL "
        "ORDER BY seq DESC LIMIT 1",
        (log,),
    ).fetchone()
    data = None
    with suppress(sqlite3.DatabaseError):
        data = unpacked(known[0], known[1], 0) if known else None
    return Books(
        one("SELECT count(*) FROM proofs"),
        one("SELECT count(*) FROM proofs WHERE receipted_s IS NULL AND data IS NOT NULL"),
        one("SELECT max(receipted_s) FROM proofs"),
        data,
    )


def _one(db: sqlite3.Connection, sql: str) -> Any:
    return db.execute(sql).fetchone()[0]


def _mode_of(uri: str) -> str:
    """The mode of the key's file, for keys that are files."""
    path = Path(uri.partition(":")[2])
    return f", mode {stat.S_IMODE(path.stat().st_mode):04o}" if path.is_file() else ""
