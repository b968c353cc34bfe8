"""Quality flags by their published limits, and which rows of recorded days they fall on."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import FixConfig
from agent.quality import Inspector, Limits, limits_of
from agent.settings import LimitSettings
from drivers.bme280 import BME280
from drivers.contract import Quantity

RANGE, JUMP, FROZEN, CROSS_CHECK = 1, 2, 4, 128  # §9
FOLDER = Path(__file__).parents[4] / "shared" / "data" / "bme280_sds011_aberdeen"
T, P, RH = BME280.quantities


def inspector(quantities=BME280.quantities, **configured):
    return Inspector(quantities, limits_of("x", quantities, configured))


def run(readings, quantities=BME280.quantities, **configured):
    """Flags of (seconds, values) in turn."""
    one = inspector(quantities, **configured)
    return [one.flags(values, round(at_s * 1e9)) for at_s, values in readings]


def test_the_published_limits_are_in_force_where_none_are_configured():
    assert limits_of("x", BME280.quantities, {}) == (
        Limits(-40.0, 85.0, jump=2.0, frozen_s=240 * 60),
        Limits(30_000.0, 110_000.0, jump=50.0, frozen_s=120 * 60),
        Limits(0.0, 100.0, jump=5.0, frozen_s=360 * 60),
    )


def test_a_quantity_nobody_published_limits_for_has_its_range_only():
    co2 = Quantity("co2", "ppm", 1.0, 30.0, 400.0, 5000.0)
    assert limits_of("x", [co2], {}) == (Limits(400.0, 5000.0),)
    assert run([(0, [400.0]), (1, [5000.0]), (10**6, [5000.0]), (10**6 + 1, [5001.0])], [co2]) == [
        0,
        0,
        0,
        RANGE,
    ]


def test_configured_limits_replace_the_published_ones_one_by_one():
    configured = {"temperature": LimitSettings("Cel", low=-10.0, jump=1.0)}
    limits = limits_of("x", BME280.quantities, configured)[0]
    assert limits == Limits(-10.0, 85.0, jump=1.0, frozen_s=240 * 60)


def test_limits_in_another_unit_or_of_another_quantity_are_refused():
    with pytest.raises(FixConfig, match=r"limits.pressure.unit is 'hPa', the instrument gives 'Pa'"):
        limits_of("x", BME280.quantities, {"pressure": LimitSettings("hPa", low=900)})
    with pytest.raises(FixConfig, match="it measures temperature, pressure, humidity, not 'co2'"):
        limits_of("x", BME280.quantities, {"co2": LimitSettings("ppm")})


@pytest.mark.parametrize(
    ("quantity", "at", "inside", "outside"),
    [
        (0, "low", -40.0, -40.01),
        (0, "high", 85.0, 85.01),
        (1, "low", 30_000, 29_999),
        (2, "high", 100, 100.01),
    ],
)
def test_range_is_judged_at_the_limit_itself(quantity, at, inside, outside):
    values = [None, None, None]
    values[quantity] = inside
    assert run([(0, values)]) == [0]
    values[quantity] = outside
    assert run([(0, values)]) == [RANGE if quantity != 2 else RANGE | CROSS_CHECK]


@pytest.mark.parametrize(("quantity", "limit"), [(0, 2.0), (1, 50.0), (2, 5.0)])
def test_a_jump_is_more_than_the_limit_within_three_minutes(quantity, limit):
    def pair(change, after_s):
        start = [20.0, 100_000.0, 50.0]
        moved = list(start)
        moved[quantity] += change
        return run([(0, start), (after_s, moved)])[1]

    assert pair(limit, 60) == pair(-limit, 60) == 0
    assert pair(limit * 1.01, 60) == pair(-limit * 1.01, 60) == JUMP
    assert pair(limit * 1.01, 180) == JUMP
    assert pair(limit * 1.01, 180.1) == 0


def test_a_jump_is_from_the_reading_before_not_from_the_first():
    steps = [(60 * i, [20.0 + 1.9 * i, 100_000.0 + 49 * i, 40.0 + 4.9 * i]) for i in range(8)]
    assert run(steps) == [0] * 8


@pytest.mark.parametrize(("quantity", "minutes"), [(0, 240), (1, 120), (2, 360)])
def test_frozen_is_longer_than_the_quantity_allows(quantity, minutes):
    """The other two quantities move all the time."""

    def at(minute):
        values = [20.0 + minute % 2, 100_000.0 + minute % 2, 50.0 + minute % 2]
        values[quantity] = 20.0 if quantity != 1 else 100_000.0
        return minute * 60, values

    flags = run([at(minute) for minute in range(minutes + 3)])
    assert flags == [0] * (minutes + 1) + [FROZEN, FROZEN]


def test_two_equal_readings_either_side_of_an_outage_are_not_a_standstill():
    """Nobody looked for nine hours; the same value at both ends says nothing of them."""
    assert run([(0, [None, 100_000.0, None]), (9 * 3600, [None, 100_000.0, None])]) == [0, 0]


@pytest.mark.parametrize(("hole_s", "flag"), [(3600, FROZEN), (3601, 0)])
def test_a_hole_longer_than_half_the_limit_begins_the_count_anew(hole_s, flag):
    """Of pressure, whose limit is two hours: 61 minutes of looking, a hole, the same value again."""
    before = [(minute * 60, [None, 100_000.0, None]) for minute in range(62)]
    assert run([*before, (61 * 60 + hole_s, [None, 100_000.0, None])])[-1] == flag


def test_after_a_hole_the_whole_limit_has_to_pass_again():
    hole_s = 5 * 3600
    after = [(hole_s + minute * 60, [None, 100_000.0, None]) for minute in range(122)]
    assert run([(0, [None, 100_000.0, None]), *after]) == [0] * 122 + [FROZEN]


def test_one_that_moved_again_is_no_longer_frozen():
    still = [(minute * 60, [None, 100_000.0, None]) for minute in range(0, 130, 5)]
    flags = run([*still, (130 * 60, [None, 100_000.2, None]), (131 * 60, [None, 100_000.2, None])])
    assert flags[-4:] == [0, FROZEN, 0, 0]


@pytest.mark.parametrize(("humidity", "frozen"), [(94.99, FROZEN), (95.0, 0), (100.0, 0)])
def test_in_fog_temperature_and_humidity_may_stand_still(humidity, frozen):
    calm = [(minute * 60, [4.0, 100_000.0 + minute, humidity]) for minute in range(0, 400, 5)]
    assert run(calm)[-1] == frozen


def test_pressure_does_not_stand_still_in_fog_either():
    assert run([(minute * 60, [4.0, 100_000.0, 100.0]) for minute in range(0, 130, 5)])[-1] == FROZEN


def test_after_the_fog_the_time_of_standing_still_begins_anew():
    fog = [(minute * 60, [4.0, 100_000.0 + minute, 100.0]) for minute in range(0, 300, 10)]
    clear = [
        (minute * 60, [4.0, 100_000.0 + minute, 60.0 + minute / 10 % 2]) for minute in range(300, 561, 10)
    ]
    flags = run(fog + clear)
    assert flags[-4:] == [0, FROZEN, FROZEN, FROZEN]  # more than 240 minutes after the last fog, at 290


def test_what_was_not_measured_is_not_judged_and_does_not_end_a_standstill():
    readings = [(0, [20.0, None, None]), (60, [None, None, None]), (120, [22.5, None, None])]
    assert run(readings) == [0, 0, JUMP]


# Recorded days. The rule once more, in another way: each row looks back over the whole day for itself.


def recorded(day):
    path = FOLDER / f"{day}_bme280_sensor_15093.csv"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    times = [round(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp()) for row in rows]
    return [
        (at_s, (float(row["temperature"]), float(row["pressure"]), float(row["humidity"])))
        for at_s, row in zip(times, rows, strict=True)
    ]


def restated(rows, fog=95.0):
    """{row: why} by looking back from each row."""
    reasons: dict[int, list[str]] = {}
    for i, (now_s, values) in enumerate(rows):
        for q, (name, most, minutes) in enumerate([("T", 2.0, 240), ("P", 50.0, 120), ("RH", 5.0, 360)]):
            if i and now_s - rows[i - 1][0] <= 180 and abs(values[q] - rows[i - 1][1][q]) > most:
                reasons.setdefault(i, []).append(f"jump {name}")
            since_s = now_s
            for at_s, before in reversed(rows[: i + 1]):
                if before[q] != values[q] or since_s - at_s > minutes * 60 / 2:
                    break  # it moved, or nobody looked for too long
                since_s = at_s
                if name != "P" and before[2] >= fog:
                    break  # it stood in fog here: counting begins after
            if now_s - since_s > minutes * 60:
                reasons.setdefault(i, []).append(f"frozen {name}")
    return reasons


@pytest.mark.parametrize("day", ["2018-07-08", "2018-07-11", "2018-12-16", "2018-12-31"])
def test_on_a_recorded_day_flags_fall_on_the_rows_the_rule_says_and_on_no_other(day):
    rows = recorded(day)
    flagged = {i: flags for i, flags in enumerate(run(rows)) if flags}
    expected = {
        i: (JUMP if any("jump" in r for r in why) else 0) | (FROZEN if any("frozen" in r for r in why) else 0)
        for i, why in restated(rows).items()
    }
    assert flagged == expected


def test_the_morning_sun_on_a_shelter_is_what_a_jump_shows():
    rows = recorded("2018-07-08")
    jumps = [i for i, flags in enumerate(run(rows)) if flags & JUMP]
    assert [restated(rows)[i] for i in jumps] == [["jump T", "jump RH"], ["jump T", "jump RH"], ["jump RH"]]
    assert all(rows[i][1][0] > rows[i - 1][1][0] for i in jumps)  # it grew warmer
    assert all(rows[i][1][2] < rows[i - 1][1][2] for i in jumps)  # and drier


def test_a_day_of_drizzle_at_a_hundred_percent_is_not_called_frozen():
    rows = recorded("2018-12-16")
    assert {values[2] for _, values in rows} == {100.0}
    assert not any(flags & FROZEN for flags in run(rows))
    assert any("frozen RH" in why for why in restated(rows, fog=1000.0).values())  # but for the exception


def test_after_a_hole_in_the_record_a_large_difference_is_no_jump():
    rows = recorded("2018-12-31")
    later = [i for i in range(1, len(rows)) if abs(rows[i][1][1] - rows[i - 1][1][1]) > 50]
    assert later  # the pressure moved on while the station was off
    assert not any(run(rows)[i] & JUMP for i in later)
