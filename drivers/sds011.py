"""Nova Fitness SDS011: PM2.5 and PM10 over a serial line.

Reference: Nova Fitness, "Laser PM2.5 Sensor specification, product model SDS011" V1.3 (2015-10-09) and "Laser
Dust Sensor Control Protocol" V1.3 (2015-07-20); § below are the sections of the latter.

- Works in both reporting modes: a read asks for data, and takes the first data frame that comes, which in the
  active mode (factory setting) may be the one the part says every second by itself.
- Settings stay in the part's flash, so nothing is written to a part that is well. One that sleeps is woken;
  one with a working period, silent for minutes, is set to work all the time.
- Every frame carries the device id: two bytes, unique by the maker's word. Another id is another specimen.
- The part's own working period measures after 30 s of fan (§3.5). Whether it was just powered cannot be
  known, so samples of the first 30 s after `open` are flagged.
"""

from __future__ import annotations

import math

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import InstrumentGone, RetryNow
from drivers.framing import Format, Frames, Garbled, Voice, next_frame
from drivers.serial_line import LineSettings, SerialLine

_SETTINGS = LineSettings(9600)
_HEAD, _TAIL = 0xAA, 0xAB
_COMMAND, _DATA, _REPLY = 0xB4, 0xC0, 0xC5
_LENGTH = 10

# First data byte of a command and of the reply to it.
_QUERY, _SLEEP, _FIRMWARE, _PERIOD = 4, 6, 7, 8
_ASK, _SET = 0, 1
_WORK, _CONTINUOUS = 1, 0
_ALL = b"\xff\xff"

_ANSWER_S = 1.6  # a report every "1+0.5 seconds" at the latest
_WARM_UP_S = 30.0
_LARGEST = 999.9


class SDS011:
    """One part on a line of its own; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: relative error "maximum of ±15 % and ±10 µg/m3", taken at 100 µg/m3 (15 µg/m3), as
    # rectangular. Resolution is that of the words.
    quantities = tuple(
        Quantity(name, "ug/m3", 0.1, 15.0 / math.sqrt(3), 0.0, _LARGEST) for name in ("pm2.5", "pm10")
    )

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line, self._clock = bus, clock
        self._device = b""
        self._warm_ns = 0

    def open(self) -> Identity:
        """Identify, if need be wake. Raises `InstrumentGone` for a silent or foreign part."""
        self.close()
        try:
            device = self._exchange(_FIRMWARE)[6:8]
        except InstrumentGone:
            self._exchange(_SLEEP, _SET, _WORK)  # the only command that a sleeping part hears
            device = self._exchange(_FIRMWARE)[6:8]
        if self._exchange(_PERIOD)[4] != _CONTINUOUS:
            self._exchange(_PERIOD, _SET, _CONTINUOUS)
        self._device = device
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)
        return Identity("SDS011", device.hex().upper(), "serial")

    def read(self, deadline_s: float) -> Sample:
        if not self._device:
            raise InstrumentGone(f"The SDS011 at {self._line.name} is not open: open it.")
        try:
            return self._decode(self._exchange(_QUERY, within_s=deadline_s))
        except Garbled as garbled:
            raise RetryNow(garbled.sentence) from garbled

    def close(self) -> None:
        self._device = b""
        self._line.close()

    # Raw read

    def _exchange(self, command: int, *data: int, within_s: float = _ANSWER_S) -> bytes:
        """The part's answer to one command; what it says besides is passed over."""
        with self._line.transaction(_SETTINGS, within_s) as wire:
            wire.forget()
            wire.write(_request(command, *data))
            return next_frame(wire, Frames(_answer(command)), "an SDS011")

    # Decode

    def _decode(self, frame: bytes) -> Sample:
        if frame[6:8] != self._device:
            raise InstrumentGone(
                f"The SDS011 at {self._line.name} is not the one that was opened "
                f"({frame[6:8].hex().upper()}, not {self._device.hex().upper()}): open it again."
            )
        values = tuple(int.from_bytes(frame[at : at + 2], "little") / 10 for at in (2, 4))
        flags = Flag.WARMING_UP if self._clock.boottime_ns() < self._warm_ns else Flag(0)
        if max(values) >= _LARGEST:
            flags |= Flag.CLAMPED
        return Sample(values, frame, int(flags))


def _request(command: int, *data: int) -> bytes:
    """§1: 15 bytes of data, of which the last two name the device."""
    body = bytes([command, *data]).ljust(13, b"\0") + _ALL
    return bytes([_HEAD, _COMMAND]) + body + bytes([sum(body) & 0xFF, _TAIL])


def _intact(frame: bytes) -> bool:
    return frame[-1] == _TAIL and sum(frame[2:8]) & 0xFF == frame[8]


def _answer(command: int) -> Format:
    start = bytes([_HEAD, _DATA]) if command == _QUERY else bytes([_HEAD, _REPLY, command])
    return Format(start, _LENGTH, lambda _: _LENGTH, _intact)


VOICES = (Voice(_SETTINGS, _answer(_QUERY)),)
