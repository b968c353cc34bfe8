"""Virtual Bosch BME280, seen from its I2C pins.

Reference: Bosch Sensortec BST-BME280-DS002; § below are its sections. Written from it, not from any driver.

- Memory map and reset values §5.3; soft reset by 0xB6 to 0xE0 (§5.4.2); start-up 2 ms with `im_update` set.
- `ctrl_hum` becomes effective with the next write to `ctrl_meas` (§5.4.3). A mode written during a conversion
  is entered after it. `config` is ignored in normal mode (§5.4.6).
- A conversion takes the typical time of §9.1 and shows values of the moment it started. In forced mode the
  chip then sleeps (§3.3.3); in normal mode it waits t_standby and goes on (§3.3.4).
- Resolution is 16 + (osrs - 1) bits without the IIR filter, 20 bits with it (§3.4); a skipped channel reads
  0x80000 or 0x8000 (§5.4.7-9). A channel the world does not have is skipped and its oversampling reads 0.
- A read goes on from the last register address and increments it; the data of one read belong to one
  conversion (shadowing, §4.1). A write is pairs of register and value (§6.2.1).
- Without power (the source is not alive) nothing is acknowledged; with power again come the reset values.
"""

from __future__ import annotations

from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import DEFAULT_TRIM, Physics, Source, World

_ID, _RESET, _CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG, _DATA = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
_RESET_WORD = 0xB6
_MEASURING, _IM_UPDATE = 0x08, 0x01
_SLEEP, _NORMAL = 0, 3
_SKIPPED_20, _SKIPPED_16 = 0x80000, 0x8000
_STARTUP_NS = 2_000_000
_OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)  # §5.4.3, §5.4.5
_STANDBY_US = (500, 62_500, 125_000, 250_000, 500_000, 1_000_000, 10_000, 20_000)  # table 27
_IIR = (1, 2, 4, 8, 16, 16, 16, 16)  # table 28


def conversion_ns(osrs_t: int, osrs_p: int, osrs_h: int) -> int:
    """Typical measurement time for the register values of the three oversamplings, §9.1."""
    t, p, h = (_OVERSAMPLING[osrs] for osrs in (osrs_t, osrs_p, osrs_h))
    return 1_000_000 + 2_000_000 * (t + p + h) + 500_000 * ((p > 0) + (h > 0))


class BME280:
    """One chip. `source` gives its words, `trim` its 33 factory bytes (0x88-0xA1, 0xE1-0xE7)."""

    def __init__(self, source: Source, clock: Clock, trim: bytes = DEFAULT_TRIM, chip_id: int = 0x60) -> None:
        self._source = source
        self._clock = clock
        self._factory = {
            _ID: chip_id,
            **dict(zip([*range(0x88, 0xA2), *range(0xE1, 0xE8)], trim, strict=True)),
        }
        self._pointer = 0
        self._had_power = source.alive(clock.boottime_ns())
        self._power_on()

    @classmethod
    def in_world(cls, world: World, clock: Clock, trim: bytes = DEFAULT_TRIM) -> BME280:
        return cls(Physics(world, trim), clock, trim)

    @classmethod
    def bmp280_in_world(cls, world: World, clock: Clock) -> BME280:
        """Its sister without humidity (BST-BMP280-DS001 §4.3.1), which looks the same."""
        return cls(Physics(world, DEFAULT_TRIM), clock, chip_id=0x58)

    @property
    def powered(self) -> bool:
        """False while the source is not alive; back with power, the chip starts from its reset values."""
        has_power = self._source.alive(self._clock.boottime_ns())
        if has_power and not self._had_power:
            self._power_on()
        self._had_power = has_power
        return has_power

    def write(self, data: bytes) -> None:
        self._advance()
        if data:
            self._pointer = data[0]
        for register, value in zip(data[0::2], data[1::2], strict=False):
            self._write_register(register, value)

    def read(self, length: int) -> bytes:
        self._advance()
        data = bytes(self._registers[(self._pointer + i) & 0xFF] for i in range(length))
        self._pointer = (self._pointer + length) & 0xFF
        return data

    def _power_on(self) -> None:
        now_ns = self._clock.boottime_ns()
        self._registers = bytearray(256)
        for register, value in self._factory.items():
            self._registers[register] = value
        self._registers[_DATA : _DATA + 8] = _data(_SKIPPED_20, _SKIPPED_20, _SKIPPED_16)
        self._ready_ns = now_ns + _STARTUP_NS
        self._osrs_h = 0
        self._started_ns: int | None = None
        self._mode_after: int | None = None
        self._filtered: dict[str, int] = {}

    def _write_register(self, register: int, value: int) -> None:
        mode = self._registers[_CTRL_MEAS] & 0x03
        if register == _RESET and value == _RESET_WORD:
            self._power_on()
        elif register == _CTRL_HUM:
            self._registers[_CTRL_HUM] = value & 0x07
        elif register == _CONFIG and mode != _NORMAL:
            self._registers[_CONFIG] = value & 0xFD
        elif register == _CTRL_MEAS:
            now_ns = self._clock.boottime_ns()
            if self._started_ns is not None and self._started_ns <= now_ns:
                self._mode_after = value
            else:
                self._enter(value, now_ns)

    def _enter(self, ctrl_meas: int, now_ns: int) -> None:
        self._osrs_h = self._registers[_CTRL_HUM]
        self._registers[_CTRL_MEAS] = ctrl_meas
        self._started_ns = None if ctrl_meas & 0x03 == _SLEEP else now_ns
        self._show_status(now_ns)

    def _advance(self) -> None:
        """Everything that has happened inside the chip since it was last looked at."""
        now_ns = self._clock.boottime_ns()
        while self._started_ns is not None:
            ctrl_meas = self._registers[_CTRL_MEAS]
            end_ns = self._started_ns + conversion_ns(ctrl_meas >> 5, ctrl_meas >> 2 & 7, self._osrs_h)
            if end_ns > now_ns:
                break
            standby_ns = _STANDBY_US[self._registers[_CONFIG] >> 5] * 1_000
            going_on = ctrl_meas & 0x03 == _NORMAL and self._mode_after is None
            period_ns = end_ns - self._started_ns + standby_ns
            # In normal mode only the last of many unseen conversions is worked out.
            unseen = (now_ns - end_ns) // period_ns if going_on else 0
            self._finish(self._started_ns + unseen * period_ns, ctrl_meas)
            if self._mode_after is not None:
                self._enter(self._mode_after, end_ns)
                self._mode_after = None
            elif going_on:
                self._started_ns = end_ns + unseen * period_ns + standby_ns
            else:
                self._registers[_CTRL_MEAS] &= ~0x03 & 0xFF
                self._started_ns = None
        self._show_status(now_ns)

    def _show_status(self, now_ns: int) -> None:
        measuring = self._started_ns is not None and self._started_ns <= now_ns
        self._registers[_STATUS] = _MEASURING * measuring | _IM_UPDATE * (now_ns < self._ready_ns)

    def _finish(self, started_ns: int, ctrl_meas: int) -> None:
        osrs_t, osrs_p = ctrl_meas >> 5, ctrl_meas >> 2 & 7
        iir = _IIR[self._registers[_CONFIG] >> 2 & 7]
        bits_t, bits_p = (20 if iir > 1 else 15 + min(max(osrs, 1), 5) for osrs in (osrs_t, osrs_p))
        words = self._source.words(started_ns, bits_t, bits_p)
        if words is None:  # power failed during the conversion; the next look finds the chip gone
            return
        if words.temperature is None:
            self._registers[_CTRL_MEAS] &= 0x1F
        if words.pressure is None:
            self._registers[_CTRL_MEAS] &= 0xE3
        if words.humidity is None:
            self._registers[_CTRL_HUM] = 0
        temperature = self._filter("temperature", words.temperature if osrs_t else None, iir)
        pressure = self._filter("pressure", words.pressure if osrs_p else None, iir)
        humidity = words.humidity if self._osrs_h and words.humidity is not None else _SKIPPED_16
        self._registers[_DATA : _DATA + 8] = _data(pressure, temperature, humidity)

    def _filter(self, channel: str, word: int | None, coefficient: int) -> int:
        """§3.4.4: (old * (coefficient - 1) + new) / coefficient."""
        if word is None:
            return _SKIPPED_20
        old = self._filtered.get(channel, word)
        self._filtered[channel] = (old * (coefficient - 1) + word) // coefficient
        return self._filtered[channel]


def _data(pressure: int, temperature: int, humidity: int) -> bytes:
    """0xF7-0xFE: two 20-bit words, left-aligned in three bytes each, and 16 bits; most significant first."""
    return (
        (pressure << 4).to_bytes(3, "big")
        + (temperature << 4).to_bytes(3, "big")
        + humidity.to_bytes(2, "big")
    )
