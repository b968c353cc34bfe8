"""What a day brought is counted in the transaction that accepts it, and only there."""

from __future__ import annotations

from dataclasses import replace

from gateway import daily
from tests.gateway_parts import NOW_S, readings

DAY = daily.number(NOW_S)


def flagged(*flags, instrument="t"):
    rows = readings(len(flags))
    return tuple(
        replace(row, flags=bits, instrument=instrument) for row, bits in zip(rows, flags, strict=True)
    )


def days(gateway):
    return gateway.store.rows("SELECT day, device, proofs, readings FROM day")


def quality(gateway):
    return {
        (instrument, code): count
        for instrument, code, count in gateway.store.rows("SELECT instrument, code, readings FROM quality")
    }


def test_each_flag_of_a_reading_counts_once():
    found = daily.lines(flagged(0, 1, 1 | 8))
    assert found == {("t", ""): 3, ("t", "quality_range"): 2, ("t", "quality_warming_up"): 1}


def test_a_flag_the_protocol_does_not_name_counts_as_no_flag():
    assert daily.lines(flagged(0x8000)) == {("t", ""): 1}


def test_accepted_readings_are_counted_by_instrument_and_flag(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(flagged(0, 2)), device.seal(flagged(2, instrument="u")))
    assert days(gateway) == [(DAY, 1, 2, 3)]
    assert quality(gateway) == {
        ("t", ""): 2,
        ("t", "quality_jump"): 1,
        ("u", ""): 1,
        ("u", "quality_jump"): 1,
    }


def test_a_heartbeat_is_a_proof_without_readings(gateway):
    device = gateway.member()
    gateway.send(device, device.seal(()))
    assert (days(gateway), quality(gateway)) == ([(DAY, 1, 1, 0)], {})


def test_a_duplicate_and_a_refused_proof_count_for_nothing(gateway):
    device = gateway.member()
    first, rival = device.seal(), device.other(seq=1, prev=None)
    gateway.send(device, first, first, rival)
    assert days(gateway) == [(DAY, 1, 1, 1)]


def test_a_held_proof_counts_when_it_is_accepted_on_the_day_it_came(gateway):
    device = gateway.member()
    first, second = device.seal(), device.seal(flagged(8))
    gateway.send(device, second)
    assert days(gateway) == []
    gateway.now_s += daily.DAY_S
    gateway.send(device, first)
    assert days(gateway) == [(DAY, 1, 1, 1), (DAY + 1, 1, 1, 1)]
    assert quality(gateway)["t", "quality_warming_up"] == 1


def test_a_payload_that_cannot_be_read_counts_as_a_proof(gateway):
    device = gateway.member()
    bad = tuple(replace(row, instrument="NOT A NAME") for row in readings(1))
    gateway.send(device, device.seal(bad))
    assert days(gateway) == [(DAY, 1, 1, 0)]


def test_a_member_that_invents_instruments_fills_no_table(gateway):
    device = gateway.member()
    for batch in range(3):
        rows = tuple(
            replace(row, instrument=f"i{batch}-{number}")
            for number, row in enumerate(readings(daily.MAX_LINES))
        )
        gateway.send(device, device.seal(rows))
    assert len(quality(gateway)) == daily.MAX_LINES
    assert days(gateway) == [(DAY, 1, 3, 3 * daily.MAX_LINES)]
    gateway.send(device, device.seal(tuple(replace(row, instrument="i0-0") for row in readings(2))))
    assert quality(gateway)["i0-0", ""] == 3


def test_days_that_nobody_reads_any_more_go_when_a_day_begins(gateway):
    device = gateway.member()
    for _ in range(daily.DAYS + 5):
        gateway.send(device, device.seal(flagged(2)), device.seal(flagged(0)))
        gateway.now_s += daily.DAY_S
    newest = DAY + daily.DAYS + 4
    assert [row[0] for row in days(gateway)] == [*range(newest - daily.DAYS + 1, newest + 1)]
    kept = sorted({day for (day,) in gateway.store.rows("SELECT day FROM quality")})
    assert kept == [*range(newest - daily.QUALITY_DAYS + 1, newest + 1)]


def test_a_clock_that_ran_ahead_for_a_moment_takes_one_day_away_not_all(gateway):
    device = gateway.member()
    for _ in range(daily.DAYS):
        gateway.send(device, device.seal())
        gateway.now_s += daily.DAY_S
    ahead_s = 3650 * daily.DAY_S
    gateway.now_s += ahead_s
    gateway.send(device, device.seal())
    assert len(days(gateway)) == daily.DAYS
    gateway.now_s -= ahead_s
    for _ in range(3):
        gateway.send(device, device.seal())
        gateway.now_s += daily.DAY_S
    assert len([row for row in days(gateway) if row[0] < DAY + 3650]) == daily.DAYS
