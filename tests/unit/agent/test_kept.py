"""The kept journal under faults: every statement fails once, in every way SQLite has."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent import retention
from agent.diary import Diary
from agent.errors import TryAgain
from agent.journal import Journal
from agent.sample import Missed
from agent.settings import JournalSettings
from proof import rotation
from proof.claims import Predecessor
from proof.rotation import DeviceKey
from proof.senml import Measured
from tests.agent_parts import MemoryKeys, captured
from tests.keeper_parts import Rig, raising, sqlite_error


class Faulty:
    """A connection whose `at`-th statement fails with `error`; `rolls_back` as SQLite does on a full disk."""

    def __init__(self, db: sqlite3.Connection, at: int, error: sqlite3.Error, rolls_back: bool) -> None:
        self._db, self._left, self._error, self._rolls_back = db, at, error, rolls_back
        self.struck, self.armed = False, True

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0 and self.armed:
            self.struck = True
            if self._rolls_back and self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._error

    def execute(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._db.execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._db.executemany(*args)

    def executescript(self, *args: Any) -> sqlite3.Cursor:
        self._count()
        return self._db.executescript(*args)

    def close(self) -> None:
        self._db.close()


FAULTS = {
    "I/O error": lambda: (sqlite_error("disk I/O error", sqlite3.SQLITE_IOERR), False),
    "full": lambda: (sqlite_error("database or disk is full", sqlite3.SQLITE_FULL), True),
    "read-only": lambda: (
        sqlite_error("attempt to write a readonly database", sqlite3.SQLITE_READONLY),
        False,
    ),
    "damaged": lambda: (
        sqlite_error("database disk image is malformed", sqlite3.SQLITE_CORRUPT, sqlite3.DatabaseError),
        False,
    ),
}


# To the keeper a disk that became read-only is any that fails: nothing asks which of the two it is.
EACH_FAULT = [pytest.param(fault, marks=pytest.mark.slow if fault == "read-only" else ()) for fault in FAULTS]


def with_two_proofs(folder: Path, samples: int = 6) -> Rig:
    """Of three readings each, the first of them receipted."""
    rig = Rig(folder, readings=3)
    rig.keeper.start()
    for _ in range(samples):
        rig.append()
    rig.settle()
    rig.receipt(1)
    return rig


def strike(rig: Rig, at: int, fault: str) -> Faulty:
    error, rolls_back = FAULTS[fault]()
    faulty = Faulty(rig.journal._db, at, error, rolls_back)
    rig.journal._db = faulty  # type: ignore[assignment]
    return faulty


def attempt(action: Callable[[], object]) -> None:
    with suppress(TryAgain):
        action()


def every_statement(rigs: Callable[[Path], Rig], tmp_path: Path, fault: str) -> Iterator[tuple[Rig, Faulty]]:
    """One rig after another, in which the first, the second … statement fails, until none is left."""
    for at in itertools.count(1):
        folder = tmp_path / str(at)
        folder.mkdir()
        with rigs(folder) as rig:
            rig.settle()
            faulty = strike(rig, at, fault)
            yield rig, faulty
            assert rig.keeper.alive
        if not faulty.struck:
            assert at > 10
            return


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_no_failing_statement_loses_an_acknowledged_sample_or_breaks_the_chain(tmp_path, fault):
    for rig, faulty in every_statement(with_two_proofs, tmp_path, fault):
        for _ in range(4):
            rig.append()
        attempt(lambda: rig.keeper.note_missed(Missed("x", rig.clock.boot_id, 1, 2, "read void")))  # noqa: B023
        attempt(rig.keeper.seal_open_window)
        attempt(lambda: rig.receipt(2))  # noqa: B023
        attempt(rig.settle)
        faulty.armed = False
        rig.clock.advance(120)
        assert rig.append()
        rig.keeper.seal_open_window()
        rig.settle()
        found, proofs = rig.numbers(), rig.proofs()
        assert len(found) == len(set(found))
        # The first two proofs have receipts: a full disk or a quarantine may have taken their bytes.
        assert set(rig.acknowledged) - set(range(6)) <= set(found)
        first = proofs[0].claims.seq
        assert [proof.claims.seq for proof in proofs] == list(range(first, first + len(proofs)))
        assert [proof.claims.prev for proof in proofs[1:]] == [proof.hash for proof in proofs[:-1]]
        assert sum(len(proof.claims.lost) for proof in proofs) <= 1
        assert bool(rig.news) == (fault == "damaged" and faulty.struck)
        if not faulty.struck:
            assert rig.acknowledged == list(range(11))


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_no_failing_statement_breaks_a_rotation(tmp_path, fault):
    """The old key or the new, never both: what signs a proof is what the proofs before it say."""
    for rig, faulty in every_statement(partial(with_two_proofs, samples=7), tmp_path, fault):
        keys, done = MemoryKeys(), []
        attempt(lambda: done.append(rig.keeper.rotate(keys)))  # noqa: B023
        for _ in range(2):
            rig.append()
        attempt(rig.keeper.seal_open_window)
        attempt(lambda: rig.receipt(rig.newest()))  # noqa: B023
        attempt(lambda: rig.keeper.settle_rotation(keys))  # noqa: B023
        faulty.armed = False
        rig.clock.advance(120)
        assert rig.append()
        rig.keeper.seal_open_window()
        turning, settled = rig.sealer.turn is not None, bool(keys.settled)
        rig.receipt(rig.newest())
        assert rig.keeper.settle_rotation(keys) == turning
        assert settled + turning == len(done)
        proofs = rig.proofs()
        carriers = [proof.claims.seq for proof in proofs if proof.claims.rotation]
        # A receipted carrier may have been given up to a full disk, or lie in a quarantined store.
        assert len(carriers) == len(done) or (settled and faulty.struck and not carriers)
        key = DeviceKey(keys.key(settled and not carriers).public_key)
        for proof in proofs:
            turn = rotation.of_proof(proof.claims)
            key = rotation.succeed(turn, key) if turn else key
            proof.signed.require_signature([key.public_key])
        if not faulty.struck:
            assert (carriers, settled) == ([3], True)


def large(number: int) -> tuple[Measured, ...]:
    """Values that cannot be packed."""
    chance = Random(number)
    return tuple(Measured(f"q{at}", "Cel", Decimal(chance.randrange(10**17)) / 1000) for at in range(120))


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_no_failing_statement_breaks_eviction(tmp_path, fault):
    def crowded_rig(folder: Path) -> Rig:
        rig = Rig(folder, JournalSettings(max_bytes=30_000, free_floor_bytes=0), readings=1)
        rig.keeper.start()
        for _ in range(9):
            rig.append(values=large(rig.tried))
        return rig

    for rig, faulty in every_statement(crowded_rig, tmp_path, fault):
        for _ in range(2):
            rig.append(values=large(rig.tried))
        attempt(rig.settle)
        faulty.armed = False
        rig.clock.advance(120)
        assert rig.append()
        rig.settle()
        assert rig.keeper.call(retention.bytes_used) < 30_000
        proofs = rig.proofs()
        kept = {proof.claims.seq for proof in proofs}
        gaps = [gap for proof in proofs for gap in proof.claims.gaps]
        gaps += rig.unsaid_gaps()
        declared = {seq for gap in gaps for seq in range(gap.first_seq, gap.last_seq + 1)}
        assert declared | kept == set(range(1, max(kept) + 1))
        if not faulty.struck:
            assert declared


def test_a_full_disk_gives_up_old_proofs_and_takes_the_new_sample(tmp_path):
    with Rig(tmp_path, readings=1) as rig:
        for _ in range(30):
            rig.append(values=captured(rig.clock, 0).values * 200)
            rig.settle()
        rig.keeper.call(
            lambda journal: journal.execute(
                f"PRAGMA max_page_count={journal.execute('PRAGMA page_count').fetchone()[0]}"
            ).fetchone()
        )
        for _ in range(30):
            assert rig.append(values=captured(rig.clock, 0).values * 200)
        rig.settle()
        proofs = rig.proofs()
        assert proofs[-1].claims.seq == 60
        assert proofs[0].claims.seq > 1


def test_a_store_damaged_while_it_runs_is_replaced_and_nothing_acknowledged_is_lost(tmp_path):
    with Rig(tmp_path, readings=5) as rig:
        for _ in range(12):
            assert rig.append()
        old = rig.keeper.call(lambda journal: journal.open_log())
        rig.keeper.call(lambda journal: journal.execute("UPDATE samples SET record = x'83' WHERE id = 1"))
        for _ in range(8):
            assert rig.append()
        rig.settle()
        log = rig.keeper.call(lambda journal: journal.open_log())
        assert log is not None
        assert old is not None
        assert log.predecessor == Predecessor(old.log, old.hash, "store corrupt")
        assert rig.numbers() == [number for number in range(20) if number != 10]
        assert len(rig.news) == 1
        assert "journal.db.corrupt-1" in rig.news[0]
        assert (tmp_path / "journal.db.corrupt-1").exists()
        bootcounts = [proof.claims.bootcount for proof in rig.proofs()]
        assert bootcounts == sorted(bootcounts)


def test_a_store_that_cannot_be_replaced_is_tried_again_later(tmp_path, monkeypatch):
    with Rig(tmp_path) as rig:
        rig.append()
        rename = Path.rename
        monkeypatch.setattr(
            Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system"))
        )
        strike_now = sqlite_error("malformed", sqlite3.SQLITE_CORRUPT, sqlite3.DatabaseError)

        def job(journal: Journal) -> None:
            raise strike_now

        with pytest.raises(TryAgain, match="Read-only file system"):
            rig.keeper.call(job)
        assert not rig.append()
        assert rig.keeper.alive
        monkeypatch.setattr(Path, "rename", rename)
        rig.clock.advance(60)
        assert rig.append()
        assert rig.numbers() == [0, 2]


def test_a_job_that_always_finds_damage_does_not_fill_the_card_with_journals(tmp_path):
    def job(journal: Journal) -> None:
        raise sqlite_error("malformed", sqlite3.SQLITE_CORRUPT, sqlite3.DatabaseError)

    with Rig(tmp_path) as rig:
        for _ in range(5):
            with pytest.raises(TryAgain, match="once a minute"):
                rig.keeper.call(job)
        assert len(list(tmp_path.glob("*.corrupt-?"))) == 1
        rig.clock.advance(60)
        assert rig.append()


@pytest.mark.parametrize(
    "error", [TypeError("a row"), sqlite3.IntegrityError("an id twice"), sqlite3.DataError("too long")]
)
def test_a_diary_that_cannot_be_written_stops_no_sample(tmp_path, monkeypatch, error):
    rig = Rig(tmp_path)
    monkeypatch.setattr(Diary, "write", raising(error))
    with rig:
        assert rig.append()
        assert rig.keeper.alive
        assert rig.numbers() == [0]


def test_a_disk_that_fails_as_the_diary_is_written_fails_the_transaction(tmp_path, monkeypatch):
    rig = Rig(tmp_path)
    monkeypatch.setattr(Diary, "write", raising(FAULTS["I/O error"]()[0]))
    with rig:
        assert not rig.append()
        assert rig.keeper.alive
