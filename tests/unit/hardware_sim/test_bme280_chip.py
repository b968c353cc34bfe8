"""The virtual BME280 behaves as its datasheet says, seen through bare transactions."""

from __future__ import annotations

import pytest

from hardware_sim.clock import PacedClock
from hardware_sim.parts.bme280 import BME280, conversion_ns
from hardware_sim.parts.bme280_physics import DEFAULT_TRIM, FixedWords, Physics, Trim, Words

MS = 1_000_000
CTRL_HUM, STATUS, CTRL_MEAS, CONFIG, DATA = 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
RESET_DATA = bytes.fromhex("8000008000008000")


class Steps:
    """A world of another temperature every millisecond, without power when told."""

    power = True

    def at(self, boottime_ns):
        if not self.power:
            return None
        return {
            "temperature_degC": boottime_ns / MS / 10,
            "pressure_Pa": 101_325.0,
            "humidity_pctRH": 50.0,
        }


def _read(chip, register, length=1):
    chip.write(bytes([register]))
    return chip.read(length)


@pytest.fixture
def clock():
    return PacedClock(0, 0)


@pytest.fixture
def chip(clock):
    return BME280.in_world(Steps(), clock)


def _celsius(chip):
    return Trim(DEFAULT_TRIM).temperature_degC(int.from_bytes(_read(chip, 0xFA, 3), "big") >> 4)


def test_measurement_time_is_that_of_section_9_1():
    assert conversion_ns(1, 5, 1) == 38 * MS
    assert conversion_ns(1, 1, 1) == 8 * MS
    assert conversion_ns(1, 0, 0) == 3 * MS


def test_forced_mode_measures_once_and_sleeps(chip, clock):
    chip.write(bytes([CTRL_HUM, 1, CTRL_MEAS, 0b001_101_01]))  # pairs in one write, §6.2.1
    assert _read(chip, STATUS)[0] & 0x08
    assert _read(chip, DATA, 8) == RESET_DATA
    clock.wait(0.0379)
    assert _read(chip, STATUS)[0] & 0x08
    clock.wait(0.0002)
    assert _read(chip, STATUS)[0] == 0
    assert _read(chip, CTRL_MEAS)[0] == 0b001_101_00
    assert _celsius(chip) == pytest.approx(0.0, abs=0.003)  # of the moment it started
    before = _read(chip, DATA, 8)
    clock.wait(10)
    assert _read(chip, DATA, 8) == before


def test_ctrl_hum_is_effective_only_after_ctrl_meas(chip, clock):
    chip.write(bytes([CTRL_MEAS, 0b001_001_01]))
    chip.write(bytes([CTRL_HUM, 1]))  # too late for this conversion
    clock.wait(0.05)
    assert _read(chip, 0xFD, 2) == b"\x80\x00"
    chip.write(bytes([CTRL_MEAS, 0b001_001_01]))
    clock.wait(0.05)
    assert _read(chip, 0xFD, 2) != b"\x80\x00"


def test_normal_mode_goes_on_after_standby_and_ignores_config(chip, clock):
    chip.write(bytes([CONFIG, 0b010_000_00]))  # 125 ms
    chip.write(bytes([CTRL_MEAS, 0b001_000_11]))  # 3 ms per conversion
    clock.wait(0.01)
    assert _celsius(chip) == pytest.approx(0.0, abs=0.01)
    chip.write(bytes([CONFIG, 0]))
    assert _read(chip, CONFIG)[0] == 0b010_000_00
    clock.wait(0.128 * 1_000)  # a thousand periods unseen
    assert _celsius(chip) == pytest.approx(0.1 * 128_000, rel=1e-3) or _celsius(chip) > 80
    assert _read(chip, CTRL_MEAS)[0] & 3 == 3
    chip.write(bytes([CTRL_MEAS, 0]))
    clock.wait(1)
    assert _read(chip, CTRL_MEAS)[0] == 0


def test_a_mode_written_during_a_conversion_is_entered_after_it(chip, clock):
    chip.write(bytes([CTRL_MEAS, 0b001_101_11]))
    chip.write(bytes([CTRL_MEAS, 0]))
    assert _read(chip, CTRL_MEAS)[0] == 0b001_101_11
    clock.wait(0.05)
    assert _read(chip, CTRL_MEAS)[0] == 0
    assert _read(chip, DATA, 8) != RESET_DATA


def test_soft_reset_and_power_loss_bring_back_reset_values(clock):
    world = Steps()
    chip = BME280.in_world(world, clock)

    def measure():
        chip.write(bytes([CTRL_HUM, 1, CTRL_MEAS, 0b001_001_01]))
        clock.wait(0.01)
        assert _read(chip, DATA, 8) != RESET_DATA

    measure()
    chip.write(b"\xe0\x00")  # another word is ignored
    assert _read(chip, CTRL_HUM) == b"\x01"
    chip.write(b"\xe0\xb6")
    assert _read(chip, CTRL_HUM, 4) == bytes([0, 0x01, 0, 0])  # im_update for 2 ms
    clock.wait(0.002)
    assert _read(chip, STATUS) == b"\x00"
    assert _read(chip, DATA, 8) == RESET_DATA
    measure()
    world.power = False
    assert not chip.powered
    world.power = True
    assert chip.powered
    assert _read(chip, CTRL_HUM) == b"\x00"
    assert _read(chip, DATA, 8) == RESET_DATA


def test_identity_and_trim_are_read_in_bursts_and_cannot_be_written(chip):
    chip.write(bytes([0xD0, 0x12, 0x88, 0x12]))
    assert _read(chip, 0xD0) == b"\x60"
    assert _read(chip, 0x88, 26) + _read(chip, 0xE1, 7) == DEFAULT_TRIM


@pytest.mark.parametrize(("osrs", "free_bits"), [(1, 4), (2, 3), (3, 2), (4, 1), (5, 0)])
def test_resolution_grows_with_oversampling(clock, osrs, free_bits):
    seen = 0
    chip = BME280.in_world(Steps(), clock)
    for _ in range(40):
        chip.write(bytes([CTRL_MEAS, osrs << 5 | 1]))
        clock.wait(0.0401)
        seen |= int.from_bytes(_read(chip, 0xFA, 3), "big") >> 4
    assert seen & ((1 << free_bits) - 1) == 0
    assert seen >> free_bits & 1


def test_the_iir_filter_follows_slowly(clock):
    chip = BME280(FixedWords(Words(400_000, 300_000, 30_000)), clock)
    chip.write(bytes([CONFIG, 0b000_010_00]))  # coefficient 4
    chip.write(bytes([CTRL_MEAS, 0b001_001_01]))
    clock.wait(0.01)
    assert int.from_bytes(_read(chip, 0xFA, 3), "big") >> 4 == 400_000
    chip._source = FixedWords(Words(500_000, 300_000, 30_000))
    chip.write(bytes([CTRL_MEAS, 0b001_001_01]))
    clock.wait(0.01)
    assert int.from_bytes(_read(chip, 0xFA, 3), "big") >> 4 == (400_000 * 3 + 500_000) // 4


@pytest.mark.parametrize("celsius", [-39.9, -2.02, 0.0, 23.17, 37.31, 84.9])
@pytest.mark.parametrize("pascal", [30_100.0, 98_787.88, 104_620.73, 109_900.0])
@pytest.mark.parametrize("percent", [0.5, 27.37, 66.6, 99.5])
def test_words_compensate_back_to_the_true_values(celsius, pascal, percent):
    class World:
        def at(self, boottime_ns):
            return {"temperature_degC": celsius, "pressure_Pa": pascal, "humidity_pctRH": percent}

    words = Physics(World()).words(0, 16, 20)
    assert words is not None
    trim = Trim(DEFAULT_TRIM)
    assert words.temperature is not None
    assert words.pressure is not None
    assert words.humidity is not None
    assert trim.temperature_degC(words.temperature) == pytest.approx(celsius, abs=0.003)
    t_fine = int(trim.t_fine(words.temperature))
    assert trim.pressure_Pa(words.pressure, t_fine) == pytest.approx(pascal, abs=0.12)
    assert trim.humidity_pctRH(words.humidity, t_fine) == pytest.approx(percent, abs=0.006)
