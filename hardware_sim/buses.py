"""Simulated buses behind the configuration's own names: what runs on `i2c:1` of a board runs on these.

- Every configured instrument finds its part at its address, in one world; parts on one bus share it.
- A driver without a part here is refused: nothing pretends to be simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.buses import bus_number
from agent.errors import FixConfig
from agent.settings import InstrumentSettings
from drivers import catalogue
from drivers.contract import Clock
from drivers.errors import NeedsHuman
from drivers.i2c import SharedBus
from hardware_sim.bus import Part, VirtualI2C
from hardware_sim.parts.bme280 import BME280
from hardware_sim.parts.bme280_physics import World

_PARTS: dict[str, Callable[[World, Clock], Part]] = {"bme280": BME280.in_world}


class SimulatedBuses:
    """Satisfies `agent.buses.Buses`. Raises `FixConfig` for an instrument that has no part."""

    def __init__(self, instruments: Sequence[InstrumentSettings], world: World, clock: Clock) -> None:
        self._clock = clock
        self._parts: dict[str, dict[int, Part]] = {}
        self._open: dict[str, SharedBus] = {}
        for instrument in instruments:
            parts = self._parts.setdefault(instrument.bus, {})
            parts[_address(instrument)] = _part(instrument)(world, clock)

    def get(self, bus: str) -> SharedBus:
        name = f"simulated I2C bus {bus_number(bus)}"
        if bus not in self._open:
            self._open[bus] = SharedBus(VirtualI2C(self._parts.get(bus, {}), self._clock), name)
        return self._open[bus]

    def close(self) -> None:
        for bus in self._open.values():
            bus.close()


def _part(instrument: InstrumentSettings) -> Callable[[World, Clock], Part]:
    try:
        return _PARTS[instrument.driver]
    except KeyError:
        raise FixConfig(
            f"Instrument {instrument.name}: driver {instrument.driver!r} has no simulated part; "
            f"there are {', '.join(sorted(_PARTS))}."
        ) from None


def _address(instrument: InstrumentSettings) -> int:
    try:
        return int(instrument.address, 16) if instrument.address else _usual(instrument.driver)
    except ValueError:
        raise FixConfig(
            f"Instrument {instrument.name}: address {instrument.address!r} is not like 0x76."
        ) from None


def _usual(driver: str) -> int:
    try:
        return catalogue.entry(driver).addresses[0]
    except NeedsHuman as error:
        raise FixConfig(error.sentence) from None
