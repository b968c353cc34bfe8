"""World files: quantities, recorded values and recorded bytes, and what is refused."""

from __future__ import annotations

import math

import pytest

from agent.errors import FixConfig
from agent.settings import InstrumentSettings
from drivers import catalogue
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.scenario import written
from hardware_sim.world_file import FileWorld
from hardware_sim.worlds import ClimateWorld
from tests.unit.drivers.conftest import DATA

S = 10**9
TABLE = "when,CO2,T\n2015-02-02 14:19:00,700,21.5\n2015-02-02 14:20:00,,21.6\n2015-02-02 14:21:00,710,21.7\n"
VALUES = """
[[values]]
file = "t.csv"
time = "when"
columns = { CO2 = "co2_ppm", T = "temperature_degC" }
"""


@pytest.fixture
def world(tmp_path):
    """world(toml, **files) -> FileWorld of a folder with these."""

    def make(text, table=TABLE):
        (tmp_path / "t.csv").write_text(table)
        (tmp_path / "world.toml").write_text(text)
        return FileWorld(tmp_path / "world.toml")

    return make


def test_a_quantity_is_a_sine_with_bounded_noise_and_the_same_every_time(world):
    text = '[[quantity]]\nkey = "ph"\nbase = 7.0\namplitude = 0.5\nperiod_s = 400\nnoise = 0.01'
    first, again = world(text), world(text)
    for second in range(0, 800, 7):
        value = first.at(second * S)["ph"]
        assert value == again.at(second * S)["ph"]
        assert abs(value - 7.0 - 0.5 * math.sin(2 * math.pi * second / 400)) <= 0.01
    assert first.at(100 * S).keys() == {"ph"}


def test_recorded_values_hold_until_the_next_row_and_blank_ones_are_not_measured(world):
    found = world(VALUES)
    assert found.origin_ns == 1_422_886_740 * S
    assert found.at(0) == {"co2_ppm": 700.0, "temperature_degC": 21.5}
    assert found.at(59 * S) == found.at(0)
    assert found.at(60 * S) == {"temperature_degC": 21.6}
    assert found.at(120 * S)["co2_ppm"] == 710.0
    assert found.at(121 * S) == {}


def test_later_tables_win_over_the_climate_and_an_origin_moves_recordings(world):
    text = 'climate = 3\norigin = 2015-02-02T14:18:00Z\n[[quantity]]\nkey = "ph"\nbase = 4.0\n' + VALUES
    found = world(text)
    climate = ClimateWorld(3, found.origin_ns)
    assert "co2_ppm" not in found.at(0)
    assert found.at(60 * S)["co2_ppm"] == 700.0
    assert found.at(60 * S)["ph"] == 4.0
    assert found.at(60 * S)["pressure_Pa"] == climate.at(60 * S)["pressure_Pa"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("oops = 1", "oops: there is no such key"),
        ('[[quantity]]\nkey = "gold"\nbase = 1', "no 'gold' to measure; there are"),
        ('[[quantity]]\nkey = "ph"', "base: Field required|base: Missing"),
        ('[[quantity]]\nkey = "ph"\nbase = inf', "base"),
        ('[[bytes]]\ninstrument = "a"\nfile = "t.csv"', "either bytes_per_s or line_s"),
        ('[[bytes]]\ninstrument = "a"\nfile = "none"\nline_s = 1', "none cannot be read"),
        (VALUES.replace('"when"', '"then"'), "there is no column then"),
        (VALUES.replace("t.csv", "none.csv"), "none.csv cannot be read"),
        ("x = [", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_one_sentence(world, text, said):
    with pytest.raises(FixConfig, match=said):
        world(text)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("when,CO2,T\n", "no rows"),
        ("when,CO2,T\nyesterday,1,2\n", "line 2: .*yesterday"),
        ("when,CO2,T\n2015-02-02 14:19:00,much,2\n", "line 2: could not convert"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(world, table, said):
    with pytest.raises(FixConfig, match=said):
        world(VALUES, table)


def test_an_instrument_in_the_file_must_be_on_a_serial_line(world):
    found = world('[[bytes]]\ninstrument = "air"\nfile = "t.csv"\nline_s = 1')
    instruments = [InstrumentSettings("air", "bme280", "i2c:1")]
    with pytest.raises(FixConfig, match="'air', which is no instrument on a serial line"):
        SimulatedBuses(instruments, found, PacedClock(0, 0), recordings=found.recordings)


def test_a_written_scenario_is_the_same_boot_for_the_same_file(world):
    text = '[[quantity]]\nkey = "ph"\nbase = 7.0'
    one, same, other = written(world(text), 3), written(world(text)), written(world(text + "1"))
    assert one.boot_id == same.boot_id != other.boot_id
    schedule = one.schedule(InstrumentSettings("a", "ezo-ph", "serial:/dev/x"))
    assert [schedule.next_ns(0), schedule.next_ns(180 * S)] == [60 * S, None]


def test_recorded_bytes_of_a_real_sensor_reach_its_driver(tmp_path):
    frames = DATA / "pm_co2_pypms" / "PMSx003.hexdump"
    if not frames.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    lines = frames.read_text().splitlines()
    raw = b"".join(bytes.fromhex(line.split(": ", 1)[1].split("  ")[0]) for line in lines)
    (tmp_path / "pms.bin").write_bytes(raw)
    (tmp_path / "w.toml").write_text('[[bytes]]\ninstrument = "dust"\nfile = "pms.bin"\nbytes_per_s = 32')
    found = FileWorld(tmp_path / "w.toml")
    clock = PacedClock(0, 0)
    buses = SimulatedBuses(
        [InstrumentSettings("dust", "pms7003", "serial:/dev/pms")], found, clock, recordings=found.recordings
    )
    driver = catalogue.create("pms7003", buses.get("serial:/dev/pms"), None, clock)
    try:
        driver.open()
        assert driver.read(5.0).raw in raw
    finally:
        driver.close()
        buses.close()
