"""SenseAir S8: CO2 over a serial line.

Reference: SenseAir "Modbus on SenseAir S8" TDE2067 ("the protocol") and S8 LP product specification PSP126.

- Modbus RTU in the "any sensor" way: address 0xFE, one sensor per line (the protocol, "General overview").
- Only input registers are read (function 4); self-calibration and all else stay as they are.
- One question gives status and CO2 together (IR1 to IR4), so they belong to each other. A status with an
  error voids the value; "out of range" alone flags it.
- The sensor ID (IR30, IR31) is the serial number.
- A part that has just got power says 0 ppm for half a minute; until it follows the air takes two (PSP126: 2
  minutes to 90 %). When it got power is not known, so samples of 2 minutes after `open`, and after any 0 ppm,
  are flagged.
"""

from __future__ import annotations

import math

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone, NeedsHuman, RetryLater, RetryNow
from drivers.framing import NEVER, NOT_YET, Format, Frames, Garbled, next_frame
from drivers.serial_line import LineSettings, SerialLine

_SETTINGS = LineSettings(9600)
_ANY, _READ_INPUT, _REFUSED = 0xFE, 0x04, 0x84
_NO_SUCH = (1, 2, 3)  # exceptions: function, address, number of registers

# Input registers by their address, one less than their number ("Register map").
_STATUS, _STATUS_COUNT = 0, 4  # IR1 status, IR2 alarm, IR3 output, IR4 CO2
_WHO, _WHO_COUNT = 25, 6  # IR26-27 type, IR28 map version, IR29 firmware, IR30-31 sensor ID

# IR1. Bit 5 is "out of range".
_OUT_OF_RANGE = 0x20
_ERRORS = {
    0x01: "fatal error",
    0x02: "offset regulation error",
    0x04: "algorithm error",
    0x08: "output error",
    0x10: "self-diagnostics error",
    0x40: "memory error",
}

_ANSWER_S = 0.5
_WARM_UP_S = 120.0
_NO_IDS = (0, 0xFFFF_FFFF)


class SenseAirS8:
    """One part on a line of its own; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: ±(40 ppm + 3 %) of PSP126 at 1000 ppm, rectangular; above 2000 ppm none is stated.
    quantities = (Quantity("co2", "ppm", 1.0, 70.0 / math.sqrt(3), 400.0, 2_000.0),)

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line, self._clock = bus, clock
        self._is_open = False
        self._warm_ns = 0

    def open(self) -> Identity:
        """Who it is. Raises `InstrumentGone` for a silent line, `NeedsHuman` for another Modbus device."""
        self.close()
        answer = self._ask(_WHO, _WHO_COUNT, _ANSWER_S)
        firmware, sensor = answer[9:11], int.from_bytes(answer[11:15], "big")
        self._is_open = True
        self._has_started()
        if sensor in _NO_IDS:
            return Identity("SenseAir S8", f"{firmware[0]}.{firmware[1]}", "firmware")
        return Identity("SenseAir S8", f"{sensor:08X}", "serial")

    def read(self, deadline_s: float) -> Sample:
        if not self._is_open:
            raise InstrumentGone(f"The SenseAir S8 at {self._line.name} is not open: open it.")
        answer = self._ask(_STATUS, _STATUS_COUNT, deadline_s)
        co2, flags = decode(answer, self._line.name)
        warm = self._clock.boottime_ns() >= self._warm_ns
        if co2 == 0:
            self._has_started()
            raise RetryLater(f"The SenseAir S8 at {self._line.name} is starting (0 ppm).", 10.0)
        return Sample((float(co2),), answer, int(flags if warm else flags | Flag.WARMING_UP))

    def close(self) -> None:
        self._is_open = False
        self._line.close()

    def _has_started(self) -> None:
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)

    def _ask(self, register: int, count: int, within_s: float) -> bytes:
        """The whole answer; `RetryNow` when what came was disturbed."""
        try:
            with self._line.transaction(_SETTINGS, within_s) as wire:
                wire.forget()
                wire.write(request(register, count))
                answer = next_frame(wire, Frames(answer_format(count)), "a SenseAir S8")
        except Garbled as garbled:
            raise RetryNow(garbled.sentence) from garbled
        if answer[1] == _REFUSED and answer[2] not in _NO_SUCH:
            raise RetryNow(f"The SenseAir S8 at {self._line.name} could not answer (exception {answer[2]}).")
        if answer[1] == _REFUSED:
            raise NeedsHuman(
                f"The Modbus device at {self._line.name} has no input register {register + 1} (exception "
                f"{answer[2]}): it is no SenseAir S8. Correct the driver in the configuration."
            )
        return answer


def request(register: int, count: int) -> bytes:
    return with_crc(bytes([_ANY, _READ_INPUT]) + register.to_bytes(2, "big") + count.to_bytes(2, "big"))


def answer_format(count: int) -> Format:
    """Answers that give `count` registers, and refusals."""

    def length(candidate: bytes) -> int | None:
        if len(candidate) < 3:
            return NOT_YET
        if candidate[1] == _REFUSED:
            return 5
        return 5 + 2 * count if candidate[1:3] == bytes([_READ_INPUT, 2 * count]) else NEVER

    return Format(bytes([_ANY]), 5 + 2 * count, length, lambda frame: frame == with_crc(frame[:-2]))


def decode(answer: bytes, where: str = "here") -> tuple[int, Flag]:
    """ppm of an intact answer with IR1 to IR4. Raises `DropSample` for an error the part reports."""
    status, co2 = int.from_bytes(answer[3:5], "big"), int.from_bytes(answer[9:11], "big", signed=True)
    errors = [name for bit, name in _ERRORS.items() if status & bit]
    if errors:
        raise DropSample(
            f"The SenseAir S8 at {where} reports: {', '.join(errors)}. Power-cycle it; if that does not "
            "help, replace it."
        )
    if co2 < 0:
        raise DropSample(f"The SenseAir S8 at {where} says {co2} ppm: it needs calibration.")
    return co2, Flag.CLAMPED if status & _OUT_OF_RANGE else Flag(0)


def with_crc(message: bytes) -> bytes:
    """CRC-16 of Modbus over serial line V1.02, §6.2.2: 0xA001, lowest bit first, starting at 0xFFFF."""
    crc = 0xFFFF
    for byte in message:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return message + crc.to_bytes(2, "little")
