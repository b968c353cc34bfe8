"""An identity leaves a board in a backup, and comes to a new one.

- `restore` looks at everything before it writes anything. A key, a membership or a journal of another device
  is refused; this device's own journal (its card, in a new board) is kept. Nothing is replaced.
- It writes the configuration (where there is none), the key, the journal, and the membership last: without
  one no agent starts. Killed anywhere, repeating it goes on where it stopped.
- The new journal knows the rotations of the old one: without them its exports would begin behind a change of
  key, and be refused.
- Its log names the backup's head. Until something is receipted in it, it follows what the gateway holds
  (`agent.succession`): the old board went on after the backup was made.
"""

from __future__ import annotations

import secrets
import sqlite3
import tomllib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent import membership, rotation
from agent.clock import SystemClock
from agent.daemon import alone
from agent.errors import FixConfig, FixKey, FixStore, HardStop
from agent.journal import Journal
from agent.keystore import Board, export_seeds, import_seeds, key_exists, open_key, rotation_prepared
from agent.membership import Joined
from agent.salvage import read_only
from agent.settings import MAX_CONFIG_BYTES, Settings, load, parse
from agent.succession import RESTORED
from proof.claims import LOG_BYTES, Predecessor
from provisioning import wholefile
from provisioning.backup import MAX_BYTES, Backup, Head
from provisioning.become import owning

_FILE_MODE = 0o600
_WHENEVER = 0  # whether it has expired is for the agent to say, when it starts


@dataclass(frozen=True, slots=True)
class Restored:
    """`config_written`: there was none; `again`: everything was here already."""

    joined: Joined
    settings: Settings
    config_written: bool
    again: bool


def collect(config: Path, board: Board, now_s: int) -> tuple[Backup, Joined]:
    """What a backup of this board holds; the agent may run. Raises `AgentError`."""
    settings = load(config)
    device = open_key(settings.key, board).device
    if rotation_prepared(settings.key, board):
        raise HardStop(
            "This device's key is being changed, and the network has not receipted the new one yet: a backup "
            "made now would soon be of no use. Let the agent run, then repeat this."
        )
    joined = membership.load(settings.membership_path, device, now_s)
    head, turns = _past(settings, device)
    backup = Backup(
        export_seeds(settings.key, board),
        settings.membership_path.read_bytes(),
        config.read_text(),
        head,
        now_s,
        turns,
    )
    return backup, joined


def read(path: Path) -> bytes:
    """Bounded; raises `FixConfig`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FixConfig(f"The backup {path} cannot be read: {error.strerror}.") from None


def write(path: Path, data: bytes) -> None:
    """A new file for its owner alone, whole or not at all; raises `FixConfig`."""
    if not wholefile.write_new(path, data, _FILE_MODE):
        raise FixConfig(f"{path} is already there and stays as it is: give another name.")


def restore(backup: Backup, config: Path, board: Board, now_s: int) -> Restored:
    """Make this board the device of `backup`; raises `AgentError`, and nothing was changed then."""
    there = config.exists()
    joined = membership.verified(Path("in the backup"), backup.membership, backup.device, _WHENEVER)
    settings = load(config) if there else _settings(backup.config)
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FixConfig(f"state_dir: {settings.state_dir} cannot be made: {error.strerror}.") from None
    with alone(settings.state_dir):
        with owning(settings.state_dir):
            has_journal = _journal_is_here(backup, settings)
            again = there & _key_is_here(backup, settings, board) & (has_journal or backup.head is None)
            if settings.membership_path.exists():
                joined = membership.load(settings.membership_path, backup.device, _WHENEVER)
            else:
                again = False
        if not there:
            wholefile.write_new(config, backup.config.encode())
        with owning(settings.state_dir):
            import_seeds(settings.key, backup.seeds, now_s, board)
            if not has_journal and backup.head is not None:
                _make_journal(backup, backup.head, settings)
            if not settings.membership_path.exists():
                wholefile.write_new(settings.membership_path, backup.membership, _FILE_MODE)
    return Restored(joined, settings, not there, again)


def _settings(text: str) -> Settings:
    if len(text) > MAX_CONFIG_BYTES:
        raise FixConfig("The configuration in the backup is too large: write one, and give it with --config.")
    try:
        return parse(tomllib.loads(text), "in the backup")
    except tomllib.TOMLDecodeError as error:
        raise FixConfig(f"The configuration in the backup is not TOML: {error}.") from None


def _key_is_here(backup: Backup, settings: Settings, board: Board) -> bool:
    if not key_exists(settings.key, board):
        return False
    here = open_key(settings.key, board).device
    if here != backup.device:
        raise FixKey(
            f"This board has the key of another device ({here}); the backup is that of {backup.device}. "
            "Restore it on a new board, or give a configuration with another state_dir and key."
        )
    if export_seeds(settings.key, board) != backup.seeds:
        raise FixKey(
            f"This board has another key of {here} than the backup: its key was changed after the backup was "
            "made. Nothing needs to be restored here."
        )
    return True


def _journal_is_here(backup: Backup, settings: Settings) -> bool:
    """Whether there is one of this device; raises `FixStore` for any other."""
    path = settings.journal_path
    if not path.exists() or path.stat().st_size == 0:
        return False
    try:
        with closing(read_only(path)) as db:
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return False
            (owner,) = db.execute("SELECT device FROM meta").fetchone()
            logs = db.execute("SELECT count(*) FROM logs").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        raise FixStore(f"The journal {path} is damaged ({error}): restore in a new state_dir.") from None
    if owner != backup.device:
        raise FixStore(
            f"The journal {path} belongs to device {owner}, the backup is that of {backup.device}."
        )
    return bool(logs)


def _make_journal(backup: Backup, head: Head, settings: Settings) -> None:
    with closing(Journal(settings.journal_path, backup.device)) as journal:
        journal.begin()
        for turn in backup.turns:
            rotation.adopt(journal, turn)
        journal.start_log(secrets.token_bytes(LOG_BYTES), Predecessor(head.log, head.hash, RESTORED))
        journal.bootcount(SystemClock().boot_id)
        journal.commit()


def _past(settings: Settings, device: str) -> tuple[Head | None, tuple[bytes, ...]]:
    """The open log, and the rotations so far, read beside a running agent."""
    path = settings.journal_path
    if not path.exists():
        return None, ()
    try:
        with closing(read_only(path)) as db:
            (owner,) = db.execute("SELECT device FROM meta").fetchone()
            found = db.execute(
                "SELECT log, coalesce(seq, 0), hash FROM (SELECT id, log FROM logs ORDER BY id DESC LIMIT 1) "
                "LEFT JOIN proofs ON log_id = id ORDER BY seq DESC LIMIT 1"
            ).fetchone()
            turns = db.execute("SELECT data FROM rotations ORDER BY id").fetchall()
    except (sqlite3.Error, TypeError) as error:
        raise FixStore(
            f"The journal {path} cannot be read: {error}. Start the agent: it mends what is damaged."
        ) from None
    if owner != device:
        raise FixStore(f"The journal {path} belongs to device {owner}, the key is that of {device}.")
    return Head(*found) if found else None, tuple(data for (data,) in turns)
