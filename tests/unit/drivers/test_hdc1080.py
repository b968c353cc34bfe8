"""HDC1080: the formula against another implementation, the driver on a modelled part, every disturbance."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Flag
from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from drivers.hdc1080 import HDC1080, decode
from hardware_sim.bus import BitFlip
from hardware_sim.parts.hdc1080 import HDC1080 as Chip
from tests.unit.drivers import air_rig

ADDRESS, WHERE = 0x40, "0x40 on I2C bus 1"
OPENS, READS = 9, 6  # transactions of an open and of a read
STARTS, DATA = READS - 2, READS - 1  # of these, what starts the measurement and what brings it
FAULTS = air_rig.faults(32)


def make_rig(**fixed):
    return air_rig.make_rig(Chip, HDC1080, ADDRESS, fixed, powered_s=1.0)


@pytest.fixture
def rig():
    return make_rig()


def words(*ticks):
    return b"".join(word.to_bytes(2, "big") for word in ticks)


# Decoding


def kernel(temperature, humidity):
    """What Linux' hdc100x.c says of both words: (raw + offset) * scale, in thousandths."""
    offset = Fraction(-15887_515151, 1_000_000)
    return (
        float((temperature + offset) * Fraction(165_000, 65_536) / 1000),
        float(humidity * Fraction(100_000, 65_536) / 1000),
    )


@pytest.mark.parametrize(
    ("ticks", "values", "flags"),
    [
        ((0x0000, 0x8000), (-40.0, 50.0), Flag.CLAMPED),
        ((0x8000, 0x0000), (42.5, 0.0), Flag.CLAMPED),
        ((0xFFFC, 0xFFFC), (124.99, 99.994), Flag.CLAMPED),
        ((0x4000, 0x4000), (1.25, 25.0), Flag(0)),
    ],
)
def test_words_become_what_the_datasheets_formula_gives_and_the_ends_are_flagged(ticks, values, flags):
    got, got_flags = decode(words(*ticks))
    assert got == pytest.approx(values, abs=0.001)
    assert got_flags == flags


def test_every_word_of_the_part_is_what_linux_makes_of_it():
    for word in range(0, 0x10000, 4):
        assert decode(words(word, 0xFFFC - word))[0] == pytest.approx(kernel(word, 0xFFFC - word), abs=1e-5)


@pytest.mark.parametrize("answer", ["1f80ffff", "ffff8000", "ffffffff"])
def test_what_a_part_gives_that_is_read_too_early_is_no_measurement(answer):
    with pytest.raises(RetryNow, match=f"is no measurement \\({answer}\\)"):
        decode(bytes.fromhex(answer))


@given(st.binary(max_size=8))
def test_any_bytes_are_values_or_a_driver_error(data):
    try:
        (temperature, humidity), _ = decode(data)
    except DriverError:
        return
    assert -40.0 <= temperature < 125.0
    assert 0.0 <= humidity < 100.0


# Behaviour


def test_a_calm_open_and_read_take_the_expected_transactions_and_give_the_air_of_now(rig):
    identity = rig.driver.open()
    assert (identity.model, identity.serial, identity.kind) == ("HDC1080", "02d19a4c3e80", "serial")
    assert rig.wire.transactions == OPENS
    for _ in range(3):
        before = rig.wire.transactions
        sample = rig.driver.read(2.0)
        assert rig.is_of_now(sample)
        assert sample.raw == rig.wire.log[-1].read
        assert rig.wire.transactions == before + READS
        rig.clock.wait(60)
    assert all(len(transaction.written) <= 1 for transaction in rig.wire.log)  # nothing is set


@pytest.mark.parametrize("found", [0x0000, 0x3000, 0x1400, 0x1100, 0x1200])  # one value, heater, fewer bits
def test_settings_of_another_program_are_put_right_at_open_and_noticed_between_reads(rig, found):
    rig.chip.settings = found
    rig.driver.open()
    assert rig.chip.settings == 0x1000
    assert rig.is_of_now(rig.driver.read(2.0))
    rig.chip.settings = found
    with pytest.raises(InstrumentGone, match=f"changed to 0x{found:04x} by something else"):
        rig.driver.read(2.0)
    rig.driver.open()
    assert rig.is_of_now(rig.driver.read(2.0))


def test_a_low_supply_is_no_setting(rig):
    rig.chip.settings = 0x1800
    rig.driver.open()
    assert rig.is_of_now(rig.driver.read(2.0))
    assert rig.chip.settings == 0x1800


def test_settings_that_are_not_taken_are_said(rig):
    rig.chip.settings = 0x3000
    rig.disturb(OPENS, BitFlip(0))  # the write goes to another register
    with pytest.raises(RetryNow, match="did not take its settings"):
        rig.driver.open()


@pytest.mark.parametrize("kind", ["open", "recognise"])
def test_another_chip_is_for_a_human_and_is_not_asked_further(rig, kind):
    class Si7021:
        """Its reset is 0xFE."""

        powered = True
        told: tuple[bytes, ...] = ()

        def write(self, data):
            self.told += (data,)

        def read(self, length):
            return b"\x3a\xff"[:length].ljust(length, b"\xff")

    other = rig.wire._parts[ADDRESS] = Si7021()
    with pytest.raises(NeedsHuman, match=r"0x40 on I2C bus 1 is no HDC1080 .it said 0x3aff, not 0x1050"):
        getattr(rig.driver, kind)()
    assert set(other.told) == {b"\xff"}


def test_recognising_it_changes_nothing(rig):
    rig.chip.settings = 0x3000
    assert rig.driver.recognise() == make_rig().driver.open()
    assert rig.chip.settings == 0x3000


def test_another_specimen_in_its_place_is_another_instrument(rig):
    before = rig.driver.open()
    rig.chip.serial += 0x80
    with pytest.raises(InstrumentGone, match="Another HDC1080 answers at 0x40 on I2C bus 1"):
        rig.driver.read(2.0)
    assert rig.driver.open() != before
    assert rig.is_of_now(rig.driver.read(2.0))


def test_without_power_it_is_gone_and_back_it_is_opened_while_it_still_starts(rig):
    air_rig.gone_without_power_and_back_at_once(rig, WHERE)


def test_reading_what_is_not_open_says_so(rig):
    air_rig.what_is_not_open_says_so(rig)


def test_a_deadline_too_short_for_a_measurement_ends_at_it(rig):
    air_rig.a_short_deadline_ends_at_it(rig, 0.01)


# Disturbances


def test_every_disturbed_transaction_of_open_is_noticed_or_harmless():
    counts = air_rig.disturbed_opens(make_rig, OPENS, FAULTS)
    print(f"\nHDC1080 open: {dict(counts)}")
    assert counts["RetryNow"] >= 16 * 8  # every flipped bit of the ids and both serial numbers


def test_every_disturbed_transaction_of_read_is_noticed_or_true_but_for_flipped_bits_of_the_measurement():
    """No checksum: what flips in the measurement, or in the byte that asks for it, is not seen here."""
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
            counts["harmless"] += rig.is_of_now(sample)
            if isinstance(fault, BitFlip) and index in (STARTS, DATA) and not rig.is_of_now(sample):
                counts["unseen"] += 1
                continue
        except DriverError as error:
            counts[type(error).__name__] += 1
            rig.clock.wait(5.0)  # what was measured for the disturbed read is old now
            if not isinstance(error, RetryNow):
                rig.driver.open()
            sample = rig.driver.read(2.0)
        assert rig.is_of_now(sample), (index, fault)
        assert rig.clock.boottime_ns() - began_ns < 15 * air_rig.S
    print(f"\nHDC1080 read: {dict(counts)}")
    assert counts["unseen"] <= 2 * 32
    assert counts["RetryNow"] >= READS  # a missed acknowledge of each


def test_a_bit_flipped_in_who_it_is_does_not_cost_the_reading(rig):
    rig.driver.open()
    for index, bit in itertools.product(range(4), range(16)):
        rig.disturb(index, BitFlip(bit))
        assert rig.is_of_now(rig.driver.read(2.0)), (index, bit)


def test_two_flips_one_after_the_other_are_a_disturbance_and_no_other_part(rig):
    rig.driver.open()
    for first, second in itertools.product((0, 3), (4, 7)):
        at = rig.wire.transactions
        faults = {at + first: BitFlip(1), at + second: BitFlip(4)}
        rig.wire.fault = lambda i, operation, address, faults=faults: faults.get(i)
        with pytest.raises(RetryNow, match="two answers about itself"):
            rig.driver.read(2.0)
        assert rig.is_of_now(rig.driver.read(2.0))


def test_one_missed_acknowledge_is_retried_and_silence_is_gone(rig):
    air_rig.one_missed_acknowledge_is_retried_and_silence_is_gone(rig, READS, WHERE)


# The part


def test_the_modelled_part_does_not_acknowledge_until_it_has_measured(rig):
    rig.chip.write(b"\x00")
    rig.clock.wait(0.0128)
    with pytest.raises(OSError, match="Remote I/O"):
        rig.chip.read(4)
    rig.clock.wait(0.0001)
    assert len(rig.chip.read(4)) == 4
    rig.chip.settings = 0x0000  # one value at a time: a second word was not measured
    rig.chip.write(b"\x00")
    rig.clock.wait(0.0064)
    assert rig.chip.read(4)[2:] == b"\xff\xff"
