"""Quality flags of particles and CO2, and which rows of the recordings they fall on.

What a row deserves is restated here from the datasheets, in decimal numbers and without the `Inspector`.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest

from agent.quality import Inspector, Limits, limits_of
from drivers.mhz19b import MHZ19B
from drivers.pms5003 import PMS5003
from drivers.scd30 import SCD30
from drivers.sds011 import SDS011
from drivers.sps30 import SPS30

RANGE, JUMP, FROZEN, CROSS_CHECK = 1, 2, 4, 128  # §9
DATA = Path(__file__).parents[4] / "shared" / "data"
ABERDEEN, MADAVI = DATA / "bme280_sds011_aberdeen", DATA / "sds011_dht22_madavi"
MOBILE = DATA / "sds011_gps_jarvis"
recorded = pytest.mark.skipif(not DATA.exists(), reason="the shared recordings are not beside this checkout")


def flags_of(driver, rows, every_s=150):
    one = Inspector(driver.quantities, limits_of("x", driver.quantities, {}))
    return [one.flags(values, round(i * every_s * 1e9)) for i, values in enumerate(rows)]


# By hand


@pytest.mark.parametrize(
    ("driver", "values", "flag"),
    [
        (SDS011, (12.0, 12.0), 0),
        (SDS011, (12.1, 12.0), 0),  # one step of 0.1: rounding
        (SDS011, (1.3, 1.2), 0),  # in binary a little more than one step
        (SDS011, (12.2, 12.0), CROSS_CHECK),
        (SDS011, (999.9, 999.9), 0),  # the largest its protocol promises
        (SDS011, (1.0, 1000.0), RANGE),
        (SDS011, (None, 1.0), 0),
        (SDS011, (5.0, None), 0),
        (PMS5003, (3.0, 2.0, 2.0), 0),  # its words are whole numbers
        (PMS5003, (4.0, 2.0, 2.0), CROSS_CHECK),  # PM1 above PM2.5
        (PMS5003, (1.0, 4.0, 2.0), CROSS_CHECK),  # PM2.5 above PM10
        (PMS5003, (9.0, None, 2.0), 0),  # judged by neighbours only
        (SPS30, (1.0, 2.0, 3.0), 0),
        (SCD30, (500.0, 20.0, 100.0), 0),
        (SCD30, (500.0, 20.0, 100.1), RANGE | CROSS_CHECK),  # a dew point above the temperature
        (SCD30, (10_000.5, 20.0, 50.0), RANGE),
    ],
)
def test_range_and_cross_check_of_one_sample(driver, values, flag):
    assert flags_of(driver, [values]) == [flag]


@pytest.mark.parametrize("driver", [SDS011, PMS5003, SPS30, MHZ19B])
def test_nobody_published_jumps_or_standstills_of_particles_and_co2_so_none_are_judged(driver):
    limits = limits_of("x", driver.quantities, {})
    assert limits == tuple(Limits(q.low, q.high) for q in driver.quantities)


def test_humidity_and_temperature_of_a_co2_sensor_are_judged_as_those_of_any_other():
    assert [limit.jump for limit in limits_of("x", SCD30.quantities, {})] == [None, 2.0, 5.0]


# By recordings


def aberdeen(path):
    """(PM2.5, PM10) as text; P1 is PM10 there."""
    with path.open() as file:
        return [(row["P2"], row["P1"]) for row in csv.DictReader(file, delimiter=";")]


def madavi(path):
    """Rows have two columns more than their header, behind those of the SDS011."""
    with path.open() as file:
        header, *rows = csv.reader(file, delimiter=";")
    assert header[7:9] == ["SDS_P1", "SDS_P2"]
    return [(row[8], row[7]) for row in rows]


def mobile(path):
    with path.open(encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    at = next(i for i, row in enumerate(rows) if row[:1] == ["time"])
    columns = rows[at].index("sds-pm2.5"), rows[at].index("sds-pm10")
    return [tuple(row[c] for c in columns) for row in rows[at + 1 :] if len(row) > max(columns)]


def restated(rows):
    """{row: why} for an SDS011: words of tenths up to 999.9 (control protocol §3); PM10 includes PM2.5."""
    reasons = {}
    for i, (pm25, pm10) in enumerate(rows):
        fine, coarse = (Decimal(text) if text not in ("", "nan") else None for text in (pm25, pm10))
        why = [f"{name} {v}" for name, v in (("pm2.5", fine), ("pm10", coarse)) if v and v > Decimal("999.9")]
        if fine is not None and coarse is not None and fine - coarse > Decimal("0.1"):
            why.append("pm2.5 above pm10")
        if why:
            reasons[i] = why
    return reasons


def flagged(rows):
    values = [tuple(float(text) if text not in ("", "nan") else None for text in row) for row in rows]
    return {i: flags for i, flags in enumerate(flags_of(SDS011, values)) if flags}


def as_flags(reasons):
    return {
        i: (RANGE if any(" above " not in r for r in why) else 0)
        | (CROSS_CHECK if any(" above " in r for r in why) else 0)
        for i, why in reasons.items()
    }


def files():
    for folder, read in ((ABERDEEN, aberdeen), (MADAVI, madavi), (MOBILE, mobile)):
        pattern = "*_sds011_*.csv" if folder == ABERDEEN else "*.csv"
        for path in sorted(folder.glob(pattern)):
            yield pytest.param(path, read, id=path.stem)


@recorded
@pytest.mark.parametrize(("path", "read"), list(files()))
def test_on_recorded_particles_flags_fall_where_the_rule_says_and_nowhere_else(path, read):
    rows = read(path)
    assert len(rows) > 200
    assert flagged(rows) == as_flags(restated(rows))


@recorded
def test_the_smoke_of_the_seventeenth_of_april_is_above_what_an_sds011_can_say():
    """Three rows near 1361 µg/m3 within a quarter of an hour: the only ones of all stations' days."""
    rows = aberdeen(ABERDEEN / "2019-04-17_sds011_sensor_22480.csv")
    assert max(Decimal(pm10) for _, pm10 in rows) == Decimal("1361.03")
    assert {tuple(why) for why in restated(rows).values()} == {
        ("pm10 1361.03",),
        ("pm10 1070.37",),
        ("pm10 1254.00",),
    }
    assert set(flagged(rows).values()) == {RANGE}
    others = [p for p in ABERDEEN.glob("*_sds011_*.csv") if not p.name.startswith("2019-04-17")]
    assert len(others) == 46
    assert not any(restated(aberdeen(path)) for path in others)
    assert not any(restated(madavi(path)) for path in MADAVI.glob("*.csv"))


@recorded
def test_rain_that_washed_the_air_to_zero_for_an_hour_is_not_called_frozen():
    """2018-12-16, drizzle: both words are 0.00 for 83 minutes. No limit is published that would forbid it."""
    rows = aberdeen(ABERDEEN / "2018-12-16_sds011_sensor_15092.csv")
    longest = max(len(run) for run in "".join("0" if r == ("0.00", "0.00") else "." for r in rows).split("."))
    assert longest == 35
    assert flagged(rows) == {}


@recorded
def test_recorded_frames_of_dust_sensors_pass_the_cross_check():
    """Every decoded frame of PMSx003, SDS01x and SPS30: smaller particles never outweigh larger ones."""
    judged = 0
    for name, driver, columns in (
        ("PMSx003", PMS5003, ("pm01", "pm25", "pm10")),
        ("SDS01x", SDS011, ("pm25", "pm10")),
        ("SPS30", SPS30, ("pm01", "pm25", "pm10")),
        ("MHZ19B", MHZ19B, ("CO2",)),
    ):
        with (DATA / "pm_co2_pypms" / f"{name}.csv").open() as file:
            table = [{k.strip(): Decimal(v.strip()) for k, v in row.items()} for row in csv.DictReader(file)]
        rows = [tuple(row[c] for c in columns) for row in table]
        assert all(list(row) == sorted(row) for row in rows)
        assert flags_of(driver, [tuple(map(float, row)) for row in rows], every_s=10) == [0] * len(rows)
        judged += len(rows)
    print(f"\nframes judged: {judged}")
    assert judged >= 40


@recorded
def test_the_dusty_road_is_above_what_an_sds011_can_say_and_never_upside_down():
    """A drive past a dusty place: PM10 stands at 1999.9, twice what the datasheet promises."""
    (path,) = MOBILE.glob("*.csv")
    why = [reason for reasons in restated(mobile(path)).values() for reason in reasons]
    assert "pm10 1999.9" in why
    assert all(reason.startswith("pm10 ") for reason in why)
