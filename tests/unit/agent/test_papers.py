from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent import export, papers
from agent.papers import beacons, counts, keep_beacon, keep_receipt, kept_proofs, last_receipted_s, receipts
from agent.retention import bytes_used, make_room
from agent.settings import JournalSettings
from proof.receipt import ProofVerdict, of_refused
from proof.sealing import parse
from tests.agent_parts import START_S, FakeClock, captured, make_sealer, open_test_journal


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def journal(tmp_path, clock):
    made = open_test_journal(tmp_path, clock)
    yield made
    made.close()


def seal(journal, clock, readings):
    sealer = make_sealer(clock)
    for number in range(readings):
        journal.append(captured(clock, number))
        clock.advance(60)
    sealer.seal(journal)


def test_counts_follow_a_sample_from_append_to_receipt(journal, clock):
    journal.append(captured(clock))
    assert counts(journal).captured == counts(journal).unsealed == 1
    seal(journal, clock, 4)
    seal(journal, clock, 2)
    now = counts(journal)
    assert (now.captured, now.unsealed, now.proofs, now.unreceipted, now.unreceipted_readings) == (
        7,
        0,
        2,
        2,
        7,
    )
    assert last_receipted_s(journal) is None
    journal.mark_receipted(1, 1, START_S + 999)
    now = counts(journal)
    assert (now.captured, now.unreceipted, now.unreceipted_readings, now.receipted_seq) == (7, 1, 2, 1)
    assert last_receipted_s(journal) == START_S + 3 * 60


def test_the_newest_receipt_of_each_log_and_all_beacons_are_evidence(journal):
    for number in (1, 2, 2):
        keep_beacon(journal, bytes([number]), f"beacon {number}".encode())
    keep_receipt(journal, 1, b"old")
    keep_receipt(journal, 1, b"new")
    keep_receipt(journal, 2, b"other log")
    assert [data for _, data in beacons(journal, 0)] == [b"beacon 1", b"beacon 2"]
    assert receipts(journal) == [b"new", b"other log"]


def test_beacons_take_bounded_room(journal, monkeypatch):
    monkeypatch.setattr(papers, "MAX_BEACONS", 5)
    for number in range(20):
        keep_beacon(journal, bytes([number]), bytes([number]))
    assert [data for _, data in beacons(journal, 0)] == [bytes([number]) for number in range(15, 20)]


EVERY = (2**40, 0)


def kept_span(journal, since_s, until_s):
    return export.kept_span(lambda job: job(journal), since_s, until_s)


def test_kept_proofs_come_in_chain_order_by_pieces_and_by_time(journal, clock):
    for _ in range(5):
        seal(journal, clock, 2)
    first = kept_proofs(journal, (0, 0), EVERY, 2)
    then = kept_proofs(journal, first[-1][:2], EVERY, 9)
    assert [row[:2] for row in first + then] == [(1, seq) for seq in range(1, 6)]
    assert [parse(papers.proof_of(row)).claims.seq for row in then] == [3, 4, 5]
    assert kept_span(journal, START_S + 120, START_S + 180) == ((1, 2), (1, 2))
    assert [row[:2] for row in kept_proofs(journal, (1, 1), (1, 2), 9)] == [(1, 2)]
    journal.execute("UPDATE proofs SET data = NULL WHERE seq = 2")
    assert kept_span(journal, START_S + 120, START_S + 180) is None
    assert kept_proofs(journal, (1, 1), (1, 2), 9) == []


def test_a_refusal_stands_until_a_later_proof_is_receipted(journal, clock):
    seal(journal, clock, 1)
    seal(journal, clock, 1)
    papers.store_verdicts(journal, 1, [ProofVerdict(1, "quality_late"), ProofVerdict(2, "revoked")])
    assert papers.stored(journal).refused == ProofVerdict(2, "revoked")
    journal.mark_receipted(1, 1, START_S)
    assert papers.stored(journal).refused == ProofVerdict(2, "revoked")
    journal.mark_receipted(1, 2, START_S)
    assert papers.stored(journal).refused is None


def test_a_refused_proof_is_found_by_its_hash_among_the_next_and_by_its_number_before_any_log_is_spoken_of(
    journal, clock
):
    for _ in range(3):
        seal(journal, clock, 1)
    of = partial(of_refused, "bad_signature", "kid 1")
    hashes = [journal.hash_at(1, seq) for seq in (1, 2, 3)]
    said = ProofVerdict(2, "bad_signature", "kid 1")
    assert papers.refused_proof(journal, of(hashes[1])) == said
    assert papers.refused_proof(journal, of(bytes(32))) is None, "a proof of somebody else"
    journal.mark_receipted(1, 1, START_S)
    assert papers.refused_proof(journal, of(hashes[0])) is None, "it was taken in the end"
    assert papers.note_refused(journal, said) == (said,)
    assert papers.note_refused(journal, said) == (), "no news"
    for seq, known in ((0, False), (1, False), (3, True), (4, False)):
        assert bool(papers.refused_proof(journal, ProofVerdict(seq, "revoked"))) is known


def test_that_nothing_is_taken_at_all_comes_before_the_first_proof_that_is_not(journal, clock):
    for _ in range(3):
        seal(journal, clock, 1)
    papers.store_verdicts(journal, 1, [ProofVerdict(1, "broken_chain"), ProofVerdict(3, "suspended")])
    assert papers.stored(journal).refused == ProofVerdict(3, "suspended")
    journal.execute("DELETE FROM verdicts WHERE seq = 3")
    assert papers.stored(journal).refused == ProofVerdict(1, "broken_chain")


def test_only_what_has_no_receipt_makes_a_full_journal_dangerous(journal, clock):
    for _ in range(8):
        seal(journal, clock, 1)
    assert papers.stored(journal).unreceipted_share == 1.0
    journal.mark_receipted(1, 6, START_S)
    assert papers.stored(journal).unreceipted_share == 0.25
    journal.mark_receipted(1, 8, START_S)
    assert papers.stored(journal).unreceipted_share == 0.0
    journal.execute("UPDATE proofs SET data = NULL")
    seal(journal, clock, 1)
    assert papers.stored(journal).unreceipted_share == 1.0, "what was evicted can be given up no more"


def test_to_be_asked_how_it_is_reads_a_small_part_of_a_full_store(journal):
    """It reads what lies on the card, in the journal's thread: samples wait meanwhile."""
    log = journal.open_log()
    assert log is not None
    sql = "INSERT INTO proofs VALUES (?, ?, ?, 60, ?, ?, ?, ?)"
    journal.begin()
    journal.executemany(
        sql,
        (
            (log.id, n, n.to_bytes(32, "big"), n, n, n if n <= 2_000 else None, bytes(3_000))
            for n in range(1, 4_001)
        ),
    )
    journal.commit()
    journal.give_back_space()
    before = bytes_read()
    assert last_receipted_s(journal) == 2_000
    assert journal.receipted_seq(log.id) == 2_000
    assert journal.receipted_at_s() == 2_000
    assert bytes_read() - before < 1_000_000


@pytest.mark.parametrize("receipted", [0, 5])
def test_to_be_asked_how_it_is_reads_a_small_part_of_a_long_backlog(journal, receipted):
    """Nothing of the proofs themselves: they wait for a gateway, perhaps for weeks."""
    log = journal.open_log()
    assert log is not None
    journal.begin()
    for number in range(1, 4_001):
        hash_ = number.to_bytes(32, "big")
        journal.store_proof(replace(log, seq=number - 1), number, hash_, random.randbytes(1_500), 60, 0, 0)
    journal.mark_receipted(log.id, receipted, START_S)
    journal.commit()
    journal.give_back_space()
    before = bytes_read()
    now = counts(journal)
    assert (now.unreceipted, now.unreceipted_readings) == (4_000 - receipted, 60 * (4_000 - receipted))
    assert papers.waiting(journal) == 4_000 - receipted
    assert last_receipted_s(journal) == (0 if receipted else None)
    assert bytes_read() - before < 400_000


def test_to_make_room_reads_a_small_part_of_a_full_store(journal):
    log = journal.open_log()
    assert log is not None
    journal.begin()
    for number in range(1, 4_001):
        journal.store_proof(
            replace(log, seq=number - 1), number, number.to_bytes(32, "big"), bytes(3_000), 1, 0, 0
        )
    journal.mark_receipted(log.id, 3_990, 1)
    journal.commit()
    journal.give_back_space()
    settings = JournalSettings(max_bytes=bytes_used(journal) - 1, free_floor_bytes=0)
    before = bytes_read()
    assert make_room(journal, settings).evicted == 64
    assert journal.execute("SELECT min(seq) FROM proofs").fetchone() == (65,)
    assert bytes_read() - before < 4_000_000


def bytes_read() -> int:
    """By this process, from files and pipes."""
    return int(Path("/proc/self/io").read_text().split()[1])
