"""What the publisher reads from the journal to send next."""

from __future__ import annotations

import pytest

from agent import retention
from agent.batch import next_batch
from tests.agent_parts import FakeClock, captured, make_sealer, open_test_journal


@pytest.fixture
def journal(tmp_path):
    """Nine proofs; 1 is receipted, 2 to 4 were given up, and 10 says so."""
    clock = FakeClock()
    journal, sealer = open_test_journal(tmp_path, clock), make_sealer(clock)
    log = journal.open_log()
    assert log is not None
    journal.begin()
    for number in range(10):
        if number == 9:
            journal.mark_receipted(log.id, 1, 0)
            assert retention.evict_unreceipted(journal, log.id, 3, "store full") is not None
        clock.advance(60)
        journal.append(captured(clock, number))
        sealer.seal(journal)
    journal.commit()
    yield journal
    journal.close()


def seqs(proofs):
    return [proof.seq for proof in proofs]


def test_those_in_turn_are_unreceipted_kept_and_no_more_than_asked_for(journal):
    batch = next_batch(journal, (), 0, 4)
    assert (batch.receipted_seq, seqs(batch.asked), seqs(batch.in_turn)) == (1, [], [5, 6, 7, 8])
    assert seqs(next_batch(journal, (), 8, 4).in_turn) == [9, 10]
    assert seqs(next_batch(journal, (), 10, 4).in_turn) == []


def test_those_asked_for_come_first_and_count(journal):
    batch = next_batch(journal, (6, 5), 7, 4)
    assert (seqs(batch.asked), seqs(batch.in_turn)) == ([6, 5], [8, 9])


def test_what_was_given_up_is_answered_once_by_the_proof_that_says_so(journal):
    batch = next_batch(journal, (2, 3, 4, 7), 5, 4)
    assert (seqs(batch.asked), seqs(batch.in_turn)) == ([10, 7], [6, 7])


def test_what_was_never_signed_is_not_answered(journal):
    assert seqs(next_batch(journal, (11, 2**62), 10, 4).asked) == []
