"""Eastron SDM120 and SDM230: single-phase meters, Modbus RTU, several on one line.

References: Eastron "SDM120-Modbus" user manual V1.1 and "SDM230 series" V1.6 with their "Modbus protocol
implementation" sections (input registers 3X, holding registers 4X).

- A value is an IEEE float in two input registers, high word first. One question reads all of them, so that
  they belong to each other.
- Line speed is found: 9600 baud, or 2400 as delivered; no parity.
- The serial number (4X, 0xFC00) is the identity. Models without one refuse the question or are silent about
  it alone: kind "none".
- Nothing is written: speed, unit number and counters stay as they are.
- The manual gives 10 s of warm-up. When the meter got power is not known, so samples of the 10 s after `open`
  are flagged.
"""

from __future__ import annotations

import math
import struct

from drivers.contract import Clock, Flag, Identity, Quantity, Sample
from drivers.errors import DriverError, DropSample, InstrumentGone
from drivers.modbus import NoSuchRegister, Unit
from drivers.serial_line import LineSettings, SerialLine

_SPEEDS = (9600, 2400)

# 3X input registers, by address.
_FIRST, _COUNT = 0x0000, 0x50  # 40 parameters are the most that one question may ask for
_REGISTERS = {
    "voltage": 0x00,
    "current": 0x06,
    "power": 0x0C,
    "apparent-power": 0x12,
    "reactive-power": 0x18,
    "power-factor": 0x1E,
    "frequency": 0x46,
    "energy-import": 0x48,
    "energy-export": 0x4A,
}
# 4X holding registers.
_SERIAL, _SERIAL_COUNT = 0xFC00, 2
_NO_SERIALS = (0, 0xFFFF_FFFF)
_NOT_TOLD = ("", "none")

_ANSWER_S = 1.5  # all registers take 0.7 s at 2400 baud, and another unit may hold the line
_WARM_UP_S = 10.0
_MAINS_HZ = (40.0, 70.0)


def _quantities(most_A: float, base_A: float) -> tuple[Quantity, ...]:
    """Standard uncertainty: limits of "Accuracy" in the manuals, rectangular. They are 0.5 % of the largest
    voltage (276 V), 0.5 % of the base current, 1 % of the largest power, 0.01, 0.2 % of 50 Hz, and class 1
    for energy: 1 %, taken at 1000 kWh. Registers carry thousandths."""
    most_W = 276.0 * most_A
    power = (0.1, 0.01 * most_W / math.sqrt(3), -most_W, most_W)
    energy = (0.001, 10.0 / math.sqrt(3), 0.0, 9_999_999.9)
    return (
        Quantity("voltage", "V", 0.01, 0.005 * 276.0 / math.sqrt(3), 176.0, 276.0),
        Quantity("current", "A", 0.001, 0.005 * base_A / math.sqrt(3), 0.0, most_A),
        Quantity("power", "W", *power),
        Quantity("apparent-power", "VA", *power),
        Quantity("reactive-power", "var", *power),
        Quantity("power-factor", "/", 0.001, 0.01 / math.sqrt(3), -1.0, 1.0),
        Quantity("frequency", "Hz", 0.01, 0.002 * 50.0 / math.sqrt(3), 45.0, 66.0),
        Quantity("energy-import", "kWh", *energy),
        Quantity("energy-export", "kWh", *energy),
    )


class SDM120:
    """One unit of a line; implements `drivers.contract.Instrument`."""

    model = "SDM120"
    quantities = _quantities(45.0, 5.0)

    def __init__(self, bus: SerialLine, address: int, clock: Clock) -> None:
        self._unit, self._number, self._clock = Unit(bus, address, f"an {self.model}"), address, clock
        self._settings = LineSettings(_SPEEDS[0])
        self._is_open = False
        self._warm_ns = 0

    def open(self) -> Identity:
        """Find its speed and its serial number. Raises `InstrumentGone` for a silent or foreign unit."""
        self.close()
        self._find()
        identity = Identity(self.model, *self._serial())
        self._warm_ns = self._clock.boottime_ns() + round(_WARM_UP_S * 1e9)
        self._is_open = True
        return identity

    def read(self, deadline_s: float) -> Sample:
        if not self._is_open:
            raise InstrumentGone(f"The {self.model}, {self._unit.name}, is not open: open it.")
        data = self._unit.input_registers(self._settings, _FIRST, _COUNT, deadline_s)
        warm = self._clock.boottime_ns() >= self._warm_ns
        return Sample(decode(data, self._unit.name), evidence(data), 0 if warm else int(Flag.WARMING_UP))

    def close(self) -> None:
        """The line stays open: others may be on it."""
        self._is_open = False

    # Identity

    def _find(self) -> None:
        """Set the speed at which it says a frequency that mains have."""
        known, trouble = self._settings.baudrate, []
        for speed in (known, *(speed for speed in _SPEEDS if speed != known)):
            self._settings = LineSettings(speed)
            try:
                frequency = self._frequency()
            except NoSuchRegister:
                raise
            except DriverError as error:
                trouble.append(error)
                continue
            if not _MAINS_HZ[0] <= frequency <= _MAINS_HZ[1]:
                raise InstrumentGone(
                    f"{self._unit.name} says {frequency:g} Hz where an {self.model} has the mains "
                    "frequency: is it the right driver?"
                )
            return
        self._settings = LineSettings(known)
        raise trouble[0]

    def _frequency(self) -> float:
        return _float(self._unit.input_registers(self._settings, _REGISTERS["frequency"], 2, _ANSWER_S), 0)

    def _serial(self) -> tuple[str, str]:
        for _ in range(2):
            try:
                data = self._unit.holding_registers(self._settings, _SERIAL, _SERIAL_COUNT, _ANSWER_S)
            except NoSuchRegister:
                return _NOT_TOLD
            except InstrumentGone:
                continue
            number = int.from_bytes(data, "big")
            return _NOT_TOLD if number in _NO_SERIALS else (str(number), "serial")
        self._frequency()  # it is there and silent about this alone, or this raises
        return _NOT_TOLD


class SDM230(SDM120):
    """Likewise, up to 100 A."""

    model = "SDM230"
    quantities = _quantities(100.0, 10.0)


def decode(data: bytes, where: str = "here") -> tuple[float, ...]:
    """The values in the order of `quantities`, of registers 0x0000 to 0x004F. Raises `DropSample`."""
    values = {name: _float(data, register) for name, register in _REGISTERS.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DropSample(f"The meter, {where}, says {value} for {name}.")
    return tuple(values.values())


def evidence(data: bytes) -> bytes:
    """The registers of the values, as they came: four bytes each."""
    return b"".join(data[2 * register : 2 * register + 4] for register in _REGISTERS.values())


def _float(data: bytes, register: int) -> float:
    value: float = struct.unpack_from(">f", data, 2 * register)[0]
    return value
