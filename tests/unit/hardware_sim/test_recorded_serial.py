"""Recorded bytes come out exactly as they went in, at the pace asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import SystemClock
from drivers.serial_line import LineSettings, SerialLine
from hardware_sim.clock import PacedClock
from hardware_sim.parts.recorded_serial import RecordedSerial
from hardware_sim.pty_line import PtyLine

LINES = b"one\r\ntwo\r\n\r\nand a last one without an end"


def clock() -> PacedClock:
    return PacedClock(10**9, 0)


@given(st.binary(max_size=300), st.lists(st.floats(0.0, 30.0), max_size=20), st.booleans())
def test_whatever_the_looks_all_bytes_come_once_and_in_order(recorded, waits_s, by_line):
    now = clock()
    part = RecordedSerial(
        recorded, now, line_s=0.5 if by_line else None, bytes_per_s=None if by_line else 7.0
    )
    said = part.due()
    for wait_s in waits_s:
        now.wait(wait_s)
        said += part.due()
    assert recorded.startswith(said)
    now.wait(1000.0)
    assert said + part.due() == recorded
    assert part.ended
    assert part.due() == b""


def test_bytes_come_at_the_rate_of_the_line():
    now = clock()
    part = RecordedSerial(bytes(1000), now, bytes_per_s=960.0)
    part.due()
    now.wait(0.5)
    assert len(part.due()) == 480
    now.wait(0.25)
    assert len(part.due()) == 240


def test_lines_come_whole_one_per_beat():
    now = clock()
    part = RecordedSerial(LINES, now, line_s=1.0)
    said = [part.due()]
    for _ in range(5):
        now.wait(1.0)
        said.append(part.due())
    assert said == [b"", b"one\r\n", b"two\r\n", b"\r\n", b"and a last one without an end", b""]


def test_a_repeated_recording_goes_on_from_its_beginning_but_a_long_sleep_yields_one_round():
    now = clock()
    part = RecordedSerial(b"abcde", now, bytes_per_s=1.0, repeat=True)
    part.due()
    said = b""
    for _ in range(4):
        now.wait(3.0)
        said += part.due()
    assert said == b"abcdeabcdeab"
    now.wait(1_000_000.0)
    assert part.due() == b"cdeab"
    assert not part.ended


@pytest.mark.parametrize(
    "pace", [{}, {"bytes_per_s": 0.0}, {"line_s": -1.0}, {"bytes_per_s": 9.0, "line_s": 1.0}]
)
def test_no_pace_or_two_are_refused(pace):
    with pytest.raises(ValueError, match="give one of"):
        RecordedSerial(b"x", clock(), **pace)


def test_behind_a_real_tty_the_bytes_are_the_recorded_ones(tmp_path):
    recorded = bytes(range(256)) * 8
    now = SystemClock()
    line = PtyLine(RecordedSerial(recorded, now, bytes_per_s=20_000.0), tmp_path / "recorded")
    serial = SerialLine(str(tmp_path / "recorded"), now)
    try:
        with serial.transaction(LineSettings(9600), 5.0) as talk:
            heard = b""
            while len(heard) < 1024:
                heard += talk.some()
    finally:
        serial.close()
        line.close()
    # What was said before the line was opened is lost, as on a real one.
    assert heard in recorded
