"""A serial line without a tty: the part is asked in the caller's thread, and only virtual time passes.

For tests that need hundreds of exchanges; that pyserial and a real tty behave the same is shown elsewhere.
"""

from __future__ import annotations

import errno
from typing import Any

from drivers.serial_line import SerialLine
from hardware_sim.clock import PacedClock

_STEP_S = 0.02


class InstantClock(PacedClock):
    """Listening asks the ports instead of the operating system. A port's number is its place in `ports`."""

    def __init__(self, start_boottime_ns: int = 60 * 10**9) -> None:
        super().__init__(start_boottime_ns, 1_700_000_000 * 10**9)
        self.ports: list[InstantPort] = []

    def wait_readable(self, fd: int, seconds: float) -> bool:
        until_ns = self.boottime_ns() + round(seconds * 1e9)
        while not (readable := self.ports[fd].readable()) and self.boottime_ns() < until_ns:
            self.wait(min(_STEP_S, (until_ns - self.boottime_ns()) / 1e9))
        if readable:  # a flood must not stop time
            self.wait(0.001)
        return readable

    def line(self, part: Any, name: str = "instant-line") -> tuple[SerialLine, InstantPort]:
        port = InstantPort(part, len(self.ports))
        self.ports.append(port)
        return SerialLine(name, self, lambda path, settings: port.opened()), port


class InstantPort:
    """Satisfies `drivers.serial_line.Port`."""

    def __init__(self, part: Any, number: int) -> None:
        self.plugged = True
        self._part, self._number = part, number
        self._in = b""

    def plug(self) -> None:
        self.plugged = True

    def unplug(self) -> None:
        self.plugged = False

    def opened(self) -> InstantPort:
        if not self.plugged:
            raise OSError(errno.ENOENT, "no such line")
        return self

    def readable(self) -> bool:
        if self.plugged:
            self._in = (self._in + self._part.due())[-4096:]
        return bool(self._in) or not self.plugged

    def fileno(self) -> int:
        return self._number

    def read(self, size: int = 1, /) -> bytes:
        data, self._in = self._in[:size], self._in[size:]
        return data if self.plugged else b""

    def write(self, data: bytes, /) -> int:
        if not self.plugged:
            raise OSError(errno.EIO, "the line was closed")
        self._in += self._part.heard(data)
        return len(data)

    def reset_input_buffer(self) -> None:
        self.readable()
        self._in = b""

    def close(self) -> None:
        pass
