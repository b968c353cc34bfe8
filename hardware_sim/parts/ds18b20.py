"""Virtual Maxim DS18B20 behind the kernel's w1_therm driver: a folder of files.

Reference: Maxim DS18B20 datasheet 19-7487; drivers/w1/slaves/w1_therm.c of Linux for the files' text.

- Reading `w1_slave` makes the part convert: 750 ms at 12 bits (datasheet, AC characteristics), then the
  kernel prints the scratchpad twice, its verdict on the CRC, and the temperature in thousandths, cut off.
- Without power the folder is gone, as after the kernel's next search.
- The next conversion can be made to go wrong: `fault`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

CONVERSION_S = 0.75
_POWER_ON = bytes.fromhex("50054b467fff0c10")  # datasheet table 1 and figure 9
Fault = Literal["power-on", "crc", "silence", "short", "cut"]


class DS18B20:
    """One part; its ROM code is the name of its folder."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock
        self.fault: Fault | None = None

    def appear(self, folder: Path) -> None:
        """Make the folder as it is now; without power it goes away."""
        if self._celsius() is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{folder.name}\n")
        (folder / "w1_slave").touch()

    def convert(self, folder: Path) -> None:
        """What the kernel does before `w1_slave` can be read."""
        self._clock.wait(CONVERSION_S)
        self.appear(folder)
        celsius = self._celsius()
        if celsius is not None:
            (folder / "w1_slave").write_text(self._text(celsius))

    def _celsius(self) -> float | None:
        true = self._world.at(self._clock.boottime_ns())
        return None if true is None else true.get("temperature_degC")

    def _text(self, celsius: float) -> str:
        word = round(min(max(celsius, -55.0), 125.0) * 16)
        scratchpad = word.to_bytes(2, "little", signed=True) + _POWER_ON[2:6] + bytes([16 - word % 16, 0x10])
        fault, self.fault = self.fault, None
        if fault == "power-on":
            scratchpad = _POWER_ON
        check = bytes([_crc(scratchpad)])
        match fault:
            case "crc":
                scratchpad = bytes([scratchpad[0] ^ 4]) + scratchpad[1:]
            case "silence":
                scratchpad, check = b"\xff" * 8, b"\xff"
            case "short":
                scratchpad, check = bytes(8), b"\0"
        text = w1_slave(scratchpad + check)
        return text[:30] if fault == "cut" else text


def w1_slave(nine: bytes) -> str:
    """The text of the kernel's file for a scratchpad."""
    right = _crc(nine[:8]) == nine[8]
    thousandths = int(int.from_bytes(nine[:2], "little", signed=True) * 1000 / 16)
    shown = nine.hex(" ")
    return f"{shown} : crc={_crc(nine[:8]):02x} {'YES' if right else 'NO'}\n{shown} t={thousandths}\n"


def _crc(data: bytes) -> int:
    """Bit by bit through the shift register of the datasheet's figure 11."""
    register = [0] * 8
    for bit in (byte >> i & 1 for byte in data for i in range(8)):
        back = bit ^ register[0]
        register = [*register[1:], back]
        register[3] ^= back
        register[2] ^= back
    return sum(bit << i for i, bit in enumerate(register))
