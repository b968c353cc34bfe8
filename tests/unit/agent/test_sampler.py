"""One instrument's thread: every instant of its schedule ends as a sample or as a loss with a reason."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.calibration import Calibrator, Humidities
from agent.errors import TryAgain
from agent.keeper import Keeper
from agent.quality import Inspector, limits_of
from agent.sampler import OVERDUE_S, Sampler
from agent.schedule import Every
from agent.settings import InstrumentSettings, JournalSettings
from drivers.bme280 import BME280
from drivers.contract import Flag, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone, NeedsHuman, RetryLater, RetryNow
from drivers.i2c import SharedBus
from hardware_sim.bus import Hang, Nack, VirtualI2C
from hardware_sim.parts.bme280 import BME280 as Chip
from hardware_sim.parts.bme280_physics import DEFAULT_TRIM, Words
from tests.agent_parts import FakeClock, make_sealer, open_test_journal

STEP_S = 60
ADDRESS = 0x76


class Until:
    """The instants of `Every`, up to an end."""

    def __init__(self, interval_s: float, end_s: float) -> None:
        self._every, self._end_ns = Every(interval_s), round(end_s * 1e9)

    def next_ns(self, after_ns: int) -> int | None:
        found = self._every.next_ns(after_ns)
        return found if found <= self._end_ns else None


@dataclass
class Script:
    """An instrument whose reads and opens do what a test says; then it gives 20 °C."""

    reads: list[Any] = field(default_factory=list)
    opens: list[Any] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    quantities = (Quantity("temperature", "Cel", 0.01, 0.5, -40.0, 85.0),)

    def open(self) -> Identity:
        self.opened += 1
        self._do(self.opens)
        return Identity("Script", f"s{self.opened}", "serial")

    def read(self, deadline_s: float) -> Sample:
        made = self._do(self.reads)
        return made if isinstance(made, Sample) else Sample((20.0,))

    def close(self) -> None:
        self.closed += 1

    def _do(self, steps: list[Any]) -> Any:
        step = steps.pop(0) if steps else None
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step


class KeeperStub:
    """What was appended and missed; `fail` is raised instead as long as it lasts."""

    def __init__(self) -> None:
        self.samples: list[Any] = []
        self.losses: list[Any] = []
        self.newest_ns: int | None = None
        self.failures: list[Exception | None] = []

    def append(self, sample: Any) -> None:
        self._fail()
        self.samples.append(sample)

    def note_missed(self, missed: Any) -> None:
        self._fail()
        self.losses.append(missed)

    def call(self, job: Callable[[Any], Any]) -> Any:
        self._fail()
        return self.newest_ns

    def _fail(self) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure


@dataclass
class Bench:
    sampler: Sampler
    keeper: Any
    clock: FakeClock
    identities: list[tuple[str, Identity]]

    def run(self) -> Bench:
        """To the end of the schedule."""
        self.sampler.start()
        self.sampler.join(20.0)
        assert self.sampler.state.ended, "the sampler did not end"
        return self

    @property
    def flags(self) -> list[int]:
        return [sample.flags for sample in self.keeper.samples]

    @property
    def lost(self) -> list[tuple[str, int]]:
        return [(missed.reason, missed.count) for missed in self.keeper.losses]


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """bench(instrument, instants): an opened sampler whose schedule has that many instants."""

    def make(instrument: Any, instants: int, *, opened: bool = True, **options: Any) -> Bench:
        clock = options.pop("clock", None) or FakeClock(boottime_s=90.0)
        keeper: Any = options.pop("keeper", None) or KeeperStub()
        step_s = options.pop("step_s", STEP_S)
        settings = InstrumentSettings("one", "script", "i2c:1", interval_s=step_s, **options)
        inspector = Inspector(instrument.quantities, limits_of("one", instrument.quantities, {}))
        schedule = Until(step_s, (clock.boottime_ns() // 10**9 // step_s + instants) * step_s)
        identities: list[tuple[str, Identity]] = []
        calibrator = Calibrator(instrument.quantities, (), Humidities())
        sampler = Sampler(
            settings,
            instrument,
            calibrator,
            inspector,
            schedule,
            keeper,
            clock,
            lambda *who: identities.append(who),
        )
        if opened:
            sampler.open_once()
        return Bench(sampler, keeper, clock, identities)

    return make


def test_every_instant_of_a_well_instrument_is_a_sample(bench):
    one = bench(Script(), 5).run()
    assert [sample.boottime_ns for sample in one.keeper.samples] == [n * 60 * 10**9 for n in (2, 3, 4, 5, 6)]
    assert (one.flags, one.lost) == ([0] * 5, [])
    assert one.identities[0][0] == "one"
    state = one.sampler.state
    assert (state.samples, state.missed, state.problem, state.serial) == (5, 0, "", "s1")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DropSample("void."), "read void"),
        (RetryLater("warming up.", 30.0), "warming up"),
        (InstrumentGone("gone."), "instrument gone"),
        (ValueError("a bug"), "unexpected error"),
        (OverflowError(), "unexpected error"),
    ],
)
def test_a_read_that_fails_is_a_loss_with_its_reason_and_the_next_one_counts_again(bench, error, reason):
    one = bench(Script(reads=[None, error]), 8).run()
    assert one.lost[0] == (reason, 1)
    assert len(one.keeper.samples) + sum(count for _, count in one.lost) == 8
    assert len(one.keeper.samples) >= 4
    assert one.sampler.state.problem == ""


@pytest.mark.parametrize("error", [InstrumentGone("gone."), ValueError("a bug"), NeedsHuman("wrong chip.")])
def test_the_last_reading_of_an_instrument_that_is_gone_is_not_its_latest(bench, error):
    one = bench(Script(reads=[None, error]), 2).run()
    assert (one.sampler.state.samples, one.sampler.state.latest) == (1, ())


@pytest.mark.parametrize("error", [DropSample("void."), RetryLater("warming up.", 30.0)])
def test_a_reading_is_the_latest_until_three_instants_passed_without_another(bench, error):
    seen = []

    def look(error=None):
        seen.append(len(one.sampler.state.latest))
        if error:
            raise error

    one = bench(Script(reads=[None, *[lambda: look(error)] * 5, None, look]), 8, deadline_s=5)
    one.run()
    # The first look is one instant after the reading; patience ends a deadline after the third.
    assert seen == [1, 1, 1, 0, 0, 1]


def test_when_the_schedule_is_over_the_last_reading_stays(bench):
    one = bench(Script(), 2).run()
    one.clock.advance(100 * STEP_S)
    assert one.sampler.state.latest


def test_a_read_that_hangs_does_not_keep_the_last_reading_alive(bench):
    seen: list[Any] = []

    def hang():
        one.clock.advance(4 * STEP_S)
        seen.append(one.sampler.state)

    one: Bench = bench(Script(reads=[None, hang]), 9)
    one.run()
    assert seen[0].latest == ()


def test_a_bug_in_a_driver_is_said_with_its_name(bench):
    one = bench(Script(reads=[ValueError("a bug")]), 1).run()
    assert "ValueError('a bug')" in one.sampler.state.problem


def test_what_passes_at_the_second_try_is_flagged_retried_once(bench):
    one = bench(Script(reads=[RetryNow("disturbed.")]), 3).run()
    assert (one.flags, one.lost) == ([Flag.RETRIED, 0, 0], [])


def test_what_fails_twice_at_once_is_lost(bench):
    one = bench(Script(reads=[RetryNow("disturbed."), RetryNow("disturbed.")]), 3).run()
    assert (one.flags, one.lost) == ([0, 0], [("read void", 1)])


def test_an_instrument_that_is_gone_is_opened_again_and_the_next_sample_says_so(bench):
    script = Script(reads=[None, InstrumentGone("gone.")], opens=[None, InstrumentGone("still gone.")])
    one = bench(script, 12).run()
    assert script.opened == 3
    assert one.flags[:3] == [0, Flag.REOPENED, 0]
    assert {reason for reason, _ in one.lost} == {"instrument gone"}
    assert [identity.serial for _, identity in one.identities] == ["s1", "s3"]
    assert one.sampler.state.serial == "s3"
    assert one.sampler.state.reopened == 1


def test_one_bad_read_costs_its_own_instant_only(bench):
    reads = [None, InstrumentGone("late."), None, None, InstrumentGone("late."), None]
    one = bench(Script(reads=reads), 12, step_s=1, deadline_s=0.5).run()
    assert one.flags[:5] == [0, Flag.REOPENED, 0, Flag.REOPENED, 0]
    assert one.lost == [("instrument gone", 1)] * 2


def test_waits_grow_from_the_instruments_own_interval_so_two_bad_reads_cost_two_instants(bench):
    reads = [None, InstrumentGone("late."), InstrumentGone("late."), None]
    one = bench(Script(reads=reads), 12, step_s=1, deadline_s=0.5).run()
    assert sum(count for _, count in one.lost) == 2
    assert len(one.flags) == 10


def test_one_that_stays_away_is_asked_ever_less_often(bench):
    script = Script(opens=[InstrumentGone("gone.")] * 1000)
    one = bench(script, 60, opened=False).run()
    assert sum(count for _, count in one.lost) == 60
    assert 3 <= script.opened < 60  # waits grow to two minutes, instants come every minute
    assert one.sampler.state.problem == "gone."


def test_the_very_first_opening_is_not_called_a_reopening(bench):
    one = bench(Script(), 2, opened=False).run()
    assert one.flags == [0, 0]


def test_an_opening_that_is_disturbed_is_tried_three_times(bench):
    script = Script(opens=[RetryNow("x."), RetryNow("x.")])
    assert bench(script, 1, opened=False).run().flags == [0]
    script = Script(opens=[RetryNow("x.")] * 3)
    one = bench(script, 2, opened=False).run()
    assert (one.lost, len(one.flags), script.opened) == ([("read void", 1)], 1, 4)


def test_what_only_a_person_can_mend_ends_the_sampler_and_stays_in_the_status(bench):
    script = Script(reads=[None, NeedsHuman("The chip is a BMP280: replace it.")])
    one = bench(script, 9).run()
    assert (len(one.flags), one.lost) == (1, [("needs a person", 1)])
    state = one.sampler.state
    assert (state.problem, state.ended) == ("The chip is a BMP280: replace it.", True)
    assert script.closed >= 1


def test_instants_that_a_long_read_slept_through_are_one_loss_with_their_count(bench):
    clock = FakeClock(boottime_s=90.0)
    script = Script(reads=[None, lambda: clock.advance(4 * STEP_S + 1)])
    one = bench(script, 8, clock=clock).run()
    # Instants 120 … 540: the read of 180 ends at 421, when 240, 300, 360 and 420 have come.
    missed = one.keeper.losses
    assert [(m.reason, m.count, m.from_ns, m.to_ns) for m in missed] == [
        ("not read in time", 3, 240 * 10**9, 360 * 10**9)
    ]
    assert [sample.boottime_ns // 10**9 for sample in one.keeper.samples] == [120, 180, 421, 480, 540]
    assert one.flags == [0, 0, 0, 0, 0]


def test_a_sample_more_than_a_deadline_after_its_instant_is_late(bench):
    clock = FakeClock(boottime_s=90.0)
    script = Script(reads=[None, lambda: clock.advance(STEP_S + 2.5)])
    one = bench(script, 4, clock=clock, deadline_s=2.0).run()
    assert one.flags == [0, 0, Flag.LATE, 0]


def test_a_suspend_of_a_day_is_one_loss(bench):
    clock = FakeClock(boottime_s=90.0)
    script = Script(reads=[lambda: clock.advance(86_400)])
    one = bench(script, 1442, clock=clock).run()
    assert one.lost == [("not read in time", 1439)]
    assert len(one.flags) + 1439 == 1442


def test_a_restart_within_a_boot_says_what_was_missed_while_the_node_was_down(bench):
    keeper = KeeperStub()
    keeper.newest_ns = 120 * 10**9
    one = bench(Script(), 2, keeper=keeper, clock=FakeClock(boottime_s=490.0)).run()
    down = keeper.losses[0]
    assert (down.reason, down.count, down.from_ns, down.to_ns) == ("node down", 6, 180 * 10**9, 480 * 10**9)
    assert len(one.flags) == 2


def test_an_instant_at_the_moment_of_the_restart_is_not_forgotten(bench):
    keeper = KeeperStub()
    keeper.newest_ns = 120 * 10**9
    bench(Script(), 1, keeper=keeper, clock=FakeClock(boottime_s=240.0)).run()
    assert [(m.count, m.to_ns) for m in keeper.losses] == [(2, 240 * 10**9)]


def test_after_another_boot_there_is_nothing_to_say(bench):
    assert bench(Script(), 1).run().lost == []


def test_a_journal_that_takes_nothing_loses_samples_but_not_the_word_of_it(bench):
    full = TryAgain("The journal is full.")
    keeper = KeeperStub()
    keeper.failures = [None, None, *[full] * 6]  # the start, one sample; then three samples and their losses
    one = bench(Script(), 6, keeper=keeper).run()
    assert len(keeper.samples) == 3
    assert [(m.reason, m.count, m.from_ns, m.to_ns) for m in keeper.losses] == [
        ("journal not written", 3, 180 * 10**9, 300 * 10**9)
    ]
    assert (one.sampler.state.missed, one.sampler.state.problem) == (3, "")


def test_a_journal_that_does_not_answer_at_the_start_stops_no_sampler(bench):
    keeper = KeeperStub()
    keeper.failures = [TryAgain("The journal did not answer.")]
    assert len(bench(Script(), 3, keeper=keeper).run().flags) == 3


def test_a_value_that_is_no_number_is_a_loss_and_not_the_end(bench):
    nan, inf = Sample((float("nan"),)), Sample((float("inf"),))
    one = bench(Script(reads=[None, nan, None, inf]), 12).run()
    assert one.lost[0] == ("unexpected error", 1)
    assert len(one.keeper.samples) + sum(count for _, count in one.lost) == 12
    assert all(m.value == 20 for sample in one.keeper.samples for m in sample.values)


def test_what_was_not_measured_is_left_out_and_raw_words_go_along_only_when_asked_for(bench):
    sample = Sample((None,), raw=b"\1\2", flags=int(Flag.CLAMPED))
    plain = bench(Script(reads=[sample]), 1).run().keeper.samples[0]
    assert (plain.values, plain.raw, plain.flags) == ((), b"", Flag.CLAMPED)
    assert bench(Script(reads=[sample]), 1, raw_evidence=True).run().keeper.samples[0].raw == b"\1\2"


def test_a_samples_time_is_when_its_read_began_by_both_clocks(bench):
    clock = FakeClock(boottime_s=90.0)
    one = bench(Script(reads=[lambda: clock.advance(1.5)]), 1, clock=clock).run()
    sample = one.keeper.samples[0]
    assert sample.boottime_ns == 120 * 10**9
    assert sample.wall.ns == clock.wall().ns - round(1.5e9)


class Gate:
    """A clock that stands still until it is let go."""

    def __init__(self) -> None:
        self.clock = FakeClock(boottime_s=90.0)
        self.waiting, self.open = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.clock, name)

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        self.waiting.set()
        while not self.open.is_set():
            if stop.wait(0.01):
                return False
        return self.clock.wait_until(boottime_ns, stop)


def test_a_challenge_is_read_at_once_and_the_schedule_goes_on(bench, until):
    gate = Gate()
    one = bench(Script(), 2, clock=gate)
    one.sampler.start()
    assert gate.waiting.wait(5)
    one.sampler.read_now()
    until(lambda: len(one.keeper.samples) == 1, what="the sample for the challenge")
    assert one.keeper.samples[0].boottime_ns == 90 * 10**9
    gate.open.set()
    one.sampler.join(5.0)
    assert [sample.boottime_ns // 10**9 for sample in one.keeper.samples] == [90, 120, 180]
    assert one.lost == []


def test_a_read_that_never_returns_makes_its_sampler_overdue(bench):
    hanging, let_go = threading.Event(), threading.Event()

    def hang():
        hanging.set()
        let_go.wait(10)

    one = bench(Script(reads=[hang]), 1)
    one.sampler.start()
    assert hanging.wait(5)
    assert not one.sampler.overdue()
    assert (one.sampler.state.problem, one.sampler.state.hangs) == ("", False)
    one.clock.advance(OVERDUE_S + 100)
    assert one.sampler.overdue()
    assert "has not come back for" in one.sampler.state.problem
    assert one.sampler.state.hangs
    let_go.set()
    one.sampler.join(5.0)
    assert not one.sampler.state.hangs


@pytest.mark.parametrize("call", ["append", "note_missed"])
def test_a_journal_that_takes_nothing_is_no_instrument_that_hangs(bench, call):
    waiting, let_go = threading.Event(), threading.Event()

    def wait(_sample):
        waiting.set()
        let_go.wait(10)

    one = bench(Script(reads=[DropSample("no.")] if call == "note_missed" else []), 1)
    setattr(one.keeper, call, wait)
    one.sampler.start()
    assert waiting.wait(5)
    one.clock.advance(OVERDUE_S + 100)
    state = one.sampler.state
    let_go.set()
    one.sampler.join(5.0)
    assert one.sampler.turns == 1
    assert not state.hangs
    assert "hangs" not in state.problem


def test_two_reads_in_one_millisecond_get_times_a_proof_can_tell_apart(bench):
    one = bench(Script(), 1)
    one.sampler._turn(one.clock.boottime_ns())
    one.sampler._turn(one.clock.boottime_ns())
    first, second = (sample.boottime_ns // 10**6 for sample in one.keeper.samples)
    assert second == first + 1


def test_it_stops_between_two_instants_and_closes_its_instrument(bench):
    gate, script = Gate(), Script()
    one = bench(script, 5, clock=gate)
    one.sampler.start()
    assert gate.waiting.wait(5)
    one.sampler.stop()
    one.sampler.join(5.0)
    assert (one.sampler.state.ended, one.flags, script.closed) == (True, [], 1)


# On the virtual chip, with the production driver.


class World:
    """Fixed words; power as the test says."""

    def __init__(self) -> None:
        self.power = True

    def alive(self, boottime_ns: int) -> bool:
        return self.power

    def words(self, boottime_ns: int, temperature_bits: int, pressure_bits: int) -> Words | None:
        return Words(529191 + boottime_ns // 10**10 % 64, 326816, 30281) if self.power else None


def chip(clock: FakeClock, world: Any = None) -> tuple[VirtualI2C, BME280]:
    wire = VirtualI2C({ADDRESS: Chip(world or World(), clock, DEFAULT_TRIM)}, clock)
    return wire, BME280(SharedBus(wire, "I2C bus 1"), ADDRESS, clock)


def test_a_chip_without_power_for_a_while_costs_those_instants_and_comes_back_flagged(bench):
    clock, world = FakeClock(boottime_s=90.0), World()
    _wire, driver = chip(clock, world)
    one = bench(driver, 30, clock=clock)

    def power() -> None:
        world.power = not 300 <= clock.boottime_ns() / 1e9 < 900

    clock_wait = clock.wait_until

    def wait_until(boottime_ns: int, stop: threading.Event) -> bool:
        came = clock_wait(boottime_ns, stop)
        power()
        return came

    clock.wait_until = wait_until  # type: ignore[method-assign]
    one.run()
    lost = sum(count for _, count in one.lost)
    assert len(one.flags) + lost == 30
    assert 10 <= lost <= 13  # ten instants without power, and what the backoff waits beyond
    assert Counter(one.flags)[int(Flag.REOPENED)] == 1
    assert {reason for reason, _ in one.lost} == {"instrument gone"}


def test_a_transfer_that_is_disturbed_once_is_a_sample_with_a_flag(bench):
    clock = FakeClock(boottime_s=90.0)
    wire, driver = chip(clock)
    one = bench(driver, 4, clock=clock)
    at = wire.transactions + 8  # within the second read
    wire.fault = lambda index, operation, address: Nack() if index == at else None
    one.run()
    assert (one.flags, one.lost) == ([0, Flag.RETRIED, 0, 0], [])


def test_a_bus_that_hangs_costs_its_own_instrument_and_no_other(bench):
    clock = FakeClock(boottime_s=90.0)
    wire, driver = chip(clock)
    calm = FakeClock(boottime_s=90.0)
    one, two = bench(driver, 6, clock=clock), bench(chip(calm)[1], 6, clock=calm)
    at = wire.transactions + 8
    wire.fault = lambda index, operation, address: Hang(5.0) if at <= index < at + 2 else None
    one.sampler.start()
    two.run()
    one.sampler.join(20.0)
    assert one.lost[0] == ("instrument gone", 1)
    assert len(one.flags) + sum(count for _, count in one.lost) == 6
    assert (len(two.flags), two.lost) == (6, [])


@pytest.fixture
def keeper(tmp_path) -> Iterator[Keeper]:
    clock = FakeClock(boottime_s=90.0)
    sealer = make_sealer(clock, readings=1000, window_s=10**6)
    journal = open_test_journal(tmp_path, clock)
    made = Keeper(journal, sealer, JournalSettings(free_floor_bytes=0), clock, lambda: None, lambda _: None)
    made.start()
    yield made
    made.stop(10.0)


def test_with_the_real_journal_samples_and_losses_are_on_disk_and_a_restart_goes_on(bench, keeper):
    clock = FakeClock(boottime_s=90.0)
    bench(Script(reads=[None, DropSample("void."), DropSample("void.")]), 5, clock=clock, keeper=keeper).run()
    clock.advance(10 * STEP_S)  # the node is down
    bench(Script(), 2, clock=clock, keeper=keeper).run()

    def stored(journal):
        found = journal.oldest_samples(clock.boot_id, 100)
        return [sample.boottime_ns // 10**9 for _, sample in found], journal.take_losses(clock.boot_id, 100)

    times_s, losses = keeper.call(stored)
    assert times_s == [120, 300, 360, 1020, 1080]
    assert [(lost.reason, lost.count) for lost in losses] == [("read void", 2), ("node down", 10)]


@pytest.mark.parametrize("sealed", [False, True])
def test_a_loss_that_was_said_is_not_said_again_after_a_restart(bench, keeper, sealed):
    clock = FakeClock(boottime_s=90.0)
    void = [DropSample("void.")] * 3
    bench(Script(reads=[None, *void]), 4, clock=clock, keeper=keeper).run()
    losses = []

    def take(journal):
        losses.extend(journal.take_losses(clock.boot_id, 100))

    if sealed:
        keeper.call(take)
    clock.advance(2 * STEP_S)  # the node is down
    bench(Script(), 1, clock=clock, keeper=keeper).run()
    keeper.call(take)
    assert [(lost.reason, lost.count) for lost in losses] == [("read void", 3), ("node down", 2)]
