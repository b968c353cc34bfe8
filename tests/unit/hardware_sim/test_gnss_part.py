"""The simulated receiver, held against two libraries that know nothing of it."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import pytest
from pyubx2 import NMEA_PROTOCOL, POLL, UBX_PROTOCOL, UBXMessage, UBXReader

from hardware_sim.clock import PacedClock
from hardware_sim.parts.gnss import GNSS

START = datetime(2027, 3, 18, 23, 59, 50, tzinfo=UTC)
SOUTH_WEST = {"lat_deg": -33.8568, "lon_deg": -179.99999, "alt_m": 58.0}


class World:
    def __init__(self, values: dict[str, float] | None = None) -> None:
        self.values: dict[str, float] | None = SOUTH_WEST if values is None else values

    def at(self, boottime_ns: int) -> dict[str, float] | None:
        return self.values


@pytest.fixture
def clock():
    return PacedClock(0, int(START.timestamp()) * 10**9)


def parsed(said: bytes):
    reader = UBXReader(BytesIO(said), protfilter=NMEA_PROTOCOL | UBX_PROTOCOL, quitonerror=2)
    return {message.identity: message for _, message in reader}


def seconds(part: GNSS, clock: PacedClock, count: int) -> list[bytes]:
    """What it says at each of so many seconds."""
    found = []
    for _ in range(count):
        clock.wait(1.0)
        found.append(part.due())
    return found


def test_once_a_second_rmc_gga_gsa_and_nav_pvt_of_one_moment(clock):
    part = GNSS(World(), clock, cold_start_s=0.0)
    assert part.due() == b""
    for number, said in enumerate(seconds(part, clock, 15)):
        told = parsed(said)
        assert list(told) == ["GNRMC", "GNGGA", "GNGSA", "NAV-PVT"]
        moment = datetime.fromtimestamp(START.timestamp() + number, UTC)
        rmc, gga, pvt = told["GNRMC"], told["GNGGA"], told["NAV-PVT"]
        assert (rmc.date, rmc.time, gga.time) == (moment.date(), moment.time(), moment.time())
        assert (pvt.year, pvt.month, pvt.day) == (moment.year, moment.month, moment.day)
        assert (pvt.hour, pvt.min, pvt.second) == (moment.hour, moment.minute, moment.second)
        assert pvt.iTOW == (5 * 86_400 - 10 + 18 + number) * 1000  # Thursday evening and 18 leap seconds


def test_the_position_of_all_of_them_is_within_metres_of_the_worlds(clock):
    part = GNSS(World(), clock, cold_start_s=0.0)
    for said in seconds(part, clock, 30):
        told = parsed(said)
        for message in (told["GNRMC"], told["GNGGA"], told["NAV-PVT"]):
            assert message.lat == pytest.approx(SOUTH_WEST["lat_deg"], abs=2e-5)
            assert abs((message.lon - SOUTH_WEST["lon_deg"] + 180) % 360 - 180) < 3e-5
        assert told["GNGGA"].alt == pytest.approx(told["NAV-PVT"].hMSL / 1000, abs=0.06)


def test_a_cold_start_is_void_and_empty_then_there_is_a_fix(clock):
    part = GNSS(World(), clock, cold_start_s=5.0)
    part.due()
    told = [parsed(said) for said in seconds(part, clock, 8)]
    assert [each["GNRMC"].status for each in told] == ["V"] * 4 + ["A"] * 4
    assert [each["NAV-PVT"].gnssFixOk for each in told] == [0] * 4 + [1] * 4
    assert (told[0]["GNRMC"].time, told[0]["GNGGA"].quality, told[0]["NAV-PVT"].validTime) == ("", 0, 0)


def test_without_sky_the_fix_is_void_but_the_time_goes_on(clock):
    part = GNSS(World(), clock, cold_start_s=0.0)
    part.due()
    seconds(part, clock, 2)
    part.sky = False
    (lost,) = (parsed(said) for said in seconds(part, clock, 1))
    assert (lost["GNRMC"].status, lost["GNGGA"].quality, lost["NAV-PVT"].fixType) == ("V", 0, 0)
    assert lost["GNRMC"].time != ""
    assert lost["NAV-PVT"].validTime == 1


def test_without_power_it_is_silent_deaf_and_cold_afterwards(clock):
    world = World()
    part = GNSS(world, clock, cold_start_s=3.0)
    part.due()
    seconds(part, clock, 5)
    world.values = None
    assert seconds(part, clock, 2) == [b"", b""]
    assert part.heard(UBXMessage("MON", "MON-VER", POLL).serialize()) == b""
    world.values = SOUTH_WEST
    assert parsed(seconds(part, clock, 1)[0])["GNRMC"].status == "V"


def test_polls_are_answered_also_in_pieces(clock):
    part = GNSS(World(), clock)
    part.due()
    asked = UBXMessage("SEC", "SEC-UNIQID", POLL).serialize()
    assert part.heard(asked[:3]) == b""
    assert parsed(part.heard(asked[3:]))["SEC-UNIQID"].uniqueId == int.from_bytes(
        bytes.fromhex("3857755657"), "little"
    )
    version = parsed(part.heard(UBXMessage("MON", "MON-VER", POLL).serialize()))["MON-VER"]
    assert version.extension_03.startswith(b"MOD=NEO-M8N-0")


def test_weeks_off_shift_the_date_by_weeks(clock):
    part = GNSS(World(), clock, cold_start_s=0.0, weeks_off=-1024)
    part.due()
    told = parsed(seconds(part, clock, 1)[0])
    assert (START.date() - told["GNRMC"].date).days == 1024 * 7
