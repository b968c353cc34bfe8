"""The measured process: `python -m benchmarks.child agent|naive|polite …`, with a virtual BME280.

- `agent`: the daemon itself, started as the command line starts it; only the buses are simulated.
- `naive`: the peer's own loop.
- `polite`: the peer with its chip in normal mode, so that it need not poll for the end of a conversion.
- All load Blinka as on a board. SIGUSR1 makes them write one JSON line: CPU time so far, the part of it spent
  inside the virtual bus and chip, and how many readings were taken.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import adafruit_extended_bus  # noqa: F401 what `drivers.i2c.open_bus` loads on a board

from agent.clock import SystemClock
from drivers.contract import Clock
from hardware_sim.bus import VirtualI2C
from hardware_sim.parts.bme280 import BME280
from hardware_sim.worlds import ClimateWorld

_AFTER_HUMIDITY = 0xFF  # a read that ends here took the last of the data registers: once per reading


class MeteredI2C(VirtualI2C):
    """Knows what it costs itself."""

    cpu_ns = readings = 0
    _pointer = 0

    def _transact(self, operation: str, address: int, out: bytes | None, length: int) -> bytes:
        began_ns = time.thread_time_ns()
        try:
            return super()._transact(operation, address, out, length)
        finally:
            self._pointer = out[0] if out else self._pointer
            self.readings += bool(length and self._pointer + length == _AFTER_HUMIDITY)
            self.cpu_ns += time.thread_time_ns() - began_ns


def in_a_climate(clock: Clock) -> BME280:
    return BME280.in_world(ClimateWorld(seed=1), clock)


def metered_bus(report: Path, part: Callable[[Clock], BME280] = in_a_climate) -> MeteredI2C:
    clock = SystemClock()
    wire = MeteredI2C({0x76: part(clock)}, clock)
    fd = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(_number: int, _frame: object) -> None:
        line = {"cpu_ns": time.process_time_ns(), "chip_ns": wire.cpu_ns, "readings": wire.readings}
        os.write(fd, json.dumps(line).encode() + b"\n")

    signal.signal(signal.SIGUSR1, tell)
    return wire


def agent(report: Path, settings_file: Path, part: Callable[[Clock], BME280] = in_a_climate) -> None:
    from agent import buses, memory
    from drivers.i2c import SharedBus

    class VirtualBuses:
        def __init__(self, _clock: object) -> None:
            self._bus = SharedBus(metered_bus(report, part), "virtual I2C bus")

        def get(self, _bus: str) -> SharedBus:
            return self._bus

        def close(self) -> None:
            self._bus.close()

    memory.close = lambda: None  # who measures it looks into it, and may not be root
    buses.HardwareBuses = VirtualBuses  # type: ignore[assignment,misc] # before the daemon looks for it
    sys.argv = ["agent.daemon", str(os.open(settings_file, os.O_RDONLY))]
    runpy.run_module("agent.daemon", run_name="__main__")


def naive(what: str, report: Path, host: str, port: str, interval_s: str) -> None:
    from benchmarks import naive as peer

    if what == "polite":
        peer.Adafruit_BME280_I2C = in_normal_mode  # type: ignore[attr-defined] # imported there
    peer.run(metered_bus(report), host, int(port), float(interval_s), f"station/{what}")


def in_normal_mode(i2c: object, address: int) -> object:
    from adafruit_bme280 import basic

    sensor = basic.Adafruit_BME280_I2C(i2c, address=address)
    sensor.mode = basic.MODE_NORMAL
    return sensor


if __name__ == "__main__":
    what, report, *rest = sys.argv[1:]
    if what == "agent":
        agent(Path(report), Path(rest[0]))
    else:
        naive(what, Path(report), *rest)
