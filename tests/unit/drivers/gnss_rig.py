"""A receiver on a desk: our driver and the simulated part, joined in memory, in virtual time only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from drivers.gnss import GNSS
from drivers.serial_line import LineSettings, SerialLine
from hardware_sim.clock import PacedClock
from hardware_sim.parts.gnss import GNSS as Part

NOW = datetime(2027, 3, 18, 17, 19, 26, tzinfo=UTC)
PLACE = {"lat_deg": 47.2853, "lon_deg": 8.5651, "alt_m": 412.0}
_STEP_NS = 10_000_000


class Still:
    """A world that does not move; `values` None is without power."""

    def __init__(self) -> None:
        self.values: Mapping[str, float] | None = PLACE

    def at(self, boottime_ns: int) -> Mapping[str, float] | None:
        return self.values


class Desk(PacedClock):
    """The clock, and the port at the end of the line. `disturb` sees all that the part says."""

    def __init__(self, *, at: datetime = NOW, **part: Any) -> None:
        super().__init__(60 * 10**9, int(at.timestamp()) * 10**9 - 60 * 10**9)
        self.world = Still()
        self.part = Part(self.world, self, **part)
        self.disturb: Callable[[bytes], bytes] = lambda said: said
        self.answers = True
        self.speed_of_part = 9600
        self.plugged = True
        self.opened: list[LineSettings] = []
        self._waiting = b""
        self.driver = GNSS(SerialLine("/dev/serial/by-id/gnss", self, self._open), None, self)

    def hear(self, seconds: float) -> None:
        """Time passes; what the part says is there to be read."""
        until_ns = self.boottime_ns() + round(seconds * 1e9)
        while self.boottime_ns() < until_ns:
            self._step(until_ns)

    def wait_readable(self, fd: int, seconds: float) -> bool:
        until_ns = self.boottime_ns() + round(seconds * 1e9)
        while not self._waiting and self.plugged and self.boottime_ns() < until_ns:
            self._step(until_ns)
        return bool(self._waiting) or not self.plugged

    def _step(self, until_ns: int) -> None:
        self.wait(min(_STEP_NS, until_ns - self.boottime_ns()) / 1e9)
        self._waiting += self._on_the_wire(self.disturb(self.part.due()))

    def _on_the_wire(self, said: bytes) -> bytes:
        if self.opened and self.opened[-1].baudrate != self.speed_of_part:
            return bytes(byte ^ 0xA5 for byte in said)
        return said

    def _open(self, path: str, settings: LineSettings) -> Desk:
        if not self.plugged:
            raise FileNotFoundError(2, "No such file or directory", path)
        self.opened.append(settings)
        return self

    # What is used of `serial.Serial`

    def fileno(self) -> int:
        return 0

    def read(self, size: int = 1, /) -> bytes:
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def write(self, data: bytes, /) -> int:
        answer = self.part.heard(data)
        if self.answers:
            self._waiting += self._on_the_wire(answer)
        return len(data)

    def reset_input_buffer(self) -> None:
        self._waiting = b""

    def close(self) -> None:
        pass
