from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from agent import papers
from agent.receipts import Outcome, accept
from agent.retention import evict_receipted, evict_unreceipted
from proof import receipt
from proof.claims import Predecessor
from proof.receipt import ProofVerdict, Receipt
from proof.sealing import parse
from tests.agent_parts import DEVICE_ID, GATEWAY, START_S, FakeClock, captured, make_sealer, open_test_journal


@dataclass
class Device:
    """A journal and its sealer; `get` is a receipt that arrives."""

    folder: object
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.journal = open_test_journal(self.folder, self.clock)  # type: ignore[arg-type]
        self.sealer = make_sealer(self.clock)
        self.number = 0

    @property
    def log(self):
        return self.journal.open_log()

    def seal(self, count: int = 1) -> None:
        for _ in range(count):
            self.journal.append(captured(self.clock, self.number))
            self.number += 1
            self.clock.advance(60)
            self.sealer.seal(self.journal)

    def receipt(self, head: int, **changes) -> Receipt:
        parts = {
            "device": DEVICE_ID,
            "log": self.log.log,
            "head_seq": head,
            "head_hash": self.journal.hash_at(self.log.id, head) if head else None,
            "received_at_s": START_S + head,
            **changes,
        }
        return Receipt(**parts)

    def get(self, arrived: Receipt) -> Outcome:
        data = receipt.sign(arrived, GATEWAY, arrived.received_at_s)
        opened = receipt.open_receipt(data, [GATEWAY.public_key], DEVICE_ID)
        self.journal.begin()
        outcome = accept(self.journal, opened, data, self.sealer, lambda size: bytes([self.log.id]) * size)
        self.journal.commit()
        return outcome

    def kept(self) -> list[int]:
        """Numbers of the samples in kept unreceipted proofs of the open log."""
        return [
            int(reading.values[1].value) - 100_000
            for stored in self.journal.unreceipted(self.log.id)
            for reading in parse(stored.data).readings()
        ]


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    made.journal.close()


def test_a_receipt_that_fits_makes_proofs_up_to_its_head_evictable(device):
    device.seal(3)
    assert evict_receipted(device.journal, 10) == 0
    assert device.get(device.receipt(2)) == Outcome(2, 2)
    assert evict_receipted(device.journal, 10) == 2
    assert device.kept() == [2]


def test_receipt_for_a_head_we_never_sent_opens_a_new_log(device):
    device.seal(2)
    old = device.log.log
    outcome = device.get(device.receipt(5, head_hash=bytes(32)))
    assert outcome.new_log_because == "rolled back"
    assert device.log.log != old
    assert device.log.predecessor == Predecessor(old, bytes(32), "rolled back")
    assert device.kept() == [0, 1]


def test_why_a_log_is_left_is_kept_with_it_and_of_another_log_only_what_is_said_of_the_device(device):
    device.seal(2)
    said = tuple(ProofVerdict(1, code) for code in ("equivocation", "quality_late", "suspended"))
    old = device.log.log
    left = device.get(device.receipt(5, head_hash=bytes(32), verdicts=said))
    assert [v.code for v in left.verdicts] == ["equivocation", "suspended"]
    assert papers.stored(device.journal).refused is None, "the log that is open now was not refused"
    again = device.get(device.receipt(5, log=old, head_hash=bytes(32), verdicts=said))
    assert [v.code for v in again.verdicts] == ["suspended"]
    assert papers.stored(device.journal).refused == ProofVerdict(1, "suspended")


@pytest.mark.parametrize("instruments", [1, 2])
def test_what_was_given_up_in_a_log_that_is_left_is_declared_in_the_new_one(device, instruments):
    """As losses: gap records speak of the log they stand in (§5.3)."""
    if instruments == 2:
        device.journal.append(captured(device.clock, instrument="another"))
    device.seal(6)
    left = device.log
    device.get(device.receipt(1))
    evict_unreceipted(device.journal, left.id, 3, "store full")
    assert device.get(device.receipt(9, head_hash=bytes(32))).new_log_because == "rolled back"
    device.seal(2)
    proofs = [parse(stored.data) for stored in device.journal.unreceipted(device.log.id)]
    ((name, count, reason),) = [(x.instrument, x.count, x.reason) for p in proofs for x in p.claims.lost]
    assert (name, count) == ("bme280-76" if instruments == 1 else "*", 3)
    assert reason == f"given up in log {left.log.hex()}"
    assert sum(len(p.readings()) for p in proofs) == 4
    assert device.journal.closed_logs() == []
    device.sealer.reseal(device.journal, left.id)
    assert device.journal.waiting().losses == 0


def test_receipt_with_another_hash_for_our_head_opens_a_new_log(device):
    device.seal(2)
    device.get(device.receipt(1))
    old = device.log.log
    assert device.get(device.receipt(2, head_hash=bytes(32))).new_log_because == "rolled back"
    assert device.log.predecessor == Predecessor(old, bytes(32), "rolled back")
    assert device.kept() == [1]


def test_receipt_that_asks_for_what_lies_before_a_proof_we_never_signed_opens_a_new_log(device):
    """The gateway holds 4 and asks for 3: the store was rolled back; to sign 4 again would equivocate."""
    device.seal(2)
    head = device.journal.hash_at(device.log.id, 1)
    old = device.log.log
    assert device.get(device.receipt(1, missing=((2, 3),))).new_log_because == "rolled back"
    assert device.log.predecessor == Predecessor(old, head, "rolled back")
    assert device.kept() == [1]


def test_receipt_that_asks_for_what_we_have_opens_no_log(device):
    device.seal(3)
    assert device.get(device.receipt(1, missing=((2, 2),))) == Outcome(1, 1)


def test_a_lost_store_starts_a_log_that_names_the_one_the_gateway_holds(device):
    device.seal(2)
    outcome = device.get(device.receipt(7, log=b"from way", head_hash=bytes(32)))
    assert outcome.new_log_because == "store lost"
    assert device.log.predecessor == Predecessor(b"from way", bytes(32), "store lost")
    assert device.kept() == [0, 1]
    assert [parse(s.data).claims.seq for s in device.journal.unreceipted(device.log.id)] == [1, 2]


def test_a_lost_store_is_found_out_once(device):
    device.seal(1)
    lost = device.receipt(7, log=b"from way", head_hash=bytes(32))
    device.get(lost)
    log = device.log
    assert device.get(lost) == Outcome(0)
    assert device.log == log


def test_the_old_log_of_a_quarantined_store_opens_no_further_log(device):
    """The gateway's retained receipt still speaks of it; the new log already names it."""
    device.journal.start_log(b"new one!", Predecessor(b"from way", None, "store corrupt"))
    device.seal(1)
    assert device.get(device.receipt(7, log=b"from way", head_hash=bytes(32))) == Outcome(0)
    assert device.log.log == b"new one!"


def test_a_receipt_of_a_log_we_closed_is_old_news(device):
    device.seal(2)
    closed = device.receipt(2)
    device.get(device.receipt(5, head_hash=bytes(32)))
    log = device.log
    assert device.get(closed) == Outcome(0)
    assert device.log == log


def test_a_replayed_receipt_of_a_log_before_this_store_opens_nothing(device):
    device.seal(3)
    device.get(device.receipt(2))
    earlier = device.receipt(9, log=b"long ago", head_hash=bytes(32), received_at_s=START_S - 1000)
    assert device.get(earlier) == Outcome(2)
    assert device.log.seq == 3


def test_a_replayed_receipt_takes_nothing_back(device):
    device.seal(3)
    first, third = device.receipt(1), device.receipt(3)
    device.get(first)
    device.get(third)
    before = papers.receipts(device.journal)
    device.get(first)
    assert device.journal.receipted_seq(device.log.id) == 3
    assert papers.receipts(device.journal) == before
    assert device.kept() == []


def test_a_receipt_older_than_what_is_remembered_of_our_log_is_old_news(device):
    """A broker may have kept it; the store has forgotten even the hash of that proof."""
    device.seal(4)
    old = device.receipt(1)
    device.get(device.receipt(3))
    device.journal.execute("DELETE FROM proofs WHERE seq < 3")
    before = device.log
    assert device.get(old) == Outcome(3)
    assert device.log == before
    assert device.get(device.receipt(0)).new_log_because == ""
    assert device.get(device.receipt(9, head_hash=bytes(32))).new_log_because == "rolled back"


def test_an_empty_receipt_of_our_log_changes_nothing(device):
    device.seal(1)
    assert device.get(device.receipt(0)) == Outcome(0)
    assert device.kept() == [0]


def test_an_empty_receipt_of_an_unknown_log_is_no_loss_of_the_store(device):
    device.seal(1)
    assert device.get(device.receipt(0, log=b"from way")) == Outcome(0)


def test_verdicts_are_kept_for_the_owner_newest_first(device):
    device.seal(2)
    verdicts = (ProofVerdict(1, "stale_beacon"), ProofVerdict(2, "quality_jump", "3 readings"))
    device.get(device.receipt(2, verdicts=verdicts))
    device.get(device.receipt(2, verdicts=verdicts))
    assert papers.verdicts(device.journal, 10) == [(2, "quality_jump", "3 readings"), (1, "stale_beacon", "")]


def test_verdicts_take_bounded_room_whatever_the_gateway_sends(device, monkeypatch):
    monkeypatch.setattr(papers, "MAX_VERDICTS", 100)
    device.seal(2)
    for number in range(5):
        verdicts = tuple(ProofVerdict(seq % 3, f"code_{number}_{seq}") for seq in range(64))
        device.get(device.receipt(2, verdicts=verdicts))
    kept = papers.verdicts(device.journal, 1000)
    assert len(kept) == 100
    assert {seq for seq, _, _ in kept} == {2}


def test_a_verdict_on_a_proof_we_never_signed_is_not_kept(device):
    device.seal(1)
    device.get(device.receipt(1, verdicts=(ProofVerdict(2**40, "duplicate"),)))
    assert papers.verdicts(device.journal, 10) == []
