"""Dust sensors on a real pseudo-terminal in virtual time, and the faults a line can have."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers import catalogue
from drivers.contract import Identity, Sample
from drivers.errors import DropSample, InstrumentGone, RetryLater, RetryNow
from drivers.serial_line import SerialLine
from hardware_sim.clock import PacedClock
from hardware_sim.parts import catalogue as parts
from hardware_sim.pty_line import PtyLine

AIR = {"pm1_ugm3": 11.0, "pm2p5_ugm3": 17.0, "pm10_ugm3": 126.0}  # 0x11, 0x7E and bytes that SHDLC stuffs
WARM_S = 60.0
DEADLINE_S = 3.0


class Still:
    """Air that does not change; without power while `power` is off."""

    def __init__(self) -> None:
        self.power = True
        self.air: dict[str, float] = dict(AIR)

    def at(self, boottime_ns: int) -> Mapping[str, float] | None:
        return self.air if self.power else None


Spoil = Callable[[int, bytes], list[bytes]]


def as_it_is(number: int, message: bytes) -> list[bytes]:
    return [message]


class Faulty:
    """A part whose messages can be spoilt: `spoil(number, message)` gives the pieces said instead.

    With `noise` it says only that. `told` is what it heard.
    """

    def __init__(self, part: Any) -> None:
        self.part = part
        self.told: list[bytes] = []
        self.said = 0
        self.spoil: Spoil = as_it_is
        self.noise: Callable[[], bytes] | None = None
        self._later: list[bytes] = []

    def heard(self, data: bytes) -> bytes:
        self.told.append(data)
        return self._through(self.part.heard(data))

    def due(self) -> bytes:
        if self.noise:
            return self.noise()
        if self._later:
            return self._later.pop(0)
        return self._through(self.part.due())

    def _through(self, message: bytes) -> bytes:
        if not message:
            return b""
        number, self.said = self.said, self.said + 1
        first, *self._later = self.spoil(number, message)
        return first


@dataclass
class Rig:
    clock: PacedClock
    world: Still
    part: Any
    faulty: Faulty
    plugged: PtyLine
    driver: Any

    def warm(self) -> Identity:
        """Open it and let it settle."""
        identity = self.driver.open()
        self.clock.wait(WARM_S)
        return identity

    def recover(self, attempts: int = 8) -> tuple[Sample, list[str]]:
        """What a sampler does: retry, drop, or open again. The sample, and the errors on the way to it."""
        errors: list[str] = []
        is_open = True
        for _ in range(attempts):
            try:
                if not is_open:
                    self.warm()
                    is_open = True
                return self.driver.read(DEADLINE_S), errors
            except (RetryNow, DropSample) as error:
                errors.append(type(error).__name__)
            except (InstrumentGone, RetryLater) as error:
                errors.append(type(error).__name__)
                self.plugged.plug()
                is_open = False
        raise AssertionError(f"no sample after {errors}")


@contextlib.contextmanager
def rig(name: str, folder: Path, **more: Any) -> Iterator[Rig]:
    """The driver `name` on its simulated part."""
    clock, world = PacedClock(60 * 10**9, 1_700_000_000 * 10**9), Still()
    make = parts.maker(name)
    assert make is not None
    part = make(world, clock, **more)
    clock.wait(WARM_S)
    faulty = Faulty(part)
    plugged = PtyLine(faulty, folder / f"usb-{name}-port0")
    line = SerialLine(str(plugged.path), clock)
    try:
        yield Rig(clock, world, part, faulty, plugged, catalogue.create(name, line, None, clock))
    finally:
        line.close()
        plugged.close()


def unplug_soon(plugged: PtyLine) -> None:
    """From inside the part's own turn, which holds the line."""
    threading.Thread(target=plugged.unplug).start()


def hexdump(path: Path) -> list[bytes]:
    """The frames of a recording, one per line."""
    lines = path.read_text().splitlines()
    return [bytes.fromhex(line.split(": ", 1)[1].split("  ")[0]) for line in lines]


def table(path: Path) -> list[dict[str, float]]:
    """The rows of a recording's decoded table."""
    head, *rows = [line.split(", ") for line in path.read_text().splitlines()]
    return [dict(zip(head, map(float, row), strict=True)) for row in rows]
