"""Virtual Sensirion SCD41, seen from its I2C pins.

Reference: Sensirion SCD4x datasheet 1.3; § below are its sections. Written from it, not from any driver.

- After power-up the part is idle (§3.1). While it measures it answers read, data-ready and stop (table 9).
- Periodic measurement gives a value every 5 s (§3.5.1), readable once; without a new one a read is not
  acknowledged (§3.5.2). After stop it is deaf for 500 ms (§3.5.3).
- Data-ready is "low 11 bits not zero" (§3.8.2); the top bit is always set, as real parts show it.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World
from hardware_sim.parts.sensirion import Measuring, SensirionPart

_INTERVAL_S = 5.0
_TAKES_S = 0.001
_STOP_S = 0.5
_WHILE_MEASURING = (0xEC05, 0xE4B8, 0x3F86)


class SCD41(SensirionPart):
    """One chip with its serial number and variant word."""

    def __init__(
        self, world: World, clock: Clock, serial: int = 0x73B1_EB07_3B0C, variant: int = 0x1440
    ) -> None:
        self._measuring = Measuring(clock)
        self._serial, self._variant = serial, variant
        super().__init__(world, clock)

    def power_on(self) -> None:
        self._measuring.stop()

    def command(self, code: int, arguments: Sequence[int]) -> tuple[Sequence[int] | None, float]:
        if self._measuring.on and code not in _WHILE_MEASURING:
            return None, 0.0
        match code:
            case 0x21B1:
                self._measuring.start(_INTERVAL_S)
            case 0x3F86:
                self._measuring.stop()
                return None, _STOP_S
            case 0xE4B8:
                return [0x8006 if self._measuring.ready else 0x8000], _TAKES_S
            case 0xEC05:
                return self._measurement(), _TAKES_S
            case 0x3682:
                return [self._serial >> 32, self._serial >> 16 & 0xFFFF, self._serial & 0xFFFF], _TAKES_S
            case 0x202F:
                return [self._variant], _TAKES_S
        return None, 0.0

    def _measurement(self) -> Sequence[int] | None:
        made_ns = self._measuring.fetch()
        true = None if made_ns is None else self._true(made_ns)
        if true is None:
            return None
        co2 = min(max(round(true["co2_ppm"]), 0), 40_000)
        temperature = (true["temperature_degC"] + 45.0) / 175.0
        return [co2, _word(temperature), _word(true["humidity_pctRH"] / 100.0)]


def _word(fraction: float) -> int:
    return min(max(round(fraction * 0xFFFF), 0), 0xFFFF)
