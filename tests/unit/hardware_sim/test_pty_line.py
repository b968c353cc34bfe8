"""A part behind a pseudo-terminal, and virtual time while somebody listens to one."""

from __future__ import annotations

import fcntl
import math
import os
import select
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hardware_sim.clock import PacedClock
from hardware_sim.pty_line import PtyLine, line_behind

TIOCGEXCL = 0x80045440  # asm-generic/ioctls.h; not in `termios`


class Ticker:
    """Says a byte every `period_s` of its clock; remembers what it heard."""

    def __init__(self, clock: PacedClock, period_s: float = 1.0) -> None:
        self._clock, self._period_ns = clock, round(period_s * 1e9)
        self._next_ns = clock.boottime_ns() + self._period_ns
        self.was_told = b""

    def heard(self, data: bytes) -> bytes:
        self.was_told += data
        return b""

    def due(self) -> bytes:
        if self._clock.boottime_ns() < self._next_ns:
            return b""
        self._next_ns += self._period_ns
        return b"t"


class Flood:
    def __init__(self, size: int) -> None:
        self._size = size

    def heard(self, data: bytes) -> bytes:
        return b""

    def due(self) -> bytes:
        return bytes(self._size)


@pytest.fixture
def plugged(tmp_path):
    """plugged(part) -> (PtyLine, descriptor of the opened tty)"""
    lines, fds = [], []

    def make(part):
        lines.append(PtyLine(part, tmp_path / "line"))
        fds.append(os.open(lines[-1].path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK))
        return lines[-1], fds[-1]

    yield make
    for fd in fds:
        os.close(fd)
    for line in lines:
        line.close()


@pytest.mark.parametrize("speed", [20.0, 1000.0, math.inf])
def test_a_part_that_speaks_by_itself_is_heard_at_its_own_instants(plugged, speed):
    clock = PacedClock(0, 0, speed)
    _, fd = plugged(Ticker(clock, period_s=1.0))
    for tick in (1, 2, 3):
        assert clock.wait_readable(fd, 4.0)
        assert os.read(fd, 10) == b"t"
        # A part is looked at every few real milliseconds: a step or two late is as good as it gets.
        assert tick - 0.3 <= clock.boottime_ns() / 1e9 <= tick + 1.0


@pytest.mark.parametrize(("speed", "least_s"), [(20.0, 0.1), (1000.0, 0.1), (math.inf, 0.1), (1.0, 0.2)])
def test_listening_to_silence_takes_its_virtual_time_and_leaves_real_time_to_answer(plugged, speed, least_s):
    clock = PacedClock(0, 0, speed)
    _, fd = plugged(Ticker(clock, period_s=1e6))
    seconds = 2.0 if speed > 1 else 0.2
    began = time.monotonic()
    assert not clock.wait_readable(fd, seconds)
    assert clock.boottime_ns() == pytest.approx(seconds * 1e9, abs=10)
    assert least_s <= time.monotonic() - began < 2.0


class Slow(Ticker):
    """Answers everything, but is asked only every now and then: as on a machine that does other work."""

    def heard(self, data: bytes) -> bytes:
        return b"answer"

    def due(self) -> bytes:
        threading.Event().wait(0.25)
        return b""


def test_a_part_that_the_machine_had_no_time_for_is_not_silent(plugged):
    clock = PacedClock(0, 0)
    _, fd = plugged(Slow(clock))
    for _ in range(3):
        os.write(fd, b"question")
        assert clock.wait_readable(fd, 0.5), "within half a second of virtual time it answers"
        assert os.read(fd, 100) == b"answer"


@pytest.mark.parametrize("speed", [1.0, 1000.0, math.inf])
def test_a_line_that_never_falls_silent_does_not_stop_time(plugged, speed):
    clock = PacedClock(0, 0, speed)
    _, fd = plugged(Flood(100))
    began = time.monotonic()
    while (left_s := 1.0 - clock.boottime_ns() / 1e9) > 0:  # a deadline that comes nearer
        assert clock.wait_readable(fd, left_s)
        os.read(fd, 4096)
        assert time.monotonic() - began < 5.0


def test_the_furthest_wait_counts_while_somebody_listens(plugged):
    clock = PacedClock(0, 0)
    _, fd = plugged(Ticker(clock, period_s=1e6))
    other = threading.Thread(target=clock.wait, args=(100.0,))
    other.start()
    clock.wait_readable(fd, 1.0)
    other.join(5.0)
    assert 100 <= clock.boottime_ns() / 1e9 <= 101


def test_more_than_a_tty_holds_is_lost_and_the_line_can_still_be_closed(plugged):
    line, fd = plugged(Flood(1 << 20))
    assert select.select([fd], [], [], 5.0)[0]
    assert 0 < len(os.read(fd, 1 << 20)) < 1 << 20
    began = time.monotonic()
    line.close()
    assert time.monotonic() - began < 5.0


def test_unplugging_removes_the_name_hangs_up_and_loses_what_was_not_read(plugged, tmp_path, until):
    clock = PacedClock(0, 0)
    line, fd = plugged(Ticker(clock))
    os.write(fd, b"hello")
    until(lambda: line.part.was_told == b"hello")
    line.unplug()
    line.unplug()
    assert not line.path.is_symlink()
    assert clock.wait_readable(fd, 1.0)  # a dead line is noticed at once, not at the deadline
    with pytest.raises(OSError, match="Input/output error"):
        os.write(fd, b"x")
    line.plug()
    line.plug()
    again = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    os.write(again, b" again")
    until(lambda: line.part.was_told == b"hello again")
    os.close(again)


def _free(path: Path) -> bool:
    """Whether anybody may open it: root may open what is marked exclusive, so it is asked."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return struct.unpack("i", fcntl.ioctl(fd, TIOCGEXCL, bytes(4)))[0] == 0
    finally:
        os.close(fd)


def test_a_line_whose_reader_was_killed_can_be_opened_again(tmp_path, until):
    part = Ticker(PacedClock(0, 0))
    line = PtyLine(part, tmp_path / "line")
    line.path.chmod(0o666)  # as udev's rules do for real ones
    reader = "import fcntl, sys, termios; f = open(sys.argv[1], 'r+b', buffering=0)\n"
    reader += "fcntl.ioctl(f, termios.TIOCEXCL); f.write(b'1'); input()"
    try:
        command = [sys.executable, "-c", reader, str(line.path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            until(lambda: part.was_told == b"1")
            assert not _free(line.path)
            process.kill()
        until(lambda: _free(line.path), what="the line to be free")
        assert stat.S_IMODE(line.path.stat().st_mode) == 0o666
        with line.path.open("r+b", buffering=0) as again:
            again.write(b"2")
            until(lambda: part.was_told == b"12")
    finally:
        line.close()


def test_a_reader_that_came_while_the_line_was_renewed_keeps_what_it_opened(plugged, until):
    line, fd = plugged(Ticker(PacedClock(0, 0)))
    before = line.path.readlink()
    with line._lock:
        line._renew(line._master)
    assert line.path.readlink() == before
    assert line_behind(fd) == line
    os.write(fd, b"still")
    until(lambda: line.part.was_told == b"still")


def test_a_line_is_behind_the_tty_it_has_now_and_no_other(plugged):
    line, fd = plugged(Ticker(PacedClock(0, 0)))
    assert line_behind(fd) == line
    before = line.path.readlink()
    with before.open("r+b", buffering=0) as held:  # keeps the number of the old tty from being given again
        line.unplug()
        line.plug()
        assert line_behind(held.fileno()) is None
    with line.path.open("r+b", buffering=0) as again:
        assert line_behind(again.fileno()) is line
