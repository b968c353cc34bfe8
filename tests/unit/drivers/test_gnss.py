"""The driver against a simulated receiver: who it is, what it takes, and every way of going wrong."""

from __future__ import annotations

import contextlib
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import catalogue
from drivers.errors import DriverError, DropSample, InstrumentGone, RetryLater
from drivers.gnss import GNSS
from drivers.serial_line import SerialLine
from hardware_sim.clock import PacedClock
from hardware_sim.parts.gnss import GNSS as Part
from hardware_sim.pty_line import PtyLine
from proof import senml
from tests.unit.drivers.gnss_rig import NOW, PLACE, Desk, Still

DEADLINE_S = 2.5


def warm(**part: Any) -> Desk:
    """An opened receiver with a fix."""
    desk = Desk(cold_start_s=1.0, **part)
    desk.driver.open()
    desk.hear(2.0)
    return desk


def metres_off(values: tuple[float | None, ...]) -> float:
    lat_deg, lon_deg = values[0] or 0.0, values[1] or 0.0
    north = (lat_deg - PLACE["lat_deg"]) * 111_320
    east = (lon_deg - PLACE["lon_deg"]) * 111_320 * math.cos(math.radians(lat_deg))
    return math.hypot(north, east)


def without(*starts: bytes):
    """A receiver that does not say these: `$` is NMEA, B5 62 is UBX."""

    def disturb(said: bytes) -> bytes:
        at = said.find(b"\xb5\x62")
        parts = {b"$": said[:at] if at >= 0 else said, b"\xb5\x62": said[at:] if at >= 0 else b""}
        return b"".join(part for start, part in parts.items() if start not in starts)

    return disturb


# Identity


def test_a_u_blox_is_known_by_its_unique_id():
    identity = Desk().driver.open()
    assert (identity.model, identity.serial, identity.kind) == ("NEO-M8N-0", "3857755657", "serial")


def test_two_receivers_have_two_serial_numbers():
    first, second = Desk().driver.open(), Desk(unique_id=b"\1\2\3\4\5").driver.open()
    assert first.serial != second.serial


def test_an_answer_that_is_lost_is_asked_for_again():
    desk = Desk()
    desk.answers = False
    heard = desk.part.heard
    asked = []

    def third_time(data: bytes) -> bytes:
        asked.append(data)
        desk.answers = len(asked) >= 3
        return heard(data)

    desk.part.heard = third_time  # type: ignore[method-assign]
    assert desk.driver.open().serial == "3857755657"


def test_an_older_u_blox_is_known_by_its_firmware_only():
    desk = Desk()
    desk.part._answer = lambda key: b"" if key == b"\x27\x03" else Part._answer(desk.part, key)  # type: ignore[method-assign]
    identity = desk.driver.open()
    assert identity.kind == "firmware"
    assert identity.serial.startswith("ROM CORE 3.01 (107888) 00080000 FWVER=SPG 3.01")
    assert len(identity.serial) <= 128
    assert identity.serial.isprintable()


def test_a_receiver_that_answers_nothing_has_no_identity():
    desk = Desk()
    desk.answers = False
    assert desk.driver.open().kind == "none"


@pytest.mark.parametrize("speed", [9600, 38400, 115200, 4800])
def test_the_line_speed_is_found(speed):
    desk = Desk(cold_start_s=1.0)
    desk.speed_of_part = speed
    desk.driver.open()
    desk.hear(2.0)
    assert desk.opened[-1].baudrate == speed
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 5


def test_units_are_of_the_registry_and_the_catalogue_makes_one():
    desk = Desk()
    made = catalogue.create("gnss", SerialLine("/dev/null", desk), catalogue.address_of("gnss", ""), desk)
    assert {quantity.unit for quantity in made.quantities} <= senml.UNITS


# Reading


def test_a_read_gives_where_it_is_how_well_and_from_how_many_satellites():
    desk = warm()
    sample = desk.driver.read(DEADLINE_S)
    _, _, altitude, accuracy, satellites, dimensions = sample.values
    assert dimensions == 3
    assert metres_off(sample.values) < 3
    assert (accuracy, satellites) == (2.1, 11)
    assert altitude == pytest.approx(PLACE["alt_m"], abs=3)


@pytest.mark.parametrize("silent", [b"$", b"\xb5\x62"], ids=["UBX only", "NMEA only"])
def test_one_language_is_enough(silent):
    desk = warm()
    desk.disturb = without(silent)
    sample = desk.driver.read(DEADLINE_S)
    assert metres_off(sample.values) < 3
    assert sample.values[3] == pytest.approx(2.1 if silent == b"$" else 0.92 * 5.0)


def test_what_came_in_before_is_not_read():
    """A minute's old sentences wait in the kernel's buffer; only the moment after the call counts."""
    desk = warm()
    before = desk.driver.read(DEADLINE_S)
    desk.hear(60.0)
    called_ns = desk.wall().ns
    after = desk.driver.read(DEADLINE_S)
    assert after.values != before.values
    assert desk.driver._last_utc_ns is not None
    assert desk.driver._last_utc_ns >= called_ns - 10**9


def test_a_cold_start_is_waited_for_and_a_lost_fix_loses_samples():
    desk = Desk(cold_start_s=20.0)
    desk.driver.open()
    with pytest.raises(RetryLater) as early:
        desk.driver.read(DEADLINE_S)
    assert early.value.after_s > 0
    desk.hear(20.0)
    desk.driver.read(DEADLINE_S)
    desk.part.sky = False
    desk.hear(2.0)
    with pytest.raises(DropSample, match="no valid fix"):
        desk.driver.read(DEADLINE_S)
    desk.part.sky = True
    desk.hear(3.0)
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 3


@pytest.mark.parametrize("weeks", [-1024, 1024])
def test_a_receiver_whose_weeks_rolled_over_gives_nothing_and_says_why(weeks):
    desk = warm(weeks_off=weeks)
    for _ in range(5):
        with pytest.raises(DriverError, match=r"rolled over.*firmware"):
            desk.driver.read(DEADLINE_S)
    assert desk.driver.utc.at(desk.boottime_ns()) is None


def test_a_position_without_a_date_is_no_sample():
    desk = warm()
    desk.disturb = lambda said: b"".join(line for line in said.splitlines(True) if line[:6] == b"$GNGGA")
    with pytest.raises(DropSample, match="without a date"):
        desk.driver.read(DEADLINE_S)


def test_a_receiver_that_repeats_one_moment_for_ever_is_not_believed_twice():
    desk = warm()
    kept: list[bytes] = []

    def stuck(said: bytes) -> bytes:
        if said:
            kept.append(said)
        return kept[0] if said else b""

    desk.disturb = stuck
    desk.driver.read(DEADLINE_S)
    with pytest.raises(DropSample, match="repeats"):
        desk.driver.read(DEADLINE_S)


# Time


def test_utc_is_within_its_error_after_three_moments_that_agree():
    desk = warm()
    for read in range(3):
        assert (desk.driver.utc.at(desk.boottime_ns()) is None) is (read < 3)
        desk.driver.read(DEADLINE_S)
        desk.hear(7.3)
    told = desk.driver.utc.at(desk.boottime_ns())
    assert told is not None
    assert abs(told.utc_ns - desk.wall().ns) <= told.error_ns < 1_100_000_000


# Faults


def test_a_silent_line_and_a_line_of_noise_end_in_time_with_a_sentence():
    desk = warm()
    began_ns = desk.boottime_ns()
    desk.disturb = lambda said: b""
    with pytest.raises(InstrumentGone):
        desk.driver.read(DEADLINE_S)
    assert desk.boottime_ns() - began_ns <= DEADLINE_S * 1e9 + 1e7
    desk.answers = False
    with pytest.raises(InstrumentGone, match="sends nothing"):
        desk.driver.open()
    desk.disturb = lambda said: bytes(byte & 0x7F ^ 0x55 for byte in said)
    with pytest.raises(InstrumentGone, match="neither NMEA nor UBX"):
        desk.driver.open()
    desk.disturb = lambda said: said
    desk.driver.open()
    desk.hear(2.0)
    desk.driver.read(DEADLINE_S)


def test_a_receiver_without_power_is_gone_and_comes_back_cold():
    desk = Desk(cold_start_s=20.0)
    desk.driver.open()
    desk.hear(21.0)
    desk.driver.read(DEADLINE_S)
    desk.world.values = None
    with pytest.raises(InstrumentGone):
        desk.driver.read(DEADLINE_S)
    desk.world.values = PLACE
    desk.driver.open()
    with pytest.raises(RetryLater):
        desk.driver.read(DEADLINE_S)
    desk.hear(20.0)
    desk.driver.read(DEADLINE_S)


def test_unplugged_is_gone_and_plugged_in_again_it_is_the_same_one():
    desk = warm()
    serial = desk.driver.open().serial
    desk.plugged = False
    for _ in range(2):
        with pytest.raises(InstrumentGone):
            desk.driver.read(DEADLINE_S)
    with pytest.raises(InstrumentGone, match="is not there"):
        desk.driver.open()
    desk.plugged = True
    assert desk.driver.open().serial == serial
    desk.hear(2.0)
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 3


@pytest.mark.parametrize("pieces", [2, 7, 100])
def test_frames_split_over_reads_are_put_together(pieces):
    """Every 10 ms so many bytes; by twos a burst takes more than a second, so UBX alone is said then."""
    desk = warm()
    said: list[bytes] = []
    language = without(b"$") if pieces == 2 else without()

    def slow(burst: bytes) -> bytes:
        burst = language(burst)
        said.extend(burst[at : at + pieces] for at in range(0, len(burst), pieces))
        return said.pop(0) if said else b""

    desk.disturb = slow
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 3


def test_garbage_before_frames_is_skipped():
    desk = warm()
    noise = b"\xb5\x62\x01\x07\x5c\x00" + bytes(range(256)) + b"$GNRMC,17"
    desk.disturb = lambda said: noise + said if said else b""
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 3


@pytest.mark.parametrize("byte", range(0, 330, 13))
def test_a_burst_with_any_byte_wrong_is_a_right_sample_or_none(byte):
    """And the next one is right again."""
    desk = warm()

    def flip(said: bytes) -> bytes:
        if not said:
            return said
        desk.disturb = lambda later: later
        at = byte % len(said)
        return said[:at] + bytes([said[at] ^ 0x10]) + said[at + 1 :]

    desk.disturb = flip
    for _ in range(2):
        with contextlib.suppress(DriverError):
            assert metres_off(desk.driver.read(DEADLINE_S).values) < 3
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 3


@pytest.mark.parametrize("kept", range(0, 330, 13))
def test_a_burst_that_breaks_off_is_a_right_sample_or_none(kept):
    desk = warm()

    def cut(said: bytes) -> bytes:
        if said:
            desk.disturb = lambda later: later
        return said[:kept]

    desk.disturb = cut
    with contextlib.suppress(DriverError):
        assert metres_off(desk.driver.read(DEADLINE_S).values) < 3
    assert metres_off(desk.driver.read(DEADLINE_S).values) < 3


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_the_line_says_a_read_ends_in_time_with_a_driver_error(pieces):
    desk = warm()
    queue = list(pieces)
    desk.disturb = lambda said: queue.pop(0) if queue else b""
    began_ns = desk.boottime_ns()
    with pytest.raises(DriverError):
        desk.driver.read(DEADLINE_S)
    assert desk.boottime_ns() - began_ns <= DEADLINE_S * 1e9 + 1e7


# Behind a real tty


def test_behind_a_real_tty_it_is_opened_read_unplugged_and_found_again(tmp_path):
    clock = PacedClock(60 * 10**9, int((NOW - timedelta(seconds=60)).timestamp()) * 10**9)
    line = PtyLine(Part(Still(), clock, cold_start_s=0.5), tmp_path / "gnss")
    driver = GNSS(SerialLine(str(tmp_path / "gnss"), clock), None, clock)
    try:
        assert driver.open().kind == "serial"
        assert metres_off(driver.read(DEADLINE_S).values) < 3
        line.unplug()
        with pytest.raises(InstrumentGone):
            driver.read(DEADLINE_S)
        line.plug()
        assert driver.open().kind == "serial"
        assert metres_off(driver.read(DEADLINE_S).values) < 3
    finally:
        driver.close()
        line.close()
