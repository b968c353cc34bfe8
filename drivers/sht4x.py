"""Sensirion SHT40, SHT41, SHT43, SHT45: temperature and humidity over I2C.

Reference: Sensirion SHT4x datasheet, version 6 (February 2023).

- The part has no settings and does nothing by itself: `open` only asks who it is. The heater is never used.
- It measures when told to, with high repeatability, in at most 8.3 ms; until then, and without a measurement
  to give, it does not acknowledge a read, so old data cannot pass for new.
- The serial number is 32 bits. Nothing else tells specimens, or a power cut between two reads, apart: it is
  asked before each measurement, and another number is another instrument.
- The variant cannot be asked: uncertainties are those of the SHT40, the least accurate.
- `Sample.raw` is the six bytes of the measurement with their CRCs. There is no warm-up beyond 1 ms.
- The formula of the humidity goes beyond 0 and 100 %RH; the datasheet crops it, and so does this: flagged.
"""

from __future__ import annotations

import math

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import InstrumentGone
from drivers.i2c import NoAnswer, SharedBus
from drivers.sensirion import ByteCommands, words

_MEASURE, _SERIAL = 0xFD, 0x89  # commands, §4.5
_OPEN_S = 1.0


class SHT4x:
    """One part on a shared bus; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: the typical accuracy of the SHT40 at 25 °C (tables 1, 2) as limits, rectangular.
    quantities = (
        Quantity("temperature", "Cel", 0.01, 0.2 / math.sqrt(3), -40.0, 125.0),
        Quantity("humidity", "%RH", 0.01, 1.8 / math.sqrt(3), 0.0, 100.0),
    )

    def __init__(self, bus: SharedBus, address: int, clock: Clock) -> None:
        self._part = ByteCommands(bus, address, clock)
        self._serial: bytes | None = None

    def open(self) -> Identity:
        """Who it is. Raises `NeedsHuman` for another chip."""
        self.close()
        self._part.within(_OPEN_S)
        self._serial = self._part.first(_SERIAL, 2, "SHT4x")
        return Identity("SHT4x", "".join(f"{word:04x}" for word in words(self._serial, 2)), "serial")

    def read(self, deadline_s: float) -> Sample:
        if self._serial is None:
            raise InstrumentGone(f"{self._part.where} is not open: open it.")
        self._part.within(deadline_s)
        try:
            serial = self._part.ask(_SERIAL, 2)
            answer = self._part.ask(_MEASURE, 2)
        except NoAnswer as gone:
            raise self._part.still_there(gone, _SERIAL) from gone
        if serial != self._serial:
            raise InstrumentGone(
                f"Another SHT4x answers at {self._part.where} than was opened: open it again."
            )
        self._part.left_s()  # a value that comes after its deadline has no known moment
        values, flags = decode(answer)
        return Sample(values, answer, int(flags))

    def close(self) -> None:
        self._serial = None


def decode(answer: bytes) -> tuple[tuple[float, float], Flag]:
    """°C, %RH (§4.6) of six bytes. Raises `RetryNow` for a wrong CRC."""
    temperature, humidity = words(answer, 2)
    wide = -6.0 + 125.0 * humidity / 0xFFFF
    cropped = min(max(wide, 0.0), 100.0)
    return (-45.0 + 175.0 * temperature / 0xFFFF, cropped), Flag(0) if cropped == wide else Flag.CLAMPED
