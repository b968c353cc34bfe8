"""Smart meters with a P1 port (DSMR 2.2 to 5, e-MUCS, and alike): they send a telegram every 1 or 10 s.

References: Netbeheer Nederland "P1 Companion Standard" (DSMR) V5.0.2, V4.2.2 and V2.2; Fluvius e-MUCS P1.
`p1` finds telegrams, dsmr-parser reads them (`p1_values`): install the extra `dsmr`.

- Nothing is written; the cable's data request line asks, as long as the line is open.
- The line speed is found: 115200 baud with 8 bits (from DSMR 4 on), or 9600 with 7 bits and even parity. The
  latter is received as 8 bits and its parity checked here, which the kernel would not do; only it may go
  without a CRC.
- A sample is one telegram, the first that comes after the question: a deadline of 12 s suits all meters.
- What a telegram does not name is None; a value of ours that cannot be read voids the sample. Gas and water
  are left out: the meter repeats them for an hour.
- Identity: the equipment identifier is personal data (it leads to a household), so it is given as its
  SHA-256, kind "equipment-id-sha256". That hides it from readers, not from one who tries out all identifiers.
- Another identifier is another meter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from decimal import Decimal

from drivers import p1
from drivers.contract import Clock, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone, RetryNow
from drivers.framing import Frames, Garbled, Voice
from drivers.p1_values import Reader, Said, Unreadable
from drivers.serial_line import LineSettings, SerialLine

_EIGHT_BITS, _SEVEN_BITS = LineSettings(115200), LineSettings(9600)
_HEAR_S = 12.0  # every 10 s up to DSMR 4, every second from DSMR 5 on; 1 s to send it at 9600 baud

# OBIS codes (value groups C.D.E of channel 0) by quantity.
_CODES = {
    "energy-import": "1-0:1.8.0",
    "energy-import-t1": "1-0:1.8.1",
    "energy-import-t2": "1-0:1.8.2",
    "energy-export": "1-0:2.8.0",
    "energy-export-t1": "1-0:2.8.1",
    "energy-export-t2": "1-0:2.8.2",
    "power-import": "1-0:1.7.0",
    "power-export": "1-0:2.7.0",
    "voltage-l1": "1-0:32.7.0",
    "voltage-l2": "1-0:52.7.0",
    "voltage-l3": "1-0:72.7.0",
    "current-l1": "1-0:31.7.0",
    "current-l2": "1-0:51.7.0",
    "current-l3": "1-0:71.7.0",
    "power-import-l1": "1-0:21.7.0",
    "power-import-l2": "1-0:41.7.0",
    "power-import-l3": "1-0:61.7.0",
    "power-export-l1": "1-0:22.7.0",
    "power-export-l2": "1-0:42.7.0",
    "power-export-l3": "1-0:62.7.0",
}
_EQUIPMENT = ("0-0:96.1.1", "0-0:96.1.0", "0-0:42.0.0", "0-0:96.1.255")  # NL and BE; HU, SE; LU; DE

_IN_UNIT = {
    ("kWh", "kWh"): Decimal(1),
    ("Wh", "kWh"): Decimal("0.001"),
    ("kW", "W"): Decimal(1000),
    ("W", "W"): Decimal(1),
    ("V", "V"): Decimal(1),
    ("A", "A"): Decimal(1),
}


def _quantity(name: str) -> Quantity:
    """P1 states no accuracy. Standard uncertainty: 2 % of class A (EN 50470-3), the lowest that is allowed,
    rectangular, of 1000 kWh, 1 kW, 230 V and 5 A; for current also the ±0.5 A of whole amperes (DSMR 4)."""
    what = name.split("-")[0]
    if what == "energy":
        return Quantity(name, "kWh", 0.001, 20.0 / math.sqrt(3), 0.0, 9_999_999.0)
    if what == "power":
        return Quantity(name, "W", 1.0, 20.0 / math.sqrt(3), 0.0, 100_000.0)
    if what == "voltage":
        return Quantity(name, "V", 0.1, 4.6 / math.sqrt(3), 0.0, 300.0)
    return Quantity(name, "A", 0.01, math.hypot(0.1, 0.5) / math.sqrt(3), 0.0, 999.0)


class DSMR:
    """One meter on a line of its own; implements `drivers.contract.Instrument`."""

    quantities = tuple(_quantity(name) for name in _CODES)

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line = bus
        self._contents = Contents()
        self._settings = _EIGHT_BITS
        self._identity: Identity | None = None

    def open(self) -> Identity:
        """Find its speed and take a telegram. Raises `InstrumentGone` where none comes."""
        self.close()
        known = self._settings
        trouble = []
        for settings in (known, _SEVEN_BITS if known == _EIGHT_BITS else _EIGHT_BITS):
            try:
                self._identity = self._contents.identity(self._telegram(settings, _HEAR_S))
            except InstrumentGone as gone:
                trouble.append(gone)
                continue
            self._settings = settings
            return self._identity
        raise next((error for error in trouble if isinstance(error, Garbled)), trouble[0])

    def read(self, deadline_s: float) -> Sample:
        if self._identity is None:
            raise InstrumentGone(f"The smart meter at {self._line.name} is not open: open it.")
        try:
            telegram = self._telegram(self._settings, deadline_s)
        except Garbled as garbled:
            raise RetryNow(garbled.sentence) from garbled
        if self._contents.identity(telegram) != self._identity:
            raise InstrumentGone(
                f"Another smart meter is at {self._line.name} than was opened: open it again."
            )
        return Sample(self._contents.values(telegram, self._line.name))

    def close(self) -> None:
        self._identity = None
        self._line.close()

    def _telegram(self, settings: LineSettings, within_s: float) -> bytes:
        """The first whole telegram from now on. Raises `Garbled` where something else is said."""
        frames = Frames(p1.FORMAT)
        unwanted = 0
        with self._line.transaction(settings, within_s) as wire:
            wire.forget()
            while True:
                try:
                    data = wire.some()
                except InstrumentGone as gone:
                    raise self._nothing(gone, frames.skipped + unwanted, within_s) from gone
                for telegram in frames.feed(data if settings == _EIGHT_BITS else p1.seven_bits(data)):
                    if settings == _SEVEN_BITS or p1.has_crc(telegram):
                        return telegram
                    unwanted += len(telegram)

    def _nothing(self, gone: InstrumentGone, skipped: int, within_s: float) -> InstrumentGone:
        if skipped:
            return Garbled(
                f"{self._line.name} gave {skipped} bytes in {within_s:g} s that are not of a telegram: is it "
                "the right line, with a P1 cable, which inverts the signal?"
            )
        return InstrumentGone(
            f"{gone.sentence} Older smart meters speak every 10 s only: set deadline_s to 12. All speak only "
            "while the cable's data request line is high."
        )


class Contents:
    """Values and identity out of intact telegrams, bytes alone. Raises `NeedsHuman` without dsmr-parser."""

    def __init__(self) -> None:
        self._numbers = Reader(_CODES, Decimal)
        self._texts = Reader({code: code for code in _EQUIPMENT}, str)

    def values(self, telegram: bytes, where: str = "here") -> tuple[float | None, ...]:
        """In the order of `quantities`. Raises `DropSample` for a value that is no number with its unit, and
        for a telegram without any."""
        try:
            said = self._numbers.read(telegram, p1.has_crc(telegram))
        except Unreadable as unreadable:
            raise DropSample(f"The meter at {where} says {unreadable}.") from None
        values = tuple(_value(said, quantity, where) for quantity in DSMR.quantities)
        if all(value is None for value in values):
            raise DropSample(f"The meter at {where} says nothing of electricity: it measures something else.")
        return values

    def identity(self, telegram: bytes) -> Identity:
        """Kind "none" for a meter whose identifier is missing or cannot be read."""
        try:
            said = self._texts.read(telegram, checked=False)  # by `p1`, and by `values`
        except Unreadable:
            said = {}
        for code in _EQUIPMENT:
            equipment, unit = said.get(code, (None, None))
            if isinstance(equipment, str) and unit is None:
                fingerprint = hashlib.sha256(equipment.encode()).hexdigest()
                return Identity(p1.header_of(telegram), fingerprint, "equipment-id-sha256")
        return Identity(p1.header_of(telegram), "", "none")


def _value(said: Mapping[str, Said], quantity: Quantity, where: str) -> float | None:
    if quantity.name not in said:
        return None
    number, unit = said[quantity.name]
    factor = _IN_UNIT.get((unit or "", quantity.unit))
    if factor is None or not isinstance(number, Decimal) or not _is_plain(number):
        raise DropSample(f"The meter at {where} says {f'{number} {unit}'[:48]!r} for {quantity.name}.")
    return float(number * factor)


def _is_plain(number: Decimal) -> bool:
    """Not "NaN", not "1e9": at most ten digits before the point and eight behind it."""
    return number.is_finite() and -8 <= int(number.as_tuple().exponent) <= 0 and abs(number) < 10**10


VOICES = (Voice(_EIGHT_BITS, p1.FORMAT), Voice(_SEVEN_BITS, p1.FORMAT, p1.seven_bits))
