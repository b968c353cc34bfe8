"""Where CO2 comes from: the synthetic climate and the recorded office."""

from __future__ import annotations

import pytest

from hardware_sim.office import OfficeWorld
from hardware_sim.worlds import ClimateWorld

HOUR = 3600 * 10**9
HEADER = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"\n'


def test_outdoor_co2_gathers_at_night_and_stays_outdoor():
    for seed in range(5):
        days = [
            [ClimateWorld(seed).at((24 * day + h) * HOUR)["co2_ppm"] for h in (2, 14)] for day in range(30)
        ]
        assert all(420 < day < night < 500 for night, day in days)
        assert all(day == pytest.approx(425.0, abs=0.6) for _, day in days)


def test_a_minute_has_the_values_of_the_row_before_it_and_before_the_first_there_is_no_power(tmp_path):
    path = tmp_path / "office.csv"
    path.write_text(
        HEADER
        + '"1","2015-02-04 17:51:00",23.18,27.272,426,721.25,0.00479,1\n'
        + '"2","2015-02-04 17:51:59",23.15,27.2675,429.5,714,0.00478,1\n'
    )
    world = OfficeWorld(path)
    assert world.origin_ns == 1_423_072_260 * 10**9
    assert world.instants_ns == [0, 59 * 10**9]
    first = {"temperature_degC": 23.18, "humidity_pctRH": 27.272, "co2_ppm": 721.25}
    assert world.at(-1) is None
    assert world.at(0) == world.at(59 * 10**9 - 1) == first
    assert (world.at(10**15) or {})["co2_ppm"] == 714.0
