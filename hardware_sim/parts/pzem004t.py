"""Virtual PZEM-004T V3.0, seen from its serial pins.

Reference: Peacefair "PZEM-004T V3.0 user manual" (§1 functions, §2.3 measurement result, §2.4 parameters).

- Input registers 0 to 9, 32-bit values low word first. Holding registers: alarm threshold 1 W, unit number 2.
- Below 0.02 A and 0.4 W it measures nothing. The counter starts again after 9999.99 kWh.
"""

from __future__ import annotations

from collections.abc import Mapping

from hardware_sim.parts.modbus_unit import ModbusUnit, powers

_READ_HOLDING, _READ_INPUT = 3, 4
_ALARM_W = 23_000
_COUNTER_WH = 10_000_000


class PZEM004T(ModbusUnit):
    """One module with the 100 A transformer."""

    def registers(self, function: int, true: Mapping[str, float]) -> Mapping[int, int] | None:
        if function == _READ_HOLDING:
            return {1: _ALARM_W, 2: self.unit}
        if function != _READ_INPUT:
            return None
        current, power = true["current_A"], abs(true["power_W"])
        if current < 0.02 or power < 0.4:
            current, power, factor = 0.0, 0.0, 0.0
        else:
            factor = abs(powers(true)[2])
        low_first = [
            part
            for value in (current * 1000, power * 10, true["energy_kWh"] * 1000 % _COUNTER_WH)
            for part in (round(value) & 0xFFFF, round(value) >> 16)
        ]
        rest = [true["frequency_Hz"] * 10, factor * 100]
        alarm = 0xFFFF if power > _ALARM_W else 0
        return dict(enumerate([round(true["voltage_V"] * 10), *low_first, *map(round, rest), alarm]))
