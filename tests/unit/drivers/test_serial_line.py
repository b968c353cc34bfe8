"""Serial lines over real pseudo-terminals: exclusiveness, deadlines, unplugging, sentences."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.clock import SystemClock
from drivers.errors import InstrumentGone, NeedsHuman
from drivers.serial_line import Conversation, LineSettings, SerialLine
from hardware_sim.pty_line import PtyLine

SETTINGS = LineSettings(9600)
TIOCGEXCL = 0x80045440  # asm-generic/ioctls.h; not in `termios`
SOON_S = 0.1


class Echo:
    """Says everything back; `pieces` are said one per turn without being asked."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.deaf = False

    def heard(self, data: bytes) -> bytes:
        return b"" if self.deaf else data

    def due(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


@pytest.fixture
def plugged(tmp_path):
    """An echo on a line under a name that stays."""
    line = PtyLine(Echo(), tmp_path / "by-id" / "usb-echo-1")
    yield line
    line.close()


@pytest.fixture
def opened():
    """opened(path) -> SerialLine, closed afterwards."""
    lines = []

    def make(path, clock=None):
        lines.append(SerialLine(str(path), clock or SystemClock()))
        return lines[-1]

    yield make
    for line in lines:
        line.close()


def converse(line: SerialLine, timeout_s: float, talk: Callable[[Conversation], object]) -> None:
    with line.transaction(SETTINGS, timeout_s) as wire:
        talk(wire)


def ask(line: SerialLine, what: bytes, timeout_s: float = 2.0) -> bytes:
    with line.transaction(SETTINGS, timeout_s) as wire:
        wire.forget()
        wire.write(what)
        return wire.exactly(len(what))


def test_what_is_written_is_answered_and_all_bytes_pass_unchanged(plugged, opened):
    line = opened(plugged.path)
    every = bytes(range(256))  # a tty that is not raw would translate or swallow some
    assert ask(line, every) == every


def test_an_answer_in_many_pieces_is_put_together(plugged, opened):
    line = opened(plugged.path)
    with line.transaction(SETTINGS, 2.0) as wire:
        plugged.part.pieces = [b"a", b"", b"bc", b"d"]
        assert wire.exactly(4) == b"abcd"


def test_exactly_leaves_what_comes_behind_for_the_next_call(plugged, opened):
    line = opened(plugged.path)
    with line.transaction(SETTINGS, 2.0) as wire:
        wire.write(b"abcd")
        assert [wire.exactly(1), wire.exactly(3)] == [b"a", b"bcd"]


def test_forget_drops_what_was_said_before(plugged, opened, until):
    line = opened(plugged.path)
    ask(line, b"?")
    plugged.part.pieces = [b"old"]
    until(lambda: not plugged.part.pieces)
    until(lambda: line._port.in_waiting == len(b"old"))
    assert ask(line, b"new") == b"new"


# Deadlines


@pytest.mark.parametrize("listen", [lambda wire: wire.exactly(1), lambda wire: wire.some()])
def test_silence_ends_at_the_deadline_with_a_sentence(plugged, opened, listen):
    line = opened(plugged.path)
    started = time.monotonic()
    with pytest.raises(InstrumentGone, match=r"did not answer within 0\.1 s: check power"):
        converse(line, SOON_S, listen)
    assert SOON_S <= time.monotonic() - started < SOON_S + 1.0


def test_an_answer_that_is_never_whole_ends_at_the_deadline(plugged, opened):
    plugged.part.pieces = [b"x"] * 10_000
    started = time.monotonic()
    with pytest.raises(InstrumentGone, match="did not answer"):
        converse(opened(plugged.path), SOON_S, lambda wire: wire.exactly(1_000_000))
    assert time.monotonic() - started < SOON_S + 1.0


def test_a_line_that_never_falls_silent_ends_at_the_deadline(plugged, opened):
    plugged.part.pieces = [b"noise" * 100] * 10_000

    def listen_on(wire):
        while wire.some():
            pass

    with pytest.raises(InstrumentGone, match="did not answer"):
        converse(opened(plugged.path), SOON_S, listen_on)


@pytest.mark.parametrize("step", [lambda wire: wire.wait(1.0), lambda wire: wire.write(b"late")])
def test_waiting_and_writing_count_against_the_deadline(plugged, opened, step):
    def wait_then_step(wire):
        wire.wait(60.0)
        step(wire)

    with pytest.raises(InstrumentGone, match="did not answer"):
        converse(opened(plugged.path), 0.02, wait_then_step)


def test_a_line_that_takes_no_bytes_does_not_block_the_writer(opened):
    master, slave = pty.openpty()  # nobody reads the master: its buffer fills

    def write_on(wire):
        while True:
            wire.write(bytes(4096))

    try:
        started = time.monotonic()
        with pytest.raises(InstrumentGone):
            converse(opened(os.ttyname(slave)), 5.0, write_on)
        assert time.monotonic() - started < 3.0
    finally:
        os.close(master)
        os.close(slave)


def test_after_silence_the_same_line_answers_again(plugged, opened):
    line = opened(plugged.path)
    plugged.part.deaf = True
    with pytest.raises(InstrumentGone):
        ask(line, b"?", SOON_S)
    plugged.part.deaf = False
    assert ask(line, b"!") == b"!"


# One user at a time


def test_instruments_that_share_a_line_take_turns(plugged, opened):
    line = opened(plugged.path)
    inside, go_on = threading.Event(), threading.Event()

    def hold():
        with line.transaction(SETTINGS, 5.0):
            inside.set()
            go_on.wait(5.0)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(5.0)
    with pytest.raises(InstrumentGone, match="held by another instrument for"):
        ask(line, b"x", 0.05)
    go_on.set()
    holder.join(5.0)
    assert ask(line, b"x") == b"x"


def test_the_same_tty_is_not_opened_twice_under_two_names(plugged, opened, tmp_path):
    first = opened(plugged.path)
    ask(first, b"x")
    alias = tmp_path / "ttyUSB0"
    alias.symlink_to(plugged.path)
    second = opened(alias)
    with pytest.raises(InstrumentGone, match=f"{alias} is held by another program: .*fuser"):
        ask(second, b"x")
    assert ask(first, b"x") == b"x"  # and the first one does not notice
    first.close()
    assert ask(second, b"x") == b"x"


def test_a_line_held_by_another_process_is_refused_until_it_ends(plugged, opened):
    program = (
        "import serial, sys; s = serial.Serial(sys.argv[1], exclusive=True); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(plugged.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        line = opened(plugged.path)
        with pytest.raises(InstrumentGone, match="held by another program"):
            ask(line, b"x")
        other.communicate(b"\n", timeout=10)
    assert ask(line, b"x") == b"x"


def _marked_exclusive(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)  # root may open it all the same
    try:
        return struct.unpack("i", fcntl.ioctl(fd, TIOCGEXCL, bytes(4)))[0] != 0
    finally:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at a tty that is marked exclusive")
def test_an_open_line_is_closed_to_programs_that_do_not_lock(plugged, opened):
    line = opened(plugged.path)
    assert not _marked_exclusive(plugged.path)
    ask(line, b"x")
    assert _marked_exclusive(plugged.path)
    line.close()
    line.close()
    assert not _marked_exclusive(plugged.path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open what is marked exclusive")
def test_a_program_that_does_not_lock_cannot_open_a_line_in_use(plugged, opened):
    ask(opened(plugged.path), b"x")
    with pytest.raises(OSError, match="busy"):
        os.open(plugged.path, os.O_RDWR | os.O_NOCTTY)


# Unplugging


@pytest.mark.parametrize(
    "go_on",
    [lambda wire: wire.forget(), lambda wire: wire.write(b"x"), lambda wire: wire.exactly(1)],
    ids=["forgetting", "writing", "reading"],
)
def test_pulled_out_and_plugged_in_it_goes_on_under_the_same_name(plugged, opened, go_on):
    line = opened(plugged.path)
    assert ask(line, b"x") == b"x"

    def pull_and_go_on(wire):
        plugged.unplug()
        go_on(wire)

    with pytest.raises(InstrumentGone, match="was it pulled out"):
        converse(line, 2.0, pull_and_go_on)
    with pytest.raises(InstrumentGone, match=r"is not there: is it plugged in\? See: ls /dev/serial/by-id/"):
        ask(line, b"x")
    plugged.plug()
    assert ask(line, b"back") == b"back"


def test_pulled_out_while_somebody_listens_it_is_noticed_before_the_deadline(plugged, opened):
    puller = threading.Timer(0.05, plugged.unplug)
    puller.start()
    started = time.monotonic()
    with pytest.raises(InstrumentGone, match="was it pulled out"):
        converse(opened(plugged.path), 20.0, lambda wire: wire.exactly(1))
    puller.join()
    assert time.monotonic() - started < 5.0


def test_pulled_out_between_two_transactions_it_is_noticed_at_the_next(plugged, opened):
    line = opened(plugged.path)
    ask(line, b"x")
    plugged.unplug()
    plugged.plug()  # a new tty: what is open is the dead one
    with pytest.raises(InstrumentGone, match="was it pulled out"):
        ask(line, b"x")
    assert ask(line, b"x") == b"x"


# What cannot be opened


def test_a_line_that_is_not_there_says_where_to_look(opened, tmp_path):
    with pytest.raises(InstrumentGone, match="usb-nothing is not there: is it plugged in"):
        ask(opened(tmp_path / "by-id" / "usb-nothing"), b"x")


@pytest.mark.parametrize("kind", ["file", "null", "folder", "fifo"])
def test_what_is_not_a_serial_line_needs_a_human(opened, tmp_path, kind):
    path = tmp_path / kind
    match kind:
        case "file":
            path.write_text("not a tty")
        case "null":
            path = Path("/dev/null")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
    with pytest.raises(NeedsHuman, match="is not a serial line: correct the bus"):
        ask(opened(path), b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_line_without_permission_needs_a_human(opened, plugged):
    plugged.path.chmod(0)
    with pytest.raises(NeedsHuman, match="usermod -aG dialout"):
        ask(opened(plugged.path), b"x")


def test_the_permission_sentence_is_also_there_for_root():
    def refused(path, settings):
        raise PermissionError(13, "Permission denied", path)

    line = SerialLine("/dev/serial/by-id/usb-x", SystemClock(), refused)
    with pytest.raises(NeedsHuman, match="usb-x may not be opened by this user: add it to the group dialout"):
        ask(line, b"x")


def test_a_setting_the_adapter_cannot_do_needs_a_human(plugged, opened):
    line = opened(plugged.path)
    with pytest.raises(NeedsHuman, match="cannot do LineSettings"), line.transaction(LineSettings(-1), 1.0):
        pytest.fail("a speed below nothing was set")
    assert ask(line, b"x") == b"x"


def test_other_settings_open_the_line_anew(plugged, opened):
    line = opened(plugged.path)
    speeds = []
    for settings in (LineSettings(9600), LineSettings(115200), LineSettings(115200)):
        with line.transaction(settings, 2.0) as wire:
            wire.write(b"x")
            assert wire.exactly(1) == b"x"
            speeds.append(termios.tcgetattr(wire._port.fileno())[5])
    assert speeds == [termios.B9600, termios.B115200, termios.B115200]
