"""Peacefair PZEM-004T V3.0: single-phase meter module, Modbus RTU, several on one line.

Reference: Peacefair "PZEM-004T V3.0 user manual" (§1 functions, §2.3 "Read the measurement
result", §2.4 "Read and modify the slave parameters").

- A value is an integer in one input register or two, low word first; one question reads all of them.
- Unit 0xF8, which every module answers, is never used. Nothing is written; the energy counter stays.
- The module has no serial number: kind "none". That it is one is told by the holding register of its own unit
  number.
- Direction is not measured: power and energy are without sign. The counter starts again after 9999.99 kWh.
"""

from __future__ import annotations

import math
import struct

from drivers.contract import Clock, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone
from drivers.modbus import Unit
from drivers.serial_line import LineSettings, SerialLine

_SETTINGS = LineSettings(9600)

# Input registers 0 to 9: voltage, current (low, high), power (low, high), energy (low, high), frequency,
# power factor, alarm.
_FIRST, _COUNT = 0x0000, 10
_REGISTERS = struct.Struct(">10H")
_OWN_NUMBER = 0x0002  # holding register
_ALARMS = (0x0000, 0xFFFF)
_MOST_HUNDREDTHS = 100

_ANSWER_S = 1.5  # another unit may hold the line


class PZEM004T:
    """One unit of a line; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: "measurement accuracy" of §1, rectangular: 0.5 % of 230 V, 10 A, 2300 W, 1000 kWh
    # and 50 Hz; 1 % of power factor 1.
    quantities = (
        Quantity("voltage", "V", 0.1, 0.005 * 230.0 / math.sqrt(3), 80.0, 260.0),
        Quantity("current", "A", 0.001, 0.005 * 10.0 / math.sqrt(3), 0.0, 100.0),
        Quantity("power", "W", 0.1, 0.005 * 2300.0 / math.sqrt(3), 0.0, 23_000.0),
        Quantity("energy", "Wh", 1.0, 0.005 * 1_000_000.0 / math.sqrt(3), 0.0, 9_999_990.0),
        Quantity("frequency", "Hz", 0.1, 0.005 * 50.0 / math.sqrt(3), 45.0, 65.0),
        Quantity("power-factor", "/", 0.01, 0.01 / math.sqrt(3), 0.0, 1.0),
    )

    def __init__(self, bus: SerialLine, address: int, clock: Clock) -> None:
        self._unit, self._number = Unit(bus, address, "a PZEM-004T V3"), address
        self._is_open = False

    def open(self) -> Identity:
        """Raises `InstrumentGone` for a silent unit, also `NeedsHuman` for a foreign one."""
        self.close()
        number = int.from_bytes(self._unit.holding_registers(_SETTINGS, _OWN_NUMBER, 1, _ANSWER_S), "big")
        if number != self._number:
            raise InstrumentGone(
                f"{self._unit.name} has {number} where a PZEM-004T V3 has its unit number: is it the right "
                "driver?"
            )
        self._is_open = True
        return Identity("PZEM-004T V3", "", "none")

    def read(self, deadline_s: float) -> Sample:
        if not self._is_open:
            raise InstrumentGone(f"The PZEM-004T, {self._unit.name}, is not open: open it.")
        data = self._unit.input_registers(_SETTINGS, _FIRST, _COUNT, deadline_s)
        return Sample(decode(data, self._unit.name), data)

    def close(self) -> None:
        """The line stays open: others may be on it."""
        self._is_open = False


def decode(data: bytes, where: str = "here") -> tuple[float, ...]:
    """The values in the order of `quantities`, of registers 0 to 9. Raises `DropSample` where a field has a
    value that it never has."""
    voltage, *pairs, frequency, factor, alarm = _REGISTERS.unpack(data)
    if factor > _MOST_HUNDREDTHS or alarm not in _ALARMS:
        raise DropSample(f"What {where} says is not of a PZEM-004T V3: is it the right driver?")
    current, power, energy = (low | high << 16 for low, high in zip(pairs[::2], pairs[1::2], strict=True))
    return (voltage / 10, current / 1000, power / 10, float(energy), frequency / 10, factor / 100)
