"""The demo's judge must notice what it is there to notice."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest

from hardware_sim import audit
from hardware_sim.audit import Proven
from hardware_sim.replay import Row
from proof import sealing
from proof.claims import TimeClaim
from proof.senml import Measured, Reading
from tests import proof_samples

BOOT_ID = bytes(16)
BOOTSEED = hashlib.sha256(BOOT_ID).digest()[:16]
START_S = 1_531_000_000
NAME = "bme280-76"


def _reading(minute, temperature="20.5"):
    value = Measured("temperature", "Cel", Decimal(temperature))
    return Reading(NAME, (START_S + 60 * minute) * 1000, (value,))


def _proof(*readings, seq=1):
    boottime_ns = (readings[0].time_ms // 1000 - START_S + 60) * 10**9 + 4_000_000
    data = proof_samples.proof(
        *readings,
        seq=seq,
        bootseed=BOOTSEED,
        time=TimeClaim(boottime_ns, 0, 0),
        prev=bytes(32) if seq > 1 else None,
    )
    return sealing.parse(data)


def _line(minute, temperature="20.5"):
    sample = {
        "instrument": NAME,
        "boot_id": BOOT_ID.hex(),
        "boottime_ns": (60 * minute + 60) * 10**9 + 4_000_000,
        "values": {"temperature": temperature},
    }
    return json.dumps(sample)


def _tally(proofs, lines, captured, kills=0):
    return audit.tally(proofs, audit.witnessed(lines), captured, kills)


def test_what_was_captured_and_proven_once_is_good_and_its_line_says_so():
    counted = _tally([_proof(_reading(0), _reading(1))], [_line(0), _line(1)], 2)
    assert counted.good
    assert counted.line() == (
        "demo: captured 2 readings, receipted 2, lost 0, duplicates 0, proofs 1, "
        f"bytes/reading {counted.message_bytes / 2:.1f}"
    )


def test_a_captured_reading_that_no_proof_holds_is_lost():
    counted = _tally([_proof(_reading(0))], [_line(0), _line(1)], 2)
    assert (counted.captured, counted.receipted, counted.lost, counted.good) == (2, 1, 1, False)


def test_a_reading_only_the_journal_knew_of_is_lost_too():
    assert _tally([_proof(_reading(0))], [_line(0)], 2).lost == 1


def test_a_reading_in_two_proofs_is_a_duplicate():
    counted = _tally([_proof(_reading(0)), _proof(_reading(0), seq=2)], [_line(0)], 2)
    assert (counted.captured, counted.receipted, counted.lost, counted.duplicates) == (1, 1, 0, 1)
    assert not counted.good


def test_a_value_that_changed_on_its_way_is_a_problem():
    counted = _tally([_proof(_reading(0, "20.51"))], [_line(0)], 1)
    assert not counted.good
    assert "20.51" in counted.problems[0]


def test_a_kill_may_cost_the_witness_a_line_but_more_than_that_is_invented():
    proofs = [_proof(_reading(0), _reading(1))]
    assert _tally(proofs, [_line(0)], 2, kills=1).good
    assert _tally(proofs, [_line(0)], 2, kills=0).problems == ("1 proven readings were never captured",)


def test_nothing_at_all_is_not_good():
    assert not _tally([], [], 0).good


ROW = Row(START_S, temperature_degC=20.5, pressure_Pa=101_325.4, humidity_pctRH=61.25)
VALUES = {"temperature": Decimal("20.5"), "pressure": Decimal("101325.3"), "humidity": Decimal("61.25")}


def _proven(values=VALUES, wall_s=START_S):
    return Proven((NAME, BOOTSEED, 60), wall_s, values, 0)


def test_values_within_the_chips_resolution_are_as_recorded():
    assert audit.against_recording([_proven()], [ROW]) == []
    assert audit.against_recording([_proven()], [ROW, Row(START_S + 60)]) == []  # an empty row is no reading


@pytest.mark.parametrize(
    ("readings", "sentence"),
    [
        ([], "recorded, not proven"),
        ([_proven(), _proven(wall_s=START_S + 1)], "proven, not recorded"),
        ([_proven(), _proven()], "proven 2 times"),
        ([_proven(VALUES | {"temperature": Decimal("20.51")})], "temperature recorded 20.5, proven 20.51"),
        (
            [_proven(VALUES | {"pressure": Decimal("101325.6")})],
            "pressure recorded 101325.4, proven 101325.6",
        ),
        ([_proven(VALUES | {"humidity": Decimal("61.26")})], "humidity recorded 61.25, proven 61.26"),
        ([_proven({"temperature": Decimal("20.5")})], "humidity recorded 61.25, proven None"),
    ],
)
def test_each_difference_is_said(readings, sentence):
    assert any(sentence in problem for problem in audit.against_recording(readings, [ROW]))


def test_a_blank_field_that_comes_back_with_a_value_is_a_difference():
    blank = Row(START_S, temperature_degC=20.5, pressure_Pa=None, humidity_pctRH=61.25)
    assert audit.against_recording([_proven()], [blank]) == [
        "2018-07-07T21:46:40: pressure recorded None, proven 101325.3"
    ]
