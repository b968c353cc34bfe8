"""What a node says of itself: one report; healthy is the age of the last receipted reading."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from agent import status
from agent.clock import SOURCE_NONE, SOURCE_NTP, Wall
from agent.conditions import CODES, Situation, conditions
from agent.lifetimes import Lifetimes
from agent.linkstate import BROKER_REFUSES, NO_GATEWAY, OFFLINE, LinkState
from agent.papers import Counts, Stored
from agent.sampler import InstrumentState
from agent.settings import JournalSettings
from proof.joining import Membership
from proof.senml import Measured

NOW_S = 1_800_000_000
MEMBERSHIP = Membership("did:key:z6Mk", "moor", "live", (), (), 0, None)
WELL = InstrumentState("one", "BME280", "ab12", 7, 0, "", (Measured("temperature", "Cel", 20),), False)
UP = LinkState(True, "MQTT 5", "", 2, True)
COUNTS = Counts(70, 3, 9, 1, 7, 8, 1_799_999_990, 1_000_000)


def situation(last_receipted_s: int | None = NOW_S - 100, **changes: Any) -> Situation:
    wall, journal = Wall(NOW_S * 10**9, SOURCE_NTP, 2_500), JournalSettings(max_bytes=10_000_000)
    stored = Stored(last_receipted_s, False, 1_000_000)
    return replace(Situation(stored, UP, [WELL], wall, journal, "", 10**9), **changes)


def report(*rest: Any, held: int = 0, **changes: Any) -> Any:
    now = situation(**changes)
    return status.report("did:key:z6Mk", MEMBERSHIP, "file", now, COUNTS, held, [], *rest)


def test_a_well_node_is_healthy_and_has_nothing_to_explain():
    made = report()
    assert made["healthy"] is True
    assert (made["state"], made["conditions"], made["why"]) == ("healthy", [], [])
    assert made["last_receipted_reading_age_s"] == 100.0
    assert made["readings"] == {"captured": 70, "unsealed": 3, "not_on_disk": 0, "unreceipted": 7}
    assert made["proofs"] == {
        "sealed": 9, "unreceipted": 1, "in_flight": 2, "receipted_seq": 8, "receipted_at_s": 1_799_999_990,
    }  # fmt: skip
    assert made["clock"] == {"source": SOURCE_NTP, "maxerror_s": 0.0025}
    assert made["instruments"][0]["latest"] == {"temperature": [20.0, "Cel"]}
    assert json.loads(json.dumps(made)) == made


def test_a_loss_window_and_what_it_holds_are_said():
    made = report(journal=JournalSettings(loss_window_s=60), held=4)
    assert made["journal"]["loss_window_s"] == 60
    assert made["readings"] == {"captured": 74, "unsealed": 7, "not_on_disk": 4, "unreceipted": 7}


def test_every_stage_of_recovery_is_counted():
    again: dict[str, Any] = {
        "link": replace(UP, connections=4),
        "instruments": [replace(WELL, reopened=2)] * 2,
    }
    lifetimes = Lifetimes(restarts=5, power_cuts=6)
    assert report(lifetimes, 7, **again)["recovery"] == {
        "reconnected": 3, "reopened": 4, "restarted": 5, "rebooted": 7, "power_cuts": 6,
    }  # fmt: skip
    assert set(report()["recovery"].values()) == {0}, "before the first connection, too"


@pytest.mark.parametrize(
    ("changes", "waiting", "line"),
    [
        (
            {"instruments": [WELL] * 3},
            0,
            "healthy: 3 instruments, newest receipted reading 100 s old, 0 waiting",
        ),
        (
            {"instruments": [WELL, replace(WELL, problem="Gone.", is_open=False)]},
            2,
            "instrument gone: 1 of 2 instruments, newest receipted reading 100 s old, 2 waiting",
        ),
        (
            {"link": replace(UP, connected=False), "last_receipted_s": None},
            9,
            "offline, no receipt yet: 1 instrument, newest receipted reading none yet, 9 waiting",
        ),
    ],
)
def test_the_line_for_systemctl_says_the_same_in_short(changes, waiting, line):
    assert status.line(situation(**changes), waiting) == line
    assert line.split(":")[0].split(", ")[0].replace(" ", "_") == report(**changes)["state"]


def test_why_and_state_are_those_of_the_conditions():
    wrong: dict[str, Any] = {"link": LinkState(False, "", "no route.", 0, False), "last_receipted_s": None}
    made, found = report(**wrong), conditions(situation(**wrong))
    assert made["conditions"] == [asdict(condition) for condition in found]
    assert made["state"] == found[0].code == "offline"
    assert made["why"] == [f"{condition.sentence} {condition.remedy}" for condition in found]


@pytest.mark.parametrize(("age_s", "healthy"), [(0, True), (3 * 3600, True), (3 * 3600 + 1, False)])
def test_healthy_is_the_age_of_the_last_receipted_reading_and_nothing_else(age_s, healthy):
    everything_else_is_wrong: dict[str, Any] = {
        "link": LinkState(False, "", "no route.", 0, False),
        "instruments": [InstrumentState("one", "", "", 0, 9, "gone.", (), True)],
        "wall": Wall(NOW_S * 10**9, SOURCE_NONE, 16_000_000),
    }
    assert report(last_receipted_s=NOW_S - age_s)["healthy"] is healthy
    assert report(last_receipted_s=NOW_S - age_s, **everything_else_is_wrong)["healthy"] is healthy


def test_a_node_that_never_was_receipted_has_no_age():
    made = report(last_receipted_s=None)
    assert (made["healthy"], made["last_receipted_reading_age_s"]) == (False, None)


def test_a_clock_that_stepped_back_makes_no_negative_age():
    assert report(last_receipted_s=NOW_S + 50)["last_receipted_reading_age_s"] == 0.0


def test_a_clock_far_behind_the_last_receipt_is_not_healthy_and_says_why():
    made = report(last_receipted_s=NOW_S + 40 * 365 * 86_400)
    assert (made["healthy"], made["last_receipted_reading_age_s"]) == (False, None)
    assert made["why"][0].startswith("The clock is behind the last receipted reading")


def test_every_condition_that_can_be_said_is_among_the_codes_that_views_know():
    source = Path(conditions.__code__.co_filename).read_text()
    said = set(re.findall(r'Condition\(\s*"(\w+)"', source)) | {OFFLINE, BROKER_REFUSES, NO_GATEWAY}
    assert len(said) > 10
    assert set(CODES) == said


def test_how_many_wait_is_not_made_up_where_the_journal_does_not_answer():
    said = status.line(situation(problem="It did not answer within 5 s."), None)
    assert said.startswith("disk failing")
    assert said.endswith("100 s old, not known how many waiting")
    assert report()["answered"] is True
