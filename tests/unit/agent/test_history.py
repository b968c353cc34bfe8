"""The last 48 hours in memory: what is kept, what is a gap, what comes from the journal."""

from __future__ import annotations

import itertools
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.errors import TryAgain
from agent.history import SPAN_S, History, Told
from agent.journal import Journal
from agent.sample import Captured
from drivers.contract import Flag
from proof.senml import Measured
from tests.agent_parts import START_S, FakeClock, captured, make_sealer, open_test_journal

ROOF = Told("bme280-76", 60.0, (("temperature", "Cel"), ("pressure", "Pa")))
BEGIN_S = START_S // 300 * 300  # of a bucket


def columns(history: History, now_s: float, quantity: str = "temperature") -> dict[str, Any]:
    found = map(json.loads, history.json_of("bme280-76", now_s - SPAN_S, now_s))
    return next(series for series in found if series["quantity"] == quantity)


def sample(at_s: float, celsius: float = 20.0, flags: int = 0, name: str = "bme280-76") -> Captured:
    clock = FakeClock(wall_s=at_s)
    values = (Measured("temperature", "Cel", Decimal(str(celsius))), Measured("pressure", "Pa", 100_000))
    return captured(clock, instrument=name, values=values, flags=flags)


@pytest.fixture
def history() -> History:
    return History([ROOF])


class Kept:
    """A journal under way, and what a history makes of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(wall_s=BEGIN_S)
        self.journal, self._sealer = open_test_journal(folder), make_sealer(self.clock)
        self.journal.begin()

    def proofs(self, count: int, readings: int = 1, every_s: float = 60) -> None:
        for number in range(count * readings):
            self.journal.append(captured(self.clock, number))
            if number % readings == readings - 1:
                self._sealer.seal(self.journal)
            self.clock.advance(every_s)

    def now_s(self) -> float:
        return self.clock.wall().ns / 1e9

    def read(self, job: Callable[[Journal], Any]) -> Any:
        return job(self.journal)

    def fills(self, history: History, read: Callable[..., Any] | None = None) -> list[int | None]:
        """The counts of its buckets then."""
        history.fill(read or self.read, self.now_s(), threading.Event())
        return list(columns(history, self.now_s())["count"])


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.journal.close()


def test_a_bucket_holds_count_mean_least_greatest_and_every_flag(history):
    for at_s, celsius, flags in ((0, 20.0, 0), (60, 21.0, Flag.JUMP), (120, 25.0, Flag.LATE)):
        history.append(sample(BEGIN_S + at_s, celsius, int(flags)))
    found = columns(history, BEGIN_S + 200)
    assert found["t"] == [BEGIN_S]
    assert (found["mean"], found["min"], found["max"]) == ([22.0], [20.0], [25.0])
    assert (found["count"], found["flags"]) == ([3], [int(Flag.JUMP | Flag.LATE)])
    assert found["unit"] == "Cel"


def test_where_nothing_was_measured_a_row_of_nothing_says_so(history):
    for minute in (0, 5, 25, 30):
        history.append(sample(BEGIN_S + 60 * minute, 20 + minute))
    found = columns(history, BEGIN_S + 1900)
    assert [t - BEGIN_S for t in found["t"]] == [0, 300, 600, 1500, 1800]
    assert found["mean"] == [20, 25, None, 45, 50]
    assert found["count"][2] is None


def test_readings_that_are_rare_make_no_gaps():
    history = History([replace(ROOF, interval_s=900.0)])
    for number in range(8):
        history.append(sample(BEGIN_S + 900 * number))
    assert None not in columns(history, BEGIN_S + 900 * 8)["mean"]
    history.append(sample(BEGIN_S + 900 * 10))  # two are missing
    assert columns(history, BEGIN_S + 900 * 10)["mean"].count(None) == 1


def test_what_is_older_than_48_hours_is_forgotten(history):
    history.append(sample(BEGIN_S, 1.0))
    history.append(sample(BEGIN_S + SPAN_S + 600, 2.0))
    assert columns(history, BEGIN_S + SPAN_S + 600)["mean"] == [2.0]


def test_a_clock_that_was_wrong_leaves_no_buckets_in_the_way(history):
    history.append(sample(BEGIN_S + 1000 * SPAN_S, 1.0))  # years ahead
    history.append(sample(BEGIN_S, 2.0))
    history.append(sample(5.0, 3.0))  # 1970
    assert columns(history, BEGIN_S + 60)["mean"] == [2.0]
    history.append(sample(-5.0, 4.0))  # before 1970
    history.append(sample(BEGIN_S, 5.0, name="stranger"))
    assert history.newest()["bme280-76"].values[0][2] == 4.0, (
        "what was read last is the newest, whatever its time"
    )


def test_memory_is_bounded_however_many_quantities_there_are():
    def size(instruments: int, quantities: int) -> int:
        told = [
            Told(f"i{n}", 1.0, tuple((f"q{m}", "Cel") for m in range(quantities))) for n in range(instruments)
        ]
        tracemalloc.start()
        history = History(told)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(history.instruments) == instruments
        return taken

    assert size(10, 3) < 800_000
    assert size(64, 20) < 3_000_000


def test_what_the_journal_knows_is_filled_in_once_and_not_twice(kept, history):
    kept.proofs(3, readings=10)
    kept.journal.append(captured(kept.clock, 100, flags=int(Flag.RANGE)))
    kept.clock.advance(60)
    live = captured(kept.clock, 200)
    kept.journal.append(live)
    kept.journal.commit()
    history.append(live)

    counts = kept.fills(history)
    assert history.state == "filled"
    assert sum(filter(None, counts)) == 32, "some were counted twice, or not at all"
    assert counts[:6] == [5] * 6
    assert columns(history, kept.now_s())["flags"][6] == int(Flag.RANGE)
    assert history.newest()["bme280-76"].values[0][2] == float(live.values[0].value)


def test_of_a_journal_only_48_hours_are_read(kept, history):
    kept.proofs(100, every_s=7200)
    kept.journal.commit()
    reads = []

    def read(job):
        reads.append(job)
        return kept.read(job)

    assert sum(filter(None, kept.fills(history, read))) == 24
    assert len(reads) < 12, "it read the whole journal"


def test_filling_ends_when_the_page_does(kept, history):
    stop = threading.Event()
    stop.set()
    history.fill(kept.read, START_S, stop)
    assert history.state == "filling"


def test_a_journal_that_falls_silent_is_read_on_from_there_and_nothing_counts_twice(kept, history):
    kept.proofs(20)
    kept.journal.append(captured(kept.clock, 99))
    kept.journal.commit()
    answers = itertools.count()

    def read(job):
        if next(answers) % 2:
            raise TryAgain("It did not answer.")
        return kept.read(job)

    for _ in range(20):
        with suppress(TryAgain):
            counts = kept.fills(history, read)
    assert history.state == "filled"
    assert sum(filter(None, counts)) == 21


def test_a_proof_that_is_damaged_is_passed_over(kept, history):
    kept.proofs(3)
    kept.journal.execute("UPDATE proofs SET data = x'00' WHERE seq = 2")
    kept.journal.execute("UPDATE proofs SET data = NULL WHERE seq = 3")
    kept.journal.commit()
    assert kept.fills(history) == [1]


def test_names_cannot_break_out_of_the_json():
    hostile = Told("bme280-76", 60.0, (('</script>"\\', '"'),))
    assert json.loads(History([hostile]).json_of("bme280-76", 0, 1)[0])["quantity"] == '</script>"\\'
