"""What a node says of itself: healthy is the age of the last receipted reading; why names what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agent import status
from agent.clock import SOURCE_NONE, SOURCE_NTP, Wall
from agent.lifetimes import Lifetimes
from agent.papers import Counts
from agent.publisher import NO_GATEWAY, LinkState
from agent.sampler import InstrumentState
from agent.settings import JournalSettings
from proof.joining import Membership
from proof.senml import Measured

NOW_S = 1_800_000_000
MEMBERSHIP = Membership("did:key:z6Mk", "moor", "live", (), (), 0, None)
WELL = InstrumentState("one", "BME280", "ab12", 7, 0, "", (Measured("temperature", "Cel", 20),), False)
UP = LinkState(True, "MQTT 5", "", 2, True)
COUNTS = Counts(70, 3, 9, 1, 7, 8, 1_799_999_990, 1_000_000)


def report(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "device": "did:key:z6Mk",
        "membership": MEMBERSHIP,
        "key_class": "file",
        "counts": COUNTS,
        "last_receipted_s": NOW_S - 100,
        "link": UP,
        "instruments": [WELL],
        "wall": Wall(NOW_S * 10**9, SOURCE_NTP, 2_500),
        "journal": JournalSettings(max_bytes=10_000_000),
        "held": 0,
        "news": [],
        **changes,
    }
    return status.report(**parts)


def test_a_well_node_is_healthy_and_has_nothing_to_explain():
    made = report()
    assert made["healthy"] is True
    assert made["why"] == []
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
    again = {"link": replace(UP, connections=4), "instruments": [replace(WELL, reopened=2)] * 2}
    lifetimes = Lifetimes(restarts=5, power_cuts=6)
    assert report(**again, lifetimes=lifetimes, reboots=7)["recovery"] == {
        "reconnected": 3, "reopened": 4, "restarted": 5, "rebooted": 7, "power_cuts": 6,
    }  # fmt: skip
    assert set(report()["recovery"].values()) == {0}, "before the first connection, too"


@pytest.mark.parametrize(
    ("instruments", "link", "age_s", "waiting", "line"),
    [
        ([WELL] * 3, UP, 12.4, 0, "3 instruments, last receipt 12 s ago, 0 waiting"),
        (
            [WELL, replace(WELL, problem="Gone.")],
            UP,
            None,
            2,
            "1 of 2 instruments, no receipt yet, 2 waiting",
        ),
        (
            [WELL],
            replace(UP, connected=False),
            90.0,
            9,
            "1 instrument, last receipt 90 s ago, 9 waiting, offline",
        ),
    ],
)
def test_the_line_for_systemctl_says_the_same_in_short(instruments, link, age_s, waiting, line):
    assert status.line(instruments, link, age_s, waiting) == line


@pytest.mark.parametrize(("age_s", "healthy"), [(0, True), (3 * 3600, True), (3 * 3600 + 1, False)])
def test_healthy_is_the_age_of_the_last_receipted_reading_and_nothing_else(age_s, healthy):
    everything_else_is_wrong = {
        "link": LinkState(False, "", "no route.", 0, False),
        "instruments": [InstrumentState("one", "", "", 0, 9, "gone.", (), True)],
        "wall": Wall(NOW_S * 10**9, SOURCE_NONE, 16_000_000),
    }
    assert report(last_receipted_s=NOW_S - age_s)["healthy"] is healthy
    assert report(last_receipted_s=NOW_S - age_s, **everything_else_is_wrong)["healthy"] is healthy


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"last_receipted_s": None}, "No reading has been receipted yet."),
        ({"last_receipted_s": NOW_S - 5 * 3600}, "The last receipted reading is 5.0 h old."),
        (
            {"link": LinkState(False, "", "nothing listens there.", 0, False)},
            "Offline: nothing listens there.",
        ),
        ({"link": LinkState(False, "", "", 0, False)}, "Offline: connecting."),
        ({"link": LinkState(True, "MQTT 5", NO_GATEWAY, 0, False)}, NO_GATEWAY),
        (
            {"wall": Wall(NOW_S * 10**9, SOURCE_NONE, 16_000_000)},
            "The clock is not synchronised: times are dated by the gateway later.",
        ),
        (
            {"instruments": [WELL, InstrumentState("two", "", "", 0, 9, "Nothing answers.", (), False)]},
            "Instrument two: Nothing answers.",
        ),
        (
            {"counts": Counts(70, 3, 9, 1, 7, 8, -1, 9_500_000)},
            "The journal is almost full: the oldest proofs will be given up.",
        ),
        (
            {"counts": Counts(70, 3, 9, 1, 7, 8, -1, 1_000_000, "revoked")},
            "The network takes no proofs of this device. The device's key was revoked. "
            "Ask the network's operator why.",
        ),
    ],
)
def test_each_thing_that_is_wrong_has_its_own_sentence(change, sentence):
    assert report(**change)["why"] == [sentence]


def test_a_node_that_never_was_receipted_has_no_age():
    made = report(last_receipted_s=None)
    assert (made["healthy"], made["last_receipted_reading_age_s"]) == (False, None)


def test_a_clock_that_stepped_back_makes_no_negative_age():
    assert report(last_receipted_s=NOW_S + 50)["last_receipted_reading_age_s"] == 0.0


def test_a_clock_far_behind_the_last_receipt_is_not_healthy_and_says_why():
    made = report(last_receipted_s=NOW_S + 40 * 365 * 86_400)
    assert (made["healthy"], made["last_receipted_reading_age_s"]) == (False, None)
    assert made["why"][0].startswith("The clock is behind the last receipted reading")
