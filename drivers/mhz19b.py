"""Winsen MH-Z19B: CO2 over a serial line.

Reference: Winsen MH-Z19B user manual 1.0 ("the manual").

- A question and its answer are nine bytes each; bytes 1 to 8 add up to 0 (modulo 256).
- Nothing is written but questions: self-calibration, range and calibration stay as they are.
- Of the answer to 0x86 the manual documents the two bytes of CO2 only, and only they are reported. Bytes 6
  and 7 are 15000 while the part starts (seen by Tasmota and others): then CO2 is a made-up 400 or 410 ppm.
- Preheating takes 3 minutes. When the part got its power is not known, so samples of the first 3 minutes
  after `open`, and after any sign that it has just started, are flagged.
- There is no serial number. The firmware version (0xA0, not in the manual) is all there is to tell parts
  apart; a part that does not answer that has none.
"""

from __future__ import annotations

import math

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone, RetryLater, RetryNow
from drivers.framing import Format, Frames, Garbled, next_frame
from drivers.serial_line import LineSettings, SerialLine

_SETTINGS = LineSettings(9600)
_LENGTH = 9
_CO2, _VERSION = 0x86, 0xA0
_STARTING = 15_000

_ANSWER_S = 0.5
_WARM_UP_S = 180.0
_RANGE_ENDS = (2_000, 5_000, 10_000)  # one of them is set in the part; it shows no more than that


class MHZ19B:
    """One part on a line of its own; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: ±(50 ppm + 5 %) of the manual at 1000 ppm, rectangular.
    quantities = (Quantity("co2", "ppm", 1.0, 100.0 / math.sqrt(3), 0.0, 5_000.0),)

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line, self._clock = bus, clock
        self._is_open = False
        self._warm_ns = 0

    def open(self) -> Identity:
        """Whether a part answers, and its version. Raises `InstrumentGone` for a silent line."""
        self.close()
        self._ask(_CO2, _ANSWER_S)
        version = self._version()
        self._is_open = True
        self._has_started()
        return Identity("MH-Z19B", version, "firmware" if version else "none")

    def read(self, deadline_s: float) -> Sample:
        if not self._is_open:
            raise InstrumentGone(f"The MH-Z19B at {self._line.name} is not open: open it.")
        answer = self._ask(_CO2, deadline_s)
        warm = self._clock.boottime_ns() >= self._warm_ns
        co2, starting = decode(answer)
        if starting or (co2 == 0 and not warm):
            if starting:
                self._has_started()
            raise RetryLater(f"The MH-Z19B at {self._line.name} is starting.", 10.0)
        if co2 == 0:
            raise DropSample(f"The MH-Z19B at {self._line.name} measured nothing (0 ppm).")
        flags = Flag(0) if warm else Flag.WARMING_UP
        if co2 in _RANGE_ENDS:
            flags |= Flag.CLAMPED
        return Sample((float(co2),), answer, int(flags))

    def close(self) -> None:
        self._is_open = False
        self._line.close()

    def _has_started(self) -> None:
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)

    def _version(self) -> str:
        """Four digits; empty for a part that stays silent twice."""
        for _ in range(2):
            try:
                text = self._ask(_VERSION, _ANSWER_S)[2:6].decode("ascii", "replace")
            except InstrumentGone:
                continue
            return text if text.isdecimal() and text.isascii() else ""
        return ""

    def _ask(self, command: int, within_s: float) -> bytes:
        """The part's answer; `RetryNow` when what came was disturbed."""
        try:
            with self._line.transaction(_SETTINGS, within_s) as wire:
                wire.forget()
                wire.write(_with_check(bytes([0xFF, 0x01, command, 0, 0, 0, 0, 0])))
                return next_frame(wire, Frames(answer_format(command)), "an MH-Z19B")
        except Garbled as garbled:
            raise RetryNow(garbled.sentence) from garbled


def answer_format(command: int = _CO2) -> Format:
    return Format(
        bytes([0xFF, command]), _LENGTH, lambda _: _LENGTH, lambda frame: frame == _with_check(frame[:8])
    )


def decode(answer: bytes) -> tuple[int, bool]:
    """ppm, and whether the part is only starting, of an intact answer to 0x86."""
    return int.from_bytes(answer[2:4], "big"), int.from_bytes(answer[6:8], "big") == _STARTING


def _with_check(eight: bytes) -> bytes:
    return eight + bytes([-sum(eight[1:]) & 0xFF])
