"""One thread per instrument: read when the schedule says, flag, append. It never stops another.

- Every instant of the schedule ends as a sample in the journal or as a loss with a reason; none is silent.
- `RetryNow` is tried once more at once (flag 16), `RetryLater` and `DropSample` lose this sample,
  `InstrumentGone` closes and opens again (flag 512 on the next sample), `NeedsHuman` stops this instrument
  and is said in the status. A bug of a driver is treated as an instrument that is gone.
- One that is gone is opened again at an instant of the schedule, when `agent.reopening` says so.
- A loss that the journal does not take is kept and told with the next one.
- A sample's time is when its read began. One taken more than a deadline after its instant is late (256).
- What becomes of its values says `agent.measuring`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from agent.calibration import Calibrator
from agent.clock import Clock
from agent.errors import AgentError
from agent.keeper import Keeper
from agent.measuring import MeasuringChain
from agent.quality import Inspector
from agent.reopening import Reopening
from agent.sample import Captured, Missed
from agent.schedule import Schedule, instants
from agent.settings import InstrumentSettings
from drivers.contract import Flag, Identity, Instrument, Sample
from drivers.errors import DropSample, InstrumentGone, NeedsHuman, RetryLater, RetryNow
from proof.senml import Measured

NODE_DOWN = "node down"
OVERDUE_S = 60.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InstrumentState:
    """What `status` says of one instrument; `problem` is "" while it is well. `latest` is empty where what
    was read last is no more: the instrument is gone, or three instants passed without a reading. `hangs`: a
    call of its driver does not come back."""

    name: str
    model: str
    serial: str
    samples: int
    missed: int
    problem: str
    latest: tuple[Measured, ...]
    ended: bool
    reopened: int = 0
    is_open: bool = True
    hangs: bool = False


class Sampler:
    """`on_identity` is called whenever the instrument was opened and says who it is."""

    def __init__(
        self,
        settings: InstrumentSettings,
        instrument: Instrument,
        calibrator: Calibrator,
        inspector: Inspector,
        schedule: Schedule,
        keeper: Keeper,
        clock: Clock,
        on_identity: Callable[[str, Identity], None],
    ) -> None:
        self.name, self.quantities, self.interval_s = (
            settings.name,
            instrument.quantities,
            settings.interval_s,
        )
        self._settings, self._instrument, self._calibrator = settings, instrument, calibrator
        self._chain = MeasuringChain(instrument.quantities, calibrator, inspector)
        self._schedule, self._keeper, self._clock, self._on_identity = schedule, keeper, clock, on_identity
        self._wake = threading.Event()
        self._stopping = self._asked_now = self._is_open = False
        self._just_reopened = self._at_the_journal = False
        self._reopening, self._newest_ms = Reopening(settings.interval_s), -1
        self._instant_ns = clock.boottime_ns()
        self._untold: list[Missed] = []
        self._opening = Retrying(
            retry=retry_if_exception_type(RetryNow),
            stop=stop_after_attempt(3),
            wait=wait_random(0, 0.1),
            sleep=clock.wait,
            reraise=True,
        )
        self._state = InstrumentState(settings.name, "", "", 0, 0, "not opened yet", (), False, is_open=False)
        self._thread = threading.Thread(target=self._run, name=f"sampler-{settings.name}", daemon=True)
        self.turns = 0

    def start(self) -> None:
        self._thread.start()

    def read_now(self) -> None:
        """Take a sample outside the schedule: a challenge asks for one (§6.2)."""
        self._asked_now = True
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        if self._thread.is_alive():  # else it ended, or the start did not come so far
            self._thread.join(timeout_s)

    def overdue(self) -> bool:
        """Whether the instant in hand should have been over for long: the driver hangs beyond its deadline,
        or the journal does."""
        patience_s = OVERDUE_S + 3 * self._settings.deadline_s
        return self._clock.boottime_ns() - self._instant_ns > patience_s * 1e9

    @property
    def state(self) -> InstrumentState:
        state = self._state
        if self.overdue() and not state.ended and not self._at_the_journal:
            waited_s = (self._clock.boottime_ns() - self._instant_ns) / 1e9
            said = f"A read of {self.name} has not come back for {waited_s:.0f} s: driver or bus hangs."
            state = replace(state, problem=said, hangs=True)
        gone = not state.is_open or (state.ended and state.problem)
        return replace(state, latest=()) if state.latest and (gone or self._is_stale()) else state

    def _is_stale(self) -> bool:
        instant_ns = self._newest_ms * 10**6
        for _ in range(3):
            following_ns = self._schedule.next_ns(instant_ns)
            if following_ns is None:  # the schedule has ended: there is nothing newer to wait for
                return False
            instant_ns = following_ns
        return self._clock.boottime_ns() > instant_ns + self._settings.deadline_s * 1e9

    def open_once(self) -> None:
        """Open before the thread starts, so that a wrong chip stops the start; raises `DriverError`."""
        identity = self._instrument.open()
        self._calibrator.require(self.name, identity)
        self._is_open = True
        model, serial = identity.model, identity.serial
        self._state = replace(self._state, model=model, serial=serial, problem="", is_open=True)
        self._on_identity(self.name, identity)

    def _run(self) -> None:
        try:
            instant_ns = self._clock.boottime_ns()
            self._say_what_was_missed_until(instant_ns)
            while not self._stopping and (found := self._schedule.next_ns(instant_ns)) is not None:
                self._instant_ns = instant_ns = found
                while not self._clock.wait_until(instant_ns, self._wake):
                    self._wake.clear()
                    if self._stopping:
                        return
                    if self._asked_now:
                        self._asked_now = False
                        self._turn(self._clock.boottime_ns())
                self._instant_ns = instant_ns = self._skip_what_passed(instant_ns)
                self._turn(instant_ns)
        except NeedsHuman as error:
            self._problem(error.sentence)
        except Exception as error:  # noqa: BLE001 a bug here must not end in silence
            _log.exception("sampler stopped", instrument=self.name)
            self._problem(f"The sampler of {self.name} stopped after an unexpected error: {error!r:.200}.")
        finally:
            self._tell()
            self._state = replace(self._state, ended=True)
            self._instrument.close()

    def _say_what_was_missed_until(self, now_ns: int) -> None:
        """Instants since this boot's newest sample, while the node did not run."""
        boot_id = self._clock.boot_id
        try:
            with self._waiting_for_the_journal():
                newest_ns = self._keeper.call(lambda journal: journal.newest_ns(self.name, boot_id))
        except AgentError as error:
            self._problem(error.sentence)
            return
        if newest_ns is not None:
            self._note_passed(newest_ns, now_ns, NODE_DOWN)

    def _skip_what_passed(self, instant_ns: int) -> int:
        """The newest instant that has come; the ones before it were slept through (suspend, a long read)."""
        newest_ns = max(instants(self._schedule, instant_ns, self._clock.boottime_ns()), default=instant_ns)
        self._note_passed(instant_ns - 1, newest_ns - 1, "not read in time")
        return newest_ns

    def _note_passed(self, after_ns: int, until_ns: int, reason: str) -> None:
        first_ns, last_ns, count = None, after_ns, 0
        for last_ns in instants(self._schedule, after_ns, until_ns):
            first_ns, count = first_ns or last_ns, count + 1
        if first_ns is not None:
            self._note(Missed(self.name, self._clock.boot_id, first_ns, last_ns, reason, count))

    def _turn(self, instant_ns: int) -> None:
        """One instant: a sample or a loss."""
        try:
            self._ensure_open()
            sample, began_ns, flags = self._read(instant_ns)
            captured = self._captured(sample, began_ns, flags)
            with self._waiting_for_the_journal():
                self._keeper.append(captured)
            self._tell()
        except NeedsHuman:
            self._miss(instant_ns, "needs a person")
            raise
        except InstrumentGone as error:
            self._close(error.sentence)
            self._miss(instant_ns, "instrument gone")
        except RetryLater as error:
            self._problem(error.sentence)
            self._miss(instant_ns, "warming up")
        except (DropSample, RetryNow) as error:
            self._problem(error.sentence)
            self._miss(instant_ns, "read void")
        except AgentError as error:
            self._problem(error.sentence)
            self._miss(instant_ns, "journal not written")
        except Exception as error:  # noqa: BLE001 a bug in one driver must end neither in silence nor sampling
            _log.exception("unexpected error", instrument=self.name)
            self._close(f"Its driver failed unexpectedly ({error!r:.200}): it is opened again.")
            self._miss(instant_ns, "unexpected error")
        self.turns += 1

    def _read(self, instant_ns: int) -> tuple[Sample, int, int]:
        flags = Flag.REOPENED if self._just_reopened else Flag(0)
        began_ns = self._moment_ns()
        if began_ns - instant_ns > self._settings.deadline_s * 1e9:
            flags |= Flag.LATE
        try:
            sample = self._instrument.read(self._settings.deadline_s)
        except RetryNow:
            flags |= Flag.RETRIED
            began_ns = self._moment_ns()
            sample = self._instrument.read(self._settings.deadline_s)
        self._just_reopened, self._newest_ms = False, began_ns // 10**6
        self._reopening.gave()
        return sample, began_ns, int(flags)

    def _moment_ns(self) -> int:
        """Now, and later than the reading before by the millisecond in which a proof tells times (§3.5)."""
        while (now_ns := self._clock.boottime_ns()) // 10**6 <= self._newest_ms:
            self._clock.wait(0.001)
        return now_ns

    def _captured(self, sample: Sample, began_ns: int, flags: int) -> Captured:
        wall = self._clock.wall()
        wall = replace(wall, ns=wall.ns - (self._clock.boottime_ns() - began_ns))
        measured = self._chain.measured(sample, wall, began_ns)
        raw = sample.raw if self._settings.raw_evidence else b""
        self._problem(measured.problem)
        self._state = replace(self._state, samples=self._state.samples + 1, latest=measured.values)
        return Captured(
            self.name,
            self._clock.boot_id,
            began_ns,
            wall,
            measured.values,
            flags | measured.flags,
            raw,
        )

    def _ensure_open(self) -> None:
        """Open if need be; after a failure not again before its wait is over."""
        if self._is_open:
            return
        if not self._reopening.may(self._clock.boottime_ns()):
            raise InstrumentGone(self._state.problem)
        again = self._state.model != ""
        self._opening(self.open_once)
        self._reopening.opened(self._clock.boottime_ns())
        self._just_reopened = again
        self._state = replace(self._state, reopened=self._state.reopened + again)
        _log.info("instrument opened", instrument=self.name, serial=self._state.serial)

    def _close(self, sentence: str) -> None:
        self._problem(sentence)
        self._reopening.failed(self._clock.boottime_ns(), self._is_open, random.random())  # noqa: S311 jitter
        self._is_open = False
        self._state = replace(self._state, is_open=False)
        self._instrument.close()

    def _problem(self, sentence: str) -> None:
        if sentence and sentence != self._state.problem:
            _log.warning("instrument problem", instrument=self.name, problem=sentence)
        self._state = replace(self._state, problem=sentence)

    def _miss(self, instant_ns: int, reason: str) -> None:
        self._note(Missed(self.name, self._clock.boot_id, instant_ns, instant_ns, reason))

    def _note(self, missed: Missed) -> None:
        self._state = replace(self._state, missed=self._state.missed + missed.count)
        before = self._untold[-1] if self._untold else None
        if before is not None and (before.boot_id, before.reason) == (missed.boot_id, missed.reason):
            count = before.count + missed.count
            self._untold[-1] = replace(before, to_ns=missed.to_ns, count=count)
        else:
            self._untold.append(missed)
        self._tell()

    @contextmanager
    def _waiting_for_the_journal(self) -> Iterator[None]:
        """One that hangs says so itself; it is no driver that does."""
        self._at_the_journal = True
        try:
            yield
        finally:
            self._at_the_journal = False

    def _tell(self) -> None:
        """Losses into the journal; what it does not take now waits for the next time."""
        try:
            while self._untold:
                with self._waiting_for_the_journal():
                    self._keeper.note_missed(self._untold[0])
                del self._untold[0]
        except AgentError as error:
            _log.error("loss not noted", instrument=self.name, problem=error.sentence)
