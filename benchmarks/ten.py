"""Ten different instruments: `python -m benchmarks.ten parts|agent FOLDER`.

- `parts` is the far end of every serial line: real ttys in FOLDER, and the parts behind them.
- `agent` is the daemon with the production's own serial lines on those ttys. I2C chips and the 1-Wire part
  have no such far end: they are simulated inside it.
"""

from __future__ import annotations

import os
import pickle
import runpy
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import adafruit_extended_bus  # noqa: F401 what `drivers.i2c.open_bus` loads on a board

from agent.buses import Bus, HardwareBuses
from agent.clock import SystemClock
from agent.settings import InstrumentSettings
from drivers import catalogue
from drivers.contract import Clock
from drivers.i2c import SharedBus
from hardware_sim.bus import VirtualI2C
from hardware_sim.onewire_folder import SimulatedOneWire
from hardware_sim.parts import catalogue as catalogue_of_parts
from hardware_sim.worlds import ClimateWorld

_I2C = ("bme280", "scd30", "scd41")
_THERMOMETER = "28-0000075f1d2c"
SERIAL = ("pms5003", "senseair-s8", "sdm230", "gnss", "gmc320", "ezo-ph")  # pymodbus, pynmeagps, pyubx2 too
WITH_P1 = (*SERIAL[:-1], "dsmr")  # dsmr-parser
_INTERVAL_S, _DEADLINE_S = 6.0, 5.0
_SEED = 1
PLUGGED_IN, SETTINGS = "plugged-in", "settings.pickle"


def instruments(folder: Path, serial: Sequence[str] = SERIAL) -> tuple[InstrumentSettings, ...]:
    """Their settings; serial lines are in `folder`."""
    places = [(name, "i2c:1", "") for name in _I2C]
    places.append(("ds18b20", "w1:", _THERMOMETER))
    places += [(name, f"serial:{folder / name}", "") for name in serial]
    return tuple(InstrumentSettings(name, name, *place, _INTERVAL_S, _DEADLINE_S) for name, *place in places)


def parts(folder: Path) -> None:
    """Serial lines under the names that the settings have; they end with the process."""
    from hardware_sim.buses import SimulatedBuses

    wanted = pickle.loads((folder / SETTINGS).read_bytes()).instrument  # noqa: S301 the benchmark wrote it
    serial = [instrument for instrument in wanted if instrument.bus.startswith("serial:")]
    simulated = SimulatedBuses(serial, ClimateWorld(_SEED), SystemClock())
    for instrument in serial:
        simulated.get(instrument.bus)
        (folder / instrument.name).symlink_to(simulated.lines[instrument.bus].path)
    (folder / PLUGGED_IN).touch()
    signal.sigwait({signal.SIGTERM})
    simulated.close()


class Buses(HardwareBuses):
    """The machine's own serial lines; I2C and 1-Wire without `SimulatedBuses`, which loads a checker."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(clock)
        self._folder = folder

    def _opened(self, kind: str, place: str) -> Bus:
        if kind == "serial":
            return super()._opened(kind, place)
        world = ClimateWorld(_SEED)
        if kind == "i2c":
            chips = {catalogue.address_of(name, ""): _part(name, world, self._clock) for name in _I2C}
            return SharedBus(VirtualI2C(chips, self._clock), "virtual I2C bus")
        return SimulatedOneWire(self._folder, {_THERMOMETER: _part("ds18b20", world, self._clock)})


def _part(name: str, world: ClimateWorld, clock: Clock) -> Any:
    make = catalogue_of_parts.maker(name)
    assert make is not None
    return make(world, clock)


def agent(folder: Path) -> None:
    from agent import buses

    buses.HardwareBuses = partial(Buses, folder / "w1")  # type: ignore[misc] # before the daemon looks for it
    settings = os.open(folder / SETTINGS, os.O_RDONLY)
    sys.argv = ["agent.daemon", str(settings)]
    runpy.run_module("agent.daemon", run_name="__main__")


if __name__ == "__main__":
    {"parts": parts, "agent": agent}[sys.argv[1]](Path(sys.argv[2]))
