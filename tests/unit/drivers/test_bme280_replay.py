"""Real days of a real station, through the chip's registers, with the production driver."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from drivers.bme280 import BME280
from drivers.contract import Flag
from drivers.errors import DropSample, InstrumentGone
from drivers.i2c import SharedBus
from hardware_sim.bus import VirtualI2C
from hardware_sim.clock import PacedClock
from hardware_sim.parts.bme280 import BME280 as Chip
from hardware_sim.replay import ReplayWorld


def _replay(world):
    """(instant, sample or None, re-opened) for every instant of the world, as a node would read it."""
    clock = PacedClock(0, world.origin_ns)
    driver = BME280(
        SharedBus(VirtualI2C({0x76: Chip.in_world(world, clock)}, clock), "I2C bus 1"), 0x76, clock
    )
    is_open = False
    for instant in world.instants():
        assert clock.wait_until(instant, threading.Event())
        sample, opened = None, False
        for _ in range(2):
            try:
                if not is_open:
                    driver.open()
                    is_open = opened = True
                sample = driver.read(0.5)
                break
            except InstrumentGone:
                is_open = False
            except DropSample:
                break
        assert clock.boottime_ns() - instant < 150_000_000
        yield instant, sample, opened


def _same(measured, recorded, digits):
    return (
        (measured is None)
        if recorded is None
        else measured is not None and round(measured, digits) == recorded
    )


HOLD = {"rows": 20_000, "attempts in holes": 1_000, "clamped": 1_000, "blank fields": 0}  # more than


def _held(paths):
    """How many of these the recordings hold, whatever a chip makes of them."""
    held: Counter[str] = Counter()
    for path in paths:
        world = ReplayWorld.from_csv(path)
        times = {row.t_s * 10**9 - world.origin_ns for row in world.rows}
        held["rows"] += len(world.rows)
        held["attempts in holes"] += sum(instant not in times for instant in world.instants())
        held["clamped"] += sum(row.humidity_pctRH == 100.0 for row in world.rows)
        blanks = (
            (row.temperature_degC, row.pressure_Pa, row.humidity_pctRH).count(None) for row in world.rows
        )
        held["blank fields"] += sum(blanks)
    return dict(held)


SHARES = 4  # each a test of its own, so that several processes replay


@pytest.mark.parametrize("share", range(SHARES))
def test_every_recorded_row_comes_back_within_the_chips_resolution(aberdeen, share):
    seen: Counter[str] = Counter()
    files = aberdeen[share::SHARES]
    for path in files:
        world = ReplayWorld.from_csv(path)
        rows = {row.t_s * 10**9 - world.origin_ns: row for row in world.rows}
        for instant, sample, opened in _replay(world):
            row = rows.pop(instant, None)
            seen["re-opened"] += opened
            if row is None:
                assert sample is None, (path.name, instant)
                seen["attempts in holes"] += 1
                continue
            assert sample is not None, (path.name, row)
            temperature, pressure, humidity = sample.values
            assert _same(temperature, row.temperature_degC, 2), (path.name, row, sample)
            assert _same(humidity, row.humidity_pctRH, 2), (path.name, row, sample)
            if row.pressure_Pa is None:
                assert pressure is None
            else:
                assert pressure is not None
                assert abs(pressure - row.pressure_Pa) <= 0.18, (path.name, row, sample)
            assert bool(sample.flags & Flag.CLAMPED) == (row.humidity_pctRH == 100.0), (
                path.name,
                row,
                sample,
            )
            seen["rows"] += 1
            seen["blank fields"] += sum(value is None for value in sample.values)
            seen["clamped"] += bool(sample.flags & Flag.CLAMPED)
            seen["on a skip word"] += sample.raw[3:6] == b"\x80\0\0" or sample.raw[6:] == b"\x80\0"
        assert not rows, (path.name, "rows never read")
    print(f"\n{len(files)} day files:", ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))
    assert {what: seen[what] for what in HOLD} == _held(files)


def test_the_recordings_hold_what_the_replay_is_a_test_of(aberdeen):
    held = _held(aberdeen)
    assert all(held[what] > count for what, count in HOLD.items()), held


def test_an_outage_over_midnight_is_an_absent_chip_and_then_the_same_specimen(aberdeen):
    days = [path for path in aberdeen if path.name[:10] in ("2018-07-11", "2018-07-12")]
    world = ReplayWorld.from_csv(*days)
    events = list(_replay(world))
    silent = [i for i, (_, sample, _) in enumerate(events) if sample is None]
    longest_s = max(b.t_s - a.t_s for a, b in zip(world.rows, world.rows[1:], strict=False))
    assert longest_s == 26_451
    assert len(silent) >= longest_s / world.nominal_s - 2
    after = next(event for event in events[silent[-1] + 1 :])
    assert after[1] is not None
    assert after[2]  # re-opened at once, and read at the recorded instant
