from __future__ import annotations

import sqlite3

import pytest

from agent.journal import Journal
from agent.sample import Missed
from tests.agent_parts import MINUTE_NS, FakeClock, boot_bytes, captured, open_test_journal


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def journal(tmp_path, clock):
    made = open_test_journal(tmp_path, clock)
    yield made
    made.close()


def append(journal: Journal, clock: FakeClock, *numbers: int) -> None:
    journal.begin()
    for number in numbers:
        journal.append(captured(clock, number))
        clock.advance(1)
    journal.commit()


def store(journal: Journal, count: int = 1, size: int = 10) -> None:
    journal.begin()
    for _ in range(count):
        log = journal.open_log()
        assert log is not None
        seq = log.seq + 1
        journal.store_proof(log, seq, seq.to_bytes(32, "big"), bytes(size), 1, seq, seq)
    journal.commit()


def test_samples_come_back_as_they_were_in_append_order(journal, clock):
    made = [captured(clock, 0), captured(clock, 1, "other", flags=5, raw=b"\x01\x02")]
    journal.begin()
    for sample in made:
        journal.append(sample)
    journal.commit()
    assert [sample for _, sample in journal.oldest_samples(clock.boot_id, 10)] == made


def test_a_wall_clock_ten_years_off_reorders_nothing(journal, clock):
    numbers = []
    journal.begin()
    for number, step_s in enumerate((0, 315e6, -630e6, 0, -1.8e9, 3.6e9)):
        clock.step_wall(step_s)
        journal.append(captured(clock, number))
        numbers.append(100_000 + number)
        clock.advance(1)
    journal.commit()
    assert [s.values[1].value for _, s in journal.oldest_samples(clock.boot_id, 10)] == numbers


def test_a_sequence_number_follows_the_last_or_is_refused(journal):
    store(journal, 2)
    log = journal.open_log()
    with pytest.raises(ValueError, match="seq 4 does not follow 2"):
        journal.store_proof(log, 4, bytes(32), b"", 0, 0, 0)


def test_bytes_of_a_sequence_number_never_change(journal):
    store(journal, 2)
    log = journal.open_log()
    journal.execute("UPDATE proofs SET receipted_s = 1")
    with pytest.raises(ValueError, match="does not follow"):
        journal.store_proof(log, 2, bytes(32), b"other", 0, 0, 0)
    with pytest.raises(sqlite3.IntegrityError):
        journal.execute(
            "INSERT INTO proofs (log_id, seq, hash, readings, first_s, last_s) VALUES (1,2,'',0,0,0)"
        )
    assert journal.hash_at(log.id, 2) == (2).to_bytes(32, "big")


def test_what_was_not_committed_is_gone_after_reopening(tmp_path, clock):
    journal = open_test_journal(tmp_path, clock)
    append(journal, clock, 1)
    journal.begin()
    journal.append(captured(clock, 2))
    journal.close()
    journal = open_test_journal(tmp_path, clock)
    assert journal.waiting().samples == 1
    journal.close()


def test_each_boot_is_counted_once(tmp_path, clock):
    journal = open_test_journal(tmp_path, clock)
    first = journal.bootcount(clock.boot_id)
    clock.reboot()
    assert (first, journal.bootcount(clock.boot_id), journal.bootcount(clock.boot_id)) == (1, 2, 2)
    journal.close()
    journal = open_test_journal(tmp_path, clock)
    assert journal.bootcount(clock.boot_id) == 2
    journal.close()


def test_neighbouring_losses_for_one_reason_become_one(journal, clock):
    for minute in (1, 2, 3):
        at_ns = minute * MINUTE_NS
        journal.note_missed(Missed("bme280-76", clock.boot_id, at_ns, at_ns, "instrument gone"))
    journal.note_missed(Missed("bme280-76", clock.boot_id, 4 * MINUTE_NS, 4 * MINUTE_NS, "read void"))
    journal.note_missed(Missed("other", clock.boot_id, 4 * MINUTE_NS, 4 * MINUTE_NS, "read void"))
    lost = journal.take_losses(clock.boot_id, 10)
    assert [(x.instrument, x.count, x.reason) for x in lost] == [
        ("bme280-76", 3, "instrument gone"),
        ("bme280-76", 1, "read void"),
        ("other", 1, "read void"),
    ]
    assert (lost[0].from_boottime_ns, lost[0].to_boottime_ns) == (MINUTE_NS, 3 * MINUTE_NS)


def test_losses_on_both_sides_of_a_sample_stay_two(journal, clock):
    now_ns = clock.boottime_ns()
    journal.note_missed(Missed("bme280-76", clock.boot_id, now_ns - 1, now_ns - 1, "read void"))
    append(journal, clock, 1)
    journal.note_missed(Missed("bme280-76", clock.boot_id, now_ns + 1, now_ns + 1, "read void"))
    assert [x.count for x in journal.take_losses(clock.boot_id, 10)] == [1, 1]


def test_losses_of_an_earlier_boot_go_before_samples_of_a_later_one(journal, clock):
    """Else they starve while samples come in, or make the boot count fall (§4.7)."""
    earlier = clock.boot_id
    journal.note_missed(Missed("bme280-76", earlier, 1, 1, "read void"))
    clock.reboot()
    journal.bootcount(clock.boot_id)
    append(journal, clock, 1)
    assert journal.oldest_boot() == earlier
    journal.take_losses(earlier, 10)
    assert journal.oldest_boot() == clock.boot_id


def test_the_newest_sample_of_a_boot_is_known_after_it_was_sealed(journal, clock):
    append(journal, clock, 1, 2)
    rows = journal.oldest_samples(clock.boot_id, 10)
    journal.retire_samples(rows)
    assert journal.newest_ns("bme280-76", clock.boot_id) == rows[-1][1].boottime_ns
    assert journal.newest_ns("bme280-76", boot_bytes(9)) is None


def test_a_receipt_mark_is_never_taken_back_or_overwritten(journal):
    store(journal, 3)
    log = journal.open_log()
    assert journal.mark_receipted(log.id, 2, 1000) == 2
    assert journal.mark_receipted(log.id, 1, 2000) == 0
    assert journal.receipted_seq(log.id) == 2
    assert [row[0] for row in journal.execute("SELECT receipted_s FROM proofs")] == [1000, 1000, None]


def test_a_status_reads_no_signed_bytes(journal):
    """Columns behind a large blob cost its overflow pages: the blob is the last column."""
    columns = [row[1] for row in journal.execute("PRAGMA table_info(proofs)")]
    assert columns[-1] == "data"
