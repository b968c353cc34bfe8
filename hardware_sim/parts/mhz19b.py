"""Virtual Winsen MH-Z19B, seen from its serial pins.

Reference: Winsen MH-Z19B user manual 1.0; what it leaves out as users report it (Tasmota, WifWaf/MH-Z19 #21).

- A question is `FF 01`, command, five bytes, checksum (complement of the sum of bytes 1 to 7, plus 1); one
  with a wrong checksum is not answered, nor are the commands that set something (0x79, 0x87, 0x88, 0x99).
- After power-up it says 410 ppm and 15000 in bytes 6 and 7 for a minute, then what it measures. The value is
  cut off at the end of the range that is set.
- The answer to 0xA0 is the firmware version in four ASCII digits; clones stay silent.
"""

from __future__ import annotations

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

_STARTING_NS = 60 * 10**9
_STARTING_PPM, _STARTING_WORD = 410, 15_000


class MHZ19B:
    """One part. `version` is four digits, or empty for a clone."""

    def __init__(self, world: World, clock: Clock, version: str = "0502", range_ppm: int = 5_000) -> None:
        self._world, self._clock = world, clock
        self._version, self._range_ppm = version.encode(), range_ppm
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
        while len(self._heard) >= 9:
            question = self._heard[:9]
            if question[:2] != b"\xff\x01" or _sum(question[1:]) != 0:
                self._heard = self._heard[1:]
                continue
            self._heard = self._heard[9:]
            starting = now_ns - self._powered_ns < _STARTING_NS
            said += self._answer(question[2], true["co2_ppm"], true.get("temperature_degC", 20.0), starting)
        return said

    def due(self) -> bytes:
        return b""

    def _answer(self, command: int, ppm: float, celsius: float, starting: bool) -> bytes:
        if command == 0x86:
            shown = _STARTING_PPM if starting else min(max(round(ppm), 0), self._range_ppm)
            word = _STARTING_WORD if starting else 0
            data = shown.to_bytes(2, "big") + bytes([round(celsius) + 40 & 0xFF, 0]) + word.to_bytes(2, "big")
        elif command == 0xA0 and self._version:
            data = self._version + bytes(2)
        else:
            return b""
        body = bytes([command]) + data
        return b"\xff" + body + bytes([0x100 - _sum(body) & 0xFF])


def _sum(data: bytes) -> int:
    return sum(data) % 0x100
