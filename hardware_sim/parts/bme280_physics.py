"""What a BME280's converter would put into its data registers for true values.

Reference: Bosch Sensortec BST-BME280-DS002, §4.2.2 (trim layout), §8.1 (compensation in double precision).

- The chip's own trim decides: the compensation of §8.1 is inverted over the words of the given resolution, so
  the word whose compensated value lies nearest to the true value is chosen.
- Pressure and humidity are inverted at the temperature the chip will report, as the host compensates them.
- In fog or dust-dry air (100 or 0 %RH and beyond) the humidity word lies beyond the limit: it is clamped.
- A quantity that the world does not have is `None`: the channel is dead.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

# Coefficients of a real specimen, published with pimoroni/bme280-python (MIT); 0x88-0xA1, then 0xE1-0xE7.
DEFAULT_TRIM = bytes.fromhex("696d36643200e99802d6d00b231688fff9ff8c3cf8c67017004b" + "780100112e031e")
_DEAD_CHANNEL_SILICON_DEGC = 20.0


class World(Protocol):
    """True values by name (`temperature_degC`, `pressure_Pa`, `humidity_pctRH`); None: no power."""

    def at(self, boottime_ns: int) -> Mapping[str, float] | None: ...


@dataclass(frozen=True, slots=True)
class Words:
    """Converter words: 20 bits (low bits 0 below full resolution), 20 bits, 16 bits. None: not measured."""

    temperature: int | None
    pressure: int | None
    humidity: int | None


class Source(Protocol):
    """Where a chip gets its words from."""

    def alive(self, boottime_ns: int) -> bool:
        """Whether the chip has power."""

    def words(self, boottime_ns: int, temperature_bits: int, pressure_bits: int) -> Words | None:
        """Words at that moment; None when the chip has no power."""


@dataclass(frozen=True, slots=True)
class FixedWords:
    """Always the same words, whatever the resolution: for recorded register dumps."""

    fixed: Words

    def alive(self, boottime_ns: int) -> bool:
        return True

    def words(self, boottime_ns: int, temperature_bits: int, pressure_bits: int) -> Words:
        return self.fixed


class Trim:
    """Coefficients of one specimen and §8.1 with them."""

    def __init__(self, registers: bytes) -> None:
        """`registers`: 33 bytes, 0x88-0xA1 then 0xE1-0xE7 (table 16)."""
        words: tuple[int, ...] = struct.unpack("<HhhHhhhhhhhh", registers[:24])
        self.t1, self.t2, self.t3 = words[:3]
        self.p = (0, *words[3:])  # p[1] is dig_P1
        h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", registers[26:])
        h: tuple[int, ...] = (0, registers[25], h2, h3, e4 * 16 + (e5 & 0x0F), e6 * 16 + (e5 >> 4), h6)
        self.h = h  # h[1] is dig_H1

    def t_fine(self, word: int) -> float:
        x = word / 16384.0 - self.t1 / 1024.0
        y = word / 131072.0 - self.t1 / 8192.0
        return x * self.t2 + y * y * self.t3

    def temperature_degC(self, word: int) -> float:
        return self.t_fine(word) / 5120.0

    def pressure_Pa(self, word: int, t_fine: int) -> float:
        p = self.p
        var1 = t_fine / 2.0 - 64000.0
        var2 = var1 * var1 * p[6] / 32768.0 + var1 * p[5] * 2.0
        var2 = var2 / 4.0 + p[4] * 65536.0
        var1 = (p[3] * var1 * var1 / 524288.0 + p[2] * var1) / 524288.0
        var1 = (1.0 + var1 / 32768.0) * p[1]
        value = (1048576.0 - word - var2 / 4096.0) * 6250.0 / var1
        return value + (p[9] * value * value / 2147483648.0 + value * p[8] / 32768.0 + p[7]) / 16.0

    def humidity_pctRH(self, word: int, t_fine: int) -> float:
        """Without the final clamp to 0 ... 100."""
        var = t_fine - 76800.0
        h = self.h
        slope = h[2] / 65536.0 * (1.0 + h[6] / 67108864.0 * var * (1.0 + h[3] / 67108864.0 * var))
        value = (word - (h[4] * 64.0 + h[5] / 16384.0 * var)) * slope
        return value * (1.0 - h[1] * value / 524288.0)


class Physics:
    """A chip with this trim in this world."""

    def __init__(self, world: World, trim: bytes = DEFAULT_TRIM) -> None:
        self._world = world
        self._trim = Trim(trim)

    def alive(self, boottime_ns: int) -> bool:
        return self._world.at(boottime_ns) is not None

    def words(self, boottime_ns: int, temperature_bits: int, pressure_bits: int) -> Words | None:
        true = self._world.at(boottime_ns)
        if true is None:
            return None
        trim = self._trim
        celsius, pascal, percent = (
            true.get(k) for k in ("temperature_degC", "pressure_Pa", "humidity_pctRH")
        )
        silicon = _DEAD_CHANNEL_SILICON_DEGC if celsius is None else celsius
        temperature = _nearest(trim.temperature_degC, silicon, 20, temperature_bits)
        t_fine = int(trim.t_fine(temperature))
        pressure = humidity = None
        if pascal is not None:  # the pressure word falls as pressure rises
            pressure = _nearest(lambda word: -trim.pressure_Pa(word, t_fine), -pascal, 20, pressure_bits)
        if percent is not None:
            humidity = _nearest(lambda word: trim.humidity_pctRH(word, t_fine), percent, 16, 16)
            beyond = (percent >= 100.0) - (percent <= 0.0)
            humidity = min(max(humidity + beyond, 0), 0xFFFF)
        return Words(None if celsius is None else temperature, pressure, humidity)


def _nearest(rising: Callable[[int], float], target: float, width: int, bits: int) -> int:
    """The word of `width` bits, the upper `bits` of them significant, whose value is nearest to target."""
    step = 1 << (width - bits)
    low, high = 0, (1 << bits) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if rising(middle * step) < target:
            low = middle
        else:
            high = middle
    return min(low * step, high * step, key=lambda word: abs(rising(word) - target))
