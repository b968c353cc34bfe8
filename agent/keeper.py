"""The journal's thread: the only one that touches SQLite.

- Others hand it jobs and wait: a job has happened, on disk, when its call returns. Jobs that wait at the same
  time share one transaction and one fsync.
- After each transaction it seals what is due and keeps the store within its bounds.
- A failing job fails alone; a failing disk fails every job of the transaction with `TryAgain`; a damaged
  store is quarantined and the jobs run again on the new one.
- The challenge in force is answered as soon as every instrument has been read after it, or its time is up.
"""

from __future__ import annotations

import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from agent import papers, retention
from agent.clock import Clock
from agent.errors import AgentError, TryAgain
from agent.journal import Journal
from agent.sample import Captured, Missed
from agent.sealer import Sealer
from agent.settings import JournalSettings
from agent.store import is_damage, is_full, open_journal
from proof.beacon import Beacon

T = TypeVar("T")
Job = Callable[[Journal], Any]
EVICTED = "store full"
_BATCH = 256
_TICK_S = 0.25
_EVICT_AT_ONCE = 64
_log = structlog.get_logger()


@dataclass(slots=True)
class _Challenge:
    nonce: bytes
    deadline_ns: int
    waiting_for: set[str]


class Keeper:
    """Owns the journal and the sealer. `on_sealed` is called, from this thread, after a proof is on disk."""

    def __init__(
        self,
        journal: Journal,
        sealer: Sealer,
        settings: JournalSettings,
        clock: Clock,
        on_sealed: Callable[[], None],
        on_quarantine: Callable[[str], None],
    ) -> None:
        self._journal, self._sealer, self._settings, self._clock = journal, sealer, settings, clock
        self._on_sealed, self._on_quarantine = on_sealed, on_quarantine
        self._jobs: queue.Queue[tuple[Job, Future[Any]] | None] = queue.Queue(maxsize=4 * _BATCH)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._challenge: _Challenge | None = None
        self._beacon: tuple[Beacon, bytes] | None = None
        self.turns = 0
        """How often the thread has gone round: what the watchdog looks at."""

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def call(self, job: Callable[[Journal], T], timeout_s: float = 60.0) -> T:
        """Run `job` in the journal's next transaction and return its result once that is committed.
        Raises what the job raises, `TryAgain` when the disk or the thread does not answer."""
        future: Future[T] = Future()
        try:
            self._jobs.put((job, future), timeout=timeout_s)
            return future.result(timeout_s)
        except (queue.Full, TimeoutError):
            raise TryAgain(
                f"The journal {self._journal.path} did not answer within {timeout_s:.0f} s."
            ) from None

    def append(self, sample: Captured) -> None:
        """When this returns, the sample survives SIGKILL and a power cut."""

        def job(journal: Journal) -> None:
            journal.append(sample)

        self.call(job)
        if self._challenge is not None:
            self._challenge.waiting_for.discard(sample.instrument)

    def note_missed(self, missed: Missed) -> None:
        self.call(lambda journal: journal.note_missed(missed))

    def hear_beacon(self, beacon: Beacon, data: bytes) -> None:
        """The next proof shows that it is younger than `beacon`, whose signed bytes are `data`."""
        if self._beacon is None or beacon.number > self._beacon[0].number:
            self._beacon = (beacon, data)

    def hear_challenge(self, nonce: bytes, deadline_ns: int, instruments: set[str]) -> None:
        """A proof with `nonce` is sealed once each of `instruments` has appended a sample."""
        self._challenge = _Challenge(nonce, deadline_ns, instruments)

    def seal_open_window(self) -> None:
        """Seal whatever samples or losses there are, now."""

        def job(journal: Journal) -> bool:
            waiting = journal.waiting()
            if waiting.samples or waiting.losses:
                self._seal(journal)
            return bool(journal.waiting().samples)

        while self.call(job):
            pass
        self._on_sealed()

    def stop(self, timeout_s: float) -> None:
        self._jobs.put(None)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._journal.close()

    def _run(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._transact(batch)
            self._seal_what_is_due()
            self.turns += 1
            if last:
                return

    def _next_batch(self) -> tuple[list[tuple[Job, Future[Any]]], bool]:
        batch: list[tuple[Job, Future[Any]]] = []
        try:
            item = self._jobs.get(timeout=_TICK_S)
            while item is not None:
                batch.append(item)
                if len(batch) == _BATCH:
                    return batch, False
                item = self._jobs.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _transact(self, batch: list[tuple[Job, Future[Any]]]) -> None:
        """Run jobs in one transaction; one that fails is left out and the others run again."""
        while batch:
            done: list[tuple[Future[Any], Any]] = []
            job, future = batch[0]
            try:
                self._journal.begin()
                for job, future in batch:
                    done.append((future, job(self._journal)))
                self._journal.commit()
            except sqlite3.Error as error:
                self._journal.rollback()
                if is_damage(error):
                    self._quarantine(error)
                    continue
                refused = TryAgain(f"The journal {self._journal.path} cannot be written: {error}.")
                _log.error("journal not written", problem=refused.sentence)
                self._make_room(force=is_full(error))
                for _, waiter in batch:
                    waiter.set_exception(refused)
                return
            except Exception as error:  # noqa: BLE001 the job's own failure belongs to its caller
                self._journal.rollback()
                future.set_exception(error)
                batch = [item for item in batch if item[1] is not future]
                continue
            for future, result in done:
                future.set_result(result)
            return

    def _seal_what_is_due(self) -> None:
        try:
            while self._challenge_answered() or self._sealer.due(self._journal.waiting()):
                self._journal.begin()
                self._seal(self._journal)
                self._journal.commit()
                self._make_room(force=False)
                self._on_sealed()
        except sqlite3.Error as error:
            self._journal.rollback()
            if is_damage(error):
                self._quarantine(error)
            else:
                _log.error("proof not sealed, will try again", problem=str(error))
                self._make_room(force=is_full(error))

    def _seal(self, journal: Journal) -> None:
        if self._beacon is not None:
            beacon, data = self._beacon
            nonce = (self._challenge.nonce,) if self._challenge else ()
            self._sealer.freshness = (beacon.hash, *nonce)
            papers.keep_beacon(journal, beacon.hash, data)
        self._challenge = None
        sealed = self._sealer.seal(journal)
        _log.info("proof sealed", seq=sealed.seq, readings=sealed.readings, bytes=sealed.size)

    def _challenge_answered(self) -> bool:
        challenge = self._challenge
        if challenge is None:
            return False
        return not challenge.waiting_for or self._clock.boottime_ns() >= challenge.deadline_ns

    def _make_room(self, force: bool) -> None:
        """Evict within the bounds: receipted proofs first, then unreceipted ones, which leave a gap record.
        `force` evicts once whatever the bounds say: the disk is full."""
        journal = self._journal
        try:
            while force or self._crowded():
                force = False
                journal.begin()
                if not retention.evict_receipted(journal, _EVICT_AT_ONCE):
                    log = journal.open_log()
                    gap = (
                        retention.evict_unreceipted(journal, log.id, _EVICT_AT_ONCE, EVICTED) if log else None
                    )
                    if gap is None:
                        journal.rollback()
                        return
                    _log.warning("proofs given up", first=gap.first_seq, last=gap.last_seq, reason=gap.reason)
                journal.commit()
                retention.give_back_space(journal)
        except sqlite3.Error as error:
            journal.rollback()
            _log.error("no room could be made in the journal", problem=str(error))

    def _crowded(self) -> bool:
        if retention.bytes_used(self._journal) > self._settings.max_bytes:
            return True
        return shutil.disk_usage(self._journal.path.parent).free < self._settings.free_floor_bytes

    def _quarantine(self, error: sqlite3.Error) -> None:
        path, device = self._journal.path, self._journal.device
        self._journal.close()
        try:
            opened = open_journal(path, device, self._clock.boot_id, condemned=True)
        except AgentError as problem:
            _log.critical("the corrupt journal cannot be replaced", problem=problem.sentence)
            raise
        self._journal = opened.journal
        self._sealer.forget_announcement()
        sentence = (
            f"The journal was damaged ({error}) and is kept as {opened.quarantined}; a new log is open."
        )
        _log.critical("journal quarantined", problem=sentence)
        self._on_quarantine(sentence)
