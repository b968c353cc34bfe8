"""A part on a shared I2C bus under one deadline at a time, and one with 8-bit registers.

- `within(seconds)` starts a deadline; every later transfer and wait counts against it.
- A spent deadline is `InstrumentGone`: after a hang nobody knows what the part is doing.
"""

from __future__ import annotations

from drivers.contract import Clock
from drivers.errors import InstrumentGone
from drivers.i2c import SharedBus


class Addressed:
    """A part at `address` on `bus`. `where` is for sentences."""

    def __init__(self, bus: SharedBus, address: int, clock: Clock) -> None:
        self.where = f"0x{address:02x} on {bus.name}"
        self._bus = bus
        self._address = address
        self._clock = clock
        self._seconds = 0.0
        self._until_ns = 0

    def within(self, seconds: float) -> None:
        """Everything from here to the next call must be done in `seconds`."""
        self._seconds = seconds
        self._until_ns = self._clock.boottime_ns() + round(seconds * 1e9)

    def left_s(self) -> float:
        """Seconds left, more than 0. Raises `InstrumentGone` when there are none."""
        left_ns = self._until_ns - self._clock.boottime_ns()
        if left_ns <= 0:
            raise InstrumentGone(
                f"{self.where} did not finish within {self._seconds:g} s: check wiring, else power-cycle it."
            )
        return left_ns / 1e9

    def wait(self, seconds: float) -> None:
        self._clock.wait(min(seconds, self.left_s()))


class Registers(Addressed):
    """Access to 8-bit registers."""

    def read(self, register: int, length: int) -> bytes:
        """`length` registers from `register` on, in one transaction (repeated start)."""
        data = bytearray(length)
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.writeto_then_readfrom(self._address, bytes([register]), data)
        return bytes(data)

    def write(self, register: int, value: int) -> None:
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.writeto(self._address, bytes([register, value]))
