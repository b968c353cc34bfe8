"""Worlds: recorded days and the synthetic climate."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_sim.replay import RecordingError, ReplayWorld
from hardware_sim.worlds import ClimateWorld

S = 10**9
HEADER = "sensor_id;sensor_type;location;lat;lon;timestamp;"
HEADER += "pressure;altitude;pressure_sealevel;temperature;humidity"
DATA = Path(__file__).parents[4] / "shared" / "data" / "bme280_sds011_aberdeen"


def _line(clock, pressure="101325.00", temperature="20.00", humidity="50.00"):
    return f"1;BME280;2;0;0;2018-07-08T{clock};{pressure};;;{temperature};{humidity}"


@pytest.fixture
def world_of(tmp_path):
    """world_of(line, ...) -> ReplayWorld of a file with these lines under the usual header."""

    def make(*lines, header=HEADER):
        path = tmp_path / "day.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return ReplayWorld.from_csv(path)

    return make


def _boottime(world, row):
    return row.t_s * S - world.origin_ns


def test_rows_are_sorted_and_of_twins_the_last_counts(world_of):
    world = world_of(
        _line("00:05:00", temperature="3"), _line("00:00:00"), _line("00:05:00", temperature="4")
    )
    assert [row.temperature_degC for row in world.rows] == [20.0, 4.0]


def test_blank_nan_and_impossible_values_are_no_value(world_of):
    row = world_of(_line("00:00:00", pressure="", temperature="nan", humidity="999.9")).rows[0]
    assert (row.pressure_Pa, row.temperature_degC, row.humidity_pctRH) == (None, None, None)
    assert row.values() == {}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("1;2;3", r"day.csv, line 3: 3 columns, expected 11"),
        (_line("25:00:00"), r"day.csv, line 3: '2018-07-08T25:00:00' is no ISO time"),
        (_line("00:02:30", humidity="wet"), r"day.csv, line 3: humidity is 'wet', expected a number"),
    ],
)
def test_a_row_that_cannot_be_understood_is_refused_with_file_and_line(world_of, line, sentence):
    with pytest.raises(RecordingError, match=sentence):
        world_of(_line("00:00:00"), line)


def test_what_is_no_day_file_is_refused(world_of, tmp_path):
    with pytest.raises(RecordingError, match="no rows"):
        world_of()
    with pytest.raises(RecordingError, match="line 1: expected columns"):
        world_of(header="a;b")
    with pytest.raises(RecordingError, match="cannot be read"):
        ReplayWorld.from_csv(tmp_path / "missing.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(RecordingError, match="cannot be read"):
        ReplayWorld.from_csv(tmp_path / "binary")


@given(st.text(max_size=200))
def test_any_text_is_a_world_or_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(HEADER + "\n" + text, encoding="utf-8", newline="")
    try:
        sentence = ""
        ReplayWorld.from_csv(path)
    except RecordingError as error:
        sentence = str(error)
    assert not sentence or "any.csv" in sentence


def test_a_row_holds_while_it_is_read_and_the_station_is_off_in_a_hole(world_of):
    world = world_of(*(_line(f"00:{m:02}:00", temperature=str(m)) for m in (0, 2, 4, 6, 20)))
    assert world.nominal_s == 120
    first = _boottime(world, world.rows[0])
    assert world.at(first - 1) is None
    for row in world.rows:
        for later in (0, S // 100, S // 5):
            values = world.at(_boottime(world, row) + later)
            assert values is not None
            assert values["temperature_degC"] == row.temperature_degC
    instants = world.instants()
    assert instants == sorted(set(instants))
    attempts = set(instants) - {_boottime(world, row) for row in world.rows}
    assert len(instants) - len(attempts) == len(world.rows)
    assert [(t - first) // S // 60 for t in sorted(attempts)] == [8, 10, 12, 14, 16, 18]
    assert all(world.at(t) is None for t in attempts)


def test_day_files_of_both_sensors_are_read():
    if not DATA.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    dust = ReplayWorld.from_csv(DATA / "2018-07-08_sds011_sensor_15092.csv")
    assert set(dust.rows[0].values()) == {"pm10_ugm3", "pm2p5_ugm3"}
    air = ReplayWorld.from_csv(DATA / "2018-07-08_bme280_sensor_15093.csv")
    assert air.rows[0].values() == {
        "temperature_degC": 14.6,
        "pressure_Pa": 102506.41,
        "humidity_pctRH": 79.37,
    }
    assert air.nominal_s == 148


def test_a_lossy_day_keeps_the_stations_own_beat():
    if not DATA.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    world = ReplayWorld.from_csv(DATA / "2019-01-05_bme280_sensor_15093.csv")
    assert 140 <= world.nominal_s <= 200  # its median interval is 749 s


def test_the_climate_repeats_from_its_seed_and_differs_between_seeds():
    times = [n * 600 * S for n in range(500)]
    assert [ClimateWorld(3).at(t) for t in times] == [ClimateWorld(3).at(t) for t in times]
    assert ClimateWorld(3).at(0) != ClimateWorld(4).at(0)


@given(st.integers(0, 2**32), st.integers(0, 10 * 366 * 86_400 * S))
def test_the_climate_stays_within_a_temperate_station(seed, boottime_ns):
    values = ClimateWorld(seed).at(boottime_ns)
    assert -10 < values["temperature_degC"] < 40
    assert 98_000 < values["pressure_Pa"] < 105_000
    assert 10 < values["humidity_pctRH"] <= 100


def test_the_climate_dries_as_it_warms():
    world = ClimateWorld(5)
    dawn, afternoon = world.at(3 * 3600 * S), world.at(15 * 3600 * S)
    assert afternoon["temperature_degC"] > dawn["temperature_degC"] + 4
    assert afternoon["humidity_pctRH"] < dawn["humidity_pctRH"] - 10
