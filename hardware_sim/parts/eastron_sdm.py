"""Virtual Eastron SDM120 and SDM230, seen from the RS-485 line.

Reference: Eastron "SDM230Modbus Smart Meter Modbus Protocol Implementation" V1.2, "SDM120-Modbus" user
manual V1.1.

- 3X (function 4): floats, high word first; parameters that the model does not have read as zero. At most 40
  parameters (80 registers) at once.
- 4X (function 3): of the holding registers only the serial number is there; `serial` None is an old model.
- Speed is not modelled: a pseudo-terminal has none.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World
from hardware_sim.parts.modbus_unit import ModbusUnit, powers

_READ_HOLDING, _READ_INPUT = 3, 4
_LAST_INPUT = 0x0159
_SERIAL = 0xFC00


class EastronSDM(ModbusUnit):
    """One meter with its serial number."""

    most = 80

    def __init__(self, world: World, clock: Clock, unit: int = 1, serial: int | None = 18_012_345) -> None:
        super().__init__(world, clock, unit)
        self.serial = serial

    def registers(self, function: int, true: Mapping[str, float]) -> Mapping[int, int] | None:
        if function == _READ_HOLDING:
            words = struct.unpack(">HH", struct.pack(">I", self.serial)) if self.serial is not None else ()
            return dict(enumerate(words, _SERIAL))
        if function != _READ_INPUT:
            return None
        apparent, reactive, factor = powers(true)
        taken, given = true["energy_kWh"], true.get("energy_export_kWh", 0.0)
        parameters = {
            0x00: true["voltage_V"],
            0x06: true["current_A"],
            0x0C: true["power_W"],
            0x12: apparent,
            0x18: reactive,
            0x1E: factor,
            0x46: true["frequency_Hz"],
            0x48: taken,
            0x4A: given,
            0x0156: taken + given,
        }
        return _words(parameters)


def _words(parameters: Mapping[int, float]) -> dict[int, int]:
    words = dict.fromkeys(range(_LAST_INPUT + 1), 0)
    for address, value in parameters.items():
        words[address], words[address + 1] = struct.unpack(">HH", struct.pack(">f", value))
    return words
