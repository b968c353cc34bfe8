"""Sensirion SCD41: CO2, temperature and humidity over I2C.

Reference: Sensirion SCD4x datasheet 1.3 ("the datasheet"; § below are its sections), and 1.7 for the variant.

- `open` stops the part (it answers little else while measuring, §3.4), asks who it is and starts periodic
  measurement, one every 5 s (§3.5.1). No setting is written: calibration and offsets stay as they are.
- The serial number is 48 bits (§3.9.2). The variant (1.7, table 31) tells an SCD41 from an SCD40.
- A measurement can be fetched once (§3.5.2); `Sample.raw` is the nine bytes with their CRCs.
- The first three minutes are three response times (τ63 = 60 s, table 1): flagged as warming up.
- A CO2 word of 0 means that CO2 was not measured (§3.10.2): void.
"""

from __future__ import annotations

import math

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DropSample, NeedsHuman
from drivers.i2c import NoAnswer, SharedBus
from drivers.sensirion import Commands, Rhythm, words

# Commands, table 9.
_START, _STOP = 0x21B1, 0x3F86
_READ, _READY = 0xEC05, 0xE4B8
_SERIAL, _VARIANT = 0x3682, 0x202F

_READY_MASK = 0x07FF  # §3.8.2: the low 11 bits; others may be set
_VARIANTS = {0: "SCD40", 1: "SCD41", 2: "SCD42", 5: "SCD43"}
_OPEN_S = 1.5
_STOP_S = 0.5  # §3.5.3
_INTERVAL_S = 5.0
_SETTLING_S = 180.0
_MOST_PPM = 40_000  # table 1: end of the output range


class SCD41:
    """One SCD41 on a shared bus; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: the accuracy limits of tables 1 to 3, rectangular; CO2 ±(50 ppm + 2.5 %) at
    # 1000 ppm, temperature and humidity within 15-35 °C and 20-65 %RH.
    quantities = (
        Quantity("co2", "ppm", 1.0, 75.0 / math.sqrt(3), 400.0, 5_000.0),
        Quantity("temperature", "Cel", 0.01, 0.8 / math.sqrt(3), -10.0, 60.0),
        Quantity("humidity", "%RH", 0.01, 6.0 / math.sqrt(3), 0.0, 100.0),
    )

    def __init__(self, bus: SharedBus, address: int, clock: Clock) -> None:
        self._part = Commands(bus, address, clock)
        self._rhythm = Rhythm(self._part, clock, _READY, _READY_MASK, _READ, 3, _SETTLING_S)

    def open(self) -> Identity:
        """Stop, identify, start. Raises `NeedsHuman` for another chip."""
        self.close()
        self._part.within(_OPEN_S)
        self._part.send(_STOP)
        self._part.wait(_STOP_S)
        serial = words(self._part.first(_SERIAL, 3, "SCD41"), 3)
        self._require_scd41()
        self._part.send(_START)
        self._rhythm.start(_INTERVAL_S)
        return _identity(serial)

    def recognise(self) -> Identity:
        """Who it is, by asking only. One that measures says no more than that it is there (§3.4)."""
        self._part.within(_OPEN_S)
        self._part.first(_READY, 1, "SCD41")
        try:
            serial = words(self._part.ask(_SERIAL, 3), 3)
        except NoAnswer:
            return Identity("SCD4x, measuring", "", "none")
        self._require_scd41()
        return _identity(serial)

    def read(self, deadline_s: float) -> Sample:
        answer, flags = self._rhythm.take(deadline_s)
        values, more = decode(answer)
        return Sample(values, answer, int(flags | more))

    def close(self) -> None:
        self._rhythm.stop()

    def _require_scd41(self) -> None:
        variant = words(self._part.ask(_VARIANT, 1), 1)[0] >> 12
        if variant != 1:
            raise NeedsHuman(
                f"The part at {self._part.where} is a {_VARIANTS.get(variant, 'later variant')}, not an "
                "SCD41, whose uncertainties do not hold for it. Exchange the part."
            )


def _identity(serial: tuple[int, ...]) -> Identity:
    return Identity("SCD41", "".join(f"{word:04x}" for word in serial), "serial")


def decode(answer: bytes) -> tuple[tuple[float, float, float], Flag]:
    """ppm, °C, %RH (§3.5.2) of nine bytes. Raises `RetryNow` for a wrong CRC, `DropSample` without CO2."""
    co2, temperature, humidity = words(answer, 3)
    if co2 == 0:
        raise DropSample("The SCD41 measured no CO2 (0 ppm).")
    clamped = co2 >= _MOST_PPM or humidity in (0, 0xFFFF)
    values = float(co2), -45.0 + 175.0 * temperature / 0xFFFF, 100.0 * humidity / 0xFFFF
    return values, Flag.CLAMPED if clamped else Flag(0)
