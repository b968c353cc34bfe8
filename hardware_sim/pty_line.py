"""A serial part behind a real pseudo-terminal, so that pyserial opens a real tty.

- The part is asked in its own thread: what it heard, and what it has to say by itself (`due`).
- The line has a name that stays (a symbolic link, like /dev/serial/by-id): unplugging removes it and hangs
  up the tty, plugging in makes a new tty under the same name.
- Time is real here; a part that needs virtual time asks its own clock, and that clock asks `line_behind` a
  tty whether the part was asked meanwhile: a busy machine must not make it look dead.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import tty
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_LOOK_S = 0.005
_AT_ONCE = 4096
_LONGEST_LOOK_S = 1.0


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
        self._slave: int | None = None
        self._closing = threading.Event()
        self._looked = threading.Condition()
        self.looks = 0  # how often the part was asked
        self.plug()
        self._thread = threading.Thread(target=self._run, name=f"pty-{path.name}", daemon=True)
        self._thread.start()

    def plug(self) -> None:
        with self._lock:
            if self._master is not None:
                return
            self._master, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self._master, False)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            self.path.symlink_to(os.ttyname(self._slave))
            _LINES[os.fstat(self._slave).st_rdev] = self

    def unplug(self) -> None:
        with self._lock:
            self.path.unlink(missing_ok=True)
            for fd in (self._master, self._slave):
                if fd is not None:
                    os.close(fd)
            self._master = self._slave = None

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
            said = self.part.heard(os.read(master, _AT_ONCE))
        said += self.part.due()
        # Like a UART nobody listens to: what does not fit is lost, the part does not wait.
        if said and select.select([], [master], [], 0)[1]:
            os.write(master, said)


_LINES: weakref.WeakValueDictionary[int, PtyLine] = weakref.WeakValueDictionary()  # by the tty's number


def line_behind(fd: int) -> PtyLine | None:
    """The line whose tty `fd` is; None for a tty that nothing simulated is behind."""
    return _LINES.get(os.fstat(fd).st_rdev)
