"""UTC from epochs: when it is trusted, how wrong it may be, and when trust ends."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gnss_epoch import Epoch
from drivers.gnss_time import UtcSource

UTC_NS, BOOT_NS, S = 1_805_000_000 * 10**9, 500 * 10**9, 10**9


def epoch(second: float, late_s: float = 0.1, **changes: object) -> Epoch:
    """The moment `second`, heard `late_s` after it."""
    boottime_ns = BOOT_NS + round((second + late_s) * S)
    told = Epoch("ubx", boottime_ns, True, None, 9, UTC_NS + round(second * S), 30, "")
    return dataclasses.replace(told, **changes)  # type: ignore[arg-type]


def source(*epochs: Epoch) -> UtcSource:
    made = UtcSource()
    for each in epochs:
        made.add(each)
    return made


def test_two_epochs_are_not_enough_and_three_are():
    assert source(epoch(0), epoch(1)).at(BOOT_NS + 2 * S) is None
    told = source(epoch(0), epoch(1), epoch(2)).at(BOOT_NS + 3 * S)
    assert told is not None
    assert abs(told.utc_ns - (UTC_NS + 3 * S)) <= told.error_ns


@given(st.lists(st.floats(0.0, 0.99), min_size=3, max_size=8), st.integers(0, 86_400))
def test_the_truth_is_within_the_error_for_any_latency_below_a_second(lates_s, later_s):
    made = source(*(epoch(second, late_s) for second, late_s in enumerate(lates_s)))
    at_ns = BOOT_NS + (len(lates_s) + later_s) * S
    told = made.at(at_ns)
    assert told is not None
    assert abs(told.utc_ns - (UTC_NS + at_ns - BOOT_NS)) <= told.error_ns


def test_the_error_is_of_the_1_s_class_larger_for_nmea_and_grows_with_age():
    ubx = source(epoch(0), epoch(1), epoch(2))
    nmea = source(*(epoch(second, source="nmea") for second in range(3)))
    at_ns = BOOT_NS + 3 * S
    young, old, spoken = ubx.at(at_ns), ubx.at(at_ns + 10_000 * S), nmea.at(at_ns)
    assert young is not None
    assert old is not None
    assert spoken is not None
    assert S <= young.error_ns < 1.01 * S
    assert 2 * S <= spoken.error_ns < 2.01 * S
    assert old.error_ns - young.error_ns == pytest.approx(1 * S, rel=1e-3)  # 100 ppm


@pytest.mark.parametrize("step_s", [-18, -2, 2, 18, 1024 * 604_800])
def test_a_step_by_leap_seconds_or_weeks_ends_trust_until_three_agree_again(step_s):
    made = source(epoch(0), epoch(1), epoch(2))
    stepped = [epoch(second, utc_ns=UTC_NS + (second + step_s) * S) for second in (3, 4, 5)]
    for index, each in enumerate(stepped):
        assert (made.at(BOOT_NS + 3 * S) is None) is (index > 0)
        made.add(each)
    told = made.at(BOOT_NS + 6 * S)
    assert told is not None
    assert abs(told.utc_ns - (UTC_NS + (6 + step_s) * S)) <= told.error_ns


def test_a_time_that_stands_still_is_not_trusted():
    stuck = [epoch(second, utc_ns=UTC_NS) for second in range(9)]
    assert source(*stuck).at(BOOT_NS + 9 * S) is None


def test_epochs_without_a_time_or_without_a_beginning_say_nothing():
    made = source(epoch(0), epoch(1, whole=False), epoch(2, utc_ns=None), epoch(3))
    assert made.at(BOOT_NS + 4 * S) is None
    made.add(epoch(4))
    assert made.at(BOOT_NS + 5 * S) is not None
