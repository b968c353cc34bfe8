"""Sensirion SPS30: PM1, PM2.5 and PM10 over UART.

Reference: Sensirion "Datasheet SPS30" V1.0 (March 2020); § below are its sections.

- SHDLC (§5.2): a request, then one answer within 20 ms, between `7E`, with stuffed bytes and a checksum.
- A read takes the values the part finished last, at most about a second old; ones that were taken before are
  never given again (the part's answer is empty then), the next ones are waited for.
- Values are IEEE 754 floats (output format 3). `Sample.raw` is the answer without delimiters and stuffing.
- An answer's state byte says when the part found something wrong; the status register says what (§4.4): a
  dead laser needs a human, a fan that stands still may run again.
- Start-up takes up to 30 s, depending on the concentration (§1.1): samples of that time are flagged.
"""

from __future__ import annotations

import contextlib
import math
import struct

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.framing import NOT_YET, Format, Frames, Garbled, next_frame
from drivers.serial_line import LineSettings, SerialLine

_SETTINGS = LineSettings(115_200)
_MARK, _ESCAPE = 0x7E, 0x7D
_STUFFED = {0x5E: 0x7E, 0x5D: 0x7D, 0x31: 0x11, 0x33: 0x13}  # §5.2, table 8

# Commands, §5.3.
_START, _STOP, _MEASURED, _INFO, _STATUS = 0x00, 0x01, 0x03, 0xD0, 0xD2
_FLOATS = b"\x01\x03"
_PRODUCT_TYPE, _SERIAL_NUMBER = b"\x00", b"\x03"
_SPS30 = "00080000"
_CLEAR = b"\x01"

_VALUES = struct.Struct(">10f")  # PM1, 2.5, 4, 10 in µg/m3; five number concentrations; typical size
_WANTED = (0, 1, 3)
_HEAD = 4  # address, command, state, length
_LONGEST = 2 + 2 * (_HEAD + _VALUES.size + 1)

_ERROR_BIT = 0x80
_NOT_NOW = 0x43  # "command not allowed in current state"
_LASER, _FAN = 1 << 5, 1 << 4

_ANSWER_S = 0.3
_POLL_S = 0.1
_WARM_UP_S = 30.0


class SPS30:
    """One part on a line of its own; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: precision of §1.1 (PM1, PM2.5: ±10 µg/m3 up to 100 µg/m3, ±10 % above; PM10: ±25),
    # taken at up to 100 µg/m3 and as rectangular. No resolution is given; 0.1 is far below the precision.
    quantities = tuple(
        Quantity(name, "ug/m3", 0.1, limit / math.sqrt(3), 0.0, 1000.0)
        for name, limit in (("pm1", 10.0), ("pm2.5", 10.0), ("pm10", 25.0))
    )

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line, self._clock = bus, clock
        self._open = False
        self._warm_ns = 0

    def open(self) -> Identity:
        """Identify, then start measuring. Raises `NeedsHuman` for another product."""
        self.close()
        self._ask(_STOP)  # an earlier run may have left it measuring; refused where it is idle
        identity = self.recognise()
        self._ask(_STATUS, _CLEAR)  # what went wrong before is no news
        state, _ = self._ask(_START, _FLOATS)
        if state & ~_ERROR_BIT:
            raise RetryNow(f"The SPS30 at {self._line.name} did not start (state {state:#04x}).")
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)
        self._open = True
        return identity

    def recognise(self) -> Identity:
        """Who it is, by asking only. Raises as `open`."""
        product = self._text(_PRODUCT_TYPE)
        if product != _SPS30:
            raise NeedsHuman(f"The part at {self._line.name} is no SPS30: its product type is {product!r}.")
        return Identity("SPS30", self._text(_SERIAL_NUMBER), "serial")

    def read(self, deadline_s: float) -> Sample:
        if not self._open:
            raise InstrumentGone(f"The SPS30 at {self._line.name} is not open: open it.")
        until_ns = self._clock.boottime_ns() + round(deadline_s * 1e9)
        while (left_s := (until_ns - self._clock.boottime_ns()) / 1e9) > 0:
            state, answer = self._ask(_MEASURED, within_s=min(left_s, _ANSWER_S))
            if state & ~_ERROR_BIT == _NOT_NOW:
                raise InstrumentGone(f"The SPS30 at {self._line.name} lost power: open it again.")
            if state & _ERROR_BIT:
                self._complain()
            if len(_data(answer)) == _VALUES.size:
                return self._decode(answer)
            self._clock.wait(min(left_s, _POLL_S))
        raise InstrumentGone(
            f"The SPS30 at {self._line.name} had no new values within {deadline_s:g} s: power-cycle it."
        )

    def close(self) -> None:
        if self._open:
            self._open = False
            with contextlib.suppress(DriverError):  # laser and fan need not run for nobody
                self._ask(_STOP)
        self._line.close()

    # Raw read

    def _ask(self, command: int, data: bytes = b"", within_s: float = _ANSWER_S) -> tuple[int, bytes]:
        """State and answer, checked and unstuffed. Raises `RetryNow` where the answer was garbled."""
        try:
            with self._line.transaction(_SETTINGS, within_s) as wire:
                wire.forget()
                wire.write(_request(command, data))
                answer = _content(next_frame(wire, Frames(answer_format(command)), "an SPS30"))
        except Garbled as garbled:
            raise RetryNow(garbled.sentence) from garbled
        return answer[2], answer

    # Decode

    def _decode(self, answer: bytes) -> Sample:
        values = _VALUES.unpack(_data(answer))
        if not all(math.isfinite(value) for value in values):
            raise DropSample(f"The SPS30 at {self._line.name} gave values that are no numbers.")
        flags = Flag.WARMING_UP if self._clock.boottime_ns() < self._warm_ns else Flag(0)
        return Sample(tuple(values[at] for at in _WANTED), answer, int(flags))

    # Commands

    def _text(self, which: bytes) -> str:
        """One entry of the device information: ASCII up to a NUL, §5.3.8."""
        _, answer = self._ask(_INFO, which)
        return _data(answer).split(b"\0")[0].decode("ascii", "replace")

    def _complain(self) -> None:
        """Say what the status register says is broken; warnings are none. Clears it."""
        _, answer = self._ask(_STATUS, _CLEAR)
        status = int.from_bytes(_data(answer)[:4], "big")
        if status & _LASER:
            raise NeedsHuman(f"The laser of the SPS30 at {self._line.name} has failed: replace the sensor.")
        if status & _FAN:
            raise InstrumentGone(
                f"The fan of the SPS30 at {self._line.name} stands still: "
                "see what blocks it, else replace the sensor."
            )


def _request(command: int, data: bytes) -> bytes:
    body = bytes([0, command, len(data)]) + data
    body += bytes([~sum(body) & 0xFF])
    for plain in (_ESCAPE, *(byte for byte in _STUFFED.values() if byte != _ESCAPE)):
        body = body.replace(bytes([plain]), bytes([_ESCAPE, plain ^ 0x20]))
    return bytes([_MARK]) + body + bytes([_MARK])


def answer_format(command: int) -> Format:
    """Answers to one command; it and the address before it are never stuffed."""
    start = bytes([_MARK, 0, command])
    return Format(start, _LONGEST, _length, lambda frame: _content(frame) != b"")


def _length(candidate: bytes) -> int | None:
    return candidate.find(bytes([_MARK]), 1) + 1 or NOT_YET


def _content(frame: bytes) -> bytes:
    """Address to checksum; empty for a frame that is not intact."""
    content, escaped = bytearray(), False
    for byte in frame[1:-1]:
        if escaped and byte not in _STUFFED:
            return b""
        if escaped or byte != _ESCAPE:
            content.append(_STUFFED[byte] if escaped else byte)
        escaped = byte == _ESCAPE and not escaped
    whole = not escaped and len(content) > _HEAD and len(content) == _HEAD + content[3] + 1
    return bytes(content) if whole and sum(content) & 0xFF == 0xFF else b""


def _data(answer: bytes) -> bytes:
    return answer[_HEAD:-1]
