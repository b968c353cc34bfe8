"""Changing the device's key: the running agent does it, or nobody runs and it is done here (§8.4).

- Where an agent runs, it is asked through its own socket: the journal has one thread, in one process.
- Where none runs, this process takes the state folder as the agent would, and seals a proof as it would. It
  is delivered when the agent runs again.
- A simulated device lives in a boot of its world, which no clock here knows: its proof is sealed in the last
  boot of its journal, without a word about time.
- Killed anywhere it may be run again. Where the proof was sealed, it says so and changes nothing.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from agent import control, daemon, membership, papers, rotation
from agent.clock import SOURCE_NONE, UNSYNCED_US, AidedClock, Clock, Wall
from agent.errors import FixStore, TryAgain
from agent.journal import Journal
from agent.rotation import Keys, Turned
from agent.salvage import read_only
from agent.sealer import Sealer
from agent.settings import Settings
from agent.store import open_journal
from proof.descriptor import Descriptor
from proof.reasons import Refused
from provisioning import identity


def rotate(settings: Settings, keys: Keys, clock: Clock) -> tuple[Turned, bool]:
    """What was done, and whether a running agent did it; raises `AgentError`."""
    try:
        with daemon.alone(settings.state_dir):
            return _rotate_here(settings, keys, clock), False
    except daemon.AgentRuns:
        return Turned(**control.ask_rotate(settings.control_socket)), True  # type: ignore[arg-type] # its JSON


def _rotate_here(settings: Settings, keys: Keys, clock: Clock) -> Turned:
    device, now_s = keys.current().device, clock.wall().ns // 10**9
    joined = membership.load(settings.membership_path, device, now_s)
    if settings.key.startswith("sim:"):
        clock = _BetweenRuns(clock, settings.journal_path)
    journal = open_journal(settings.journal_path, device, clock.boot_id).journal
    try:
        signer, turn = rotation.resume(journal, keys)
        turn = rotation.begin(turn, keys, journal)
        sealer = Sealer(signer, joined.membership.network, settings.proof, clock, settings.location, turn)
        sealer.descriptor = _descriptor(journal, identity.descriptor(signer))
        journal.begin()
        for log_id in journal.closed_logs():  # as the agent does when it starts, and before it seals
            sealer.reseal(journal, log_id)
        sealer.seal(journal)
        done = rotation.turned(journal, turn)
        journal.commit()
        return done
    except (sqlite3.Error, Refused, ValueError) as error:
        raise FixStore(
            f"The journal {settings.journal_path} cannot be used ({error}). Start the agent, which mends "
            "what can be mended; then repeat."
        ) from None
    finally:
        journal.rollback()
        journal.close()


class _BetweenRuns(AidedClock):
    """The clock of a simulated device that does not run."""

    def __init__(self, clock: Clock, journal: Path) -> None:
        super().__init__(clock)
        self._last = clock.boot_id
        if journal.exists():
            with suppress(sqlite3.Error), closing(read_only(journal)) as db:
                last = db.execute("SELECT boot_id FROM boots ORDER BY bootcount DESC LIMIT 1").fetchone()
                self._last = last[0] if last else self._last

    @property
    def boot_id(self) -> bytes:
        return self._last

    def wall(self) -> Wall:
        return Wall(super().wall().ns, SOURCE_NONE, UNSYNCED_US)


def _descriptor(journal: Journal, bare: Descriptor) -> Descriptor:
    """What the newest proof said of the instruments; `bare` where there never was one. Raises `TryAgain`."""
    newest = papers.newest_descriptor(journal)
    if newest is not None:
        return newest
    log, waiting = journal.open_log(), journal.waiting()
    if waiting.samples or (log is not None and log.seq):
        raise TryAgain(
            "The journal no longer tells which instruments this device has: start the agent, then repeat."
        )
    return bare
