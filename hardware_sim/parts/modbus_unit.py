"""What virtual Modbus RTU units have in common, seen from the RS-485 line.

Reference: MODBUS Application Protocol V1.1b3 (§6, §7), MODBUS over Serial Line V1.02 (§2.5.1, §6.2).

- Hears every question on the line, answers those to its unit number; one with a wrong CRC is not answered.
- Functions it does not have are exception 1, registers exception 2, too many at once exception 3.
- `exception` makes it refuse everything, for fault scripts.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World
from hardware_sim.parts.senseair_s8 import crc16

_QUESTION = struct.Struct(">BBHH")
_LENGTH = 8


class ModbusUnit(ABC):
    """One unit. `most` is how many registers it gives at once."""

    most = 125

    def __init__(self, world: World, clock: Clock, unit: int = 1) -> None:
        self._world, self._clock = world, clock
        self.unit = unit
        self.exception: int | None = None
        self._heard = b""

    @abstractmethod
    def registers(self, function: int, true: Mapping[str, float]) -> Mapping[int, int] | None:
        """What the unit's registers hold by address; None for a function it does not have."""

    def heard(self, data: bytes) -> bytes:
        true = self._world.at(self._clock.boottime_ns())
        if true is None or "voltage_V" not in true:  # fed by the mains that it measures
            self._heard = b""
            return b""
        self._heard += data
        said = b""
        while len(self._heard) >= _LENGTH:
            question, rest = self._heard[:_LENGTH], self._heard[_LENGTH:]
            if question[0] == self.unit and crc16(question) == 0:
                said += self._answer(question, true)
                self._heard = rest
            else:
                self._heard = self._heard[1:]
        return said

    def due(self) -> bytes:
        return b""

    def _answer(self, question: bytes, true: Mapping[str, float]) -> bytes:
        unit, function, first, count = _QUESTION.unpack(question[:-2])
        registers = self.registers(function, true)
        wanted = range(first, first + count)
        said = bytes([unit, function | 0x80])
        if self.exception is not None:
            said += bytes([self.exception])
        elif registers is None:
            said += b"\x01"
        elif not 1 <= count <= self.most:
            said += b"\x03"
        elif any(address not in registers for address in wanted):
            said += b"\x02"
        else:
            data = b"".join(registers[address].to_bytes(2, "big") for address in wanted)
            said = bytes([unit, function, len(data)]) + data
        return said + struct.pack("<H", crc16(said))


def powers(true: Mapping[str, float]) -> tuple[float, float, float]:
    """Apparent power in VA, reactive power in var, power factor; of a load without harmonics."""
    apparent = true["voltage_V"] * true["current_A"]
    reactive = max(0.0, apparent**2 - true["power_W"] ** 2) ** 0.5
    return apparent, reactive, true["power_W"] / apparent if apparent else 1.0
