"""Atlas Scientific EZO circuits over UART: pH, conductivity, dissolved oxygen, temperature.

Reference: Atlas Scientific datasheets EZO-pH V5.9, EZO-EC V6.2, EZO-DO V5.4, EZO-RTD V3.6, "UART mode".

- Commands and answers are ASCII lines that end with CR. Data lines come first, then `*OK`, or `*ER` for what
  was not understood; other lines with `*` tell events. Where response codes are off, a pause ends an answer.
- There is no checksum: a digit that turned into another digit cannot be noticed. What can be checked is: the
  exact form of every line, one data line per question, and what `open` learns is asked twice.
- From the factory a circuit speaks every second. The mode is kept without power, so `C,0` is written only to
  a circuit that still does so; nothing else is ever written. Calibration stays as it is.
- Which outputs are on (`O,?`) and the scale (`S,?`) change what a number means: other ones are for a human.
- There is no serial number: the firmware version is all there is to tell circuits apart.
- Compensation for temperature is whatever was set; after a power cut it is 25 °C (20 °C for oxygen).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.framing import Garbled
from drivers.serial_line import Conversation, LineSettings, SerialLine

_SETTINGS = LineSettings(9600)
_ANSWER_S = 1.5  # the slowest command needs 1 s
_PAUSE_S = 0.2  # a line of 40 characters takes 42 ms
_LONGEST = 64
_EVENTS = {"*OK", "*RS", "*RE", "*SL", "*WA", "*DONE"}
_SUPPLY = {"*OV": "more than 5.5 V", "*UV": "less than 3.1 V"}


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of circuit. `scale` turns its unit into the quantity's, `number` is the form of its value,
    `outputs` what it can put out, in this order, ours first."""

    name: str
    quantity: Quantity
    scale: float
    number: str
    outputs: tuple[str, ...] = ()
    absent: str = ""


# Standard uncertainty: the accuracy of page 1, rectangular: ±0.002; ±2 % at 1413 µS/cm; ±0.05 mg/L;
# ±(0.1 + 0.0017 t) °C at 20 °C. Resolutions are the finest; conductivity shows four digits at most.
PROBES = {
    "ph": Probe("pH", Quantity("ph", "pH", 0.001, 0.002 / math.sqrt(3), 0.001, 14.0), 1.0, r"\d{1,2}\.\d{3}"),
    "ec": Probe(
        "EC",
        Quantity("conductivity", "S/m", 1e-6, 0.02 * 0.1413 / math.sqrt(3), 0.07e-4, 50.0),
        1e-4,  # from µS/cm
        r"\d{1,2}\.\d{2}|\d{3}\.\d|\d{4,6}",
        ("EC", "TDS", "S", "SG"),
    ),
    "do": Probe(
        "DO",
        Quantity("dissolved-oxygen", "kg/m3", 1e-5, 0.05e-3 / math.sqrt(3), 0.0, 0.1),
        1e-3,  # from mg/L
        r"\d{1,3}\.\d{2}",
        ("MG", "%"),
    ),
    "rtd": Probe(
        "RTD",
        Quantity("temperature", "Cel", 0.001, (0.1 + 0.0017 * 20) / math.sqrt(3), -126.0, 1254.0),
        1.0,
        r"-?\d{1,4}\.\d{3}",
        absent="-1023.000",
    ),
}


class EZO:
    """One circuit on a line of its own; implements `drivers.contract.Instrument`."""

    def __init__(self, probe: Probe, bus: SerialLine, address: None, clock: Clock) -> None:
        self.quantities = (probe.quantity,)
        self._probe, self._line, self._clock = probe, bus, clock
        self._where = f"The EZO-{probe.name} at {bus.name}"
        self._value: re.Pattern[str] | None = None

    def open(self) -> Identity:
        """Identify, stop it speaking by itself, check its units. Raises `NeedsHuman` for another circuit."""
        self.close()
        identity = self.recognise()
        if self._asked_twice("C,?", r"\?C,(\d+)") != ("0",):
            self._ask("C,0")
        self._value = self._form_of_values()
        return identity

    def recognise(self) -> Identity:
        """Who it is, by asking only. Raises as `open`."""
        model, firmware = self._asked_twice("i", r"\?I,([A-Z.0-9]+),([0-9.]+)")
        if model.replace(".", "").upper() != self._probe.name.upper():
            raise NeedsHuman(
                f"{self._where} is an EZO-{model}: correct the driver in the configuration, or the wiring."
            )
        return Identity(f"EZO-{self._probe.name}", firmware, "firmware")

    def read(self, deadline_s: float) -> Sample:
        if self._value is None:
            raise InstrumentGone(f"{self._where} is not open: open it.")
        lines = self._ask("R", deadline_s)
        if len(lines) > 1:
            raise InstrumentGone(f"{self._where} says more than it was asked for: open it again.")
        return decode(self._probe, self._value, "".join(lines), self._where)

    def close(self) -> None:
        self._value = None
        self._line.close()

    # Raw read

    def _ask(self, command: str, within_s: float = _ANSWER_S) -> list[str]:
        """The data lines of the answer; `RetryNow` for a command that arrived disturbed."""
        with self._line.transaction(_SETTINGS, within_s) as wire:
            wire.forget()
            wire.write(command.encode() + b"\r")
            lines = _lines(wire, self._where)
        if "*ER" in lines:
            raise RetryNow(f"{self._where} did not understand {command!r}.")
        for code in _SUPPLY.keys() & set(lines):
            raise DropSample(f"{self._where} has a supply of {_SUPPLY[code]}: check it.")
        return [line for line in lines if line not in _EVENTS]

    def _asked_twice(self, command: str, form: str) -> tuple[str, ...]:
        """The fields of the same answer to the same question, twice."""
        answers = {self._field(command, form) for _ in range(2)}
        if len(answers) > 1:
            raise RetryNow(f"{self._where} gave two answers to {command!r}.")
        return answers.pop()

    def _field(self, command: str, form: str) -> tuple[str, ...]:
        lines = self._ask(command)
        found = [match for line in lines if (match := re.fullmatch(form, line, re.IGNORECASE | re.ASCII))]
        if len(found) != 1:  # a circuit that speaks by itself may have said values besides
            raise RetryNow(f"{self._where} answered {command!r} with {' '.join(lines)[:_LONGEST]!r}.")
        return found[0].groups()

    # Decode

    def _form_of_values(self) -> re.Pattern[str]:
        on: tuple[str, ...] = ()
        if self._probe.outputs:
            (listed,) = self._asked_twice("O,?", r"\?,O((?:,[A-Z%]+)*)")
            on = tuple(listed.upper().split(",")[1:])
            if self._probe.outputs[0] not in on:
                raise NeedsHuman(
                    f"{self._where} does not put out what it is for: send it O,{_ours(self._probe)},1."
                )
        elif self._probe.name == "RTD" and self._asked_twice("S,?", r"\?S,([CKF])")[0].upper() != "C":
            raise NeedsHuman(f"{self._where} does not measure in degrees Celsius: send it S,c.")
        return value_form(self._probe, len(on) or 1)


def value_form(probe: Probe, count: int) -> re.Pattern[str]:
    """A line of `count` values, ours first."""
    return re.compile(rf"({probe.number})(?:,\d+(?:\.\d+)?){{{count - 1}}}", re.ASCII)


def decode(probe: Probe, form: re.Pattern[str], line: str, where: str) -> Sample:
    """The sample of one line. Raises `RetryNow`, or `DropSample` where there is no probe."""
    match = form.fullmatch(line)
    if match is None:
        raise RetryNow(f"{where} answered {line[:_LONGEST]!r}, which is no reading.")
    if match[1] == probe.absent:
        raise DropSample(f"{where} finds no probe: is it connected?")
    value = float(match[1]) * probe.scale
    clamped = probe.name == "pH" and value in (probe.quantity.low, probe.quantity.high)
    return Sample((value,), line.encode(), int(Flag.CLAMPED if clamped else Flag(0)))


def _lines(wire: Conversation, where: str) -> list[str]:
    """All lines up to `*OK` or `*ER`; after a data line a pause ends them too. Raises `Garbled`."""
    lines: list[str] = []
    held = b""
    while not lines or lines[-1] not in ("*OK", "*ER"):
        answered = not held and any(not line.startswith("*") for line in lines)
        try:
            data = wire.heard(_PAUSE_S) if answered else wire.some()
        except InstrumentGone as gone:
            if not held and not lines:
                raise
            raise Garbled(
                f"{where} sent bytes that are no answer of an EZO: is it the right driver?"
            ) from gone
        if not data:
            break
        *whole, held = (held + data).split(b"\r")
        held = held[-_LONGEST:]
        lines += [line[-_LONGEST:].decode("ascii", "replace") for line in whole]
        del lines[:-_LONGEST]
    return lines


def _ours(probe: Probe) -> str:
    return {"MG": "mg"}.get(probe.outputs[0], probe.outputs[0])


ph, ec, do, rtd = (partial(EZO, PROBES[kind]) for kind in ("ph", "ec", "do", "rtd"))
