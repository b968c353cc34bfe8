"""Bosch BME280: temperature, pressure and humidity over I2C.

Reference: Bosch Sensortec BST-BME280-DS002 ("the datasheet"; § below are its sections).

- Adafruit's driver does set-up, coefficients and compensation through its `bus_implementation` seam; what it
  asks for after a conversion is served from one latched burst, so the three values belong together.
- One read is one forced conversion (T x1, P x16, H x1) and one burst of the eight data registers, which are
  `Sample.raw`.
- The part has no checksum. What can be checked is: identity and trim are read twice and compared, settings
  are read back with every status. A bit flipped in the data burst itself cannot be noticed here.
- Old data cannot pass for new: the conversion was seen to start, or (the thread came too late to see it) the
  words differ from the last ones; else `RetryNow`.
- A part that lost its settings since `open` was without power and may be another specimen: `InstrumentGone`.
- A channel is "not measured" when its oversampling reads back 0 (§5.4.3, §5.4.5), not because its word is
  0x80000 or 0x8000: these are also ordinary words (0x80000 is a room temperature). All three at once are the
  data registers' reset values: `DropSample`. Without temperature nothing can be compensated.
- The fingerprint is SHA-256 over the 33 bytes of both trim blocks, 0x88-0xA1 and 0xE1-0xE7 (§4.2.2): 32 bytes
  of coefficients and the reserved 0xA0 between them.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.i2c import NoAnswer, SharedBus
from drivers.registers import Registers

# Registers, §5.3.
_TRIM = ((0x88, 26), (0xE1, 7))
_ID = 0xD0
_RESET, _RESET_WORD = 0xE0, 0xB6
_SETTINGS, _STATUS = 0xF2, 0xF3  # ctrl_hum, status, ctrl_meas, config follow each other
_DATA, _DATA_LENGTH = 0xF7, 8  # pressure, temperature (20 bits each), humidity (16 bits)
_DATA_AT_RESET = bytes.fromhex("8000008000008000")

_BME280 = 0x60
_OTHER_CHIPS = {
    0x56: "a BMP280 without humidity",
    0x57: "a BMP280 without humidity",
    0x58: "a BMP280 without humidity",
    0x61: "a BME680",
    _ID: "the register's own address, so the bus only echoes",
}
_MEASURING, _UPDATING = 0x08, 0x01  # status, §5.4.4
_MODE, _FORCED = 0x03, (1, 2)  # ctrl_meas, low two bits
_CTRL_HUM, _CTRL_MEAS = 0x01, 0x34  # x1; x1 and x16, asleep

_OPEN_S = 1.0
_CONVERSION_S = 0.0438  # §9.1, longest: 1.25 + 2.3 + (2.3 * 16 + 0.575) + (2.3 + 0.575) ms
_POLL_S = 0.002


class BME280:
    """One BME280 on a shared bus; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: the accuracy limits of §1 (0-65 °C: ±1.0 °C, ±100 Pa; 25 °C: ±3 %RH), rectangular.
    quantities = (
        Quantity("temperature", "Cel", 0.01, 1.0 / math.sqrt(3), -40.0, 85.0),
        Quantity("pressure", "Pa", 0.18, 100.0 / math.sqrt(3), 30_000.0, 110_000.0),
        Quantity("humidity", "%RH", 0.008, 3.0 / math.sqrt(3), 0.0, 100.0),
    )

    def __init__(self, bus: SharedBus, address: int, clock: Clock) -> None:
        self._registers = Registers(bus, address, clock)
        self._where = self._registers.where
        self._seam: _Seam | None = None

    def open(self) -> Identity:
        """Identify, reset, set up. Raises `NeedsHuman` for another chip or an implausible trim."""
        self.close()
        self._registers.within(_OPEN_S)
        self._require_bme280()
        self._reset()
        trim = self._read_trim()
        seam = _Seam(self._registers, trim)
        if self._settled() != (_CTRL_HUM, _CTRL_MEAS, 0):
            raise RetryNow(f"The BME280 at {self._where} did not take its settings.")
        self._seam = seam
        return _identity(trim)

    def recognise(self) -> Identity:
        """Who it is, by reading only. Raises as `open`."""
        self._registers.within(_OPEN_S)
        self._require_bme280()
        return _identity(self._read_trim())

    def read(self, deadline_s: float) -> Sample:
        seam = self._seam
        if seam is None:
            raise InstrumentGone(f"The BME280 at {self._where} is not open: open it.")
        self._registers.within(deadline_s)
        try:
            burst, measured = self._convert(seam)
        except NoAnswer as gone:
            raise self._still_there(gone) from gone
        self._registers.left_s()  # a value that comes after its deadline has no known moment
        if burst == _DATA_AT_RESET:
            raise DropSample(f"The BME280 at {self._where} measured nothing (data at reset values).")
        return self._decode(seam, burst, measured)

    def close(self) -> None:
        self._seam = None

    # Identity

    def _require_bme280(self) -> None:
        found = self._read_twice(_ID, 1)[0]
        if found != _BME280:
            raise NeedsHuman(
                f"The chip at {self._where} is not a BME280: found 0x{found:02x} "
                f"({_OTHER_CHIPS.get(found, 'unknown')}), expected 0x{_BME280:02x}. Check part and wiring."
            )

    def _read_trim(self) -> bytes:
        blocks = [self._read_twice(start, length) for start, length in _TRIM]
        echo = any(
            list(block) == list(range(start, start + length))
            for block, (start, length) in zip(blocks, _TRIM, strict=True)
        )
        if echo or any(len(set(block)) == 1 for block in blocks):
            raise NeedsHuman(
                f"The trim of the BME280 at {self._where} is implausible ({blocks[0].hex()}): "
                "the bus echoes or floats, or the part is broken. Check the wiring, else replace the part."
            )
        return b"".join(blocks)

    # Raw read

    def _read_twice(self, register: int, length: int) -> bytes:
        first, second = (self._registers.read(register, length) for _ in range(2))
        if first != second:
            raise RetryNow(f"{self._where} gave two answers for register 0x{register:02x}.")
        return first

    def _settings(self) -> tuple[int, int, int, int]:
        ctrl_hum, status, ctrl_meas, config = self._registers.read(_SETTINGS, 4)
        return ctrl_hum & 0x07, status, ctrl_meas, config & 0xFD  # reserved bits are nobody's promise

    def _settled(self) -> tuple[int, int, int]:
        """Settings once the part has finished what it was doing."""
        while True:
            ctrl_hum, status, ctrl_meas, config = self._settings()
            if not status & (_MEASURING | _UPDATING) and ctrl_meas & _MODE not in _FORCED:
                return ctrl_hum, ctrl_meas, config
            self._registers.wait(_POLL_S)

    def _convert(self, seam: _Seam) -> tuple[bytes, tuple[bool, bool, bool]]:
        """One conversion: the eight data registers, and which of T, P, H were switched on."""
        ctrl_hum, _, ctrl_meas, _ = self._settings()
        if ctrl_hum == 0 and ctrl_meas == 0:
            raise InstrumentGone(f"The BME280 at {self._where} lost power or was exchanged: open it again.")
        seam.adafruit.mode = _FORCED[0]
        _, status, ctrl_meas, _ = self._settings()
        started = status & _MEASURING or ctrl_meas & _MODE in _FORCED
        self._registers.wait(_CONVERSION_S)
        found = _fields(*self._settled())
        wanted = _fields(_CTRL_HUM, _CTRL_MEAS, 0)
        # A channel may be off, but what is on must be as it was asked for.
        if any(f not in (0, w) for f, w in zip(found, wanted, strict=True)):
            raise InstrumentGone(f"The BME280 at {self._where} did not convert as asked: open it again.")
        burst = self._registers.read(_DATA, _DATA_LENGTH)
        if not started and burst == seam.last_burst:
            raise RetryNow(f"The BME280 at {self._where} shows no sign of having converted.")
        seam.last_burst = burst
        return burst, (found[0] > 0, found[1] > 0, found[2] > 0)

    # Decode

    def _decode(self, seam: _Seam, burst: bytes, measured: tuple[bool, bool, bool]) -> Sample:
        has_temperature, has_pressure, has_humidity = measured
        if not has_temperature:
            raise DropSample(f"The BME280 at {self._where} measured no temperature.")
        seam.latch(burst)
        try:
            temperature = float(seam.adafruit.temperature)
            pressure = float(seam.adafruit.pressure) * 100.0 if has_pressure else None  # theirs is in hPa
            humidity = float(seam.adafruit.humidity) if has_humidity else None
        except ArithmeticError as error:
            raise InstrumentGone(f"The words of {self._where} make no value ({error}).") from error
        finally:
            seam.release()
        flags = Flag.CLAMPED if humidity in (0.0, 100.0) else Flag(0)
        return Sample((temperature, pressure, humidity), burst, int(flags))

    # Commands

    def _reset(self) -> None:
        self._registers.write(_RESET, _RESET_WORD)
        self._registers.wait(_POLL_S)  # §1.1: start-up takes 2 ms
        self._settled()

    def _still_there(self, gone: NoAnswer) -> DriverError:
        """A part that missed one word is disturbed, one that does not answer again is gone."""
        try:
            self._read_twice(_ID, 1)
        except DriverError:
            return gone
        return RetryNow(f"The BME280 at {self._where} missed a transfer but answers again.")


def _identity(trim: bytes) -> Identity:
    return Identity("BME280", hashlib.sha256(trim).hexdigest()[:16], "trim-sha256", trim)


def _fields(ctrl_hum: int, ctrl_meas: int, config: int) -> tuple[int, int, int, int, int]:
    """Oversampling of T, P, H; mode; config."""
    return ctrl_meas >> 5, ctrl_meas >> 2 & 7, ctrl_hum, ctrl_meas & _MODE, config


class _Seam:
    """What Adafruit's class takes for its bus: registers already known are served, the rest goes out."""

    def __init__(self, registers: Registers, trim: bytes) -> None:
        self._registers = registers
        addresses = [start + i for start, length in _TRIM for i in range(length)]
        self._known = {_ID: _BME280, **dict(zip(addresses, trim, strict=True))}
        self._latched: dict[int, int] = {}
        self.last_burst = _DATA_AT_RESET
        self.adafruit = _adafruit(self)  # resets and sets up the part through this object

    def latch(self, burst: bytes) -> None:
        """From here on the conversion is done, these are its words, and nothing is written."""
        self._latched = {_STATUS: 0, **dict(enumerate(burst, _DATA))}

    def release(self) -> None:
        self._latched = {}

    def read_register(self, register: int, length: int) -> bytearray:
        held = self._known | self._latched
        try:
            return bytearray(held[r] for r in range(register, register + length))
        except KeyError:
            return bytearray(self._registers.read(register, length))

    def write_register_byte(self, register: int, value: int) -> None:
        if not self._latched:
            self._registers.write(register, value)


def _adafruit(seam: _Seam) -> Any:
    """Adafruit's driver over our seam. Raises `NeedsHuman` where Blinka does not know the machine."""
    try:
        from adafruit_bme280.basic import Adafruit_BME280
    except (ImportError, RuntimeError, OSError) as error:  # NotImplementedError of an unknown board included
        raise NeedsHuman(
            f"Adafruit's BME280 library cannot be loaded ({error}): install adafruit-circuitpython-bme280; "
            "on an unlisted board set BLINKA_FORCEBOARD."
        ) from error
    return Adafruit_BME280(seam)
