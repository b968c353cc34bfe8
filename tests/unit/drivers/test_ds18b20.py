"""DS18B20: recorded sysfs texts and scratchpads, the driver on a simulated folder, and every disturbance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import catalogue
from drivers.ds18b20 import DS18B20, crc8, decode
from drivers.errors import DriverError, DropSample, InstrumentGone, NeedsHuman, RetryNow
from drivers.onewire import OneWire
from hardware_sim.clock import PacedClock
from hardware_sim.onewire_folder import SimulatedOneWire
from hardware_sim.parts.ds18b20 import DS18B20 as Chip
from hardware_sim.parts.ds18b20 import w1_slave
from hardware_sim.worlds import ClimateWorld

ROM = "28-0316a2794bff"
S = 10**9


class Air:
    """One temperature until it is changed; None is a power cut."""

    def __init__(self, celsius):
        self.celsius = celsius

    def at(self, boottime_ns):
        return None if self.celsius is None else {"temperature_degC": self.celsius}


@dataclass
class Rig:
    clock: PacedClock
    chip: Chip
    folder: Path
    driver: DS18B20


@pytest.fixture
def make_rig(tmp_path):
    """make_rig(world, rom) -> Rig."""

    def make(world, rom=ROM):
        clock = PacedClock(60 * S, 0)
        chip = Chip(world, clock)
        return Rig(clock, chip, tmp_path / rom, DS18B20(SimulatedOneWire(tmp_path, {rom: chip}), rom, clock))

    return make


def _expected(error, text):
    with pytest.raises(error):
        decode(text)


# Recorded texts and bytes


def test_every_recorded_text_and_table_value_is_decoded_or_refused(vectors, make_rig):
    seen: Counter[str] = Counter()
    for name, vector in vectors.items():
        if not name.startswith("ds18b20"):
            continue
        raw, expected = bytes.fromhex(vector["bytes_hex"]), vector["expected"]
        if vector["kind"] == "ROM code":
            assert raw[0] == expected["family"] == 0x28
            assert crc8(raw[:7]) == raw[7], name
            address = f"{raw[0]:02x}-{raw[6:0:-1].hex()}"
            assert make_rig(Air(20.0), address).driver.open().serial == address == "28-0000070e41ac"
            seen["ROM codes opened"] += 1
        elif vector["sensor"] == "DS18B20":
            text = w1_slave(raw + bytes.fromhex("4b467fff0010") + _check(raw))
            if expected["temperature_c"] == 85:
                _expected(DropSample, text)
                seen["table values refused: 85 °C is the power-on value"] += 1
            else:
                assert decode(text)[0] == expected["temperature_c"], name
                seen["table values decoded"] += 1
        elif vector["kind"] == "w1_slave file text":
            if name == "ds18b20_85c_poweron":
                _expected(DropSample, expected["text"])
            elif name == "ds18b20_ff_disconnected":
                _expected(InstrumentGone, expected["text"])
            else:
                _expected(RetryNow, expected["text"])  # the kernel's NO counts, whatever the bytes say
                assert decode(expected["text"].replace("crc=00 NO", "crc=8a YES"))[0] == 27.5
            seen[f"file texts refused: {name}"] += 1
    print("\nDS18B20:", *(f"\n  {count:3} {what}" for what, count in sorted(seen.items())))
    assert sum(seen.values()) == 14
    assert seen["table values decoded"] == 9


def _check(low_high):
    return bytes([crc8(low_high + bytes.fromhex("4b467fff0010"))])


# Behaviour


def test_a_day_of_weather_comes_back_within_the_parts_resolution(make_rig):
    world = ClimateWorld(seed=3)
    rig = make_rig(world)
    assert rig.driver.open().serial == ROM
    values = []
    for _ in range(288):
        rig.clock.wait(300)
        sample = rig.driver.read(2.0)
        true = world.at(rig.clock.boottime_ns())["temperature_degC"]
        assert sample.values[0] == pytest.approx(true, abs=0.0313)
        assert sample.values[0] * 16 % 1 == 0
        assert len(sample.raw) == 9
        values.append(sample.values[0])
    assert max(values) - min(values) > 5  # it moved: no file was read twice


@pytest.mark.parametrize("celsius", [-55.0, -10.125, -0.5, 0.0, 0.0625, 84.9375, 85.0625, 125.0])
def test_every_temperature_it_can_measure_comes_back(make_rig, celsius):
    rig = make_rig(Air(celsius))
    rig.driver.open()
    assert rig.driver.read(1.0).values == (celsius,)


@pytest.mark.parametrize("address", ["10-000802b4ab12", "28-0316A2794BFF", "28-0316", "../../etc", ""])
def test_another_family_or_no_rom_code_is_for_a_human(tmp_path, address):
    with pytest.raises(NeedsHuman, match="is no DS18B20"):
        DS18B20(OneWire(tmp_path), address, PacedClock(0, 0)).open()


def test_a_part_that_was_never_there_is_gone_with_what_to_do(tmp_path):
    with pytest.raises(InstrumentGone, match="do_onewire 0"):
        DS18B20(OneWire(tmp_path), ROM, PacedClock(0, 0)).open()


def test_reading_what_is_not_open_says_so(make_rig):
    rig = make_rig(Air(20.0))
    with pytest.raises(InstrumentGone, match="not open"):
        rig.driver.read(1.0)


def test_a_conversion_longer_than_the_deadline_is_no_sample(make_rig):
    rig = make_rig(Air(20.0))
    rig.driver.open()
    with pytest.raises(DropSample, match=r"took 0\.75 s, longer than its deadline of 0\.5 s"):
        rig.driver.read(0.5)


def test_the_catalogue_makes_it_and_wants_its_rom_code(tmp_path):
    with pytest.raises(NeedsHuman, match="ROM code"):
        catalogue.address_of("ds18b20", "")
    assert isinstance(catalogue.create("ds18b20", OneWire(tmp_path), ROM, PacedClock(0, 0)), DS18B20)


# Disturbances


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("power-on", DropSample),
        ("crc", RetryNow),
        ("silence", InstrumentGone),
        ("short", DropSample),
        ("cut", RetryNow),
    ],
)
def test_a_disturbed_conversion_is_noticed_and_the_next_read_is_right(make_rig, fault, error):
    rig = make_rig(Air(20.5))
    rig.driver.open()
    rig.chip.fault = fault
    with pytest.raises(error, match=ROM):
        rig.driver.read(1.0)
    rig.driver.open()
    assert rig.driver.read(1.0).values == (20.5,)


def test_unplugged_is_gone_and_plugged_in_again_it_is_the_same_part(make_rig):
    air = Air(20.0)
    rig = make_rig(air)
    before = rig.driver.open()
    air.celsius = None
    for act in (lambda: rig.driver.read(1.0), rig.driver.open):
        with pytest.raises(InstrumentGone, match="check the wiring"):
            act()
    air.celsius = 21.0
    assert rig.driver.open() == before
    assert rig.driver.read(1.0).values == (21.0,)


def test_every_flipped_bit_of_the_scratchpad_is_noticed():
    right = w1_slave(bytes.fromhex("b8014b467fff08108a"))
    assert decode(right)[0] == 27.5
    for bit in range(72):
        nine = bytearray.fromhex("b8014b467fff08108a")
        nine[bit // 8] ^= 1 << bit % 8
        _expected(RetryNow, w1_slave(bytes(nine)))  # the kernel says NO
        _expected(RetryNow, w1_slave(bytes(nine)).replace("NO", "YES"))  # and we look for ourselves


def test_a_temperature_that_is_not_the_scratchpads_is_refused():
    _expected(RetryNow, w1_slave(bytes.fromhex("b8014b467fff08108a")).replace("t=27500", "t=27000"))


# Decoding anything


@given(st.text(max_size=200) | st.binary(max_size=120).map(lambda data: data.decode("ascii", "replace")))
def test_any_text_is_a_driver_error(text):
    _expected(DriverError, text)


@given(st.binary(min_size=8, max_size=8))
def test_any_scratchpad_with_a_right_crc_is_a_possible_temperature_or_refused(eight):
    text = w1_slave(eight + bytes([crc8(eight)]))
    assert " YES" in text  # two ways to work out the CRC agree
    try:
        celsius, scratchpad = decode(text)
    except DropSample:
        return
    assert -55.0 <= celsius <= 125.0
    assert celsius != 85.0
    assert scratchpad[:8] == eight
