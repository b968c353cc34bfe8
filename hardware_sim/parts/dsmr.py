r"""Virtual smart meters, seen from their P1 port.

Reference: Netbeheer Nederland "P1 Companion Standard" V5.0.2, V4.2.2 and V2.2.

- "5": every second, CRC, voltages. "4": every 10 s, CRC, whole amperes. "2.2": every 10 s, no CRC, one phase,
  seven bits with even parity, which come as the eighth bit of each character.
- Energy is counted at night (tariff 1) alone: the tariff relay is not modelled.
- The date is that of `epoch_s` (1970) at boot time 0, as winter time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

Dialect = Literal["5", "4", "2.2"]
_EVERY_NS = {"5": 10**9, "4": 10**10, "2.2": 10**10}
_EQUIPMENT = "4B384547303034303436333935353037"


class DSMR:
    """One meter of one standard's version."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        dialect: Dialect = "5",
        equipment: str = _EQUIPMENT,
        epoch_s: int = 1_700_000_000,
    ) -> None:
        self._world, self._clock = world, clock
        self._dialect, self._epoch_s = dialect, epoch_s
        self.equipment = equipment
        self._next_ns = clock.boottime_ns()

    def heard(self, data: bytes) -> bytes:
        return b""  # a P1 port has no input

    def due(self) -> bytes:
        now_ns = self._clock.boottime_ns()
        if now_ns < self._next_ns:
            return b""
        every_ns = _EVERY_NS[self._dialect]
        self._next_ns = (now_ns // every_ns + 1) * every_ns
        true = self._world.at(now_ns)
        if true is None or "power_W" not in true:
            return b""
        body = self._header() + "\r\n".join(self._lines(true, now_ns)) + "\r\n!"
        said = body.encode("ascii")
        if self._dialect == "2.2":
            return even_parity(said + b"\r\n")
        return said + f"{crc16(said):04X}\r\n".encode("ascii")

    def _header(self) -> str:
        return "/ISk5\\2" + ("ME382-1003" if self._dialect == "2.2" else "MT382-1000") + "\r\n\r\n"

    def _lines(self, true: Mapping[str, float], now_ns: int) -> list[str]:
        kW, exported = true["power_W"] / 1000, true.get("energy_export_kWh", 0.0)
        taken, given = max(kW, 0.0), max(-kW, 0.0)
        if self._dialect == "2.2":
            return [
                f"0-0:96.1.1({self.equipment})",
                f"1-0:1.8.1({true['energy_kWh']:09.3f}*kWh)",
                "1-0:1.8.2(00000.000*kWh)",
                f"1-0:2.8.1({exported:09.3f}*kWh)",
                "1-0:2.8.2(00000.000*kWh)",
                "0-0:96.14.0(0001)",
                f"1-0:1.7.0({taken:07.2f}*kW)",
                f"1-0:2.7.0({given:07.2f}*kW)",
                "0-0:96.13.1()",
                "0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)",
                "(00001.001)",
            ]
        date = time.strftime("%y%m%d%H%M%SW", time.gmtime(self._epoch_s + now_ns / 1e9))
        volts = [f"1-0:32.7.0({true['voltage_V']:05.1f}*V)"] if self._dialect == "5" else []
        amperes = f"{true['current_A']:03.0f}" if self._dialect == "4" else f"{true['current_A']:06.2f}"
        return [
            f"1-3:0.2.8({'50' if self._dialect == '5' else '42'})",
            f"0-0:1.0.0({date})",
            f"0-0:96.1.1({self.equipment})",
            f"1-0:1.8.1({true['energy_kWh']:010.3f}*kWh)",
            "1-0:1.8.2(000000.000*kWh)",
            f"1-0:2.8.1({exported:010.3f}*kWh)",
            "1-0:2.8.2(000000.000*kWh)",
            "0-0:96.14.0(0001)",
            f"1-0:1.7.0({taken:06.3f}*kW)",
            f"1-0:2.7.0({given:06.3f}*kW)",
            "0-0:96.13.0()",
            *volts,
            f"1-0:31.7.0({amperes}*A)",
            f"1-0:21.7.0({taken:06.3f}*kW)",
            f"1-0:22.7.0({given:06.3f}*kW)",
        ]


def even_parity(data: bytes) -> bytes:
    """Seven-bit characters with their parity bit on top: every one has an even number of ones."""
    return bytes(byte | 0x80 if bin(byte).count("1") % 2 else byte for byte in data)


def crc16(data: bytes) -> int:
    """Long division of the reflected message by x^16 + x^15 + x^2 + 1; 0 over a message with its CRC."""
    remainder = 0
    for bit in (byte >> i & 1 for byte in data for i in range(8)):
        back = (remainder ^ bit) & 1
        remainder = remainder >> 1 ^ (0xA001 if back else 0)
    return remainder
