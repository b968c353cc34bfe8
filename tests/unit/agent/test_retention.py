from __future__ import annotations

import sqlite3
from pathlib import Path
from random import Random

import pytest

from agent import reserve
from agent.journal import Journal
from agent.papers import keep_beacon
from agent.retention import (
    HASHES_KEPT,
    Room,
    bytes_used,
    carrier_of,
    evict_receipted,
    evict_unreceipted,
    make_room,
    take_gaps,
)
from agent.settings import JournalSettings
from proof.claims import Gap, Predecessor
from tests.agent_parts import FakeClock, open_test_journal

REASON = "store full"


@pytest.fixture
def journal(tmp_path):
    made = open_test_journal(tmp_path, FakeClock())
    yield made
    made.close()


def test_a_reserve_that_was_given_up_in_vain_is_set_aside_again(journal, monkeypatch):
    fill(journal, 3)
    path = journal.path.with_name("journal.db.reserve")
    assert path.exists()

    def gives(_path: Path) -> None:
        path.unlink()

    def fails(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("agent.reserve.give", gives)
    monkeypatch.setattr("agent.retention.evict_receipted", fails)
    with pytest.raises(sqlite3.OperationalError):
        make_room(journal, JournalSettings(free_floor_bytes=0), force=True)
    assert path.exists()


def digest(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def fill(journal: Journal, count: int, size: int = 100) -> int:
    """Proofs of `size` bytes that cannot be packed, in the open log; its id."""
    journal.begin()
    for _ in range(count):
        log = journal.open_log()
        assert log is not None
        journal.store_proof(log, log.seq + 1, digest(log.seq + 1), Random(log.seq).randbytes(size), 1, 0, 0)
    journal.commit()
    log = journal.open_log()
    assert log is not None
    return log.id


def kept(journal: Journal) -> list[int]:
    return [
        row[0]
        for row in journal.execute("SELECT seq FROM proofs WHERE data IS NOT NULL ORDER BY log_id, seq")
    ]


def gap(first: int, last: int) -> Gap:
    return Gap(first, last, digest(first), digest(last), REASON)


def test_receipted_proofs_go_first_and_the_oldest_of_them(journal):
    log_id = fill(journal, 5)
    journal.mark_receipted(log_id, 3, 1)
    assert evict_receipted(journal, 2) == 2
    assert kept(journal) == [3, 4, 5]
    assert evict_receipted(journal, 9) == 1
    assert evict_receipted(journal, 9) == 0
    assert kept(journal) == [4, 5]


def test_an_unreceipted_proof_leaves_its_number_its_hash_and_a_gap(journal):
    log_id = fill(journal, 5)
    assert evict_unreceipted(journal, log_id, 2, REASON) == gap(1, 2)
    assert kept(journal) == [3, 4, 5]
    assert journal.hash_at(log_id, 1) == digest(1)
    assert journal.proof_at(log_id, 1) is None
    assert take_gaps(journal, log_id, 6, 9) == (gap(1, 2),)
    assert take_gaps(journal, log_id, 7, 9) == ()


def test_a_gap_that_grows_is_said_again_as_one(journal):
    log_id = fill(journal, 6)
    evict_unreceipted(journal, log_id, 2, REASON)
    take_gaps(journal, log_id, 7, 9)
    assert evict_unreceipted(journal, log_id, 2, REASON) == gap(1, 4)
    assert take_gaps(journal, log_id, 8, 9) == (gap(1, 4),)
    assert carrier_of(journal, log_id, 1) == carrier_of(journal, log_id, 4) == 8


def test_a_gap_whose_carrier_is_given_up_is_said_again(journal):
    log_id = fill(journal, 6)
    evict_unreceipted(journal, log_id, 2, REASON)
    take_gaps(journal, log_id, 3, 9)
    assert evict_unreceipted(journal, log_id, 1, REASON) == gap(1, 3)
    assert take_gaps(journal, log_id, 7, 9) == (gap(1, 3),)


def test_a_gap_after_receipted_proofs_is_one_of_its_own(journal):
    log_id = fill(journal, 6)
    evict_unreceipted(journal, log_id, 1, REASON)
    take_gaps(journal, log_id, 6, 9)
    journal.mark_receipted(log_id, 4, 1)
    assert evict_unreceipted(journal, log_id, 1, REASON) == gap(5, 5)


def test_a_gap_the_gateway_went_past_is_not_said(journal):
    """A receipt beyond it came after it was declared: the gateway had those proofs after all."""
    log_id = fill(journal, 6)
    evict_unreceipted(journal, log_id, 2, REASON)
    journal.mark_receipted(log_id, 4, 1)
    assert take_gaps(journal, log_id, 7, 9) == ()


def test_the_birth_of_a_later_log_is_never_given_up(journal):
    """It names the log before: without it the gateway could accept nothing that follows."""
    journal.start_log(b"new one!", Predecessor(b"old one!", None, "store lost"))
    log_id = fill(journal, 4)
    assert evict_unreceipted(journal, log_id, 9, REASON) == gap(2, 4)
    assert evict_unreceipted(journal, log_id, 9, REASON) is None
    assert kept(journal) == [1]
    journal.mark_receipted(log_id, 1, 1)
    assert evict_receipted(journal, 9) == 1


def test_nothing_is_given_up_within_the_bounds(journal):
    fill(journal, 3)
    assert make_room(journal, JournalSettings(free_floor_bytes=0)) == Room()


def test_no_more_is_given_up_than_the_bounds_ask_for(journal):
    log_id = fill(journal, 60, 5_000)
    journal.mark_receipted(log_id, 10, 1)
    bound = bytes_used(journal) - 20_000
    room = make_room(journal, JournalSettings(max_bytes=bound, free_floor_bytes=0))
    assert room.gap is None
    assert kept(journal) == list(range(11, 61))
    bound = bytes_used(journal) - 60_000
    room = make_room(journal, JournalSettings(max_bytes=bound, free_floor_bytes=0))
    assert room.gap is not None
    assert bytes_used(journal) <= bound
    assert 12 <= room.gap.last_seq - 10 <= 24
    assert kept(journal) == list(range(room.gap.last_seq + 1, 61))


def test_a_store_that_holds_nothing_more_to_give_up_stops_trying(journal):
    fill(journal, 3)
    room = make_room(journal, JournalSettings(max_bytes=1, free_floor_bytes=0))
    assert kept(journal) == []
    assert room.gap == gap(1, 3)
    assert make_room(journal, JournalSettings(max_bytes=1, free_floor_bytes=0), force=True) == Room()


def test_the_free_space_floor_is_kept_by_what_is_really_given_back(journal, monkeypatch):
    """The file and its write-ahead log must shrink, or ever more would be given up."""
    fill(journal, 100, 20_000)
    journal.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    disk = 10_000_000

    def free_bytes(folder):
        return disk - sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".db-shm")

    monkeypatch.setattr(reserve, "free_bytes", free_bytes)
    floor = free_bytes(journal.path.parent) + 300_000
    room = make_room(journal, JournalSettings(free_floor_bytes=floor))
    assert free_bytes(journal.path.parent) >= floor
    assert room.gap is not None
    assert room.gap.last_seq <= 24


def test_a_full_disk_asks_for_one_step(journal):
    log_id = fill(journal, 100)
    journal.mark_receipted(log_id, 70, 1)
    assert make_room(journal, JournalSettings(free_floor_bytes=0), force=True) == Room(64)
    assert make_room(journal, JournalSettings(free_floor_bytes=0), force=True) == Room(6)
    assert make_room(journal, JournalSettings(free_floor_bytes=0), force=True).gap == gap(71, 78)


def test_what_is_left_of_old_receipted_proofs_takes_bounded_room(journal):
    """Their rows alone filled a small store within months, and then every proof was given up at once."""
    log_id = fill(journal, 1_000, 2_000)
    journal.mark_receipted(log_id, 990, 1)
    make_room(journal, JournalSettings(max_bytes=200_000, free_floor_bytes=0))
    rows = [row[0] for row in journal.execute("SELECT seq FROM proofs ORDER BY seq")]
    assert rows == list(range(990 - HASHES_KEPT, 1_001))
    assert journal.receipted_seq(log_id) == 990
    assert journal.open_log().seq == 1_000


def test_gaps_that_a_receipt_has_passed_long_ago_are_forgotten(journal):
    log_id = fill(journal, 1_000, 2_000)
    evict_unreceipted(journal, log_id, 5, REASON)
    journal.mark_receipted(log_id, 900, 1)
    evict_unreceipted(journal, log_id, 5, REASON)
    make_room(journal, JournalSettings(max_bytes=300_000, free_floor_bytes=0))
    assert journal.execute("SELECT first_seq FROM gaps").fetchall() == [(901,)]


def test_a_crowded_store_keeps_no_more_beacons_than_proofs(journal):
    """Ten thousand of them would fill a small store, and proofs would be given up for them."""
    log_id = fill(journal, 50, 2_000)
    for number in range(500):
        keep_beacon(journal, digest(number), bytes(300))
    journal.mark_receipted(log_id, 10, 1)
    make_room(journal, JournalSettings(max_bytes=bytes_used(journal) - 1, free_floor_bytes=0))
    assert journal.execute("SELECT count(*), max(id) FROM beacons").fetchone() == (50, 500)
    assert kept(journal) == list(range(11, 51))
