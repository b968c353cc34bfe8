"""Simulated buses behind the configuration's own names: what runs on `i2c:1` of a board runs on these.

- Every configured instrument finds its part at its address, in one world; parts on one bus share it.
- Serial lines are real pseudo-terminals in a temporary folder, 1-Wire parts a folder of files.
- A driver without a part here is refused: nothing pretends to be simulated.
- Faults are put between: around the world an instrument is in, its part, its bus, its plug.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.buses import Bus, split
from agent.errors import FixConfig
from agent.settings import InstrumentSettings
from drivers import catalogue
from drivers.contract import Clock
from drivers.errors import NeedsHuman
from drivers.i2c import SharedBus
from drivers.serial_line import SerialLine
from hardware_sim.bus import VirtualI2C
from hardware_sim.faults import FaultFile
from hardware_sim.faulty import Faults
from hardware_sim.onewire_folder import SimulatedOneWire
from hardware_sim.parts import catalogue as parts
from hardware_sim.parts.bme280_physics import World
from hardware_sim.pty_line import PtyLine, SerialPart
from hardware_sim.shared_line import SharedLine

_NO_FAULTS = FaultFile()
_NO_RECORDINGS: Mapping[str, Callable[[Clock], SerialPart]] = {}


class SimulatedBuses:
    """Satisfies `agent.buses.Buses`. Raises `FixConfig` for an instrument that has no part."""

    def __init__(
        self,
        instruments: Sequence[InstrumentSettings],
        world: World,
        clock: Clock,
        faults: FaultFile = _NO_FAULTS,
        recordings: Mapping[str, Callable[[Clock], SerialPart]] = _NO_RECORDINGS,
    ) -> None:
        self._clock = clock
        self._faults = Faults(faults, instruments, clock)
        self._names: dict[str, dict[Any, str]] = {}
        serial = {instrument.name for instrument in instruments if split(instrument.bus)[0] == "serial"}
        if strangers := sorted(set(recordings) - serial):
            raise FixConfig(
                f"Recorded bytes are for {strangers[0]!r}, which is no instrument on a serial line."
            )
        self._parts: dict[str, dict[Any, Any]] = {}
        self._open: dict[str, Bus] = {}
        self._closing = contextlib.ExitStack()
        self.lines: dict[str, PtyLine] = {}
        for instrument in instruments:
            make = parts.maker(instrument.driver)
            if make is None:
                raise FixConfig(
                    f"Instrument {instrument.name}: driver {instrument.driver!r} has no simulated part; "
                    f"there are {', '.join(parts.known())}."
                )
            try:
                address = catalogue.address_of(instrument.driver, instrument.address)
            except NeedsHuman as error:
                raise FixConfig(f"Instrument {instrument.name}: {error.sentence}") from None
            seen = self._faults.world(instrument.name, world)
            part = make(seen, clock)
            if instrument.name in recordings:
                part = recordings[instrument.name](clock)
            part = self._faults.part(instrument.name, part, seen)
            self._parts.setdefault(instrument.bus, {})[address] = part
            self._names.setdefault(instrument.bus, {})[address] = instrument.name

    def get(self, bus: str) -> Bus:
        if bus not in self._open:
            self._open[bus] = self._opened(*split(bus), self._parts.get(bus, {}), self._names.get(bus, {}))
        return self._open[bus]

    def close(self) -> None:
        for bus in self._open.values():
            bus.close()
        self._closing.close()

    def part(self, bus: str, address: int | str | None = None) -> Any:
        """For fault scripts and tests: the part itself."""
        return self._parts[bus][address]

    def _opened(self, kind: str, place: str, found: dict[Any, Any], names: dict[Any, str]) -> Bus:
        if kind == "i2c":
            wire = VirtualI2C(found, self._clock, self._faults.plan(names))
            return SharedBus(wire, f"simulated I2C bus {place}")
        folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="fieldproof-sim-")))
        if kind == "w1":
            return SimulatedOneWire(folder, found)
        part: SerialPart = SharedLine(found) if None not in found else found[None]
        line = PtyLine(part, folder / Path(place).name, self._faults.present(list(names.values())))
        self._closing.callback(line.close)
        self.lines[f"{kind}:{place}"] = line
        return SerialLine(str(line.path), self._clock)
