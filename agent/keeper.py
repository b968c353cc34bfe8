"""The journal's thread: the only one that touches SQLite.

- Others hand it jobs and wait: a job has happened, on disk, when its call returns. Jobs that wait at the same
  time share one transaction and one fsync.
- After each transaction it seals what is due and keeps the store within its bounds.
- With a loss window a sample waits in memory until a transaction takes it along (`agent.loss_window`).
  Everything else is on disk as ever.
- Jobs that only read run after those that write are committed: what they find is on disk, and may be told.
- A failing job fails alone. A full disk makes room and tries once more; a failing one fails every job of the
  transaction with `TryAgain`. A damaged store is quarantined and the jobs run again on the new one; one that
  cannot be replaced is tried again later. The thread lives until `stop`.
- What the diary has to say (`agent.diary`) goes along with a transaction that writes.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from agent import papers, retention, rotation
from agent.challenges import Asked, Challenges
from agent.clock import Clock
from agent.diary import Diary
from agent.errors import AgentError, TryAgain
from agent.journal import Journal, Waiting
from agent.loss_window import LossWindow
from agent.rotation import Keys, Turned
from agent.sample import Captured, Missed
from agent.sealer import Sealer
from agent.settings import JournalSettings
from agent.store import is_damage, is_full, open_journal
from proof.beacon import Beacon
from proof.reasons import Refused

T = TypeVar("T")
Job = Callable[[Journal], Any]
_Asked = tuple[Job, Future[Any]]
_BATCH = 256
_TICK_S = 0.25
_PAUSE_NS = 60 * 10**9  # between two replacements of a damaged store
_RETRY_NS = 5 * 10**9  # after a seal that failed
# A job's own mistake, not the disk's.
_JOB_ERRORS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
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
        self._journal, self._sealer, self._settings, self._clock = journal, sealer, settings, clock
        self._on_sealed, self._on_quarantine = on_sealed, on_quarantine
        self._jobs: queue.Queue[_Asked | None] = queue.Queue(maxsize=4 * _BATCH)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.challenges = Challenges(clock)
        self._diary = diary or Diary(clock)
        self._beacon: tuple[Beacon, bytes] | None = None
        self._damage, self._replaced_ns, self._seal_after_ns = "", -_PAUSE_NS, 0
        self._adopted = self._ended = False
        self._retry_ns = 0
        self._waiting: Waiting | None = None
        self._window = LossWindow(settings.loss_window_s, clock)
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
                self._mend()
                results = self._run_jobs(batch)
            except _JobFailed as failed:
                batch = [item for item in batch if item[1] is not failed.future]
                failed.future.set_exception(failed.error)
            except AgentError as error:
                return self._refuse(batch, error.sentence)
            except sqlite3.Error as error:
                if not self._try_again(error):
                    sentence = f"The journal {self._journal.path} cannot be written: {error}."
                    return self._refuse(batch, sentence)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    future.set_result(result)
                return None
        return None

    def _run_jobs(self, batch: list[_Asked]) -> list[Any]:
        """Their results, once all of them are committed."""
        with self._transaction() as journal:
            results = []
            writing = not all(isinstance(job, _Reading) for job, _ in batch)
            if writing:
                self._take_along(journal)
            for job, future in batch:
                try:
                    results.append(job(journal))
                except Exception as error:
                    if isinstance(error, sqlite3.Error) and not isinstance(error, _JOB_ERRORS):
                        raise
                    raise _JobFailed(future, error) from error
        if writing:
            self.problem = ""
        return results

    @contextmanager
    def _transaction(self) -> Iterator[Journal]:
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

    def _take_along(self, journal: Journal) -> None:
        """What waits in memory: samples, and what the diary has to say."""
        self._window.write(journal)
        try:
            self._diary.write(journal)
        except Exception as error:  # a diary that cannot be written stops no sample; a failing disk does
            if isinstance(error, sqlite3.Error) and not isinstance(error, _JOB_ERRORS):
                raise
            _log.exception("diary not written")

    def _window_is_over(self) -> bool:
        return self._window.is_over() and self._clock.boottime_ns() >= self._retry_ns

    def _look(self) -> Waiting:
        """What waits for a proof; asked once per transaction, not at every idle turn."""
        if self._waiting is None:
            self._waiting = self._journal.waiting()
        return self._window.with_stored(self._waiting)

    def _undo(self) -> None:
        self._window.undo()
        self._journal.rollback()
        self._sealer.undo()
        self._diary.undo()

    def _refuse(self, batch: list[_Asked], sentence: str) -> None:
        if batch:
            self.problem = sentence
            _log.error("journal not written", problem=sentence)
            self._retry_ns = self._clock.boottime_ns() + _RETRY_NS
        for _, future in batch:
            future.set_exception(TryAgain(sentence))

    def _try_again(self, error: sqlite3.Error) -> bool:
        """Whether the same may work at once: on another file, or with more room."""
        if is_damage(error):
            self._condemn(error)
            return True
        return is_full(error) and self._make_room(force=True)

    def _seal_what_is_due(self) -> None:
        if self._clock.boottime_ns() < self._seal_after_ns:
            return
        try:
            self._mend()
            while (answered := self.challenges.answered()) or self._sealer.due(self._look()):
                with self._transaction() as journal:
                    self._seal(journal, answered)
                self.problem = ""
                self.challenges.done(answered)
                self._make_room()
                self._on_sealed()
        except Exception as error:  # noqa: BLE001 whatever a seal meets, appending goes on
            if not (isinstance(error, sqlite3.Error) and self._try_again(error)):
                _log.error("proof not sealed", problem=str(error))
                if isinstance(error, sqlite3.Error | OSError):
                    self.problem = f"The journal {self._journal.path} cannot be written: {error}."
                elif not isinstance(error, AgentError):
                    self.unsealed = f"No proof can be sealed: {str(error)[:200].rstrip('.')}."
                self._seal_after_ns = self._clock.boottime_ns() + _RETRY_NS

    def _seal(self, journal: Journal, challenge: Asked | None = None) -> None:
        self._take_along(journal)
        if self._beacon is not None:
            beacon, data = self._beacon
            nonce = (challenge.nonce,) if challenge and challenge.nonce else ()
            self._sealer.freshness = (beacon.hash, *nonce)
            papers.keep_beacon(journal, beacon.hash, data)
        sealed = self._sealer.seal(journal)
        self._sealer.freshness = self._sealer.freshness[:1]
        self.unsealed = ""
        _log.info("proof sealed", seq=sealed.seq, readings=sealed.readings, bytes=sealed.size)

    def _make_room(self, force: bool = False) -> bool:
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

    def _mend(self) -> None:
        """A sound journal, and nothing left in a log that was salvaged. Raises `AgentError`."""
        if self._damage:
            self._replace()
        if not self._adopted:
            self._adopt()
            self._adopted = True

    def _adopt(self) -> None:
        try:
            with self._transaction() as journal:
                for log_id in journal.closed_logs():
                    self._sealer.reseal(journal, log_id)
        except (Refused, ValueError) as error:  # they stay where they are, for a person
            _log.error("closed log not sealed again", problem=str(error))

    def _condemn(self, error: sqlite3.Error) -> None:
        self._waiting = None
        self._damage = str(error)
        self._journal.close()

    def _replace(self) -> None:
        now_ns, path = self._clock.boottime_ns(), self._journal.path
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


def _writers_then_readers(batch: list[_Asked]) -> tuple[list[_Asked], list[_Asked]]:
    reading = [item for item in batch if isinstance(item[0], _Reading)]
    return [item for item in batch if not isinstance(item[0], _Reading)], reading
