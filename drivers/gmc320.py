"""GQ Electronics GMC-320 Geiger counter over USB serial.

Reference: GQ-RFC1201 "GQ Geiger Counter Communication Protocol" 1.40; § are its numbered commands.

- A question is `<NAME>>`; the answer is bytes of a known number without frame or checksum. So every answer is
  asked for twice and must come the same, alone, and be followed by silence.
- A counter with its heartbeat on (§4) adds two bytes a second to everything. It is switched off (§5) at
  `open` and whenever an answer comes mixed with something. Nothing else is written.
- CPM counts the last 60 s; how long the counter has been on is not known, so samples of the first minute
  after `open` are flagged.
- Dose rate depends on tube and calibration and is not claimed.
- GMC-5xx and 6xx speak GQ-RFC1801 (words of four bytes) and are for a human.
"""

from __future__ import annotations

import math
import re

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import InstrumentGone, NeedsHuman, RetryNow
from drivers.serial_line import Conversation, LineSettings, SerialLine

_SETTINGS = LineSettings(115200)
_VERSION, _SERIAL, _CPM, _HUSH = "GETVER", "GETSERIAL", "GETCPM", "HEARTBEAT0"
_LENGTHS = {_VERSION: 14, _SERIAL: 7, _CPM: 2}
_MODEL = re.compile(rb"GMC-(?:280|300|320)[ -~]{7}")
_ANY_MODEL = re.compile(rb"GMC-\d{3}")

_ANSWER_S = 1.5
_PAUSE_S = 0.1  # longer than any answer takes, shorter than a heartbeat
_WARM_UP_S = 60.0
_MOST = 0xFFFF


class GMC320:
    """One counter on a line of its own; implements `drivers.contract.Instrument`."""

    # Standard uncertainty: counting statistics, the root of the counts of a minute, at a background of 20.
    quantities = (Quantity("counts-per-minute", "1/min", 1.0, math.sqrt(20.0), 0.0, float(_MOST)),)

    def __init__(self, bus: SerialLine, address: None, clock: Clock) -> None:
        self._line, self._clock = bus, clock
        self._is_open = False
        self._warm_ns = 0

    def open(self) -> Identity:
        """Silence the heartbeat, identify. Raises `NeedsHuman` for a counter that speaks another protocol."""
        self.close()
        self._hush()
        model = version_of(self._ask_twice(_VERSION, _ANSWER_S), self._line.name)
        serial = self._ask_twice(_SERIAL, _ANSWER_S)
        self._is_open = True
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)
        return Identity(model, serial.hex().upper(), "serial")

    def recognise(self) -> Identity:
        """Who it is, by asking only. Raises as `open`."""
        with self._line.transaction(_SETTINGS, _ANSWER_S) as wire:
            wire.forget()
            model = version_of(_ask(wire, _VERSION), self._line.name)
            return Identity(model, _ask(wire, _SERIAL).hex().upper(), "serial")

    def read(self, deadline_s: float) -> Sample:
        if not self._is_open:
            raise InstrumentGone(f"The GMC-320 at {self._line.name} is not open: open it.")
        answer = self._ask_twice(_CPM, deadline_s)
        flags = Flag.WARMING_UP if self._clock.boottime_ns() < self._warm_ns else Flag(0)
        if answer == _MOST.to_bytes(2, "big"):
            flags |= Flag.CLAMPED
        return Sample((float(cpm(answer)),), answer, int(flags))

    def close(self) -> None:
        self._is_open = False
        self._line.close()

    # Raw read

    def _ask_twice(self, command: str, within_s: float) -> bytes:
        """Two same answers in a row and nothing else; counts move once a second: two of three agree."""
        with self._line.transaction(_SETTINGS, within_s) as wire:
            wire.forget()
            answers = [_ask(wire, command), _ask(wire, command)]
            if answers[0] != answers[1]:
                answers.append(_ask(wire, command))
            more = wire.heard(_PAUSE_S)
            if more or answers[-1] != answers[-2]:
                if command == _VERSION:
                    refuse_other_protocol(b"".join(answers) + more, self._line.name)
                wire.write(f"<{_HUSH}>>".encode())
                raise RetryNow(
                    f"The GMC-320 at {self._line.name} mixed its answers to {command} with other bytes."
                )
        return answers[-1]

    # Commands

    def _hush(self) -> None:
        """§5: there is no answer."""
        with self._line.transaction(_SETTINGS, _ANSWER_S) as wire:
            wire.write(f"<{_HUSH}>>".encode())
            while wire.heard(_PAUSE_S):
                pass


# Decode


def version_of(answer: bytes, where: str) -> str:
    """Model and firmware as the counter says them (§1)."""
    if not _MODEL.fullmatch(answer):
        refuse_other_protocol(answer * 2, where)
        raise RetryNow(f"What answers at {where} does not say that it is a GMC counter.")
    return answer.decode()


def refuse_other_protocol(answers: bytes, where: str) -> None:
    """Raises `NeedsHuman` for two answers, whatever they are mixed with, of a counter of another family."""
    named = _ANY_MODEL.findall(answers)
    if len(named) > 1 and len(set(named)) == 1 and not _MODEL.match(named[0] + b" " * 7):
        raise NeedsHuman(f"The counter at {where} is a {named[0].decode()}, which does not speak GQ-RFC1201.")


def cpm(answer: bytes) -> int:
    """Counts of the last minute (§2): 16 bits, the high byte first."""
    return int.from_bytes(answer, "big")


def _ask(wire: Conversation, command: str) -> bytes:
    wire.write(f"<{command}>>".encode())
    return wire.exactly(_LENGTHS[command])
