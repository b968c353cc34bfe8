"""Every transaction of open() and read() disturbed in turn: a named error or the right value, then recovery.

Bit flips in the data burst (the last transaction of a read) are left out: the part has no checksum, so nobody
can notice them there. Quality rules (jumps, range) are what remains against them.
"""

from __future__ import annotations

import pytest

from drivers.errors import DriverError, InstrumentGone, NeedsHuman, RetryNow
from hardware_sim.bus import BitFlip, Hang, Nack, ShortRead

OPEN_TRANSACTIONS = 14
READ_TRANSACTIONS = 6
TRUTH = (529191, 326816, 30281)  # 24.789 °C, 100661.5 Pa, 68.67 %RH
# Every bit of the short transactions; a prime step through the long trim blocks.
BITS = [*range(32), *range(37, 208, 17)]
FAULTS = [Nack(), Hang(5.0), Hang(5.0, then_done=True), ShortRead(), *map(BitFlip, BITS)]


def _once(rig, index, fault):
    """Disturb the transaction that is `index` from now."""
    at = rig.wire.transactions + index
    rig.wire.fault = lambda i, operation, address: fault if i == at else None


def _recovered(rig, error):
    """What a caller does that only knows the error's name; the sample it gets then."""
    assert type(error).__module__.startswith("drivers.")
    assert not isinstance(error, NeedsHuman), error.sentence
    assert error.sentence.endswith((".", "?"))
    rig.wire.fault = None
    if isinstance(error, InstrumentGone):
        rig.driver.close()
        rig.driver.open()
    return rig.driver.read(1.0)


@pytest.fixture
def calm(make_rig, fixed_words):
    """An undisturbed open and read: identity, sample, and how many transactions each takes."""
    rig = make_rig(fixed_words(*TRUTH))
    identity = rig.driver.open()
    opened = rig.wire.transactions
    sample = rig.driver.read(1.0)
    assert (opened, rig.wire.transactions - opened) == (OPEN_TRANSACTIONS, READ_TRANSACTIONS)
    return identity, sample


@pytest.mark.parametrize("index", range(OPEN_TRANSACTIONS))
def test_a_disturbed_open_is_noticed_or_harmless_and_the_next_one_works(calm, make_rig, fixed_words, index):
    identity, sample = calm
    noticed = 0
    for fault in FAULTS:
        rig = make_rig(fixed_words(*TRUTH))
        _once(rig, index, fault)
        try:
            opened = rig.driver.open()
        except (RetryNow, InstrumentGone):  # never NeedsHuman for what passes
            noticed += 1
            rig.wire.fault = None
            opened = rig.driver.open()
        assert opened == identity, fault
        assert rig.driver.read(1.0) == sample, fault
    assert noticed >= 3  # NACK, both hangs


class Ramp:
    """Ten seconds make 5 °C, 500 Pa and 5 %RH: old data or another channel's cannot pass for this read's."""

    def at(self, boottime_ns):
        x = boottime_ns / 2e9 % 30.0
        return {"temperature_degC": 5.0 + x, "pressure_Pa": 98_000.0 + 100 * x, "humidity_pctRH": 30.0 + x}


def _is_of_now(sample, clock):
    """Whether every value that is there was true within the last 0.1 s."""
    return any(
        all(
            value is None or abs(value - true) < tolerance
            for value, true, tolerance in zip(
                sample.values,
                Ramp().at(clock.boottime_ns() - back_ns).values(),
                (0.1, 10.0, 0.1),
                strict=True,
            )
        )
        for back_ns in (0, 100_000_000)
    )


@pytest.mark.parametrize("index", range(READ_TRANSACTIONS))
def test_a_disturbed_read_is_noticed_or_true_and_the_next_one_works(make_rig, index):
    noticed = 0
    rig = make_rig(Ramp())
    for fault in FAULTS:
        if isinstance(fault, BitFlip) and index == READ_TRANSACTIONS - 1:
            continue
        rig.driver.open()
        rig.driver.read(1.0)
        rig.clock.wait(10)
        _once(rig, index, fault)
        started_ns = rig.clock.boottime_ns()
        try:
            sample = rig.driver.read(1.0)
        except DriverError as error:
            noticed += 1
            sample = _recovered(rig, error)
        assert _is_of_now(sample, rig.clock), fault
        assert sample.values[0] is not None
        assert rig.clock.boottime_ns() - started_ns < 8e9
        rig.wire.fault = None
    assert noticed >= 3


def test_one_missed_acknowledge_is_retried_and_silence_is_gone(make_rig):
    rig = make_rig()
    rig.driver.open()
    for index in range(READ_TRANSACTIONS):
        _once(rig, index, Nack())
        with pytest.raises(RetryNow, match="answers again"):
            rig.driver.read(1.0)
        rig.wire.fault = None
        rig.driver.read(1.0)
    rig.wire.fault = lambda i, operation, address: Nack()
    with pytest.raises(InstrumentGone, match="Nothing answers at 0x76 on I2C bus 1"):
        rig.driver.read(1.0)


def test_a_hang_is_gone_even_when_the_value_comes_in_the_end(make_rig):
    rig = make_rig()
    rig.driver.open()
    _once(rig, READ_TRANSACTIONS - 1, Hang(5.0, then_done=True))
    with pytest.raises(InstrumentGone, match="did not finish within 1 s"):
        rig.driver.read(1.0)


def test_a_thread_too_late_to_see_the_start_needs_other_words_than_the_last_ones(make_rig, fixed_words):
    moving, still = make_rig(Ramp()), make_rig(fixed_words(*TRUTH))
    for rig in (moving, still):
        rig.driver.open()
        rig.driver.read(1.0)
        rig.clock.wait(10)
        _once(rig, 3, Hang(0.2, then_done=True))
    sample = moving.driver.read(1.0)
    assert sample.values[0] == pytest.approx(
        Ramp().at(moving.clock.boottime_ns() - 250_000_000)["temperature_degC"], abs=0.2
    )
    with pytest.raises(RetryNow, match="no sign of having converted"):
        still.driver.read(1.0)
    still.wire.fault = None
    assert still.driver.read(1.0).values[0] is not None
