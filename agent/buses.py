"""Buses by the text that stands in the configuration: `i2c:1`. Each is opened once and shared."""

from __future__ import annotations

import re
from typing import Any, Protocol

from agent.errors import FixConfig
from drivers import i2c
from drivers.i2c import SharedBus

_BUS = re.compile(r"i2c:([0-9]{1,6})")


class Buses(Protocol):
    """Where instruments get their bus from; the simulator hands in its own."""

    def get(self, bus: str) -> SharedBus:
        """The open bus. Raises `FixConfig` for a text that names none, `NeedsHuman` for one that fails."""

    def close(self) -> None: ...


def bus_number(bus: str) -> int:
    """1 of `i2c:1`; raises `FixConfig`."""
    found = _BUS.fullmatch(bus)
    if found is None:
        raise FixConfig(f"The bus {bus[:60]!r} is not like i2c:1; list yours with: ls /dev/i2c-*")
    return int(found[1])


class HardwareBuses:
    """The machine's own buses."""

    def __init__(self) -> None:
        self._open: dict[int, SharedBus] = {}

    def get(self, bus: str) -> SharedBus:
        number = bus_number(bus)
        if number not in self._open:
            self._open[number] = i2c.open_bus(number)
        return self._open[number]

    def close(self) -> None:
        for bus in self._open.values():
            bus.close()


class PaperBuses:
    """Buses that exist on paper only: a configuration is checked without touching the machine."""

    def get(self, bus: str) -> SharedBus:
        wire: Any = None  # nothing is opened or read while a configuration is checked
        return SharedBus(wire, f"I2C bus {bus_number(bus)}")

    def close(self) -> None:
        pass
