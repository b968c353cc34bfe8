"""The journal that is kept: its transactions, on a disk that may be full and a file that may be damaged.

- All or nothing: what journal, sealer, loss window and diary did in a transaction that failed, none of
  them did.
- What waits in memory goes along with a transaction that writes: samples, then what the diary has to say.
- A full disk makes room, and the same is worth another try.
- A damaged store is quarantined and replaced before the transaction that follows, at most once a minute. What
  is left in a log that was salvaged is sealed again.
- For the journal's thread alone (`agent.keeper`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from agent import retention
from agent.clock import Clock
from agent.diary import Diary
from agent.errors import TryAgain
from agent.journal import Journal, Waiting
from agent.loss_window import LossWindow
from agent.sealer import Sealer
from agent.settings import JournalSettings
from agent.store import is_damage, is_full, open_journal
from proof.reasons import Refused

_PAUSE_NS = 60 * 10**9  # between two replacements of a damaged store
# A job's own mistake, not the disk's.
_JOB_ERRORS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
_log = structlog.get_logger()


def is_the_disks(error: Exception) -> bool:
    """Whether disk or file failed, and not who asked."""
    return isinstance(error, sqlite3.Error) and not isinstance(error, _JOB_ERRORS)


class KeptJournal:
    """`on_quarantine` is told a sentence when a damaged one was replaced."""

    def __init__(
        self,
        journal: Journal,
        sealer: Sealer,
        window: LossWindow,
        diary: Diary,
        settings: JournalSettings,
        clock: Clock,
        on_quarantine: Callable[[str], None],
    ) -> None:
        self._journal, self._sealer, self._window, self._diary = journal, sealer, window, diary
        self._settings, self._clock, self._on_quarantine = settings, clock, on_quarantine
        self.path = journal.path
        self._damage, self._replaced_ns, self._adopted = "", -_PAUSE_NS, False
        self._waiting: Waiting | None = None

    def close(self) -> None:
        self._journal.close()

    @contextmanager
    def transaction(self) -> Iterator[Journal]:
        self._waiting = None
        try:
            self._journal.begin()
            yield self._journal
            self._journal.commit()
            self._sealer.committed()
            self._diary.committed()
            self._window.committed()
        except BaseException:  # whatever it is: tidy up and raise it again
            self._undo()
            raise

    def _undo(self) -> None:
        self._window.undo()
        self._journal.rollback()
        self._sealer.undo()
        self._diary.undo()

    def take_along(self, journal: Journal) -> None:
        """What waits in memory: samples, and what the diary has to say."""
        self._window.write(journal)
        try:
            self._diary.write(journal)
        except Exception as error:  # a diary that cannot be written stops no sample; a failing disk does
            if is_the_disks(error):
                raise
            _log.exception("diary not written")

    def waiting(self) -> Waiting:
        """What waits for a proof; asked once per transaction, not at every idle turn."""
        if self._waiting is None:
            self._waiting = self._journal.waiting()
        return self._window.with_stored(self._waiting)

    def try_again(self, error: sqlite3.Error) -> bool:
        """Whether the same may work at once: on another file, or with more room."""
        if is_damage(error):
            self._condemn(error)
            return True
        return is_full(error) and self.make_room(force=True)

    def make_room(self, force: bool = False) -> bool:
        """Whether anything was given up. `force`: whatever the bounds say, the disk is full."""
        try:
            room = retention.make_room(self._journal, self._settings, force)
        except (sqlite3.Error, OSError) as error:
            self._undo()
            _log.error("no room made", problem=str(error))
            if isinstance(error, sqlite3.Error) and is_damage(error):
                self._condemn(error)
            return False
        if room.gap:
            self._sealer.forget_announcement()  # the descriptor may have gone with it
            _log.warning("proofs given up", last=room.gap.last_seq, reason=room.gap.reason)
            given_up = f"Proofs {room.gap.first_seq} to {room.gap.last_seq}."
            self._diary.note("evicted", given_up)
        return room.evicted > 0

    def mend(self) -> None:
        """A sound journal, and nothing left in a log that was salvaged. Raises `AgentError`."""
        if self._damage:
            self._replace()
        if not self._adopted:
            self._adopt()
            self._adopted = True

    def _adopt(self) -> None:
        try:
            with self.transaction() as journal:
                for log_id in journal.closed_logs():
                    self._sealer.reseal(journal, log_id)
        except (Refused, ValueError) as error:  # they stay where they are, for a person
            _log.error("closed log not sealed again", problem=str(error))

    def _condemn(self, error: sqlite3.Error) -> None:
        self._waiting = None
        self._damage = str(error)
        self._journal.close()

    def _replace(self) -> None:
        now_ns, path = self._clock.boottime_ns(), self.path
        if now_ns - self._replaced_ns < _PAUSE_NS:
            raise TryAgain(
                f"The journal {path} is damaged again ({self._damage}): it is replaced once a minute."
            )
        self._replaced_ns = now_ns
        opened = open_journal(path, self._journal.device, self._clock.boot_id, condemned=True)
        kept = opened.quarantined
        sentence = f"The journal was damaged ({self._damage}) and is kept as {kept}; a new log is open."
        self._journal, self._damage, self._adopted = opened.journal, "", False
        self._sealer.forget_announcement()
        _log.critical("journal quarantined", problem=sentence)
        self._diary.note("quarantined", f"Kept as {kept}.")
        self._on_quarantine(sentence)
