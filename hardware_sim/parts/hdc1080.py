"""Virtual Texas Instruments HDC1080, seen from its I2C pins.

Reference: TI HDC1080 datasheet, SNAS672A. Written from it, not from any driver.

- A write sets the pointer; two bytes after it go into the configuration (0x02), the only register that takes
  any (§8.6.3): RST resets, BTST and reserved bits stay 0. A pointer of 0 or 1 starts a measurement and ends
  one that is under way.
- A measurement takes 6.35 ms (11 bits: 3.65) for the temperature and 6.5 ms (11: 3.85, 8: 2.5) for the
  humidity (§7.5); with MODE both, the temperature first. Until then a read of 0 or 1 is not acknowledged, nor
  is one before the first measurement.
- With MODE the read of 0 goes on with the humidity; what is read beyond a register, or from a reserved one,
  is 0xFF here. The last two bits of both words are 0.
- For 15 ms after power-up only 0xFB to 0xFF answer (§8.5.1).
- A world that lacks one of its quantities is a world without power for it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

_START_NS = 15_000_000
_RST, _HEAT, _MODE, _TRES, _HRES = 0x8000, 0x2000, 0x1000, 0x0400, 0x0300
_T_NS = {0: 6_350_000, _TRES: 3_650_000}
_H_NS = {0: 6_500_000, 0x0100: 3_850_000, 0x0200: 2_500_000}
_H_BITS = {0: 14, 0x0100: 11, 0x0200: 8}
_NAMES = ("temperature_degC", "humidity_pctRH")


class HDC1080:
    """One chip with its serial number, its low seven bits 0."""

    def __init__(self, world: World, clock: Clock, serial: int = 0x02D1_9A4C_3E80) -> None:
        self._world, self._clock = world, clock
        self.serial = serial
        self._had_power = True
        self._power_on()

    def _power_on(self) -> None:
        self._up_ns = self._clock.boottime_ns() + _START_NS
        self._reset()

    def _reset(self) -> None:
        self.settings, self._pointer = _MODE, 0
        self._measured: bytes | None = None
        self._done_ns = 0

    @property
    def powered(self) -> bool:
        has_power = self._true() is not None
        if has_power and not self._had_power:
            self._power_on()
        self._had_power = has_power
        return has_power

    def write(self, data: bytes) -> None:
        if not data:
            return
        self._pointer = data[0]
        if self._pointer in (0, 1):
            self._require(self._up_ns)
            self._measure()
        elif self._pointer == 2 and len(data) == 3:
            self._require(self._up_ns)
            word = int.from_bytes(data[1:], "big")
            self.settings = word & (_HEAT | _MODE | _TRES | _HRES)
            if word & _RST:
                self._reset()

    def read(self, length: int) -> bytes:
        return self._said()[:length].ljust(length, b"\xff")

    def _said(self) -> bytes:
        first, middle, last = (self.serial >> shift & 0xFFFF for shift in (32, 16, 0))
        fixed = {0xFB: first, 0xFC: middle, 0xFD: last, 0xFE: 0x5449, 0xFF: 0x1050}
        if self._pointer in fixed:
            return fixed[self._pointer].to_bytes(2, "big")
        self._require(self._up_ns)
        if self._pointer == 2:
            return self.settings.to_bytes(2, "big")
        if self._pointer > 2:
            return b""
        self._require(self._done_ns)
        if self._measured is None:
            raise _nack()
        return self._measured

    def _measure(self) -> None:
        true = self._true()
        if true is None:
            return
        temperature, humidity = (true[name] for name in _NAMES)
        t_bits, h_bits = 11 if self.settings & _TRES else 14, _H_BITS.get(self.settings & _HRES, 14)
        t = _word((temperature + 40.0) / 165.0, t_bits), _T_NS[self.settings & _TRES]
        h = _word(humidity / 100.0, h_bits), _H_NS.get(self.settings & _HRES, _H_NS[0])
        made = ((t, h) if self.settings & _MODE else (t,)) if self._pointer == 0 else (h,)
        self._measured = b"".join(word for word, _ in made)
        self._done_ns = self._clock.boottime_ns() + sum(takes_ns for _, takes_ns in made)

    def _require(self, since_ns: int) -> None:
        if self._clock.boottime_ns() < since_ns:
            raise _nack()

    def _true(self) -> Mapping[str, float] | None:
        true = self._world.at(self._clock.boottime_ns())
        return true if true is not None and all(name in true for name in _NAMES) else None


def _word(part: float, bits: int) -> bytes:
    steps: int = min(max(round(part * 2**bits), 0), 2**bits - 1)
    return (steps << 16 - bits).to_bytes(2, "big")


def _nack() -> OSError:
    return OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
