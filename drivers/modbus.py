"""Modbus RTU units on a serial line, which they may share.

References: MODBUS Application Protocol V1.1b3 (§6.3, §6.4, §7), MODBUS over Serial Line V1.02 (§2.5.1).

- Registers are only read (functions 3 and 4).
- PDUs, frames and CRC are pymodbus'; bytes, deadlines and taking turns are `SerialLine`'s.
- The line rests before a question. What comes in without being the unit's answer to it is garbage.
- A unit that says nothing for a while does not answer: the others on its line do not wait for its deadline.
- An exception response is an error named by what its code asks for; `NoSuchRegister` where the device lacks
  what was asked.
"""

from __future__ import annotations

import struct

from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from drivers.framing import NEVER, NOT_YET, Format, Frames
from drivers.serial_line import Conversation, LineSettings, SerialLine

_FRAMER = FramerRTU(DecodePDU(is_server=False))
_REFUSED = 0x80
_BITS_A_CHARACTER = 11
_SILENT_S = 0.5  # units answer within 0.1 s

# §7 of the application protocol.
_MEANING = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target silent",
}
_NOT_THERE = (1, 2, 3)
_FAILED = (4, 10, 11)


class NoSuchRegister(NeedsHuman):
    """The unit is well and has no such registers."""


class Unit:
    """One unit. `what` names it in sentences: "an SDM230". Every method raises only `DriverError`."""

    def __init__(self, line: SerialLine, number: int, what: str) -> None:
        self._line, self._number = line, number
        self._what, self.name = what, f"unit {number} at {line.name}"

    def input_registers(self, settings: LineSettings, first: int, count: int, within_s: float) -> bytes:
        """`count` registers from address `first`, each two bytes, high byte first."""
        request = ReadInputRegistersRequest(address=first, count=count, dev_id=self._number)
        return self._answer(request, settings, within_s)

    def holding_registers(self, settings: LineSettings, first: int, count: int, within_s: float) -> bytes:
        """Likewise."""
        request = ReadHoldingRegistersRequest(address=first, count=count, dev_id=self._number)
        return self._answer(request, settings, within_s)

    def _answer(self, request: ModbusPDU, settings: LineSettings, within_s: float) -> bytes:
        frames = Frames(answer_format(request))
        with self._line.transaction(settings, within_s) as wire:
            wire.wait(3.5 * _BITS_A_CHARACTER / settings.baudrate)  # §2.5.1.1: what separates two frames
            wire.forget()
            wire.write(_FRAMER.buildFrame(request))
            frame = _first(wire, frames)
        if frame is None:
            raise self._no_answer(frames.skipped)
        _, answer = _FRAMER.handleFrame(frame, self._number, 0)
        if answer is None:  # not with a frame that is intact
            raise self._no_answer(len(frame))
        if answer.isError():
            raise self._refusal(answer.exception_code)
        return struct.pack(f">{request.count}H", *answer.registers)

    def _no_answer(self, skipped: int) -> DriverError:
        if skipped:
            return RetryNow(
                f"{skipped} bytes came that are no answer of {self.name}: is it {self._what}, and the only "
                "one with its unit number? Check the wires A and B."
            )
        return InstrumentGone(
            f"No answer from {self._what}, {self.name}: check power, wires A and B, its unit number and its "
            "line speed."
        )

    def _refusal(self, code: int) -> DriverError:
        said = f"{self.name} refuses (exception {code}, {_MEANING.get(code, 'not a standard one')})"
        if code in _NOT_THERE:
            return NoSuchRegister(f"{said}: it is not {self._what}. Correct the driver in the configuration.")
        if code in _FAILED:
            return InstrumentGone(f"{said}: cut its power for a moment; if that does not help, replace it.")
        return RetryNow(f"{said}.")


def answer_format(request: ModbusPDU) -> Format:
    """Answers to `request`, and refusals of it; CRC right."""
    size = 2 * request.count

    def length(candidate: bytes) -> int | None:
        if len(candidate) < 3:
            return NOT_YET
        if candidate[1] == request.function_code | _REFUSED:
            return 5
        return 5 + size if candidate[1:3] == bytes([request.function_code, size]) else NEVER

    return Format(bytes([request.dev_id]), 5 + size, length, _has_right_crc)


def _has_right_crc(frame: bytes) -> bool:
    return FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))


def _first(wire: Conversation, frames: Frames) -> bytes | None:
    """The first frame, None where the line falls silent or the deadline passes without one."""
    while True:
        try:
            data = wire.heard(_SILENT_S)
        except InstrumentGone:
            if frames.skipped:
                return None
            raise
        found = frames.feed(data) if data else frames.silence()
        if found or not data:
            return found[0] if found else None
