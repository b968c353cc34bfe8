"""When an instrument that failed may be opened again."""

from __future__ import annotations

from agent.reopening import Reopening

S = 10**9
LAST = 0.999_999  # of the random numbers: the longest waits


def waits_s(reopening: Reopening, failures: int, random: float = LAST, now_s: int = 0) -> list[float]:
    """Of an instrument that was open and fails now, and then as soon as it may be opened."""
    found, now_ns = [], now_s * S
    for number in range(failures):
        reopening.failed(now_ns, number == 0, random)
        began_ns = now_ns
        while not reopening.may(now_ns):
            now_ns += S // 10
        found.append((now_ns - began_ns) / S)
    return found


def test_one_that_gave_a_sample_may_be_opened_at_once_and_then_waits_grow_from_its_own_interval():
    reopening = Reopening(interval_s=2.0)
    reopening.gave()
    assert waits_s(reopening, 5) == [0.0, 2.0, 4.0, 8.0, 16.0]
    reopening.gave()
    assert waits_s(reopening, 2, now_s=100) == [0.0, 2.0]


def test_one_read_seldom_waits_no_longer_than_a_link_would():
    assert max(waits_s(Reopening(interval_s=3600.0), 9)) <= 120.1
    assert waits_s(Reopening(interval_s=3600.0), 3, random=0.0) == [1.0, 1.0, 1.0]


def test_a_failure_while_it_waits_makes_nothing_longer():
    reopening = Reopening(interval_s=2.0)
    reopening.failed(0, True, LAST)
    reopening.failed(S, False, LAST)
    assert not reopening.may(2 * S - 1)
    assert reopening.may(2 * S)


def test_one_that_came_back_and_gave_nothing_waits_longer():
    reopening = Reopening(interval_s=2.0)
    reopening.failed(0, True, LAST)
    reopening.opened(2 * S)
    reopening.failed(3 * S, True, LAST)
    assert not reopening.may(7 * S - 1)
    assert reopening.may(7 * S)
