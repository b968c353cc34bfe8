from __future__ import annotations

import threading
import time

import pytest

from agent.clock import Clock
from hardware_sim.clock import PacedClock


def test_time_moves_only_by_waiting_and_never_back():
    clock: Clock = PacedClock(5, 100)
    assert clock.boottime_ns() == clock.boottime_ns() == 5
    clock.wait(1.5)
    assert clock.boottime_ns() == 1_500_000_005
    assert clock.wait_until(7, threading.Event())  # the time came long ago
    assert clock.boottime_ns() == 1_500_000_005
    assert clock.wall().ns == 1_500_000_105
    assert len(clock.boot_id) == 16


def test_a_stopped_wait_returns_at_once_and_leaves_time_alone():
    clock = PacedClock(0, 0, speed=1.0)
    stop = threading.Event()
    results = []
    thread = threading.Thread(target=lambda: results.append(clock.wait_until(3600 * 10**9, stop)))
    thread.start()
    stop.set()
    thread.join(5)
    assert results == [False]
    assert clock.boottime_ns() == 0


def test_speed_divides_the_real_wait():
    clock = PacedClock(0, 0, speed=1000.0)
    started = time.monotonic()
    clock.wait(20.0)
    assert 0.02 <= time.monotonic() - started < 5
    assert clock.boottime_ns() == 20 * 10**9


def test_several_threads_wait_at_once_and_the_furthest_counts():
    clock = PacedClock(0, 0, speed=1000.0)
    threads = [threading.Thread(target=clock.wait, args=(s,)) for s in (5.0, 30.0, 10.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert clock.boottime_ns() >= 30 * 10**9


def test_no_thread_outruns_another_that_works_between_its_waits():
    clock, seen = PacedClock(0, 0), []

    def walk(step_s, steps):
        for _ in range(steps):
            clock.wait(step_s)
            before_ns = clock.boottime_ns()
            sum(range(20_000))  # work that takes no virtual time
            seen.append(clock.boottime_ns() - before_ns)

    threads = [threading.Thread(target=walk, args=step) for step in ((0.001, 100), (3600.0, 5), (7.0, 50))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    # Before its first wait a thread is not known: the start may see time move.
    assert sum(moved > 0 for moved in seen) <= 2
    assert clock.boottime_ns() >= 5 * 3600 * 10**9


def test_a_thread_that_waits_no_more_stops_nobody():
    clock = PacedClock(0, 0)
    clock.wait(1.0)  # this thread joins, and then only waits for the other one

    def walk():
        for _ in range(100):
            clock.wait(60.0)

    other = threading.Thread(target=walk)
    other.start()
    other.join(10)
    assert not other.is_alive()
    assert clock.boottime_ns() == 6001 * 10**9


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ValueError, match="speed"):
        PacedClock(0, 0, speed)
