"""What an instrument that fails every second may write: a day of it, by a clock that obeys."""

from __future__ import annotations

import io
import sys
import threading
import tracemalloc

import pytest
import structlog

from agent import logs, repeats

DAY_S = 86_400
HOURS = 24


class Log:
    """`Log.stream` is what the daemon wrote to stderr; `now_s` is its clock."""

    def __init__(self, monkeypatch, log_format="text"):
        self.now_s, self.stream = 0.0, io.StringIO()
        monkeypatch.setattr(sys, "stderr", self.stream)
        logs.configure(log_format, lambda: self.now_s)
        self.logger = structlog.get_logger()

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log(monkeypatch):
    yield Log(monkeypatch)
    structlog.reset_defaults()


def fail(log, problem="The BME280 at i2c:1 0x76 does not answer.", instrument="bme280-76"):
    log.logger.warning("instrument problem", instrument=instrument, problem=problem)


def suppressed(lines):
    return sum(int(line.rpartition("suppressed=")[2]) for line in lines if "suppressed=" in line)


def test_a_day_of_one_failure_a_second_is_four_lines_an_hour_and_none_is_uncounted(log):
    for second in range(DAY_S):
        log.now_s = float(second)
        fail(log)
    log.now_s = float(DAY_S)
    log.logger.info("proof sealed", seq=1)
    written = [line for line in log.lines if "suppressed" not in line and "proof sealed" not in line]
    assert len(written) == HOURS * repeats.SAME
    assert len(written) + suppressed(log.lines) == DAY_S
    assert len(log.stream.getvalue()) < 20_000


def test_three_hours_of_ever_new_long_sentences_stay_under_a_quarter_of_a_megabyte(log):
    """The worst a driver can do: opened, and failing with another sentence, each second. 2 MB a day."""
    for second in range(3 * 3600):
        log.now_s = float(second)
        fail(log, f"Read {second} failed: " + "x" * 1_000)
        log.logger.info("instrument opened", instrument="bme280-76", serial=str(second))
    lines = log.lines
    assert max(map(len, lines)) < 2 * logs.MAX_CHARS
    assert len(lines) <= 3 * 2 * (repeats.ALIKE + 1)
    assert len(log.stream.getvalue()) < 250_000


def test_another_problem_and_another_instrument_are_written_at_once(log):
    for _ in range(10):
        fail(log)
    fail(log, "Its checksum is wrong.")
    fail(log, instrument="sht40")
    assert len(log.lines) == repeats.SAME + 2


def test_when_the_failure_ends_the_hour_s_sum_is_said_by_the_newest_of_it(log):
    for number in range(10):
        fail(log, f"Try {number}." if number == 9 else "The same.")
    for _ in range(5):
        fail(log)
    log.now_s = repeats.PERIOD_S - 1
    log.logger.info("proof sealed", seq=1)
    assert suppressed(log.lines) == 0
    log.now_s = repeats.PERIOD_S
    log.logger.info("proof sealed", seq=2)
    *_, summed, last = log.lines
    assert 'level=warning event="instrument problem" instrument=bme280-76' in summed
    assert summed.endswith(f"suppressed={15 - repeats.SAME - 1 - repeats.SAME}")
    assert "seq=2" in last
    log.now_s = 2 * repeats.PERIOD_S
    log.logger.info("proof sealed", seq=3)
    assert suppressed(log.lines) == 15 - repeats.SAME - 1 - repeats.SAME


def test_different_exceptions_of_one_place_are_told_apart_and_equal_ones_are_not(log):
    for error in [ValueError("a")] * 5 + [ValueError("b")]:
        try:
            raise error
        except ValueError:
            log.logger.exception("unexpected error", instrument="bme280-76")
    assert len(log.lines) == repeats.SAME + 1
    assert all("Traceback" in line for line in log.lines)


def test_memory_is_bounded_whatever_is_logged(log):
    """As many instruments and events as there can be, each with as many sentences as are remembered."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        known = repeats.Repeats(lambda: 0.0)
        for number in range(300):
            for sentence in range(repeats.ALIKE + 5):
                known.let_through(
                    {"event": "instrument problem", "instrument": number, "problem": f"{sentence}"}
                )
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used < 2_000_000


def test_a_crowded_memory_says_what_it_forgets(log):
    for _ in range(10):
        fail(log, instrument="first")
    for number in range(300):
        fail(log, instrument=f"i{number}")
    assert suppressed(log.lines) == 10 - repeats.SAME


def test_no_traceback_keeps_what_it_held_alive(log):
    known = repeats.Repeats(lambda: 0.0)
    event = {"event": "unexpected error", "exc_info": (ValueError, ValueError("x"), None), "level": "error"}
    for _ in range(repeats.SAME + 1):
        known.let_through(event)
    known._monotonic = lambda: repeats.PERIOD_S
    summed, _ = known.let_through({"event": "other"})
    assert summed == {"event": "unexpected error", "level": "error", "suppressed": 1}


def test_many_threads_lose_no_count(log):
    def work():
        for _ in range(500):
            fail(log)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.now_s = repeats.PERIOD_S
    log.logger.info("proof sealed", seq=1)
    assert len(log.lines) == repeats.SAME + 2
    assert suppressed(log.lines) == 2000 - repeats.SAME


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_an_instrument_says_cannot_steer_a_terminal_or_begin_a_line(monkeypatch, log_format):
    log = Log(monkeypatch, log_format)
    try:
        fail(log, "It said \x1b[2J\r\n<0>level=critical\x00\x9b")
    finally:
        structlog.reset_defaults()
    (line,) = log.lines
    assert line.isprintable()
