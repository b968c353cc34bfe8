"""Buses by the text that stands in the configuration. Each is opened once and shared.

- `i2c:1` is /dev/i2c-1; `serial:/dev/serial/by-id/…` a serial line; `w1:` the kernel's 1-Wire parts.
- A serial line is opened by the first transaction on it: one that is not plugged in yet stops nothing.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Protocol

from agent.errors import FixConfig
from drivers import i2c
from drivers.contract import Clock
from drivers.i2c import SharedBus
from drivers.onewire import OneWire
from drivers.serial_line import SerialLine

Bus = SharedBus | SerialLine | OneWire

_NUMBER = re.compile(r"[0-9]{1,6}")


class Buses(Protocol):
    """Where instruments get their bus from; the simulator hands in its own."""

    def get(self, bus: str) -> Bus:
        """The open bus. Raises `FixConfig` for a text that names none, `NeedsHuman` for one that fails."""

    def close(self) -> None: ...


def split(bus: str) -> tuple[str, str]:
    """(kind, place) of `i2c:1`, `serial:/dev/…` or `w1:`; raises `FixConfig`."""
    kind, colon, place = bus.partition(":")
    match kind:
        case "i2c" if _NUMBER.fullmatch(place):
            return kind, str(int(place))
        case "serial" if PurePosixPath(place).is_absolute():
            return kind, place
        case "w1" if colon and not place:
            return kind, place
    raise FixConfig(
        f"The bus {bus[:60]!r} is not like i2c:1, serial:/dev/serial/by-id/NAME or w1: (ls /dev/i2c-*)."
    )


class HardwareBuses:
    """The machine's own buses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[tuple[str, str], Bus] = {}

    def get(self, bus: str) -> Bus:
        place = split(bus)
        if place not in self._open:
            self._open[place] = self._opened(*place)
        return self._open[place]

    def close(self) -> None:
        for bus in self._open.values():
            bus.close()

    def _opened(self, kind: str, place: str) -> Bus:
        if kind == "serial":
            return SerialLine(place, self._clock)
        return OneWire() if kind == "w1" else i2c.open_bus(int(place))


class PaperBuses:
    """Buses that exist on paper only: a configuration is checked without touching the machine."""

    def get(self, bus: str) -> Bus:
        nothing: Any = None  # nothing is opened or read while a configuration is checked
        kind, place = split(bus)
        if kind == "serial":
            return SerialLine(place, nothing)
        return OneWire() if kind == "w1" else SharedBus(nothing, f"I2C bus {place}")

    def close(self) -> None:
        pass
