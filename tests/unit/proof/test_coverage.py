"""How complete an instrument's readings are, and what each hole in them is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proof.claims import Lost, TimeClaim
from proof.coverage import Watcher
from proof.finding import Coverage, Why
from proof.senml import Reading
from tests.proof_samples import NOW_S, claims

BEGIN_MS = (NOW_S - 3600) * 1000
NAME = "bme280-76"


def readings(*minutes: float, name: str = NAME, flags: int = 0) -> tuple[Reading, ...]:
    return tuple(Reading(name, BEGIN_MS + round(60_000 * minute), (), flags) for minute in minutes)


def covered(*proofs: tuple[tuple[Reading, ...], dict[str, Any]]) -> Coverage:
    """Of the one instrument in these proofs, whose boot time is 0 at `BEGIN_MS`."""
    watcher = Watcher()
    for seq, (rows, changes) in enumerate(proofs, start=1):
        at_ns = (rows[0].time_ms - BEGIN_MS) * 10**6 if rows else 0
        base = claims(seq=seq, prev=bytes(32), time=TimeClaim(at_ns, 1, 1000))
        watcher.take(replace(base, **changes), rows)
    (found,) = watcher.coverage()
    return found


def holes(found: Coverage) -> list[tuple[float, float, Why]]:
    return [((h.from_ms - BEGIN_MS) / 60_000, (h.to_ms - BEGIN_MS) / 60_000, h.why) for h in found.holes]


def test_readings_at_their_usual_distance_cover_all():
    found = covered((readings(0, 1, 2.1, 2.9, 4), {}))
    assert (found.readings, found.interval_ms, found.covered, found.holes) == (5, 60_000, 1.0, ())
    assert (found.first_ms, found.last_ms) == (BEGIN_MS, BEGIN_MS + 240_000)


def test_one_reading_has_no_distance_and_no_hole():
    found = covered((readings(0), {}))
    assert (found.interval_ms, found.covered, found.holes) == (0, 1.0, ())


def test_a_hole_that_nothing_explains_is_said_to_be_unexplained():
    found = covered((readings(0, 1, 2, 3, 13), {}))
    assert holes(found) == [(3, 13, Why.UNEXPLAINED)]
    assert found.covered == 1 - 9 / 13


def test_a_distance_of_two_and_a_half_times_the_usual_one_is_no_hole():
    assert covered((readings(0, 1, 2, 4.5), {})).holes == ()
    assert len(covered((readings(0, 1, 2, 4.6), {})).holes) == 1


def lost(first_minute: float, count: int, name: str = NAME) -> Lost:
    first_ns = round(first_minute * 60e9)
    return Lost(name, first_ns, first_ns + (count - 1) * 60 * 10**9, count, "bus stuck")


def test_a_hole_whose_samples_were_declared_lost_is_one():
    found = covered((readings(0, 1, 2, 3, 13), {"lost": (lost(4, 9),)}))
    assert holes(found) == [(3, 13, Why.LOSS)]


def test_the_loss_may_be_declared_in_a_later_proof_of_that_boot():
    assert holes(covered((readings(0, 1, 2, 3, 13), {}), (readings(14), {"lost": (lost(4, 9),)}))) == [
        (3, 13, Why.LOSS)
    ]


def test_few_lost_samples_do_not_explain_a_long_hole_nor_do_others():
    for declared in (lost(4, 2), lost(4, 9, "sds011-0"), lost(14, 9), Lost(NAME, 0, 0, 9, "given up in log")):
        assert holes(covered((readings(0, 1, 2, 3, 13), {"lost": (declared,)}))) == [(3, 13, Why.UNEXPLAINED)]


def test_what_was_lost_of_any_instrument_explains_too():
    assert holes(covered((readings(0, 1, 2, 3, 13), {"lost": (lost(4, 9, "*"),)})))[0][2] is Why.LOSS


def test_between_two_boots_the_device_was_off():
    another = {"bootseed": bytes(16)}
    assert holes(covered((readings(0, 1, 2), {}), (readings(12, 13), another))) == [(2, 12, Why.OFF)]


def test_a_declared_gap_weighs_more_than_a_boot_and_a_new_log_is_told():
    gap = {"bootseed": bytes(16), "seq": 9}
    assert holes(covered((readings(0, 1, 2), {}), (readings(12, 13), gap)))[0][2] is Why.GAP
    new_log = {"log": bytes(8), "seq": 1}
    assert holes(covered((readings(0, 1, 2), {}), (readings(12, 13), new_log)))[0][2] is Why.NEW_LOG


def test_an_empty_proof_between_does_not_hide_what_lies_between():
    gap = {"seq": 9}
    found = covered((readings(0, 1, 2), {}), ((), gap), (readings(12, 13), {"seq": 10}))
    assert holes(found)[0][2] is Why.GAP


def test_readings_of_a_clock_without_a_source_are_dated_by_another_proof_of_their_boot():
    wrong = tuple(replace(r, time_ms=r.time_ms - 86_400_000) for r in readings(0, 1, 2))
    unsure = {"time": TimeClaim(0, 0, 0)}
    found = covered((wrong, unsure), (readings(3, 4), {}))
    assert (found.first_ms, found.holes, found.undated) == (BEGIN_MS, (), 0)
    alone = covered((wrong, unsure))
    assert (alone.first_ms, alone.undated) == (BEGIN_MS - 86_400_000, 3)


def test_flags_are_counted_by_instrument_and_kind():
    watcher = Watcher()
    rows = (*readings(0, 1, flags=1 | 4), *readings(2), *readings(0, name="sds011-0", flags=4 | 32768))
    watcher.take(claims(), rows)
    found = {one.instrument: one.flags for one in watcher.coverage()}
    assert found == {
        NAME: (("quality_range", 2), ("quality_frozen", 2)),
        "sds011-0": (("quality_frozen", 1),),
    }


def test_times_that_go_back_are_no_hole_and_cost_nothing():
    found = covered((readings(10, 11, 12), {}), (readings(0, 1, 2), {"bootseed": bytes(16)}))
    assert (found.readings, found.interval_ms) == (6, 60_000)
    assert found.holes == ()
