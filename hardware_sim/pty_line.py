"""A serial part behind a real pseudo-terminal, so that pyserial opens a real tty.

- The part is asked in its own thread: what it heard, and what it has to say by itself (`due`).
- The line has a name that stays (a symbolic link, like /dev/serial/by-id): unplugging removes it and hangs
  up the tty, plugging in makes a new tty under the same name.
- When the last program has closed its tty, the next one gets a new one: a pseudo-terminal stays exclusive
  (TIOCEXCL) after a reader that was killed, which a real line does not.
- Time is real here; a part that needs virtual time asks its own clock, and that clock asks `line_behind` a
  tty whether the part was asked meanwhile: a busy machine must not make it look dead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import struct
import threading
import tty
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_LOOK_S = 0.005
_AT_ONCE = 4096
_LONGEST_LOOK_S = 1.0
_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430  # asm-generic/ioctls.h; not in `termios`


class SerialPart(Protocol):
    """What hangs on a line. Both calls come from one thread."""

    def heard(self, data: bytes) -> bytes:
        """Bytes arrived; what the part answers at once."""

    def due(self) -> bytes:
        """What the part says by itself by now; empty for one that speaks only when asked."""


class PtyLine:
    """`part` behind `path`; plugged in from the start, and from then on as `present` says."""

    def __init__(self, part: SerialPart, path: Path, present: Callable[[], bool] | None = None) -> None:
        self.part, self.path = part, path
        self._present = present
        self._lock = threading.Lock()
        self._master: int | None = None
        self._tty = Path()
        self._closing = threading.Event()
        self._looked = threading.Condition()
        self.looks = 0  # how often the part was asked
        self.plug()
        self._thread = threading.Thread(target=self._run, name=f"pty-{path.name}", daemon=True)
        self._thread.start()

    def plug(self) -> None:
        with self._lock:
            if self._master is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._master, self._tty = _new_tty()
                self._name(self._tty)

    def unplug(self) -> None:
        with self._lock:
            self.path.unlink(missing_ok=True)
            if self._master is not None:
                self._drop(self._master, self._tty)
                self._master = None

    def _name(self, slave: Path) -> None:
        fresh = self.path.with_name(f".{self.path.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(slave)
        fresh.replace(self.path)  # at no moment is there no line of this name
        _LINES[slave.stat().st_rdev] = self

    def _drop(self, master: int, slave: Path) -> None:
        _LINES.pop(slave.stat().st_rdev, None)
        os.close(master)

    def _renew(self, master: int) -> None:
        old, new = (master, self._tty), _new_tty()
        new[1].chmod(stat.S_IMODE(old[1].stat().st_mode))
        self._name(new[1])
        if not _hung_up(master):  # opened by somebody in this very moment: the old one stays
            old, new = new, old
            self._name(new[1])
        self._master, self._tty = new
        self._drop(*old)

    def await_look(self, after: int) -> None:
        """Until it was asked more often than `after` times, or will not be."""
        with self._looked:
            self._looked.wait_for(
                lambda: self.looks > after or not self._thread.is_alive(), timeout=_LONGEST_LOOK_S
            )

    def close(self) -> None:
        self._closing.set()
        self._thread.join(2.0)
        self.unplug()

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._present is not None:
                (self.plug if self._present() else self.unplug)()
            with self._lock, contextlib.suppress(OSError):  # a hang-up in the middle of a transfer
                if self._master is not None:
                    self._turn(self._master)
            with self._looked:
                self.looks += 1
                self._looked.notify_all()
            self._closing.wait(_LOOK_S / 5)

    def _turn(self, master: int) -> None:
        said = b""
        if select.select([master], [], [], _LOOK_S)[0]:
            try:
                said = self.part.heard(os.read(master, _AT_ONCE))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self._renew(master)  # it was open, and now nobody has it
                return
        said += self.part.due()
        # Like a UART nobody listens to: what does not fit is lost, the part does not wait.
        if said and select.select([], [master], [], 0)[1]:
            os.write(master, said)


def _new_tty() -> tuple[int, Path]:
    """Master and name, raw. The other end is not opened: so it is seen when the last reader has gone."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        (number,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
        tty.setraw(master)
    except OSError:
        os.close(master)
        raise
    return master, Path(f"/dev/pts/{number}")


def _hung_up(master: int) -> bool:
    watch = select.poll()
    watch.register(master, select.POLLHUP)
    return bool(watch.poll(0))


_LINES: weakref.WeakValueDictionary[int, PtyLine] = weakref.WeakValueDictionary()  # by the tty's number


def line_behind(fd: int) -> PtyLine | None:
    """The line whose tty `fd` is; None for a tty that nothing simulated is behind."""
    return _LINES.get(os.fstat(fd).st_rdev)
