"""What is wrong is told apart: each condition has its code, says what is the case and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import status
from agent.clock import SOURCE_NONE, SOURCE_NTP, Wall
from agent.conditions import HEALTHY_S, UNRECEIPTED_S, Situation, conditions
from agent.linkstate import BROKER_REFUSES, NO_GATEWAY, NOBODY_LISTENS, LinkState
from agent.papers import Stored
from agent.sampler import InstrumentState
from agent.settings import JournalSettings
from agent.succession import SENTENCES
from proof.chain import SUPERSEDED
from proof.reasons import Reason
from proof.receipt import ProofVerdict

NOW_S = 1_800_000_000
WELL = InstrumentState("one", "BME280", "ab12", 7, 0, "", (), False)
UP = LinkState(True, "MQTT 5", "", 2, True)
DOWN = LinkState(False, "", "nothing listens there.", 0, False)
STORED = Stored(NOW_S - 100, False, 1_000_000)
NO_SYNC = Wall(NOW_S * 10**9, SOURCE_NONE, 16_000_000)
WALL = Wall(NOW_S * 10**9, SOURCE_NTP, 2_500)


def situation(**changes: Any) -> Situation:
    return replace(
        Situation(STORED, UP, [WELL], WALL, JournalSettings(max_bytes=10_000_000), "", 10**9), **changes
    )


def of_link(**changes: Any) -> dict[str, Any]:
    return {"link": replace(UP, **changes)}


def of_store(**changes: Any) -> dict[str, Any]:
    return {"stored": replace(STORED, **changes)}


def of_instrument(**changes: Any) -> dict[str, Any]:
    return {"instruments": [WELL, replace(WELL, name="two", problem="Nothing answers.", **changes)]}


def test_a_well_node_has_none():
    assert conditions(situation()) == []
    assert status.state([]) == "healthy"


CASES = {
    "offline": ({"link": DOWN}, "Offline: nothing listens there."),
    "offline at first": ({"link": LinkState(False, "", "", 0, False)}, "Offline: connecting."),
    "broker_refuses us": ({"link": replace(DOWN, trouble=BROKER_REFUSES)}, "nothing listens there."),
    "broker_refuses a proof": (of_link(problem="No.", trouble=BROKER_REFUSES), "No."),
    "no_gateway listens": (of_link(problem=NOBODY_LISTENS, trouble=NO_GATEWAY), NOBODY_LISTENS),
    "no_gateway answers": (
        of_link(unreceipted_s=UNRECEIPTED_S),
        "Proofs are delivered to the broker, and for 5 min no gateway has receipted one.",
    ),
    "not_receipted": (
        of_link(unreceipted_s=660.0, heard_s=30.0),
        "The gateway is there, and for 11 min it has receipted nothing of what is delivered to it.",
    ),
    "not_publishing": (of_link(problem="The journal did not answer."), "The journal did not answer."),
    "superseded": (of_store(superseded=True), SENTENCES[SUPERSEDED]),
    "refused for good": (
        of_store(refused=ProofVerdict(7, "revoked")),
        "The network takes no proofs of this device. The device's key was revoked.",
    ),
    "refused for now": (
        of_store(refused=ProofVerdict(7, "suspended")),
        f"The network takes no proofs of this device. {Reason.SUSPENDED.sentence}",
    ),
    "proof_refused": (
        of_store(refused=ProofVerdict(7, "bad_signature", "seq 7")),
        "The gateway refuses proof 7, and waits with what follows. The signature does not fit the bytes. "
        "(seq 7)",
    ),
    "proof_refused by a newer gateway": (
        of_store(refused=ProofVerdict(7, "too_cold")),
        "The gateway refuses proof 7, and waits with what follows. It says too_cold.",
    ),
    "clock_unsure": (
        {"wall": NO_SYNC},
        "The clock is not synchronised: times are dated by the gateway later.",
    ),
    "clock_behind": (
        of_store(last_receipted_s=NOW_S + 61),
        "The clock is behind the last receipted reading: how old that is cannot be told.",
    ),
    "instrument_gone": (of_instrument(is_open=False), "Instrument two: Nothing answers."),
    "instrument_stopped": (of_instrument(ended=True, is_open=True), "Instrument two: Nothing answers."),
    "instrument_hangs": (of_instrument(hangs=True), "Instrument two: Nothing answers."),
    "instrument_hangs when it was to be opened": (
        of_instrument(hangs=True, is_open=False),
        "Instrument two: Nothing answers.",
    ),
    "instrument_troubled": (of_instrument(), "Instrument two: Nothing answers."),
    "journal_nearly_full": (
        of_store(bytes_used=9_500_000, unreceipted_share=1.0),
        "The journal is almost full of proofs without a receipt (9.5 MB of 10.0 MB): "
        "the oldest will be given up.",
    ),
    "disk_nearly_full": (
        {"free_bytes": 70_000_000},
        "The journal's disk has 70.0 MB left; below 64.0 MB old proofs are given up.",
    ),
    "disk_failing": ({"problem": "It cannot be written."}, "It cannot be written."),
    "not_sealing": ({"unsealed": "No proof can be sealed: why."}, "No proof can be sealed: why."),
    "receipts_old": (of_store(last_receipted_s=NOW_S - 5 * 3600), "The last receipted reading is 5.0 h old."),
    "no_receipt_yet": (of_store(last_receipted_s=None), "No reading has been receipted yet."),
}


@pytest.mark.parametrize(("name", "change", "sentence"), [(n, *case) for n, case in CASES.items()])
def test_each_thing_that_is_wrong_is_told_alone_with_its_own_code(name, change, sentence):
    (found,) = conditions(situation(**change))
    assert (found.code, found.sentence) == (name.split()[0], sentence)
    assert found.remedy or found.code == "superseded", "whose sentence says what to do"
    assert found.severity in ("error", "warning")


@pytest.mark.parametrize(
    "change",
    [
        of_link(unreceipted_s=UNRECEIPTED_S - 1),
        of_store(bytes_used=9_500_000, unreceipted_share=0.5),
        of_store(bytes_used=9_500_000),
        {"free_bytes": None},
        of_store(last_receipted_s=NOW_S - HEALTHY_S),
        of_store(last_receipted_s=NOW_S + 60),
    ],
)
def test_what_is_not_wrong_yet_is_not_told(change):
    assert conditions(situation(**change)) == []


def test_a_superseded_board_has_left_the_broker_to_the_other_and_is_not_offline():
    found = conditions(situation(link=DOWN, **of_store(superseded=True)))
    assert [condition.code for condition in found] == ["superseded"]


def test_the_journals_trouble_is_told_once_and_not_for_each_instrument():
    broken = {
        "instruments": [replace(WELL, problem="It cannot be written.")],
        "problem": "It cannot be written.",
    }
    assert [condition.code for condition in conditions(situation(**broken))] == ["disk_failing"]


def test_a_cause_stands_before_what_follows_from_it():
    found = conditions(situation(link=DOWN, **of_store(last_receipted_s=NOW_S - 9 * 3600)))
    assert [condition.code for condition in found] == ["offline", "receipts_old"]


def test_to_be_offline_is_a_warning_while_the_node_is_healthy():
    (found,) = conditions(situation(link=DOWN))
    assert found.severity == "warning"
    gone = situation(link=DOWN, instruments=of_instrument(is_open=False)["instruments"])
    assert [condition.code for condition in conditions(gone)] == ["instrument_gone", "offline"]


@given(st.sets(st.sampled_from(sorted(CASES))))
def test_whatever_comes_together_errors_come_first_and_only_a_healthy_node_says_so(names):
    changes = {key: value for name in sorted(names) for key, value in CASES[name][0].items()}
    now = situation(**changes)
    found = conditions(now)
    assert found == sorted(found, key=lambda condition: condition.severity != "error")
    assert now.healthy or found, "what is not healthy has a reason"
    assert (status.state(found) == "healthy") == (not found)


def test_of_a_read_that_hangs_nobody_is_told_that_it_ends_by_itself():
    (found,) = conditions(situation(**of_instrument(hangs=True)))
    assert found.remedy.startswith("That does not end by itself")
    assert "restart" in found.remedy
    assert found.severity == "error", "nothing is read of it until somebody acts"
