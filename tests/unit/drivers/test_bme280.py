"""Our BME280 driver, and Adafruit's unmodified one, on a chip modelled from the datasheet."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from adafruit_bme280.basic import Adafruit_BME280_I2C

from drivers.contract import Flag
from drivers.errors import DropSample, InstrumentGone, NeedsHuman
from hardware_sim.bus import VirtualI2C
from hardware_sim.parts.bme280 import BME280 as Chip
from hardware_sim.parts.bme280_physics import DEFAULT_TRIM
from hardware_sim.worlds import ClimateWorld

ADDRESS = 0x76


class RunningClock:
    """1 ms passes whenever somebody looks: Adafruit's driver waits by polling, not on our clock."""

    def __init__(self) -> None:
        self._now_ns = itertools.count(0, 1_000_000)

    def boottime_ns(self) -> int:
        return next(self._now_ns)

    def wait(self, seconds: float) -> None:
        pass

    def wait_readable(self, fd: int, seconds: float) -> bool:
        raise AssertionError("an I2C part waits for no file")


def _recorded(vectors):
    """(name, trim, words, expected T, P, H) of every vector that says what a register dump means."""
    for name, vector in vectors.items():
        trim, words = (vector["bytes_hex"], vector.get("raw")) if "calibration" in vector else (None, None)
        if trim and words and "temperature_c" in vector["expected"]:
            humidity_trim = trim["reg_0xE1_to_0xE7"]
            trim = bytes.fromhex(trim["reg_0x88_to_0xA1"]) + (
                bytes.fromhex(humidity_trim) if humidity_trim else DEFAULT_TRIM[26:]
            )
            expected = vector["expected"]
            yield name, trim, words, expected, vector["recomputed"]["double"], humidity_trim is not None


def _agrees(name, values, expected, double, has_humidity):
    temperature, pressure, humidity = values
    assert temperature == pytest.approx(expected["temperature_c"], abs=0.0051), name  # published to 0.01
    assert pressure == pytest.approx(double["P"], abs=0.05), name  # Bosch's formula in doubles
    assert pressure == pytest.approx(expected["pressure_pa"], abs=0.3), (
        name
    )  # some were published by integers
    if has_humidity:
        assert humidity == pytest.approx(expected["humidity_pct"], abs=0.01), name


def test_every_recorded_register_dump_gives_its_published_values(vectors, make_rig, fixed_words):
    checked = 0
    print(f"\n{'dump':24} {'expected':>28} {'Adafruit':>28} {'ours':>28}")
    for name, trim, words, expected, double, has_humidity in _recorded(vectors):
        source = fixed_words(words["adc_T"], words["adc_P"], words["adc_H"] or 30_000)
        wire = VirtualI2C({ADDRESS: Chip(source, RunningClock(), trim)}, RunningClock())
        theirs = Adafruit_BME280_I2C(wire, ADDRESS)  # their I2CDevice, their protocol, their compensation
        theirs_values = theirs.temperature, theirs.pressure * 100, theirs.humidity
        rig = make_rig(source, trim)
        rig.driver.open()
        sample = rig.driver.read(1.0)
        _agrees(name, theirs_values, expected, double, has_humidity)
        _agrees(name, sample.values, expected, double, has_humidity)
        rows = [
            (expected["temperature_c"], expected["pressure_pa"], expected.get("humidity_pct")),
            theirs_values,
            sample.values,
        ]
        print(f"{name:24}", *(f"{t:8.3f} {p:11.2f} {-1 if h is None else h:7.3f}" for t, p, h in rows))
        checked += 1
    print(f"{checked} dumps agree")
    assert checked >= 5


def test_bosch_worked_example(vectors, make_rig, fixed_words):
    vector = vectors["bmp280_datasheet"]
    trim = bytes.fromhex(vector["bytes_hex"]["reg_0x88_to_0xA1"]) + DEFAULT_TRIM[26:]
    rig = make_rig(fixed_words(519888, 415148, 30_000), trim)
    rig.driver.open()
    temperature, pressure, _ = rig.driver.read(1.0).values
    assert round(temperature, 2) == 25.08
    assert pressure == pytest.approx(100653.27, abs=0.05)


def test_one_read_is_one_conversion_and_one_burst(make_rig):
    rig = make_rig()
    rig.driver.open()
    for _ in range(3):
        rig.wire.log.clear()
        started_ns = rig.clock.boottime_ns()
        sample = rig.driver.read(1.0)
        forced = [
            t for t in rig.wire.log if t.written[:1] == b"\xf4" and not t.read and t.written[1] & 3 == 1
        ]
        bursts = [t for t in rig.wire.log if len(t.written) == 1 and 0xF7 <= t.written[0] <= 0xFE]
        assert len(forced) == 1
        assert [(t.written, t.read) for t in bursts] == [(b"\xf7", sample.raw)]
        assert len(rig.wire.log) == 6  # settings, ctrl_hum, ctrl_meas, started?, done?, burst
        assert rig.clock.boottime_ns() - started_ns < 50_000_000


def test_identity_is_the_fingerprint_of_33_trim_bytes(make_rig):
    identity = make_rig().driver.open()
    assert (identity.model, identity.kind, identity.evidence) == ("BME280", "trim-sha256", DEFAULT_TRIM)
    assert identity.serial == hashlib.sha256(DEFAULT_TRIM).hexdigest()[:16]
    assert len(identity.evidence) == 33


@pytest.mark.parametrize(("chip_id", "named"), [(0x58, "a BMP280 without humidity"), (0x61, "BME680")])
def test_another_chip_is_for_a_human_and_named(make_rig, fixed_words, chip_id, named):
    rig = make_rig(fixed_words(0, 0, 0), chip_id=chip_id)
    with pytest.raises(NeedsHuman, match=f"found 0x{chip_id:02x}.*{named}.*expected 0x60"):
        rig.driver.open()


def test_bmp280_dump_is_refused_by_its_chip_id(vectors, make_rig, fixed_words):
    vector = vectors["bmp280_periph_A"]
    trim = bytes.fromhex(vector["bytes_hex"]["reg_0x88_to_0xA1"]) + bytes(7)
    with pytest.raises(NeedsHuman, match="0x58"):
        make_rig(fixed_words(526700, 304428, 0), trim, 0x58).driver.open()


def test_a_bus_that_echoes_register_addresses_is_refused(vectors, make_rig, fixed_words):
    dump = bytes.fromhex(vectors["bme280_bus_echo_sparkfun4"]["bytes_hex"])
    trim = dump[0x08:0x22] + dump[0x61:0x68]
    with pytest.raises(NeedsHuman, match="the bus only echoes"):
        make_rig(fixed_words(0, 0, 0), trim, dump[0x50]).driver.open()
    with pytest.raises(NeedsHuman, match=r"trim .* implausible"):
        make_rig(fixed_words(0, 0, 0), trim, 0x60).driver.open()


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_a_trim_of_equal_bytes_is_refused(make_rig, fixed_words, byte):
    with pytest.raises(NeedsHuman, match=r"trim .* implausible"):
        make_rig(fixed_words(0, 0, 0), bytes([byte]) * 33).driver.open()


def test_data_registers_at_their_reset_values_are_no_sample(vectors, make_rig, fixed_words):
    assert vectors["bme280_skipped_channels"]["bytes_hex"] == "8000008000008000"
    rig = make_rig(fixed_words(0x80000, 0x80000, 0x8000))
    rig.driver.open()
    for _ in range(2):
        with pytest.raises(DropSample):
            rig.driver.read(1.0)


def test_a_skipped_channel_is_none_and_without_temperature_there_is_no_sample(make_rig, fixed_words):
    for words, missing in [((529191, None, 30281), 1), ((529191, 326816, None), 2)]:
        rig = make_rig(fixed_words(*words))
        rig.driver.open()
        for _ in range(2):
            values = rig.driver.read(1.0).values
            assert [i for i, value in enumerate(values) if value is None] == [missing]
    rig = make_rig(fixed_words(None, 326816, 30281))
    rig.driver.open()
    with pytest.raises(DropSample, match="no temperature"):
        rig.driver.read(1.0)


def test_the_skip_word_of_a_channel_that_is_on_is_a_measurement(make_rig, fixed_words):
    # 0x80000 is 23.2 °C under this trim and 0x8000 is 83 %RH: dropping them would lose real readings.
    rig = make_rig(fixed_words(0x80000, 326816, 0x8000))
    rig.driver.open()
    temperature, _, humidity = rig.driver.read(1.0).values
    assert 23.0 < temperature < 23.5
    assert 80.0 < humidity < 90.0


@pytest.mark.parametrize(("word", "value"), [(0xFFFF, 100.0), (0x0000, 0.0)])
def test_humidity_at_its_limit_is_flagged(make_rig, fixed_words, word, value):
    rig = make_rig(fixed_words(529191, 326816, word))
    rig.driver.open()
    sample = rig.driver.read(1.0)
    assert (sample.values[2], sample.flags) == (value, Flag.CLAMPED)


def test_a_conversion_that_never_ends_ends_at_the_deadline(make_rig):
    rig = make_rig()
    rig.driver.open()
    original = rig.wire._transact

    def stuck(operation, address, out, length):
        data = bytearray(original(operation, address, out, length))
        if out == b"\xf2" and length == 4 and rig.clock.boottime_ns() > started_ns:
            data[1] |= 0x08
        return bytes(data)

    rig.wire._transact = stuck
    started_ns = rig.clock.boottime_ns()
    with pytest.raises(InstrumentGone, match=r"did not finish within 0\.5 s"):
        rig.driver.read(0.5)
    assert rig.clock.boottime_ns() - started_ns == pytest.approx(0.5e9, rel=0.01)


def test_a_chip_exchanged_while_running_is_not_read_with_the_old_trim(make_rig):
    rig = make_rig()
    first = rig.driver.open()
    other = bytes([DEFAULT_TRIM[0] ^ 1]) + DEFAULT_TRIM[1:]
    rig.wire._parts[ADDRESS] = Chip.in_world(ClimateWorld(seed=1), rig.clock, other)
    with pytest.raises(InstrumentGone, match="lost power or was exchanged"):
        rig.driver.read(1.0)
    assert rig.driver.open().serial != first.serial


def test_reading_what_is_not_open_says_so(make_rig):
    rig = make_rig()
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)
    rig.driver.open()
    rig.driver.close()
    rig.driver.close()
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)
