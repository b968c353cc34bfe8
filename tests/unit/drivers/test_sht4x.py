"""SHT4x: the datasheet's formula, the driver on a modelled part, and every disturbance."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Flag
from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from drivers.sht4x import SHT4x, decode
from hardware_sim.parts.sensirion import with_crcs
from hardware_sim.parts.sht4x import SHT4x as Chip
from tests.unit.drivers import air_rig

ADDRESS, WHERE = 0x44, "0x44 on I2C bus 1"
OPENS, READS = 2, 4  # transactions of an open and of a read
FAULTS = air_rig.faults(48)


def make_rig(**fixed):
    return air_rig.make_rig(Chip, SHT4x, ADDRESS, fixed)


@pytest.fixture
def rig():
    return make_rig()


# Decoding


@pytest.mark.parametrize(
    ("ticks", "values", "flags"),
    [
        ((0x0000, 0x0000), (-45.0, 0.0), Flag.CLAMPED),
        ((0xFFFF, 0xFFFF), (130.0, 100.0), Flag.CLAMPED),
        ((0x6666, 0x8000), (25.0, 56.5), Flag(0)),
    ],
)
def test_ticks_become_what_the_datasheets_formula_gives_and_humidity_is_cropped(ticks, values, flags):
    got, got_flags = decode(with_crcs(ticks))
    assert got == pytest.approx(values, abs=0.002)
    assert got_flags == flags


@given(st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2), st.integers(0, 47))
def test_any_ticks_are_values_within_the_formulas_range_and_one_flipped_bit_is_noticed(ticks, bit):
    answer = bytearray(with_crcs(ticks))
    (temperature, humidity), _ = decode(bytes(answer))
    assert -45.0 <= temperature <= 130.0
    assert 0.0 <= humidity <= 100.0
    answer[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RetryNow, match="wrong CRC"):
        decode(bytes(answer))


@given(st.binary(max_size=32))
def test_any_bytes_are_values_or_a_driver_error(data):
    try:
        (temperature, _), _ = decode(data)
    except DriverError:
        return
    assert -45.0 <= temperature <= 130.0


# Behaviour


def test_a_calm_open_and_read_take_the_expected_transactions_and_give_the_air_of_now(rig):
    identity = rig.driver.open()
    assert (identity.model, identity.serial, identity.kind) == ("SHT4x", "0f8c27a1", "serial")
    assert rig.wire.transactions == OPENS
    for _ in range(3):
        before = rig.wire.transactions
        sample = rig.driver.read(2.0)
        assert rig.is_of_now(sample)
        assert sample.raw == rig.wire.log[-1].read
        assert rig.wire.transactions == before + READS
        rig.clock.wait(60)
    assert {transaction.written for transaction in rig.wire.log} == {b"", b"\x89", b"\xfd"}  # no heater


@pytest.mark.parametrize("humidity", [0.0, 100.0])
def test_the_ends_of_the_humidity_range_are_values(humidity):
    rig = make_rig(temperature_degC=20.0, humidity_pctRH=humidity)
    rig.driver.open()
    assert rig.driver.read(2.0).values[1] == pytest.approx(humidity, abs=0.002)


def test_another_specimen_in_its_place_is_another_instrument(rig):
    before = rig.driver.open()
    rig.chip.serial += 1
    with pytest.raises(InstrumentGone, match="Another SHT4x answers at 0x44 on I2C bus 1"):
        rig.driver.read(2.0)
    assert rig.driver.open() != before
    assert rig.is_of_now(rig.driver.read(2.0))


def test_another_chip_that_says_the_same_nonsense_twice_is_for_a_human(rig):
    class Other:
        powered = True

        def write(self, data):
            pass

        def read(self, length):
            return b"\x39\x9f" * (length // 2)

    rig.wire._parts[ADDRESS] = Other()
    with pytest.raises(NeedsHuman, match="is no SHT4x"):
        rig.driver.open()


def test_without_power_it_is_gone_and_back_it_measures_anew(rig):
    air_rig.gone_without_power_and_back_at_once(rig, WHERE)


def test_reading_what_is_not_open_says_so(rig):
    air_rig.what_is_not_open_says_so(rig)


def test_a_deadline_too_short_for_a_measurement_ends_at_it(rig):
    air_rig.a_short_deadline_ends_at_it(rig, 0.015)


# Disturbances


def test_every_disturbed_transaction_of_open_is_noticed_or_harmless():
    counts = air_rig.disturbed_opens(make_rig, OPENS, FAULTS)
    print(f"\nSHT4x open: {dict(counts)}")
    assert counts["RetryNow"] >= 48  # every flipped bit of the answer


def test_every_disturbed_transaction_of_read_is_noticed_or_the_value_is_true():
    counts: Counter[str] = Counter()
    for index, fault in itertools.product(range(READS), FAULTS):
        rig = make_rig()
        rig.driver.open()
        rig.driver.read(2.0)
        rig.clock.wait(5.0)
        rig.disturb(index, fault)
        began_ns = rig.clock.boottime_ns()
        try:
            sample = rig.driver.read(2.0)
            counts["harmless"] += 1
        except DriverError as error:
            counts[type(error).__name__] += 1
            rig.clock.wait(5.0)  # what was measured for the disturbed read is old now
            if not isinstance(error, RetryNow):
                rig.driver.open()
            sample = rig.driver.read(2.0)
        assert rig.is_of_now(sample), (index, fault)
        assert rig.clock.boottime_ns() - began_ns < 15 * air_rig.S
    print(f"\nSHT4x read: {dict(counts)}")
    assert counts["RetryNow"] >= 96  # every flipped bit of both answers
    assert counts["harmless"] == 2  # a short read where nothing is read


def test_one_missed_acknowledge_is_retried_and_silence_is_gone(rig):
    air_rig.one_missed_acknowledge_is_retried_and_silence_is_gone(rig, READS, WHERE)
