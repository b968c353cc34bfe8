"""Readings written together, within a stated loss window: what is on disk when, and in which order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent import loss_window
from agent.errors import TryAgain
from agent.journal import Journal, Waiting
from agent.keeper import Keeper
from agent.loss_window import LossWindow
from agent.sample import Missed
from agent.settings import JournalSettings
from tests.agent_parts import FakeClock, captured, make_sealer, open_test_journal

WINDOW = JournalSettings(free_floor_bytes=0, loss_window_s=60)


class Rig:
    """A keeper with a loss window of one minute; proofs of ten."""

    def __init__(self, folder: Path) -> None:
        self.path, self.clock, self.number = folder / "journal.db", FakeClock(), 0
        self.journal = open_test_journal(folder, self.clock)
        sealer = make_sealer(self.clock, readings=10)
        self.keeper = Keeper(self.journal, sealer, WINDOW, self.clock, lambda: None, lambda _: None)
        self.keeper.start()

    def append(self, count: int = 1) -> None:
        for _ in range(count):
            self.keeper.append(captured(self.clock, self.number))
            self.number += 1
            self.clock.advance(10)

    def on_disk(self) -> tuple[int, int]:
        """(samples, proofs) that another process sees."""
        with closing(sqlite3.connect(self.path)) as db:
            return tuple(
                db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("samples", "proofs")
            )

    def turn(self) -> None:
        """The thread has gone round, with a job that only reads."""
        for _ in range(2):
            self.keeper.read(lambda journal: journal.open_log())


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.keeper.stop(10)


def test_within_the_window_nothing_is_written_and_reading_writes_nothing(rig):
    rig.append(6)
    rig.turn()
    assert rig.on_disk() == (0, 0)
    assert rig.keeper.held == 6


def test_a_sample_is_on_disk_once_the_window_is_over(rig, until):
    rig.append(6)
    rig.clock.advance(1)
    until(lambda: rig.on_disk() == (6, 0), 20)
    assert rig.keeper.held == 0


def test_a_job_that_writes_takes_them_along_and_comes_after_them(rig):
    rig.append(2)
    now_ns = rig.clock.boottime_ns()
    rig.keeper.note_missed(Missed("bme280-76", rig.clock.boot_id, now_ns, now_ns, "read void"))
    assert rig.on_disk() == (2, 0)
    rig.clock.advance(1)
    rig.append()
    now_ns = rig.clock.boottime_ns()
    rig.keeper.note_missed(Missed("bme280-76", rig.clock.boot_id, now_ns, now_ns, "read void"))
    rows = rig.keeper.read(lambda journal: journal.execute("SELECT count FROM losses").fetchall())
    assert rows == [(1,), (1,)], "a sample lies between the two losses"


def test_a_proof_that_is_due_takes_them_along_in_one_transaction(rig, until):
    rig.append(10)
    until(lambda: rig.on_disk() == (0, 1), 20)
    assert rig.keeper.held == 0


def test_a_challenge_is_answered_with_the_sample_it_asked_for(rig, until):
    rig.keeper.challenges.hear(b"n" * 16, rig.clock.boottime_ns() + 10**12, {"bme280-76"})
    rig.append()
    until(lambda: rig.on_disk() == (0, 1), 20)


def test_a_stop_in_order_loses_nothing(rig):
    rig.append(3)
    rig.keeper.stop(10)
    assert rig.on_disk() == (3, 0)


def test_a_failing_disk_keeps_them_until_it_works_again(rig, until, monkeypatch):
    def full(_self: Journal, _sample: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite3.OperationalError, "sqlite_errorcode", sqlite3.SQLITE_IOERR, raising=False)
    with monkeypatch.context() as broken:
        broken.setattr(Journal, "append", full)
        rig.append(7)
        with pytest.raises(TryAgain):
            rig.keeper.call(lambda journal: None)
    rig.clock.advance(5)
    until(lambda: rig.on_disk() == (7, 0), 20)
    samples = rig.keeper.read(lambda journal: journal.oldest_samples(rig.clock.boot_id, 99))
    assert [int(sample.values[1].value) - 100_000 for _, sample in samples] == list(range(7))


def test_memory_is_bounded_while_the_disk_fails(rig, monkeypatch):
    monkeypatch.setattr(loss_window, "_MOST_HELD", 3)
    rig.append(3)
    with pytest.raises(TryAgain, match="not been written for too long"):
        rig.append()


def test_after_a_damaged_store_they_are_written_to_the_new_one(rig):
    rig.append(3)
    damaged = iter([True])

    def job(journal: Journal) -> None:
        if next(damaged, False):
            raise sqlite3.DatabaseError("malformed")

    rig.keeper.call(job)
    assert rig.on_disk() == (3, 0)
    assert rig.path.with_name("journal.db.corrupt-1").exists()


def test_no_append_after_the_end(rig):
    rig.keeper.stop(10)
    with pytest.raises(TryAgain, match="closed"):
        rig.append()


def test_to_a_job_what_its_transaction_has_written_is_held_no_more(rig):
    rig.append(2)
    assert rig.keeper.read(lambda _journal: rig.keeper.held) == 2
    assert rig.keeper.call(lambda _journal: rig.keeper.held) == 0


def test_what_waits_for_a_proof_is_what_is_stored_and_what_is_held_and_its_oldest(rig):
    window, stored = LossWindow(60, rig.clock), Waiting(3, 1, b"boot", 7)
    assert window.with_stored(stored) == stored
    first = captured(rig.clock, 0)
    rig.clock.advance(10)
    assert window.hold(first)
    assert window.hold(captured(rig.clock, 1))
    assert window.with_stored(stored) == Waiting(5, 1, b"boot", 7)
    assert window.with_stored(Waiting(0, 1, None, None)) == Waiting(2, 1, first.boot_id, first.boottime_ns)
