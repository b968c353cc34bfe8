"""SCD30 and SCD41: recorded answers, the drivers on modelled parts, and every disturbance."""

from __future__ import annotations

import itertools
import math
import struct
from collections import Counter
from dataclasses import dataclass
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import scd30, scd41, sensirion
from drivers.contract import Flag
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryLater, RetryNow
from drivers.i2c import SharedBus
from hardware_sim.bus import BitFlip, Hang, Nack, ShortRead, VirtualI2C
from hardware_sim.clock import PacedClock
from hardware_sim.office import OfficeWorld
from hardware_sim.parts.scd30 import SCD30 as Chip30
from hardware_sim.parts.scd41 import SCD41 as Chip41
from hardware_sim.parts.sensirion import with_crcs
from tests.unit.drivers.conftest import DATA

S = 10**9


class Ramp:
    """In ten seconds 10 ppm, 5 °C and 5 %RH: old data or another channel's cannot pass for now."""

    def at(self, boottime_ns):
        x = boottime_ns / 2e9 % 30.0
        return {"temperature_degC": 5.0 + x, "humidity_pctRH": 30.0 + x, "co2_ppm": 400.0 + 2.0 * x}


class Still:
    """One state of the air until it is changed; None is a power cut."""

    def __init__(self, **values):
        self.values: dict[str, float] | None = {
            "temperature_degC": 21.0,
            "humidity_pctRH": 45.0,
            "co2_ppm": 600.0,
            **values,
        }

    def at(self, boottime_ns):
        return self.values


@dataclass(frozen=True)
class Kind:
    """One of the two parts; how many transactions an open and a read with new data take."""

    name: str
    module: ModuleType
    chip: type
    address: int
    interval_s: float
    settling_s: float
    opens: int
    fetch: str
    tolerance: tuple[float, float, float]

    def rig(self, world=None, **made):
        clock = PacedClock(60 * S, 1_700_000_000 * S)
        chip = self.chip(world or Ramp(), clock, **made)
        wire = VirtualI2C({self.address: chip}, clock)
        driver = getattr(self.module, self.name)(SharedBus(wire, "I2C bus 1"), self.address, clock)
        return Rig(self, clock, wire, driver)


@dataclass
class Rig:
    kind: Kind
    clock: PacedClock
    wire: VirtualI2C
    driver: scd30.SCD30

    def opened(self):
        """Open and past the first measurement."""
        identity = self.driver.open()
        self.clock.wait(self.kind.interval_s + 0.5)
        return identity

    def disturb(self, index, fault):
        """The transaction that is `index` from now."""
        at = self.wire.transactions + index
        self.wire.fault = lambda i, operation, address: fault if i == at else None

    def is_of_now(self, sample):
        """Whether all values were true together at one moment within the last interval and a bit."""
        world = Ramp()
        back_ns = range(0, round((self.kind.interval_s + 0.3) * S), S // 50)
        return any(
            all(
                abs(value - true[name]) < tolerance
                for value, name, tolerance in zip(sample.values, NAMES, self.kind.tolerance, strict=True)
            )
            for true in (world.at(self.clock.boottime_ns() - ns) for ns in back_ns)
        )


NAMES = ("co2_ppm", "temperature_degC", "humidity_pctRH")
KINDS = {
    "scd30": Kind("SCD30", scd30, Chip30, 0x61, 2.0, 60.0, 7, "0300", (0.05, 0.02, 0.02)),
    "scd41": Kind("SCD41", scd41, Chip41, 0x62, 5.0, 180.0, 6, "ec05", (0.55, 0.02, 0.02)),
}
READS = 4
FAULTS = [Nack(), Hang(5.0), Hang(5.0, then_done=True), ShortRead(), *map(BitFlip, range(72))]


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


# Recorded answers


def test_every_recorded_answer_gives_its_published_values_or_is_refused(vectors):
    seen: Counter[str] = Counter()
    for name, vector in vectors.items():
        if vector["sensor"] not in ("SCD30", "SCD4x", "Sensirion CRC-8"):
            continue
        expected = vector["expected"]
        if vector["bytes_hex"] is None:
            seen["printed readings without bytes"] += 1
            continue
        answer = bytes.fromhex(vector["bytes_hex"])
        if "crc" in expected:
            assert sensirion.crc8(answer[:2]) == expected["crc"] == answer[2], name
            seen["CRC examples agree"] += 1
        elif "serial" in expected:
            identity = KINDS["scd41"].rig(serial=expected["serial"]).driver.open()
            assert identity.serial == "".join(f"{word:04x}" for word in sensirion.words(answer, 3)), name
            seen["serial numbers agree"] += 1
        elif "data_ready" in expected:
            assert bool(sensirion.words(answer, 1)[0] & 0x7FF) is expected["data_ready"], name
            seen["data-ready words agree"] += 1
        else:
            module = scd30 if vector["sensor"] == "SCD30" else scd41
            values, flags = module.decode(answer)
            wanted = (expected["co2_ppm"], expected["temperature_c"], expected["humidity_pct"])
            assert values == pytest.approx(wanted, abs=6e-5), name
            assert not flags
            seen[f"{vector['sensor']} measurements agree"] += 1
            for bit in range(8 * len(answer)):
                with pytest.raises(RetryNow, match="wrong CRC"):
                    module.decode(_flipped(answer, bit))
                seen["with one bit flipped: refused by CRC"] += 1
    print("\nSensirion:", *(f"\n  {count:4} {what}" for what, count in sorted(seen.items())))
    assert seen["SCD30 measurements agree"] >= 1
    assert seen["SCD4x measurements agree"] >= 5


def _flipped(data, bit):
    mutable = bytearray(data)
    mutable[bit // 8] ^= 1 << bit % 8
    return bytes(mutable)


def test_a_real_part_that_starts_off_is_flagged_until_it_has_settled(vectors):
    kind = KINDS["scd41"]
    series = vectors["scd41_series_with_failure"]["expected"]
    rows = list(zip(series["co2"], series["temperature"], series["humidity"], strict=False))

    class Recorded(Still):
        def at(self, boottime_ns):
            row = rows[min(max(0, boottime_ns // S - 65) // 5, len(rows) - 1)]
            return dict(zip(NAMES, row, strict=True))

    rig = kind.rig(Recorded())
    rig.driver.open()
    rig.clock.wait(5.5)
    for _ in rows:
        sample = rig.driver.read(2.0)
        assert sample.flags & Flag.WARMING_UP
        rig.clock.wait(5.0)
    rig.clock.wait(kind.settling_s)
    assert rig.driver.read(2.0).flags == 0


# Behaviour


def test_an_office_measured_for_a_day_comes_back_as_recorded(kind):
    path = DATA / "co2_occupancy_uci" / "datatraining.txt"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    world = OfficeWorld(path)
    clock = PacedClock(0, world.origin_ns)
    wire = VirtualI2C({kind.address: kind.chip(world, clock)}, clock)
    driver = getattr(kind.module, kind.name)(SharedBus(wire, "I2C bus 1"), kind.address, clock)
    driver.open()
    checked = 0
    for instant_ns in world.instants_ns[1:1441]:
        clock.wait((instant_ns - clock.boottime_ns()) / 1e9 + 30.0)  # in the middle of the row's minute
        sample = driver.read(1.0)
        true = world.at(instant_ns) or {}
        for value, name, tolerance in zip(sample.values, NAMES, kind.tolerance, strict=True):
            assert value == pytest.approx(true[name], abs=tolerance), (instant_ns, name)
        checked += 1
    print(f"\n{kind.name}: {checked} office minutes agree")
    assert checked == 1440


def test_identity_is_the_serial_number(kind):
    expected = {"scd30": "0123456789ABCDEF", "scd41": "73b1eb073b0c"}
    identity = kind.rig().driver.open()
    assert (identity.model, identity.kind) == (kind.name, "serial")
    assert identity.serial == expected[kind.name.lower()]


def test_an_scd30_without_a_serial_number_is_known_by_its_firmware():
    identity = KINDS["scd30"].rig(serial="").driver.open()
    assert (identity.serial, identity.kind) == ("3.66", "firmware")


@pytest.mark.parametrize(("variant", "named"), [(0x0440, "SCD40"), (0x5440, "SCD43"), (0xF000, "later")])
def test_a_less_accurate_sister_of_the_scd41_is_for_a_human_and_named(variant, named):
    with pytest.raises(NeedsHuman, match=f"is a {named}"):
        KINDS["scd41"].rig(variant=variant).driver.open()


def test_another_chip_that_says_the_same_nonsense_twice_is_for_a_human(kind):
    class Other:
        powered = True

        def write(self, data):
            pass

        def read(self, length):
            return bytes(length)

    rig = kind.rig()
    rig.wire._parts[kind.address] = Other()
    with pytest.raises(NeedsHuman, match=f"is no {kind.name}"):
        rig.driver.open()


def test_the_first_measurement_is_waited_for_or_asked_to_be_retried(kind):
    rig = kind.rig()
    rig.driver.open()
    with pytest.raises(RetryLater, match="first measurement") as caught:
        rig.driver.read(0.5)
    assert 0.1 <= caught.value.after_s <= kind.interval_s
    rig.clock.wait(caught.value.after_s)
    assert rig.is_of_now(rig.driver.read(0.5))


def test_read_faster_than_it_measures_gives_no_sample_twice(kind):
    rig = kind.rig()
    rig.opened()
    rig.driver.read(0.5)
    with pytest.raises(DropSample, match=f"measures every {kind.interval_s:g} s"):
        rig.driver.read(0.5)
    assert rig.is_of_now(rig.driver.read(kind.interval_s + 1))  # a deadline long enough waits for it


def test_a_power_cut_is_gone_and_afterwards_no_old_value_comes(kind):
    world = Still()
    rig = kind.rig(world)
    before = rig.opened()
    assert rig.driver.read(2.0).values == pytest.approx((600.0, 21.0, 45.0), abs=0.01)
    values, world.values = world.values, None
    with pytest.raises(InstrumentGone, match="Nothing answers at 0x6"):
        rig.driver.read(2.0)
    rig.clock.wait(60)
    world.values = {**(values or {}), "co2_ppm": 900.0}
    assert rig.opened() == before
    assert rig.driver.read(2.0).values[0] == pytest.approx(900.0)


def test_an_scd41_that_lost_power_between_two_reads_is_opened_again():
    world = Still()
    rig = KINDS["scd41"].rig(world)
    rig.opened()
    rig.driver.read(2.0)
    values, world.values = world.values, None
    assert not rig.wire._parts[0x62].powered
    world.values = values
    rig.clock.wait(60)
    with pytest.raises(InstrumentGone, match="lost power or was exchanged"):
        rig.driver.read(2.0)
    rig.opened()
    rig.driver.read(2.0)


def test_no_co2_is_no_sample(kind):
    rig = kind.rig(Still(co2_ppm=0.0))
    rig.opened()
    with pytest.raises(DropSample, match="measured no"):
        rig.driver.read(2.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_scd30_number_that_is_none_is_no_sample(bad):
    for index in range(3):
        numbers = [500.0, 20.0, 40.0]
        numbers[index] = bad
        with pytest.raises(DropSample, match="measured nothing"):
            scd30.decode(_scd30_answer(*numbers))


def _scd30_answer(*numbers):
    raw = struct.pack(">3f", *numbers)
    return with_crcs([int.from_bytes(raw[i : i + 2], "big") for i in range(0, 12, 2)])


@pytest.mark.parametrize("air", [{"co2_ppm": 50_000.0}, {"humidity_pctRH": 100.0}])
def test_a_value_at_the_end_of_the_output_range_is_flagged(kind, air):
    rig = kind.rig(Still(**air))
    rig.opened()
    assert rig.driver.read(2.0).flags & Flag.CLAMPED


def test_reading_what_is_not_open_says_so(kind):
    rig = kind.rig()
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)
    rig.driver.open()
    rig.driver.close()
    rig.driver.close()
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)


# Disturbances


def test_a_calm_open_and_read_take_the_expected_transactions(kind):
    rig = kind.rig()
    rig.opened()
    assert rig.wire.transactions == kind.opens
    sample = rig.driver.read(2.0)
    assert rig.wire.transactions == kind.opens + READS
    assert rig.wire.log[-1].read == sample.raw
    assert rig.wire.log[-2].written.hex() == kind.fetch


def _recover(rig, error):
    """What a caller does that only knows the error's name; the sample it gets then."""
    for _ in range(4):
        assert isinstance(error, RetryNow | RetryLater | DropSample | InstrumentGone), error
        assert error.sentence.endswith((".", "?"))
        rig.wire.fault = None
        if isinstance(error, RetryLater):
            rig.clock.wait(error.after_s)
        if isinstance(error, InstrumentGone):
            rig.driver.close()
            rig.clock.wait(0.5)
            rig.opened()
        try:
            return rig.driver.read(2.0)
        except DriverError as next_one:
            error = next_one
            rig.clock.wait(rig.kind.interval_s)
    raise AssertionError(f"no recovery: {error}")


def test_every_disturbed_transaction_of_open_is_noticed_or_harmless(kind):
    identity = kind.rig().driver.open()
    counts: Counter[str] = Counter()
    for index, fault in itertools.product(range(kind.opens), FAULTS):
        rig = kind.rig()
        rig.disturb(index, fault)
        try:
            opened = rig.driver.open()
            counts["harmless"] += 1
        except (RetryNow, InstrumentGone) as error:  # never NeedsHuman for what passes
            counts[type(error).__name__] += 1
            rig.wire.fault = None
            rig.clock.wait(0.5)
            opened = rig.driver.open()
        assert opened == identity, (index, fault)
        rig.clock.wait(kind.interval_s + 0.5)
        try:
            sample = rig.driver.read(2.0)
        except DriverError as error:  # the start command was what suffered
            counts[f"then {type(error).__name__}"] += 1
            sample = _recover(rig, error)
        assert rig.is_of_now(sample), (index, fault)
    print(f"\n{kind.name} open: {dict(counts)}")
    assert counts["InstrumentGone"] >= 2 * kind.opens


def test_every_disturbed_transaction_of_read_is_noticed_or_the_value_is_true(kind):
    counts: Counter[str] = Counter()
    for index, fault in itertools.product(range(READS), FAULTS):
        rig = kind.rig()
        rig.opened()
        rig.driver.read(2.0)
        rig.clock.wait(3 * kind.interval_s)
        rig.disturb(index, fault)
        started_ns = rig.clock.boottime_ns()
        try:
            sample = rig.driver.read(2.0)
            counts["harmless"] += 1
        except DriverError as error:
            counts[type(error).__name__] += 1
            sample = _recover(rig, error)
        assert rig.is_of_now(sample), (index, fault)
        assert rig.clock.boottime_ns() - started_ns < 25 * S
    print(f"\n{kind.name} read: {dict(counts)}")
    assert counts["RetryNow"] >= 72  # every flipped bit of the data itself
    assert counts["harmless"] == 2  # a short read where nothing is read


def test_one_missed_acknowledge_is_retried_and_silence_is_gone(kind):
    for index in range(READS):
        rig = kind.rig()
        rig.opened()
        rig.disturb(index, Nack())
        with pytest.raises(RetryNow, match="answers again"):
            rig.driver.read(2.0)
    rig.wire.fault = lambda i, operation, address: Nack()
    with pytest.raises(InstrumentGone, match=r"Nothing answers at 0x6. on I2C bus 1"):
        rig.driver.read(2.0)


# Decoding anything


@given(st.binary(max_size=64))
def test_any_bytes_are_values_or_a_driver_error(data):
    for module in (scd30, scd41):
        try:
            values, _ = module.decode(data)
        except DriverError:
            continue
        assert all(map(math.isfinite, values))


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=16))
def test_words_come_back_from_the_wire_and_their_crcs_catch_every_single_flip(words):
    answer = with_crcs(words)
    assert list(sensirion.words(answer, len(words))) == words
    for bit in range(8 * len(answer)):
        with pytest.raises(RetryNow):
            sensirion.words(_flipped(answer, bit), len(words))


@given(st.lists(st.integers(0, 0xFFFF), min_size=6, max_size=6))
def test_any_words_with_right_crcs_are_finite_values_or_void(words):
    for module, count in ((scd30, 6), (scd41, 3)):
        try:
            values, _ = module.decode(with_crcs(words[:count]))
        except DropSample:
            continue
        assert all(map(math.isfinite, values))
        assert values[0] > 0.0
