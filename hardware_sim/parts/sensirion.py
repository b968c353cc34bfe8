"""What Sensirion's I2C parts have in common, seen from their pins.

Reference: Sensirion SCD30 Interface Description 1.0, §1.1; SCD4x datasheet 1.3, §3.3, §3.11. From these only.

- A write is a 16-bit command (of the SHT4x 8-bit) and its arguments, each followed by its CRC; an argument
  with a wrong CRC, an unknown command or too few bytes do nothing.
- A read gives the answer of the command before it, once. With no answer, or before the command's execution
  time is over, the address is not acknowledged.
- A world that lacks one of the part's quantities is a world without power for it.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World

# Remainders of x^8 + x^5 + x^4 + 1 for each bit of a byte, the lowest first.
_BITS = (0x31, 0x62, 0xC4, 0xB9, 0x43, 0x86, 0x3D, 0x7A)


def crc(word: bytes) -> int:
    remainder = 0xFF
    for byte in word:
        mixed, remainder = remainder ^ byte, 0
        for bit, value in enumerate(_BITS):
            remainder ^= value if mixed >> bit & 1 else 0
    return remainder


def with_crcs(words: Sequence[int]) -> bytes:
    pairs = (word.to_bytes(2, "big") for word in words)
    return b"".join(pair + bytes([crc(pair)]) for pair in pairs)


class SensirionPart(ABC):
    """A part in a world. A kind of part says what it needs, what its commands do and how long they take."""

    needs: tuple[str, ...] = ("co2_ppm", "temperature_degC", "humidity_pctRH")
    command_bytes = 2

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock
        self._answer: bytes | None = None
        self._busy_until_ns = 0
        self._had_power = True
        self.power_on()

    @abstractmethod
    def power_on(self) -> None:
        """As after power-up."""

    @abstractmethod
    def command(self, code: int, arguments: Sequence[int]) -> tuple[Sequence[int] | None, float]:
        """What the part answers (None: nothing), and the seconds until it can be read."""

    @property
    def powered(self) -> bool:
        has_power = self._true(self._clock.boottime_ns()) is not None
        if has_power and not self._had_power:
            self._answer, self._busy_until_ns = None, 0
            self.power_on()
        self._had_power = has_power
        return has_power

    def write(self, data: bytes) -> None:
        self._require_ready()
        self._answer = None
        code, size = data[: self.command_bytes], self.command_bytes
        triples = [data[i : i + 3] for i in range(size, len(data), 3)]
        if len(data) < size or any(len(t) < 3 or crc(t[:2]) != t[2] for t in triples):
            return
        arguments = [int.from_bytes(t[:2], "big") for t in triples]
        answer, takes_s = self.command(int.from_bytes(code, "big"), arguments)
        self._answer = None if answer is None else with_crcs(answer)
        self._busy_until_ns = self._clock.boottime_ns() + round(takes_s * 1e9)

    def read(self, length: int) -> bytes:
        self._require_ready()
        if self._answer is None:
            raise _nack()
        answer, self._answer = self._answer, None
        return answer[:length].ljust(length, b"\xff")

    def _require_ready(self) -> None:
        if self._clock.boottime_ns() < self._busy_until_ns:
            raise _nack()

    def _true(self, boottime_ns: int) -> Mapping[str, float] | None:
        true = self._world.at(boottime_ns)
        return true if true is not None and all(name in true for name in self.needs) else None


class Measuring:
    """When measurements are made: one every `interval_s` from the start on, each to be fetched once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ns: int | None = None
        self._step_ns = 0
        self._fetched = 0

    def start(self, interval_s: float) -> None:
        self._started_ns, self._step_ns = self._clock.boottime_ns(), round(interval_s * 1e9)
        self._fetched = 0

    def stop(self) -> None:
        self._started_ns = None

    @property
    def on(self) -> bool:
        return self._started_ns is not None

    @property
    def ready(self) -> bool:
        return self._made() > self._fetched

    def fetch(self) -> int | None:
        """When the newest measurement was made; None when there is no new one."""
        made = self._made()
        if self._started_ns is None or made <= self._fetched:
            return None
        self._fetched = made
        return self._started_ns + made * self._step_ns

    def _made(self) -> int:
        if self._started_ns is None:
            return 0
        return (self._clock.boottime_ns() - self._started_ns) // self._step_ns


def _nack() -> OSError:
    return OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
