"""Texas Instruments HDC1080: temperature and humidity over I2C.

Reference: TI HDC1080 datasheet, SNAS672A (January 2016); § below are its sections.

- The part has no checksum. What can be checked is: its ids are asked before anything else, the serial number
  is read twice, settings are read back. A bit flipped in a measurement, or in the byte that asks for one,
  cannot be noticed here.
- It does nothing by itself. A write of the pointer 0 starts both conversions; until they are done a read is
  not acknowledged, so old data cannot pass for new. A word 0xFFFF is none (the two lowest bits are always 0):
  parts that were read too early gave it.
- Nothing is written but the settings it has after power-up, and those only where others are found. So a power
  cut between two reads does no harm; settings that another program changed meanwhile are `InstrumentGone`.
- The serial number (41 bits in three registers, as they are read) is asked before each measurement, and
  another number is another instrument.
- The HDC1050 gives the same ids: uncertainty of the humidity is that of the HDC1050, the less accurate.
- `Sample.raw` is the four bytes of the measurement. There is no warm-up. BTST (a low supply) is not used.
"""

from __future__ import annotations

import math

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from drivers.i2c import NoAnswer, SharedBus
from drivers.registers import Addressed

# Registers of 16 bits, §8.6.
_MEASURE, _SETTINGS, _SERIAL, _MAKER, _DEVICE = 0x00, 0x02, (0xFB, 0xFC, 0xFD), 0xFE, 0xFF
_TI, _HDC1080 = 0x5449, 0x1050
_BOTH_14_BITS, _SET = 0x1000, 0xF700  # no heater, no reset; BTST and what is reserved is nobody's promise

_OPEN_S = 1.0
_START_S = 0.015  # §8.5.1: until then only the ids and the serial number answer
_CONVERSIONS_S = 0.02  # §7.5: 6.35 and 6.5 ms, typical; no longest is given
_NO_WORD = 0xFFFF


class HDC1080:
    """One part on a shared bus; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: typical accuracy as limits, rectangular; ±3 %RH of the HDC1050 (SNAS658C §7.5).
    quantities = (
        Quantity("temperature", "Cel", 0.01, 0.2 / math.sqrt(3), -40.0, 125.0),
        Quantity("humidity", "%RH", 0.006, 3.0 / math.sqrt(3), 0.0, 100.0),
    )

    def __init__(self, bus: SharedBus, address: int, clock: Clock) -> None:
        self._part = _Words(bus, address, clock)
        self._serial: bytes | None = None

    def open(self) -> Identity:
        """Who it is, and its settings. Raises `NeedsHuman` for another chip."""
        self.close()
        identity = self.recognise()
        self._part.wait(_START_S)
        if self._part.word(_SETTINGS) & _SET != _BOTH_14_BITS:
            self._part.say(_SETTINGS, *_BOTH_14_BITS.to_bytes(2, "big"))
            if self._part.word(_SETTINGS) & _SET != _BOTH_14_BITS:
                raise RetryNow(f"The HDC1080 at {self._part.where} did not take its settings.")
        self._serial = bytes.fromhex(identity.serial)
        return identity

    def recognise(self) -> Identity:
        """Who it is, by reading only: 0xFF before 0xFE, which is a reset to an Si7021. Raises as `open`."""
        self._part.within(_OPEN_S)
        self._part.expect(_DEVICE, _HDC1080)
        self._part.expect(_MAKER, _TI)
        serial = self._part.serial()
        if serial != self._part.serial():
            raise RetryNow(f"{self._part.where} gave two serial numbers: check wiring and bus speed.")
        return Identity("HDC1080", serial.hex(), "serial")

    def read(self, deadline_s: float) -> Sample:
        if self._serial is None:
            raise InstrumentGone(f"{self._part.where} is not open: open it.")
        self._part.within(deadline_s)
        try:
            self._require_the_same(self._serial)
            answer = self._part.measured()
        except NoAnswer as gone:
            raise self._part.still_there(gone) from gone
        self._part.left_s()  # a value that comes after its deadline has no known moment
        values, flags = decode(answer)
        return Sample(values, answer, int(flags))

    def close(self) -> None:
        self._serial = None

    def _require_the_same(self, opened: bytes) -> None:
        wanted = (opened, _BOTH_14_BITS)
        found = [self._found()]
        if found[0] != wanted:
            found.append(self._found())  # what is disturbed once is not so twice
        if found[-1] == wanted:
            return
        if found[0] != found[1]:
            raise RetryNow(f"{self._part.where} gave two answers about itself: check wiring and bus speed.")
        serial, settings = found[1]
        if serial != opened:
            raise InstrumentGone(
                f"Another HDC1080 answers at {self._part.where} than was opened: open it again."
            )
        raise InstrumentGone(
            f"The settings of {self._part.where} were changed to 0x{settings:04x} by something else: "
            "open it again."
        )

    def _found(self) -> tuple[bytes, int]:
        return self._part.serial(), self._part.word(_SETTINGS) & _SET


def decode(answer: bytes) -> tuple[tuple[float, float], Flag]:
    """°C, %RH (§8.6.1, §8.6.2) of four bytes. Raises `RetryNow` for what is no measurement."""
    temperature, humidity = (int.from_bytes(answer[at : at + 2], "big") for at in (0, 2))
    if len(answer) != 4 or _NO_WORD in (temperature, humidity):
        raise RetryNow(f"An answer came that is no measurement ({answer.hex()}): check wiring and bus speed.")
    ends = any(word in (0x0000, 0xFFFC) for word in (temperature, humidity))
    values = (165.0 * temperature / 0x10000 - 40.0, 100.0 * humidity / 0x10000)
    return values, Flag.CLAMPED if ends else Flag(0)


class _Words(Addressed):
    """Registers of 16 bits, one in each transaction."""

    def word(self, register: int) -> int:
        data = bytearray(2)
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.writeto_then_readfrom(self._address, bytes([register]), data)
        return int.from_bytes(data, "big")

    def say(self, *data: int) -> None:
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.writeto(self._address, bytes(data))

    def expect(self, register: int, wanted: int) -> None:
        """The same wrong answer twice is another chip (`NeedsHuman`)."""
        found = self.word(register)
        if found == wanted:
            return
        if self.word(register) == found:
            raise NeedsHuman(
                f"What answers at {self.where} is no HDC1080 (it said 0x{found:04x}, not 0x{wanted:04x}): "
                "check part, address and wiring."
            )
        raise RetryNow(f"{self.where} gave two answers for register 0x{register:02x}.")

    def serial(self) -> bytes:
        return b"".join(self.word(register).to_bytes(2, "big") for register in _SERIAL)

    def measured(self) -> bytes:
        self.say(_MEASURE)
        self.wait(_CONVERSIONS_S)
        answer = bytearray(4)
        with self._bus.transaction(self._address, self.left_s()) as wire:
            wire.readfrom_into(self._address, answer)
        return bytes(answer)

    def still_there(self, gone: NoAnswer) -> DriverError:
        """What one missed acknowledge was, by asking again who is there."""
        try:
            self.word(_DEVICE)
        except DriverError:
            return gone
        return RetryNow(f"{self.where} missed a transfer but answers again.")
