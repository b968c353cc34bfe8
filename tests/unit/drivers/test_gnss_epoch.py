"""From bytes to epochs: what is believed, what is refused, and what noise does to it."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import reduce
from operator import xor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyubx2 import GET, UBXMessage

from drivers import nmea, ubx
from drivers.gnss_epoch import RELEASED, Stream
from drivers.gnss_message import Kind

PLACE = "4404.14063,N,12118.85478,W"


def sentence(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode(), 0):02X}\r\n".encode()


def burst(time: str = "171926.00", date: str = "180327", status: str = "A", quality: str = "1") -> bytes:
    mode = "A" if status == "A" else "N"
    return (
        sentence(f"GNRMC,{time},{status},{PLACE},0.117,,{date},,,{mode}")
        + sentence(f"GNGGA,{time},{PLACE},{quality},12,0.91,1147.2,M,-21.3,M,,")
        + sentence("GNGSA,A,3,01,11,31,14,22,32,04,25,03,,,,1.56,0.91,1.27")
    )


def pvt(**said: int | float) -> bytes:
    fields: dict[str, int | float] = {
        "iTOW": 1,
        "year": 2027,
        "month": 3,
        "day": 18,
        "hour": 17,
        "min": 19,
        "second": 26,
    }
    fields |= {"validDate": 1, "validTime": 1, "fullyResolved": 1, "tAcc": 25, "fixType": 3, "gnssFixOk": 1}
    fields |= {"numSV": 11, "lat": 44.0690, "lon": -121.3142, "hMSL": 1147_200, "hAcc": 2_100}
    return bytes(UBXMessage("NAV", "NAV-PVT", GET, **(fields | said)).serialize())


def told(data: bytes, earliest: datetime = RELEASED):
    stream = Stream(earliest)
    return stream.feed(data, 5) + stream.silence()


def the(data: bytes, earliest: datetime = RELEASED):
    (epoch,) = told(data, earliest)
    return epoch


def test_rmc_and_gga_of_one_moment_make_a_position_and_a_time():
    epoch = the(burst())
    assert epoch.fix is not None
    assert (epoch.fix.lat_deg, epoch.fix.lon_deg) == pytest.approx((44.06901050, -121.31424633), abs=1e-8)
    assert (epoch.fix.kind, epoch.fix.alt_m, epoch.satellites) == (Kind.THREE_D, 1147.2, 12)
    assert epoch.fix.accuracy_m == pytest.approx(0.91 * 5.0)
    assert epoch.utc_ns == datetime(2027, 3, 18, 17, 19, 26, tzinfo=UTC).timestamp() * 1e9


def test_nav_pvt_is_an_epoch_by_itself():
    stream = Stream()
    (epoch,) = stream.feed(pvt(nano=-250_000), 5)
    assert epoch.fix is not None
    assert (epoch.fix.lat_deg, epoch.fix.lon_deg, epoch.fix.alt_m) == (44.0690, -121.3142, 1147.2)
    assert (epoch.fix.accuracy_m, epoch.satellites, epoch.utc_error_ns) == (2.1, 11, 25)
    assert epoch.utc_ns == int(datetime(2027, 3, 18, 17, 19, 26, tzinfo=UTC).timestamp()) * 10**9 - 250_000


@pytest.mark.parametrize(
    "data",
    [
        burst(status="V"),
        burst(quality="0"),
        burst(quality=""),
        burst(status="V", quality="1"),
        sentence(f"GNRMC,171926.00,A,{PLACE},0.117,,180327,,,N"),
        sentence(f"GNGNS,171926.00,{PLACE},NNN,00,99.99,1147.2,-21.3,,"),
        sentence("GNRMC,,V,,,,,,,,,,N") + sentence("GNGGA,,,,,,0,00,99.99,,,,,,"),
        pvt(gnssFixOk=0),
        pvt(fixType=0),
        pvt(fixType=7),
    ],
)
def test_a_void_fix_is_neither_a_position_nor_a_time(data):
    for epoch in told(data):
        assert (epoch.fix, epoch.utc_ns) == (None, None)
        assert epoch.refused == "no valid fix"


@pytest.mark.parametrize(
    "date",
    [
        "060180",  # the first day of GPS: a receiver that knows nothing
        "050180",
        "220899",  # the first rollover
        "301026",  # two days before the release
        "010807",  # 2027-03-18 less 1024 weeks
        "180646",  # more than 1024 weeks after the release
        "320127",
        "2208-1",
        "18032",
    ],
)
def test_an_impossible_date_is_neither_a_position_nor_a_time(date):
    epoch = the(burst(date=date))
    assert (epoch.fix, epoch.utc_ns) == (None, None)
    assert "date" in epoch.refused


def test_the_1024_weeks_from_the_release_are_believed_to_the_second():
    first = RELEASED.timestamp()
    for seconds, believed in ((-1, False), (0, True), (1024 * 604_800 - 1, True), (1024 * 604_800, False)):
        at = datetime.fromtimestamp(first + seconds, UTC)
        for data in (
            burst(at.strftime("%H%M%S.00"), at.strftime("%d%m%y")),
            pvt(year=at.year, month=at.month, day=at.day, hour=at.hour, min=at.minute, second=at.second),
        ):
            assert (the(data).utc_ns is not None) is believed
            assert (the(data).fix is not None) is believed


@pytest.mark.parametrize("missing", ["validDate", "validTime", "fullyResolved"])
def test_a_ubx_time_that_is_not_resolved_is_none(missing):
    epoch = the(pvt(**{missing: 0}))
    assert epoch.utc_ns is None
    assert epoch.fix is not None


def test_a_leap_second_is_no_time_rather_than_a_wrong_one():
    assert the(burst(time="235960.00")).utc_ns is None
    assert told(pvt(hour=23, min=59, second=60)) == []


def test_a_position_without_a_date_has_no_time():
    epoch = the(burst(date=""))
    assert epoch.fix is not None
    assert epoch.utc_ns is None


@pytest.mark.parametrize(
    "data",
    [burst(quality="6"), burst(quality="8"), pvt(fixType=1), pvt(fixType=5)],
    ids=["dr", "sim", "dr", "time"],
)
def test_estimated_simulated_and_held_positions_are_not_measured(data):
    epoch = the(data)
    assert epoch.fix is not None
    assert not epoch.fix.measured


def test_a_position_in_two_dimensions_has_no_altitude():
    epoch = the(
        burst().replace(sentence("GNGSA,A,3,01,11,31,14,22,32,04,25,03,,,,1.56,0.91,1.27"), b"")
        + sentence("GNGSA,A,2,01,11,31,,,,,,,,,,1.56,0.91,1.27")
    )
    assert epoch.fix is not None
    assert (epoch.fix.kind, epoch.fix.alt_m) == (Kind.TWO_D, None)


@pytest.mark.parametrize("place", ["9104.14063,N,12118.85478,W", "4404.14063,N,18118.85478,W", "nan,N,inf,W"])
def test_a_position_that_is_not_on_earth_is_none(place):
    data = sentence(f"GNRMC,171926.00,A,{place},0.117,,180327,,,A")
    assert the(data).fix is None


def test_the_first_epoch_counts_as_whole_only_after_a_pause_or_another_one():
    stream = Stream()
    first, second = stream.feed(burst("171926.00") + burst("171927.00") + burst("171928.00"), 5)
    assert (first.whole, second.whole) == (False, True)
    paused = Stream()
    paused.silence()
    (only,) = paused.feed(burst(), 5) + paused.silence()
    assert only.whole


def test_the_arrival_of_an_epoch_is_that_of_its_first_byte():
    stream = Stream()
    stream.silence()
    data = burst()
    stream.feed(data[:10], 100)
    stream.feed(data[10:90], 200)
    stream.feed(data[90:], 300)
    (epoch,) = stream.silence()
    assert epoch.boottime_ns == 100
    stream.feed(burst("171927.00"), 900)
    (epoch,) = stream.silence()
    assert epoch.boottime_ns == 900


def test_each_flipped_bit_of_a_sentence_or_frame_loses_it_and_changes_nothing():
    """The exclusive or and Fletcher notice one bit everywhere; the case of the checksum's letters is free."""
    for data in (sentence(f"GNRMC,171926.00,A,{PLACE},0.117,,180327,,,A"), pvt()):
        right = the(data)
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            for epoch in told(bytes(flipped)):
                assert (epoch.fix, epoch.utc_ns) == (right.fix, right.utc_ns)
                assert bytes(flipped).upper() == data or bit // 8 >= len(data.rstrip())


@pytest.mark.parametrize("data", [burst(), pvt()])
def test_a_stream_cut_anywhere_gives_the_whole_epoch_or_less(data):
    right = the(data)
    for end in range(len(data)):
        for epoch in told(data[:end]):
            assert epoch.fix is None or (epoch.fix.lat_deg, epoch.fix.lon_deg) == (
                right.fix.lat_deg,
                right.fix.lon_deg,
            )
            assert epoch.utc_ns in (None, right.utc_ns)
    for begin in range(1, len(data)):
        for epoch in told(data[begin:]):
            assert epoch.utc_ns in (None, right.utc_ns)


@pytest.mark.parametrize("piece", [1, 61, 4096])
def test_after_a_megabyte_of_garbage_the_first_frame_is_found(piece):
    size = 1_000_000 if piece == 4096 else 20_000
    garbage = random.Random(3).randbytes(size)
    stream = Stream()
    for at in range(0, size, piece):
        stream.feed(garbage[at : at + piece], 1)
    assert stream.frames == 0
    epochs = stream.feed(pvt(iTOW=1) + pvt(iTOW=2, second=27) + burst() + burst("171927.00"), 2)
    assert [epoch.source for epoch in epochs] == ["ubx", "ubx", "nmea"]
    assert all(epoch.fix for epoch in epochs)


@pytest.mark.parametrize(
    "false_start", [b"\xb5\x62\x01\x07\x5c\x00", b"\xb5\x62\x0a\x04\x80\x02", b"$GNRMC,1719"]
)
def test_a_false_start_costs_at_most_the_time_until_the_next_pause(false_start):
    stream = Stream()
    ended = stream.feed(false_start + burst(), 1) + stream.silence()
    assert [epoch.fix is not None for epoch in ended] == [True]


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_never_a_position_or_a_time(data):
    assert all(epoch.fix is None and epoch.utc_ns is None for epoch in told(data))


@given(
    st.sampled_from(["RMC", "GGA", "GNS", "GSA", "GST", "ZDA"]),
    st.lists(st.text("0123456789.,-AVNEW ", max_size=12)),
)
@settings(max_examples=300, deadline=None)
def test_any_fields_under_a_right_checksum_are_decoded_or_say_nothing(name, fields):
    body = f"GP{name},{','.join(fields)}"[:100]
    nmea.decode(sentence(body).rstrip())
    for epoch in told(sentence(body)):
        assert epoch.fix is None or (-90 <= epoch.fix.lat_deg <= 90 and -180 <= epoch.fix.lon_deg <= 180)


@given(st.sampled_from([ubx.PVT, ubx.POSLLH, ubx.SOL, ubx.STATUS, ubx.TIMEUTC, ubx.EOE]), st.randoms())
@settings(max_examples=300, deadline=None)
def test_any_payload_under_a_right_checksum_is_decoded_or_says_nothing(key, rng):
    length = {ubx.PVT: 92, ubx.POSLLH: 28, ubx.SOL: 52, ubx.STATUS: 16, ubx.TIMEUTC: 20, ubx.EOE: 4}[key]
    body = key + length.to_bytes(2, "little") + rng.randbytes(length)
    frame = ubx.START + body + ubx._checksum(body)
    ubx.decode(frame)
    for epoch in told(frame):
        assert epoch.fix is None or (-90 <= epoch.fix.lat_deg <= 90 and -180 <= epoch.fix.lon_deg <= 180)


def test_a_year_of_thirty_digits_is_no_date_and_no_traceback():
    body = b"GPZDA,120000.00,20,11," + b"9" * 30 + b",00,00"
    checksum = 0
    for byte in body:
        checksum ^= byte
    sentence = b"$" + body + b"*%02X" % checksum
    assert nmea.intact(sentence)
    assert nmea.decode(sentence) is None
