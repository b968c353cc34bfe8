"""Sensirion SCD30: CO2, temperature and humidity over I2C.

Reference: Sensirion SCD30 Interface Description 1.0 ("the description") and SCD30 datasheet 1.0.

- The part stretches the clock by up to 30 ms, and once a day by 150 ms (description §1.1). The I2C hardware
  of Raspberry Pi 1 to 4 answers that with wrong bits: use a bus of `dtoverlay=i2c-gpio` at 50 kHz or less.
  What goes wrong nevertheless is noticed by the CRCs.
- `open` asks who it is and tells it to measure, which it then does across power failures; its interval (2 s
  from the factory) is asked, not set, and no setting is written.
- The serial number is the text that Sensirion's own embedded driver reads (0xD033); the description has none.
- A measurement is three IEEE 754 numbers in six words (§1.4.5); `Sample.raw` is the 18 bytes with their CRCs.
- The first minute is three response times (τ63 = 20 s, datasheet table 1): flagged as warming up.
- A number that is none, or no CO2 at all, is void: the part gives 0 ppm before its first measurement.
"""

from __future__ import annotations

import math
import struct

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DropSample, RetryNow
from drivers.i2c import SharedBus
from drivers.sensirion import Commands, Rhythm, words

# Commands, §1.4.
_START, _INTERVAL = 0x0010, 0x4600
_READY, _READ = 0x0202, 0x0300
_FIRMWARE, _SERIAL = 0xD100, 0xD033

_NO_PRESSURE = 0  # §1.4.1: no compensation for ambient pressure
_SERIAL_WORDS = 16
_INTERVALS_S = range(2, 1801)  # §1.4.3
_OPEN_S = 1.0
_SETTLING_S = 60.0
_MOST_PPM = 40_000.0


class SCD30:
    """One SCD30 on a shared bus; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: the accuracy limits of datasheet tables 1 to 3, rectangular; CO2 ±(30 ppm + 3 %)
    # at 1000 ppm, temperature ±(0.4 °C + 0.023 · (T - 25 °C)) at 45 °C.
    quantities = (
        Quantity("co2", "ppm", 0.1, 60.0 / math.sqrt(3), 400.0, 10_000.0),
        Quantity("temperature", "Cel", 0.01, 0.86 / math.sqrt(3), -40.0, 70.0),
        Quantity("humidity", "%RH", 0.01, 3.0 / math.sqrt(3), 0.0, 100.0),
    )

    def __init__(self, bus: SharedBus, address: int, clock: Clock) -> None:
        self._part = Commands(bus, address, clock)
        self._rhythm = Rhythm(self._part, clock, _READY, 0xFFFF, _READ, 6, _SETTLING_S)

    def open(self) -> Identity:
        """Identify, start. Raises `NeedsHuman` for another chip."""
        self.close()
        self._part.within(_OPEN_S)
        firmware = words(self._part.first(_FIRMWARE, 1, "SCD30"), 1)[0]
        identity = self._identity(firmware)
        interval_s = words(self._part.ask(_INTERVAL, 1), 1)[0]
        if interval_s not in _INTERVALS_S:
            raise RetryNow(f"The SCD30 at {self._part.where} claims to measure every {interval_s} s.")
        self._part.send(_START, _NO_PRESSURE)
        self._rhythm.start(interval_s)
        return identity

    def recognise(self) -> Identity:
        """Who it is, by asking only; it goes on measuring or not. Raises as `open`."""
        self._part.within(_OPEN_S)
        return self._identity(words(self._part.first(_FIRMWARE, 1, "SCD30"), 1)[0])

    def read(self, deadline_s: float) -> Sample:
        answer, flags = self._rhythm.take(deadline_s)
        values, more = decode(answer)
        return Sample(values, answer, int(flags | more))

    def close(self) -> None:
        self._rhythm.stop()

    def _identity(self, firmware: int) -> Identity:
        """The serial number, or where a part has none, its firmware version."""
        answer = self._part.ask(_SERIAL, _SERIAL_WORDS)
        text = b"".join(word.to_bytes(2, "big") for word in words(answer, _SERIAL_WORDS))
        serial = text.partition(b"\0")[0].decode("ascii", "replace").strip()
        if serial and serial.isalnum() and serial.isascii():
            return Identity("SCD30", serial, "serial")
        return Identity("SCD30", f"{firmware >> 8}.{firmware & 0xFF}", "firmware")


def decode(answer: bytes) -> tuple[tuple[float, float, float], Flag]:
    """ppm, °C, %RH (§1.5) of 18 bytes. Raises `RetryNow` for a wrong CRC, `DropSample` for no measurement."""
    co2, temperature, humidity = struct.unpack(">3f", struct.pack(">6H", *words(answer, 6)))
    if not all(map(math.isfinite, (co2, temperature, humidity))) or co2 <= 0.0:
        raise DropSample(f"The SCD30 measured nothing ({co2:g} ppm, {temperature:g} °C, {humidity:g} %RH).")
    clamped = co2 >= _MOST_PPM or humidity in (0.0, 100.0)
    return (co2, temperature, humidity), Flag.CLAMPED if clamped else Flag(0)
