"""Virtual SenseAir S8, seen from its serial pins.

Reference: SenseAir "Modbus on SenseAir S8" TDE2067; Modbus over serial line V1.02 for CRC and exceptions.

- Answers address 0xFE, function 4, up to 8 of the input registers IR1-4, IR22 and IR26-31; another register
  is exception 2, another function exception 1. A message with a wrong CRC is not answered.
- `status` is IR1 as a fault script wants it. Above 10,000 ppm the part sets "out of range".
- For 30 s after power-up CO2 is 0.
"""

from __future__ import annotations

import struct

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

_STARTING_NS = 30 * 10**9
_MOST_PPM = 10_000
_OUT_OF_RANGE = 0x20
_QUESTION = struct.Struct(">BBHH")


class SenseAirS8:
    """One part with its sensor ID."""

    def __init__(self, world: World, clock: Clock, sensor_id: int = 0x0726_A5C3) -> None:
        self._world, self._clock, self._sensor_id = world, clock, sensor_id
        self.status = 0
        self._heard = b""
        self._powered_ns: int | None = clock.boottime_ns()

    def heard(self, data: bytes) -> bytes:
        now_ns = self._clock.boottime_ns()
        true = self._world.at(now_ns)
        if true is None or "co2_ppm" not in true:
            self._powered_ns, self._heard = None, b""
            return b""
        if self._powered_ns is None:
            self._powered_ns = now_ns
        self._heard += data
        said = b""
        while len(self._heard) >= 8:
            question, rest = self._heard[:8], self._heard[8:]
            if question[0] == 0xFE and crc16(question) == 0:  # over message and CRC together
                said += self._answer(question, self._shown(true["co2_ppm"], now_ns - self._powered_ns))
                self._heard = rest
            else:
                self._heard = self._heard[1:]
        return said

    def due(self) -> bytes:
        return b""

    def _shown(self, ppm: float, powered_ns: int) -> int:
        return 0 if powered_ns < _STARTING_NS else round(ppm)

    def _answer(self, question: bytes, ppm: int) -> bytes:
        _, function, first, count = _QUESTION.unpack(question[:6])
        registers = self._registers(ppm)
        wanted = range(first, first + count)
        if function != 4:
            said = bytes([0xFE, function | 0x80, 1])
        elif not 1 <= count <= 8 or any(address not in registers for address in wanted):
            said = bytes([0xFE, 0x84, 2])
        else:
            data = b"".join(registers[address].to_bytes(2, "big") for address in wanted)
            said = bytes([0xFE, 4, len(data)]) + data
        return said + struct.pack("<H", crc16(said))

    def _registers(self, ppm: int) -> dict[int, int]:
        """By address, one less than the register's number."""
        out_of_range = _OUT_OF_RANGE if ppm > _MOST_PPM else 0
        high, low = divmod(self._sensor_id, 0x10000)
        shown = min(max(ppm, 0), _MOST_PPM)
        pwm = round(0x3FFF * min(shown, 2_000) / 2_000)
        measured = {0: self.status | out_of_range, 1: 0, 2: 0, 3: shown, 21: pwm}
        return measured | {25: 0x01, 26: 0x0177, 27: 0x2D, 28: 0x0110, 29: high, 30: low}


def crc16(data: bytes) -> int:
    """Long division of the reflected message by x^16 + x^15 + x^2 + 1; 0 over a message with its CRC."""
    remainder = 0xFFFF
    for bit in (byte >> i & 1 for byte in data for i in range(8)):
        back = (remainder ^ bit) & 1
        remainder = remainder >> 1 ^ (0xA001 if back else 0)
    return remainder
