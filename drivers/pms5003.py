"""Plantower PMS5003 and PMS7003: particulate matter over a serial line, active mode.

Reference: Plantower, "PMS5003 series data manual" V2.3 (2016-06-01) and "PMS7003 series data manual" V2.5;
"App." below are their appendices. The two speak the same protocol.

- In active mode, the default after power-up, the part speaks by itself: every 2.3 s while the air is steady,
  every 0.2 to 0.8 s while it changes. A read takes the first frame that begins after the read began.
- Only the receiving wire is needed. A part that is silent when opened is told to wake and to speak; some
  acknowledge that with a short frame, which is passed over.
- Taken are the values "under atmospheric environment" (data 4 to 6), not those for "CF=1".
- The parts carry no serial number. The identity is the firmware version byte, which many specimens share.
- "Stable data should be got at least 30 seconds after the sensor wakeup": whether it was just powered cannot
  be known, so samples of the first 30 s after `open` are flagged.
"""

from __future__ import annotations

import math
import struct
from typing import ClassVar

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import InstrumentGone, NeedsHuman
from drivers.framing import NEVER, NOT_YET, Format, Frames, Voice, next_frame
from drivers.serial_line import LineSettings, SerialLine

# App. I: start, length of what follows, 13 words, sum of all bytes before it.
_SETTINGS = LineSettings(9600)
_START, _FOLLOWS = b"\x42\x4d", b"\x00\x1c"
_FRAME = struct.Struct(">2sH6H6HBBH")

# App. II: start, command, two bytes of data, sum.
_WAKE = bytes.fromhex("424de400010174")
_SPEAK = bytes.fromhex("424de100010171")

_SLOWEST_S = 2.5  # 2.3 s between frames, and the frame's own 33 ms
_WARM_UP_S = 30.0


class PMS5003:
    """One part on a line of its own; implements `drivers.contract.Instrument`."""

    model: ClassVar[str] = "PMS5003"

    # Standard uncertainty: "maximum consistency error" ±10 µg/m3 up to 100 µg/m3, ±10 % above, taken at up to
    # 100 µg/m3 and as rectangular. The manual promises it for PM2.5 only; nothing is said of PM1 and PM10.
    quantities = tuple(
        Quantity(name, "ug/m3", 1.0, 10.0 / math.sqrt(3), 0.0, 1000.0) for name in ("pm1", "pm2.5", "pm10")
    )

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line, self._clock = bus, clock
        self._open = False
        self._warm_ns = 0

    def open(self) -> Identity:
        """Wait for its voice, if need be wake it. Raises `InstrumentGone` for a silent or foreign part."""
        self.close()
        try:
            frame = self._heard(_SLOWEST_S)
        except InstrumentGone:
            frame = self._heard(2 * _SLOWEST_S, _WAKE, _SPEAK)
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)
        self._open = True
        return Identity(self.model, f"{_fields(frame)[-3]:02x}", "firmware")

    def read(self, deadline_s: float) -> Sample:
        if not self._open:
            raise InstrumentGone(f"The {self.model} at {self._line.name} is not open: open it.")
        if deadline_s < _SLOWEST_S:
            raise NeedsHuman(
                f"The {self.model} at {self._line.name} speaks every 2.3 s in steady air: "
                f"deadline_s is {deadline_s:g}, make it at least {_SLOWEST_S:g}."
            )
        return self._decode(self._heard(deadline_s))

    def close(self) -> None:
        self._open = False
        self._line.close()

    # Raw read

    def _heard(self, within_s: float, *commands: bytes) -> bytes:
        with self._line.transaction(_SETTINGS, within_s) as wire:
            wire.forget()
            for command in commands:
                wire.write(command)
            return next_frame(wire, Frames(FORMAT), f"a {self.model}")

    # Decode

    def _decode(self, frame: bytes) -> Sample:
        *words, _, error, _ = _fields(frame)
        if error:
            raise InstrumentGone(
                f"The {self.model} at {self._line.name} reports error {error}: "
                "clean its inlet, else replace it."
            )
        flags = Flag.WARMING_UP if self._clock.boottime_ns() < self._warm_ns else Flag(0)
        return Sample(tuple(float(word) for word in words[3:6]), frame, int(flags))


class PMS7003(PMS5003):
    """The smaller housing; its manual gives the same protocol and the same errors."""

    model = "PMS7003"


def _length(candidate: bytes) -> int | None:
    if not (_START + _FOLLOWS).startswith(candidate[:4]):
        return NEVER  # another Plantower model, or an acknowledgement
    return _FRAME.size if len(candidate) >= 4 else NOT_YET


def _intact(frame: bytes) -> bool:
    return sum(frame[:-2]) == int.from_bytes(frame[-2:], "big")


def _fields(frame: bytes) -> tuple[int, ...]:
    """Six mass concentrations, six number concentrations, firmware version, error code, sum."""
    fields: tuple[int, ...] = _FRAME.unpack(frame)[2:]
    return fields


FORMAT = Format(_START, _FRAME.size, _length, _intact)
VOICES = (Voice(_SETTINGS, FORMAT),)
