"""The journal's thread: the only one that touches SQLite.

- Others hand it jobs and wait: a job has happened, on disk, when its call returns. Jobs that wait at the same
  time share one transaction and one fsync.
- After each transaction it seals what is due and keeps the store within its bounds.
- With a loss window a sample waits in memory until a transaction takes it along (`agent.loss_window`).
  Everything else is on disk as ever.
- Jobs that only read run after those that write are committed: what they find is on disk, and may be told.
- A failing job fails alone. Where the disk was full and has room now, or the store was damaged and is
  replaced (`agent.kept`), the jobs run again; else every job of the transaction fails with `TryAgain`. The
  thread lives until `stop`.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from agent import papers, rotation
from agent.challenges import Asked, Challenges
from agent.clock import Clock
from agent.diary import Diary
from agent.errors import AgentError, TryAgain
from agent.journal import Journal
from agent.kept import KeptJournal, is_the_disks
from agent.loss_window import LossWindow
from agent.rotation import Keys, Turned
from agent.sample import Captured, Missed
from agent.sealer import Sealer
from agent.settings import JournalSettings
from proof.beacon import Beacon

T = TypeVar("T")
Job = Callable[[Journal], Any]
_Asked = tuple[Job, Future[Any]]
_BATCH = 256
_TICK_S = 0.25
_RETRY_NS = 5 * 10**9  # after a seal that failed
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Reading:
    """A job that writes nothing."""

    job: Job

    def __call__(self, journal: Journal) -> Any:
        return self.job(journal)


class _JobFailed(Exception):
    """A job's own failure; nothing of its transaction was stored."""

    def __init__(self, future: Future[Any], error: Exception) -> None:
        self.future, self.error = future, error


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
        diary: Diary | None = None,
    ) -> None:
        self._sealer, self._settings, self._clock, self._on_sealed = sealer, settings, clock, on_sealed
        self._window = LossWindow(settings.loss_window_s, clock)
        diary = diary or Diary(clock)
        self._journal = KeptJournal(journal, sealer, self._window, diary, settings, clock, on_quarantine)
        self._jobs: queue.Queue[_Asked | None] = queue.Queue(maxsize=4 * _BATCH)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.challenges = Challenges(clock)
        self._beacon: tuple[Beacon, bytes] | None = None
        self._seal_after_ns = self._retry_ns = 0
        self._ended = False
        self.problem = ""
        """The sentence of a journal that could not be written the last time; "" while it can."""
        self.unsealed = ""
        """The sentence of a seal that failed the last time, by no fault of the disk; "" while it can."""
        self.turns = 0
        """How often the thread has gone round: what the watchdog looks at."""
        self.on_appended: Callable[[Captured], None] = lambda _sample: None
        """Called after `append`, from its caller's thread."""

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
            if self._ended:
                raise TryAgain(self._closed())
            self._jobs.put((job, future), timeout=timeout_s)
            return future.result(timeout_s)
        except (queue.Full, TimeoutError):
            raise TryAgain(
                f"The journal {self._journal.path} did not answer within {timeout_s:.0f} s."
            ) from None

    @property
    def held(self) -> int:
        """Samples within the loss window, not on disk yet. To a job it is exact: what the transaction it is
        in has written does not count."""
        return len(self._window)

    def read(self, job: Callable[[Journal], T], timeout_s: float = 60.0) -> T:
        """Like `call`, for a job that writes nothing: samples within the loss window go on waiting."""
        found: T = self.call(_Reading(job), timeout_s)
        return found

    def append(self, sample: Captured) -> None:
        """When this returns, the sample survives SIGKILL and a power cut; with a loss window, once that has
        passed."""
        if not self._settings.loss_window_s:
            self.call(lambda journal: journal.append(sample))
        elif self._ended:
            raise TryAgain(self._closed())
        elif not self._window.hold(sample):
            raise TryAgain(f"The journal {self._journal.path} has not been written for too long.")
        self.challenges.appended(sample)
        try:
            self.on_appended(sample)
        except Exception:  # noqa: BLE001 who looks on makes no loss of a sample that is stored
            _log.exception("unexpected error", instrument=sample.instrument)

    def note_missed(self, missed: Missed) -> None:
        self.call(lambda journal: journal.note_missed(missed))

    def hear_beacon(self, beacon: Beacon, data: bytes) -> None:
        """The next proof shows that it is younger than `beacon`, whose signed bytes are `data`."""
        if self._beacon is None or beacon.issued_at_s > self._beacon[0].issued_at_s:
            self._beacon = (beacon, data)

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

    def rotate(self, keys: Keys) -> Turned:
        """Change the device's key with a proof that is sealed now (§8.4). Raises `TryAgain` or `FixKey`."""

        def job(journal: Journal) -> Turned:
            turn = self._sealer.turn = rotation.begin(self._sealer.turn, keys, journal)
            self._seal(journal)
            return rotation.turned(journal, turn)

        done = self.call(job)
        self._on_sealed()
        return done

    def settle_rotation(self, keys: Keys) -> bool:
        """Whether a rotation was under way and is receipted: the keystore followed. Raises `FixKey`."""
        if self._sealer.turn is None:
            return False

        def job(journal: Journal) -> bool:
            turn = self._sealer.turn
            if turn is None or not rotation.is_receipted(journal, turn):
                return False
            self._sealer.settled(keys.settle(turn.new.public_key))
            return True

        return self.call(job)

    def stop(self, timeout_s: float) -> None:
        """Also where it was never started."""
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._jobs.put(None, timeout=timeout_s)
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._journal.close()

    def _run(self) -> None:
        last = False
        while not last:
            batch, last = self._next_batch()
            if self._window and (last or self._window_is_over()):
                batch.append((lambda _journal: None, Future()))
            for part in _writers_then_readers(batch):
                self._transact(part)
            self._seal_what_is_due()
            self.turns += 1
        self._ended = True
        while not self._jobs.empty():
            if item := self._jobs.get():
                self._refuse([item], self._closed())

    def _closed(self) -> str:
        return f"The journal {self._journal.path} is closed: the agent stops."

    def _next_batch(self) -> tuple[list[_Asked], bool]:
        batch: list[_Asked] = []
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

    def _transact(self, batch: list[_Asked]) -> None:
        """Run jobs in one transaction; one that fails is left out and the others run again."""
        while batch:
            try:
                self._journal.mend()
                results = self._run_jobs(batch)
            except _JobFailed as failed:
                batch = [item for item in batch if item[1] is not failed.future]
                failed.future.set_exception(failed.error)
            except AgentError as error:
                return self._refuse(batch, error.sentence)
            except sqlite3.Error as error:
                if not self._journal.try_again(error):
                    sentence = f"The journal {self._journal.path} cannot be written: {error}."
                    return self._refuse(batch, sentence)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
                return None
        return None

    def _run_jobs(self, batch: list[_Asked]) -> list[Any]:
        """Their results, once all of them are committed."""
        with self._journal.transaction() as journal:
            results = []
            writing = not all(isinstance(job, _Reading) for job, _ in batch)
            if writing:
                self._journal.take_along(journal)
            for job, future in batch:
                try:
                    results.append(job(journal))
                except Exception as error:
                    if is_the_disks(error):
                        raise
                    raise _JobFailed(future, error) from error
        if writing:
            self.problem = ""
        return results

    def _window_is_over(self) -> bool:
        return self._window.is_over() and self._clock.boottime_ns() >= self._retry_ns

    def _refuse(self, batch: list[_Asked], sentence: str) -> None:
        if batch:
            self.problem = sentence
            _log.error("journal not written", problem=sentence)
            self._retry_ns = self._clock.boottime_ns() + _RETRY_NS
        for _, future in batch:
            future.set_exception(TryAgain(sentence))

    def _seal_what_is_due(self) -> None:
        if self._clock.boottime_ns() < self._seal_after_ns:
            return
        try:
            self._journal.mend()
            while (answered := self.challenges.answered()) or self._sealer.due(self._journal.waiting()):
                with self._journal.transaction() as journal:
                    self._seal(journal, answered)
                self.problem = ""
                self.challenges.done(answered)
                self._journal.make_room()
                self._on_sealed()
        except Exception as error:  # noqa: BLE001 whatever a seal meets, appending goes on
            if not (isinstance(error, sqlite3.Error) and self._journal.try_again(error)):
                _log.error("proof not sealed", problem=str(error))
                if isinstance(error, sqlite3.Error | OSError):
                    self.problem = f"The journal {self._journal.path} cannot be written: {error}."
                elif not isinstance(error, AgentError):
                    self.unsealed = f"No proof can be sealed: {str(error)[:200].rstrip('.')}."
                self._seal_after_ns = self._clock.boottime_ns() + _RETRY_NS

    def _seal(self, journal: Journal, challenge: Asked | None = None) -> None:
        self._journal.take_along(journal)
        if self._beacon is not None:
            beacon, data = self._beacon
            nonce = (challenge.nonce,) if challenge and challenge.nonce else ()
            self._sealer.freshness = (beacon.hash, *nonce)
            papers.keep_beacon(journal, beacon.hash, data)
        sealed = self._sealer.seal(journal)
        self._sealer.freshness = self._sealer.freshness[:1]
        self.unsealed = ""
        _log.info("proof sealed", seq=sealed.seq, readings=sealed.readings, bytes=sealed.size)


def _writers_then_readers(batch: list[_Asked]) -> tuple[list[_Asked], list[_Asked]]:
    reading = [item for item in batch if isinstance(item[0], _Reading)]
    return [item for item in batch if not isinstance(item[0], _Reading)], reading
