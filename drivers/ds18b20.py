"""Maxim DS18B20: temperature over 1-Wire, as the kernel's w1_therm driver shows it.

Reference: Maxim DS18B20 datasheet 19-7487 ("the datasheet"); Linux Documentation/w1/slaves/w1_therm.rst.

- `w1_slave` is read, not `temperature`: only it shows the nine bytes of the scratchpad and the kernel's
  verdict on their CRC. Reading it makes the part convert and takes up to 750 ms at 12 bits.
- All must agree: the verdict, the CRC recomputed here, the configuration byte, and the kernel's `t=` with the
  temperature bytes. Nine zeros (a shorted line) have a right CRC and are refused by their configuration byte.
- 85 °C is what the temperature bytes say before any conversion (datasheet table 1): void, even where it is
  really 85.000 °C.
- Nine times 0xFF is a line with nobody on it: the part is gone.
- The ROM code is the serial number; it is the address too, so another specimen is never read by mistake.
"""

from __future__ import annotations

import math
import re

from drivers.contract import Clock, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.onewire import OneWire

_ROM = re.compile(r"28-[0-9a-f]{12}")  # family 0x28; the kernel leaves out the code's own CRC
_FILE = "w1_slave"
_TEXT = re.compile(
    r"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)\n(?:[0-9a-f]{2} ){9}t=(-?\d{1,7})\n?", re.ASCII
)

_POWER_ON = 85.0
_CONFIGURATIONS = (0x1F, 0x3F, 0x5F, 0x7F)  # figure 10: 9 to 12 bits
_LOW, _HIGH = -55.0, 125.0


class DS18B20:
    """One DS18B20 by its ROM code; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: ±0.5 °C between -10 and 85 °C (datasheet, DC characteristics), rectangular.
    quantities = (Quantity("temperature", "Cel", 0.0625, 0.5 / math.sqrt(3), _LOW, _HIGH),)

    def __init__(self, bus: OneWire, address: str, clock: Clock) -> None:
        self._bus, self._address, self._clock = bus, address, clock
        self._where = f"{address} on {bus.name}"
        self._is_open = False

    def open(self) -> Identity:
        """Whether the kernel has found the part. Raises `NeedsHuman` for another family."""
        self.close()
        if not _ROM.fullmatch(self._address):
            raise NeedsHuman(
                f"{self._address} is no DS18B20: its ROM code looks like 28-0316a2794bff; see: "
                f"ls {self._bus.name}"
            )
        self._bus.read(self._address, "name")
        self._is_open = True
        return Identity("DS18B20", self._address, "serial")

    def read(self, deadline_s: float) -> Sample:
        if not self._is_open:
            raise InstrumentGone(f"The DS18B20 {self._where} is not open: open it.")
        began_ns = self._clock.boottime_ns()
        text = self._bus.read(self._address, _FILE)
        took_s = (self._clock.boottime_ns() - began_ns) / 1e9
        if took_s > deadline_s:
            raise DropSample(
                f"The DS18B20 {self._where} took {took_s:.2f} s, longer than its deadline of "
                f"{deadline_s:g} s: parts on one line wait for each other; make it longer or use fewer."
            )
        celsius, scratchpad = decode(text, self._where)
        return Sample((celsius,), scratchpad)

    def close(self) -> None:
        self._is_open = False


def decode(text: str, where: str = "here") -> tuple[float, bytes]:
    """°C and the nine bytes of the scratchpad. Raises `RetryNow`, `DropSample` or `InstrumentGone`."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise RetryNow(f"The DS18B20 {where} gave no readable answer ({text[:40]!r}).")
    scratchpad = bytes.fromhex(found[1])
    if scratchpad == b"\xff" * 9:
        raise InstrumentGone(f"Nobody answers for the DS18B20 {where}: check power, wiring and pull-up.")
    if found[2] == "NO" or crc8(scratchpad[:8]) != scratchpad[8]:
        raise RetryNow(f"The DS18B20 {where} answered with a wrong CRC: check cable length and pull-up.")
    if scratchpad[4] not in _CONFIGURATIONS:
        raise DropSample(f"The DS18B20 {where} has an impossible configuration: is the line shorted?")
    celsius = int.from_bytes(scratchpad[:2], "little", signed=True) / 16
    if abs(celsius * 1000 - int(found[3])) > 1:  # the kernel drops what is below a thousandth
        raise RetryNow(f"The DS18B20 {where} says {celsius} °C and the kernel {found[3]} m°C.")
    if celsius == _POWER_ON:
        raise DropSample(f"The DS18B20 {where} had just got power (85 °C): check its supply.")
    if not _LOW <= celsius <= _HIGH:
        raise DropSample(f"The DS18B20 {where} says {celsius} °C, which it cannot measure.")
    return celsius, scratchpad


def crc8(data: bytes) -> int:
    """1-Wire CRC (datasheet, CRC generation): x^8 + x^5 + x^4 + 1, lowest bit first, starting at 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc
