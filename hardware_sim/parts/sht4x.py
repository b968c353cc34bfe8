"""Virtual Sensirion SHT4x, seen from its I2C pins.

Reference: Sensirion SHT4x datasheet, version 6. Written from it, not from any driver.

- Commands are one byte without arguments (§4.5). A measurement with high, medium and low repeatability takes
  8.3, 4.5 and 1.6 ms at most (§3.2); the state of the air is the one when it is told to measure.
- Heater commands and unknown ones give no answer here: no driver may send them.
- Soft reset: 1 ms deaf, an answer not yet read is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World
from hardware_sim.parts.sensirion import SensirionPart

_MEASURING_S = {0xFD: 0.0083, 0xF6: 0.0045, 0xE0: 0.0016}
_SERIAL_S = _RESET_S = 0.001


class SHT4x(SensirionPart):
    """One chip with its serial number."""

    needs = ("temperature_degC", "humidity_pctRH")
    command_bytes = 1

    def __init__(self, world: World, clock: Clock, serial: int = 0x0F8C_27A1) -> None:
        self.serial = serial
        super().__init__(world, clock)

    def power_on(self) -> None:
        pass  # it remembers nothing

    def command(self, code: int, arguments: Sequence[int]) -> tuple[Sequence[int] | None, float]:
        if code in _MEASURING_S:
            true = self._true(self._clock.boottime_ns())
            if true is None:
                return None, 0.0
            ticks = (true["temperature_degC"] + 45.0) / 175.0, (true["humidity_pctRH"] + 6.0) / 125.0
            return [min(max(round(part * 0xFFFF), 0), 0xFFFF) for part in ticks], _MEASURING_S[code]
        match code:
            case 0x89:
                return [self.serial >> 16, self.serial & 0xFFFF], _SERIAL_S
            case 0x94:
                return None, _RESET_S
        return None, 0.0
