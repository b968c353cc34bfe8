"""Virtual Sensirion SCD30, seen from its I2C pins.

Reference: Sensirion SCD30 Interface Description 1.0; § below are its sections. Written from it only.

- Continuous measurement (§1.4.1) and its interval (§1.4.3) survive a power failure.
- Every interval there is a new measurement; data-ready is 1 until it is fetched (§1.4.4, §1.4.5).
- A fetch without a new measurement gives the last one again; before the first one zeros.
- Argument 0 or 700 to 1400 starts the measurement (§1.4.1); another is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World
from hardware_sim.parts.sensirion import Measuring, SensirionPart

_TAKES_S = 0.003
_SERIAL_BYTES = 32


class SCD30(SensirionPart):
    """One chip with its serial number, firmware version and non-volatile settings."""

    def __init__(
        self, world: World, clock: Clock, serial: str = "0123456789ABCDEF", firmware: int = 0x0342
    ) -> None:
        self._measuring = Measuring(clock)
        self._serial, self._firmware = serial.encode().ljust(_SERIAL_BYTES, b"\0"), firmware
        self._interval_s, self._continuous = 2, False
        self._last: tuple[float, float, float] = (0.0, 0.0, 0.0)
        super().__init__(world, clock)

    def power_on(self) -> None:
        self._last = (0.0, 0.0, 0.0)
        self._measuring.stop()
        if self._continuous:
            self._measuring.start(self._interval_s)

    def command(self, code: int, arguments: Sequence[int]) -> tuple[Sequence[int] | None, float]:
        match code, *arguments:
            case [0x0010, pressure] if pressure == 0 or 700 <= pressure <= 1400:
                if not self._measuring.on:
                    self._measuring.start(self._interval_s)
                self._continuous = True
            case [0x0104]:
                self._measuring.stop()
                self._continuous = False
            case [0x4600, interval_s] if 2 <= interval_s <= 1800:
                self._interval_s = interval_s
            case [0x4600]:
                return [self._interval_s], _TAKES_S
            case [0x0202]:
                return [int(self._measuring.ready)], _TAKES_S
            case [0x0300]:
                return self._measurement(), _TAKES_S
            case [0xD100]:
                return [self._firmware], _TAKES_S
            case [0xD033]:
                return struct.unpack(f">{_SERIAL_BYTES // 2}H", self._serial), _TAKES_S
        return None, 0.0

    def _measurement(self) -> Sequence[int]:
        made_ns = self._measuring.fetch()
        true = None if made_ns is None else self._true(made_ns)
        if true is not None:
            self._last = true["co2_ppm"], true["temperature_degC"], true["humidity_pctRH"]
        return struct.unpack(">6H", struct.pack(">3f", *self._last))
