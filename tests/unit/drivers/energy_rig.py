"""Meters on a real pseudo-terminal in virtual time, several on one line, and the faults the line can have.

A real one has its threads scheduled by the machine: `instant` takes its place where a meter speaks too rarely
for a busy machine to be in time.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymodbus.pdu.register_message import ReadInputRegistersRequest

from drivers import catalogue
from drivers.contract import Instrument
from drivers.framing import Frames
from drivers.modbus import answer_format
from drivers.serial_line import SerialLine
from hardware_sim.clock import PacedClock
from hardware_sim.parts import catalogue as parts
from hardware_sim.parts.senseair_s8 import crc16
from hardware_sim.pty_line import PtyLine
from hardware_sim.shared_line import SharedLine
from tests.unit.drivers.instant_line import InstantClock, InstantPort

MAINS = {
    "voltage_V": 231.5,
    "current_A": 2.0,
    "power_W": 440.0,
    "energy_kWh": 1234.5,
    "frequency_Hz": 50.0,
}  # 463 VA, so 144.1 var and a power factor of 0.9503
DEADLINE_S = 2.0
SDM_VALUES = (231.5, 2.0, 440.0, 463.0, 144.1145, 0.950324, 50.0, 1234.5, 0.0)
PZEM_VALUES = (231.5, 2.0, 440.0, 1_234_500.0, 50.0, 0.95)
METERS = {"sdm120": SDM_VALUES, "sdm230": SDM_VALUES, "pzem-004t": PZEM_VALUES}


class Steady:
    """Mains that do not change; without power while `power` is off."""

    def __init__(self) -> None:
        self.power = True
        self.mains: dict[str, float] = dict(MAINS)

    def at(self, boottime_ns: int) -> Mapping[str, float] | None:
        return self.mains if self.power else None


class Faulty:
    """A part whose messages can be spoilt: `spoil(number, message)` gives the pieces said instead."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.said = 0
        self.questions: list[bytes] = []
        self.spoil: Callable[[int, bytes], list[bytes]] = lambda _, message: [message]
        self.noise: Callable[[], bytes] | None = None
        self._later: list[bytes] = []

    def heard(self, data: bytes) -> bytes:
        if self.noise is not None:
            return b""
        self.questions.append(data)
        self._later = []
        return self._through(self.part.heard(data))

    def due(self) -> bytes:
        if self.noise is not None:
            return self.noise()
        if self._later:
            return self._later.pop(0)
        return self._through(self.part.due())

    def _through(self, message: bytes) -> bytes:
        if not message:
            return b""
        number, self.said = self.said, self.said + 1
        first, *self._later = self.spoil(number, message) or [b""]
        return first


@dataclass
class Rig:
    clock: PacedClock
    world: Steady
    part: Any
    """The simulated meters by unit number; the meter itself on a line without."""
    faulty: Faulty
    plugged: PtyLine | InstantPort
    line: SerialLine
    drivers: list[Instrument]


@contextlib.contextmanager
def rig(
    folder: Path, *wanted: tuple[str, int | None], part: Any = None, instant: bool = False, **more: Any
) -> Iterator[Rig]:
    """`wanted` are drivers and their unit numbers; their parts on one line, or `part` instead of them."""
    clock = InstantClock() if instant else PacedClock(60 * 10**9, 1_700_000_000 * 10**9)
    world = Steady()
    made: dict[int | None, Any] = {}
    for name, unit in wanted:
        make = parts.maker(name)
        assert make is not None
        made[unit] = part or make(world, clock, **more)
    on_line: Any = (
        made[None] if None in made else SharedLine({u: p for u, p in made.items() if u is not None})
    )
    faulty = Faulty(on_line)
    plugged: PtyLine | InstantPort
    if isinstance(clock, InstantClock):
        line, plugged = clock.line(faulty)
    else:
        plugged = PtyLine(faulty, folder / "usb-rs485-port0")
        line = SerialLine(str(plugged.path), clock)
    try:
        drivers = [catalogue.create(name, line, unit, clock) for name, unit in wanted]
        yield Rig(clock, world, made.get(None, made), faulty, plugged, line, drivers)
    finally:
        line.close()
        plugged.close()


def with_crc(message: bytes) -> bytes:
    return message + struct.pack("<H", crc16(message))


def frames_of(data: bytes, unit: int, count: int) -> list[bytes]:
    return Frames(answer_format(ReadInputRegistersRequest(address=0, count=count, dev_id=unit))).feed(data)


def close_to(values: tuple[float, ...]) -> Any:
    return pytest.approx(values, rel=1e-5)
