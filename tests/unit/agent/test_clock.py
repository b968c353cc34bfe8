"""The device's clocks: what the kernel says, and what is left where it may not be asked."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from dataclasses import dataclass

import pytest

from agent import clock
from agent.clock import (
    SOURCE_GNSS,
    SOURCE_NONE,
    SOURCE_NTP,
    UNSYNCED_US,
    AidedClock,
    SystemClock,
    Wall,
)
from drivers.gnss_time import Utc
from tests.agent_parts import FakeClock


class Libc:
    """adjtimex that fails with `number`, or tells `maxerror_us`."""

    def __init__(self, number=0, maxerror_us=0):
        self._number, self._maxerror_us = number, maxerror_us

    def adjtimex(self, reference):
        reference._obj.maxerror = self._maxerror_us
        ctypes.set_errno(self._number)
        return -1 if self._number else 0


@pytest.fixture
def libc(monkeypatch):
    return lambda **facts: monkeypatch.setattr(clock, "_LIBC", Libc(**facts))


@pytest.fixture
def stamp(tmp_path, monkeypatch):
    """timesyncd's stamp, `age_s` old."""
    path = tmp_path / "synchronized"
    monkeypatch.setattr(clock._timesyncd_maxerror_us, "__defaults__", (path,))

    def write(age_s):
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)

    return write


def test_boot_time_is_the_kernels_and_never_falls():
    before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    times_ns = [SystemClock().boottime_ns() for _ in range(5)]
    assert before_ns <= times_ns[0]
    assert times_ns == sorted(times_ns)
    assert times_ns[-1] <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_a_boot_has_sixteen_bytes_that_stay_the_same():
    assert len(SystemClock().boot_id) == 16
    assert SystemClock().boot_id == SystemClock().boot_id


def test_wall_time_comes_with_the_kernels_bound():
    wall = SystemClock().wall()
    assert abs(wall.ns - time.time_ns()) < 10**9
    assert wall.maxerror_us >= 0
    assert (wall.source == SOURCE_NTP) == (wall.maxerror_us < UNSYNCED_US)


def test_a_wait_for_a_moment_that_passed_returns_at_once():
    assert SystemClock().wait_until(0, threading.Event()) is True
    SystemClock().wait(-5.0)


def test_a_wait_ends_early_when_asked_to_and_says_so():
    stop = threading.Event()
    stop.set()
    far_ns = SystemClock().boottime_ns() + 3600 * 10**9
    assert SystemClock().wait_until(far_ns, stop) is False
    assert SystemClock().wait_until(0, stop) is False


@pytest.mark.parametrize(
    ("maxerror_us", "source"),
    [(1_500, SOURCE_NTP), (UNSYNCED_US - 1, SOURCE_NTP), (UNSYNCED_US, SOURCE_NONE)],
)
def test_below_sixteen_seconds_of_error_the_kernel_clock_is_synchronised(libc, maxerror_us, source):
    libc(maxerror_us=maxerror_us)
    wall = SystemClock().wall()
    assert (wall.source, wall.maxerror_us) == (source, maxerror_us)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_where_adjtimex_is_forbidden_timesyncds_stamp_counts(libc, stamp, number):
    libc(number=number)
    assert Wall(0, SOURCE_NONE, UNSYNCED_US) == Wall(0, SystemClock().wall().source, UNSYNCED_US)
    stamp(age_s=1000)
    wall = SystemClock().wall()
    assert wall.source == SOURCE_NTP
    assert wall.maxerror_us == pytest.approx(100_000 + 1000 * 100, abs=1_000)


def test_another_error_of_adjtimex_is_not_taken_for_a_good_clock(libc):
    libc(number=errno.EFAULT)
    with pytest.raises(OSError, match="Bad address"):
        SystemClock().wall()


@pytest.mark.parametrize("age_s", [2 * 2048 + 60, -60])
def test_a_stamp_that_is_stale_or_from_the_future_is_no_synchronisation(libc, stamp, age_s):
    libc(number=errno.EPERM)
    stamp(age_s=age_s)
    assert SystemClock().wall().source == SOURCE_NONE


def test_the_struct_is_as_long_as_the_kernels():
    assert ctypes.sizeof(clock._Timex) >= 208


@dataclass
class Satellite:
    """Tells a time that is an hour ahead, with a certain error; None tells nothing."""

    error_ns: int | None = 10**9

    def at(self, boottime_ns):
        return None if self.error_ns is None else Utc(3600 * 10**9 + boottime_ns, boottime_ns, self.error_ns)


@pytest.mark.parametrize(
    ("kernel", "error_ns", "source", "maxerror_us"),
    [
        (Wall(0, SOURCE_NONE, 2**40), 10**9, SOURCE_GNSS, 1_000_000),
        (Wall(0, SOURCE_NONE, 1_000), 10**9, SOURCE_GNSS, 1_000_000),
        (Wall(0, SOURCE_NONE, 2**40), 17 * 10**9, SOURCE_NONE, 2**40),
        (Wall(0, SOURCE_NONE, 2**40), None, SOURCE_NONE, 2**40),
        (Wall(0, SOURCE_NTP, 20_000), 10**9, SOURCE_NTP, 20_000),
        (Wall(0, SOURCE_NTP, 9_000_000), 10**9, SOURCE_GNSS, 1_000_000),
    ],
)
def test_satellites_are_believed_where_they_know_better(monkeypatch, kernel, error_ns, source, maxerror_us):
    base = FakeClock()
    monkeypatch.setattr(base, "wall", lambda: kernel)
    aided = AidedClock(base)
    aided.tellers = (Satellite(error_ns),)
    wall = aided.wall()
    assert (wall.source, wall.maxerror_us) == (source, maxerror_us)
    assert wall.ns == (3600 * 10**9 + base.boottime_ns() if source == SOURCE_GNSS else kernel.ns)
    assert (aided.boot_id, aided.boottime_ns()) == (base.boot_id, base.boottime_ns())
