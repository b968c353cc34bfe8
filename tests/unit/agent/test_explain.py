"""What became of a proof, whatever became of it; and what was rejected or flagged lately, by reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agent import explain, papers, retention
from agent.journal import Journal
from proof.claims import Predecessor
from proof.reasons import Reason
from proof.receipt import ProofVerdict
from proof.senml import Measured
from tests.agent_parts import START_S, FakeClock, captured, make_sealer, open_test_journal

OTHER = b"other-00"


class Device:
    def __init__(self, folder: Any) -> None:
        self.clock = FakeClock()
        self.journal = open_test_journal(folder, self.clock)
        self.sealer = make_sealer(self.clock)

    def seal(self, count: int = 1, flags: int = 0) -> None:
        for _ in range(count):
            self.clock.advance(60)
            self.journal.append(captured(self.clock, flags=flags))
            self.sealer.seal(self.journal)

    def said(self, *found: ProofVerdict) -> None:
        papers.store_verdicts(self.journal, 1, found)

    def of(self, seq: int, **known: Any) -> dict[str, Any]:
        return explain.proof(self.journal, seq, **known)


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    made.journal.close()


def test_a_proof_that_waits_has_its_way_so_far(device):
    device.seal()
    found = device.of(1, sent_s=lambda log_id, seq: START_S + 70.5 if (log_id, seq) == (1, 1) else None)
    assert found["state"] == "waiting"
    assert found["captured_from_s"] == found["captured_to_s"] == found["sealed_at_s"] == START_S + 60
    assert (found["sent_at_s"], found["receipted_at_s"], found["readings"]) == (START_S + 70.5, None, 1)
    assert found["log"] == device.journal.open_log().log.hex()


def test_a_receipted_proof_says_when(device):
    device.seal()
    device.journal.mark_receipted(1, 1, START_S + 99)
    assert (device.of(1)["state"], device.of(1)["receipted_at_s"]) == ("receipted", START_S + 99)


def test_a_refused_one_says_why_and_one_that_was_only_flagged_is_not_refused(device):
    device.seal(2)
    device.said(ProofVerdict(1, "stale_beacon", "9 s old"), ProofVerdict(2, "broken_chain"))
    assert device.of(1)["state"] == "waiting"
    refused = device.of(2)
    assert refused["state"] == "refused"
    (verdict,) = refused["verdicts"]
    assert verdict["sentence"] == Reason.BROKEN_CHAIN.sentence
    assert verdict["remedy"] == Reason.BROKEN_CHAIN.remedy
    device.journal.mark_receipted(1, 2, START_S)  # it was taken in the end
    assert device.of(2)["state"] == "receipted"


def test_evicted_given_up_and_forgotten_are_told_apart(device):
    device.seal(4)
    device.journal.mark_receipted(1, 2, START_S)
    retention.evict_receipted(device.journal, 9)
    assert device.of(1)["state"] == "evicted"
    retention.evict_unreceipted(device.journal, 1, 1, retention.EVICTED)
    assert [device.of(seq)["state"] for seq in (2, 3, 4)] == ["evicted", "given_up", "waiting"]
    assert device.of(3)["flags"] == [], "its bytes are gone"
    device.journal.execute("DELETE FROM proofs WHERE seq = 1")
    assert device.of(1)["state"] == "forgotten"


def test_numbers_that_nothing_has_yet_or_ever(device):
    assert device.of(1)["state"] == "not_reached"
    device.seal()
    assert [device.of(seq)["state"] for seq in (0, -3, 2, 10**30)] == [
        "none", "none", "not_reached", "not_reached"
    ]  # fmt: skip
    assert explain.nowhere(3)["state"] == "none"


def test_of_a_log_that_was_left_it_says_that_its_readings_stand_in_a_later_one(device):
    device.seal(2)
    device.journal.start_log(OTHER, Predecessor(device.journal.open_log().log, None, "store lost"))
    device.sealer.reseal(device.journal, 1)
    device.journal.execute("DELETE FROM proofs WHERE log_id = 2 AND seq = 2")
    assert device.of(1)["log"] == OTHER.hex(), "the newest that has the number"
    assert device.of(2)["state"] == "sealed_again"


def test_flags_are_counted_by_instrument_with_what_to_do(device):
    for name, flags in (("one", 1 | 256), ("one", 1), ("two", 64), ("two", 0)):
        device.clock.advance(60)
        value = (Measured("t", "Cel", Decimal(1)),)
        device.journal.append(captured(device.clock, instrument=name, flags=flags, values=value))
    device.sealer.seal(device.journal)
    told = [(f["instrument"], f["code"], f["count"], f["remedy"]) for f in device.of(1)["flags"]]
    assert told == [
        ("one", "quality_range", 2, Reason.QUALITY_RANGE.remedy),
        ("one", "quality_late", 1, Reason.QUALITY_LATE.remedy),
        ("two", "calibration_expired", 1, Reason.CALIBRATION_EXPIRED.remedy),
    ]


def test_lately_each_reason_has_one_line_refusals_first_then_the_newest(device):
    device.seal(4)
    device.said(
        ProofVerdict(1, "quality_late", "1 readings"),
        ProofVerdict(2, "stale_beacon", "old"),
        ProofVerdict(3, "quality_late", "2 readings"),
        ProofVerdict(3, "too_cold", "-3"),
        ProofVerdict(1, "bad_signature"),
    )
    found = explain.lately(device.journal)["verdicts"]
    assert [(v["code"], v["count"], v["newest_seq"], v["detail"]) for v in found] == [
        ("too_cold", 1, 3, "-3"),
        ("bad_signature", 1, 1, ""),
        ("quality_late", 2, 3, "2 readings"),
        ("stale_beacon", 1, 2, "old"),
    ]
    assert found[0]["remedy"] == "Upgrade the agent."
    assert found[1]["sentence"] == Reason.BAD_SIGNATURE.sentence


def test_stored_bytes_that_are_not_what_was_signed_are_no_traceback(device):
    device.seal()
    device.journal.execute("UPDATE proofs SET data = x'00' WHERE seq = 1")
    found = device.of(1)
    assert (found["state"], found["sealed_at_s"], found["flags"]) == ("waiting", None, [])


def test_a_journal_can_be_asked_too_where_no_agent_runs(device):
    import sqlite3

    device.seal()
    with sqlite3.connect(device.journal.path) as db:
        assert explain.proof(db, 1) == device.of(1)
    assert isinstance(device.journal, Journal)
