"""What the owner hears of the gateway's verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.journal import Journal
from agent.receipts import Outcome
from agent.verdicts import OUTDATED_KEY, Verdicts
from proof import receipt
from proof.keys import key_id
from proof.reasons import Reason
from proof.receipt import NO_LOG, ProofVerdict, Receipt
from tests.agent_parts import (
    DEVICE_ID,
    SIGNER,
    FakeClock,
    captured,
    make_sealer,
    make_signer,
    open_test_journal,
)


class AtOnce:
    """A keeper whose jobs are done when they are asked for."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def call(self, job: Any) -> Any:
        self.journal.begin()
        found = job(self.journal)
        self.journal.commit()
        return found

    read = call


class Owner:
    """Of a device with one proof in its journal."""

    def __init__(self, folder: Path) -> None:
        clock = FakeClock()
        keeper: Any = AtOnce(open_test_journal(folder, clock))
        sealer = make_sealer(clock)
        keeper.call(lambda journal: journal.append(captured(clock)))
        keeper.call(sealer.seal)
        self.hash: bytes = keeper.call(lambda journal: journal.open_log().hash)
        self.news: list[str] = []
        self.outcomes: list[Outcome] = []
        self.verdicts = Verdicts(keeper, sealer, self.news.append, self.outcomes.append)

    def refused(self, *verdicts: ProofVerdict) -> None:
        self.verdicts.refused(Receipt(DEVICE_ID, NO_LOG, 0, None, 0, verdicts=verdicts), 0)


@pytest.fixture
def owner(tmp_path) -> Owner:
    return Owner(tmp_path)


def test_only_what_is_grave_is_told_and_all_is_passed_on(owner):
    codes = ("quality_range", "late", "suspended")
    outcome = Outcome(3, 3, tuple(ProofVerdict(3, code, "") for code in codes))
    owner.verdicts.heard(outcome)
    assert owner.news == [f"{Reason.SUSPENDED.sentence} {Reason.SUSPENDED.remedy}"]
    assert owner.outcomes == [outcome]


def test_of_refused_proofs_only_ours_count_and_once(owner):
    owner.refused(receipt.of_refused("bad_signature", "", bytes(32)))
    assert owner.outcomes == []
    for _ in range(2):
        owner.refused(receipt.of_refused("bad_signature", "", owner.hash))
    assert owner.outcomes == [Outcome(0, verdicts=(ProofVerdict(1, "bad_signature", ""),))]


def test_that_the_key_is_outdated_is_told_only_of_the_key_in_use(owner):
    theirs, ours = (key_id(signer.public_key).hex() for signer in (make_signer(7), SIGNER))
    owner.refused(receipt.of_refused("bad_key", f"kid {theirs}", bytes(32)))
    owner.refused(receipt.of_refused("bad_signature", f"kid {ours}", bytes(32)))
    assert owner.news == []
    owner.refused(receipt.of_refused("bad_key", f"kid {ours}", bytes(32)))
    assert owner.news == [OUTDATED_KEY]
