"""The journal's thread under faults: every statement fails once, in every way SQLite has."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent import papers, retention
from agent.batch import next_batch
from agent.diary import Diary
from agent.errors import TryAgain
from agent.journal import Journal
from agent.keeper import Keeper
from agent.receipts import accept
from agent.sample import Captured, Missed
from agent.settings import JournalSettings
from proof import beacon, rotation
from proof.claims import Gap, Predecessor
from proof.receipt import Receipt
from proof.rotation import DeviceKey
from proof.sealing import Proof, parse
from proof.senml import Measured
from tests.agent_parts import (
    DEVICE_ID,
    GATEWAY,
    NETWORK,
    START_S,
    FakeClock,
    MemoryKeys,
    captured,
    make_descriptor,
    make_sealer,
    open_test_journal,
)

ROOMY = JournalSettings(free_floor_bytes=0)


class Rig:
    """A keeper whose thread runs, with what was acknowledged; `news` is what the owner was told."""

    def __init__(self, folder: Path, settings: JournalSettings = ROOMY, **proof: Any) -> None:
        self.clock, self.news = FakeClock(), list[str]()
        self.journal = open_test_journal(folder, self.clock)
        self.journal.execute("PRAGMA synchronous=OFF")  # faster; power cuts are not tested here
        self.sealer = make_sealer(self.clock, **proof)
        self.keeper = Keeper(self.journal, self.sealer, settings, self.clock, lambda: None, self.news.append)
        self.acknowledged: list[int] = []
        self.tried = 0

    def append(self, **changes: Any) -> bool:
        """One more sample; whether it was acknowledged."""
        self.clock.advance(60)
        number, self.tried = self.tried, self.tried + 1
        try:
            self.keeper.append(captured(self.clock, number, **changes))
        except TryAgain:
            return False
        self.acknowledged.append(number)
        return True

    def settle(self) -> None:
        """Everything handed over before has been done, and what was due is sealed."""
        self.keeper.call(lambda journal: None)
        self.keeper.call(lambda journal: None)

    def proofs(self) -> list[Proof]:
        """Kept proofs of the open log."""

        def job(journal: Journal) -> list[Proof]:
            log = journal.open_log()
            assert log is not None
            kept = (journal.proof_at(log.id, seq) for seq in range(1, log.seq + 1))
            return [parse(stored.data) for stored in kept if stored]

        return self.keeper.call(job)

    def numbers(self) -> list[int]:
        """The numbers of all samples, sealed or not, in the open log."""
        unsealed = self.keeper.call(lambda journal: journal.oldest_samples(self.clock.boot_id, 1000))
        sealed = [reading for proof in self.proofs() for reading in proof.readings()]
        values = [sample.values for _, sample in unsealed] + [reading.values for reading in sealed]
        return sorted(int(value[1].value) - 100_000 for value in values)

    def unsaid_gaps(self) -> list[Gap]:
        def job(journal: Journal) -> list[Gap]:
            log = journal.open_log()
            assert log is not None
            return list(retention.take_gaps(journal, log.id, log.seq + 1, 64))

        return self.keeper.call(job)

    def newest(self) -> int:
        """The newest sequence number of the open log."""
        return self.keeper.call(lambda journal: papers.counts(journal).proofs)

    def receipt(self, head: int) -> None:
        def job(journal: Journal) -> None:
            log = journal.open_log()
            assert log is not None
            received = Receipt(DEVICE_ID, log.log, head, journal.hash_at(log.id, head), START_S)
            accept(journal, received, b"signed", self.sealer)

        self.keeper.call(job)

    def __enter__(self) -> Rig:
        if not self.keeper.alive:
            self.keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.stop(5)


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


def sqlite_error(text: str, code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind(text)
    error.sqlite_errorcode = code
    return error


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
EACH_FAULT = [
    pytest.param(fault, marks=pytest.mark.slow if fault == "read-only" else ()) for fault in FAULTS
]


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
    def rig_with_two_proofs(folder: Path) -> Rig:
        rig = Rig(folder, readings=3)
        rig.keeper.start()
        for _ in range(6):
            rig.append()
        rig.settle()
        rig.receipt(1)
        return rig

    for rig, faulty in every_statement(rig_with_two_proofs, tmp_path, fault):
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

    def rig_with_two_proofs(folder: Path) -> Rig:
        rig = Rig(folder, readings=3)
        rig.keeper.start()
        for _ in range(7):
            rig.append()
        rig.settle()
        rig.receipt(1)
        return rig

    for rig, faulty in every_statement(rig_with_two_proofs, tmp_path, fault):
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


def test_jobs_that_wait_together_share_a_transaction_and_one_failure_is_its_own(tmp_path):
    rig = Rig(tmp_path)
    results: dict[int, object] = {}

    def caller(number: int) -> None:
        def job(journal: Journal) -> int:
            journal.append(captured(rig.clock, number))
            if number == 3:
                raise KeyError("mine")
            return number

        try:
            results[number] = rig.keeper.call(job)
        except KeyError as error:
            results[number] = error.args[0]

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    with rig:
        for thread in threads:
            thread.join(10)
        assert results == {number: "mine" if number == 3 else number for number in range(8)}
        assert rig.numbers() == [0, 1, 2, 4, 5, 6, 7]


def test_what_is_given_out_is_committed_before_its_mark_is_written(tmp_path, until):
    """A power cut between would leave a mark of a proof that nobody has: the log would end as corrupt."""
    with Rig(tmp_path) as rig:
        rig.append()
        rig.keeper.seal_open_window()
        rig.append()
        entered, go = threading.Event(), threading.Event()

        def gate(_: Journal) -> None:
            entered.set()
            go.wait(10)

        def publish(journal: Journal) -> tuple[int, int]:
            next_batch(journal, (), 0, 9)
            with sqlite3.connect(f"file:{journal.path}?mode=ro", uri=True) as disk:
                (committed,) = disk.execute("SELECT max(seq) FROM proofs").fetchone()
            disk.close()
            published = journal.mark.published
            assert published is not None
            return committed, published.seq

        found: list[tuple[int, int]] = []
        jobs: list[Callable[[], object]] = [
            lambda: rig.keeper.call(gate),
            rig.keeper.seal_open_window,
            lambda: found.append(rig.keeper.read(publish)),
        ]
        threads = [threading.Thread(target=job) for job in jobs]
        for number, thread in enumerate(threads):
            thread.start()
            if number == 0:
                assert entered.wait(10)
            else:
                until(lambda number=number: rig.keeper._jobs.qsize() == number, what="a job that waits")
        go.set()
        for thread in threads:
            thread.join(10)
        assert found == [(2, 2)]


def test_a_jobs_own_mistake_in_sql_is_its_own(tmp_path):
    with Rig(tmp_path) as rig:
        with pytest.raises(sqlite3.ProgrammingError):
            rig.keeper.call(lambda journal: journal.execute("SELECT ?", ()))
        assert rig.append()
        assert rig.news == []


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


def test_a_sealer_that_fails_stops_no_sample(tmp_path):
    with Rig(tmp_path, readings=2) as rig:
        rig.sealer.descriptor = None
        for _ in range(3):
            assert rig.append()
        rig.settle()
        assert rig.keeper.unsealed.startswith("No proof can be sealed: ")
        assert rig.keeper.problem == ""
        rig.sealer.descriptor = make_descriptor()
        rig.clock.advance(10)
        assert rig.append()
        rig.settle()
        assert rig.keeper.unsealed == ""
        assert rig.numbers() == [0, 1, 2, 3]
        assert len(rig.proofs()) == 2


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


def test_who_looks_on_makes_no_sample_a_loss(tmp_path):
    with Rig(tmp_path) as rig:
        rig.keeper.on_appended = raising(ValueError("a bug of the page"))
        assert rig.append()
        assert rig.numbers() == [0]


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_after_stop_a_call_is_refused_at_once(tmp_path):
    with Rig(tmp_path) as rig:
        rig.append()
    with pytest.raises(TryAgain, match="is closed"):
        rig.keeper.append(captured(rig.clock))


def heard(number: int) -> tuple[beacon.Beacon, bytes]:
    data = beacon.sign_beacon(NETWORK, number, bytes(16), GATEWAY, START_S)
    return beacon.open_beacon(data, [GATEWAY.public_key], NETWORK), data


def test_a_challenge_is_answered_once_every_instrument_was_read_after_it(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        early: Captured = captured(rig.clock, 90)
        rig.clock.advance(1)
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76", "b"})
        rig.keeper.append(early)
        assert rig.append()
        rig.settle()
        assert rig.proofs() == []
        assert rig.append(instrument="b")
        rig.settle()
        rig.append()
        rig.keeper.seal_open_window()
        answer, after = rig.proofs()
        assert answer.claims.freshness == (heard(1)[0].hash, bytes(range(16)))
        assert after.claims.freshness == (heard(1)[0].hash,)


def test_a_proof_sealed_before_the_answer_does_not_carry_the_challenge(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.append()
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76"})
        rig.keeper.seal_open_window()
        rig.append()
        rig.settle()
        assert [len(proof.claims.freshness) for proof in rig.proofs()] == [1, 2]


def test_a_challenge_is_answered_when_its_time_is_up_with_what_there_is(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**9, {"bme280-76", "dead"})
        rig.clock.advance(2)
        rig.settle()
        (answer,) = rig.proofs()
        assert answer.claims.freshness[1] == bytes(range(16))


def test_a_proof_asked_for_is_sealed_after_all_were_read_and_carries_nobody_s_nonce(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.keeper.challenges.prove_now(rig.clock.boottime_ns() + 10**12, {"bme280-76", "b"})
        assert rig.append()
        rig.settle()
        assert rig.proofs() == []
        assert rig.append(instrument="b")
        rig.settle()
        (asked_for,) = rig.proofs()
        assert asked_for.claims.freshness == (heard(1)[0].hash,)
        assert len(list(asked_for.readings())) == 2


def test_a_proof_asked_for_does_not_take_the_place_of_a_challenge(tmp_path):
    with Rig(tmp_path, readings=100) as rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76"})
        rig.keeper.challenges.prove_now(rig.clock.boottime_ns() + 10**12, {"bme280-76", "b"})
        rig.append()
        rig.settle()
        (answer,) = rig.proofs()
        assert answer.claims.freshness[1] == bytes(range(16))


def test_an_answer_that_could_not_be_stored_is_given_again(tmp_path):
    rig = Rig(tmp_path, readings=100)
    with rig:
        rig.keeper.hear_beacon(*heard(1))
        rig.sealer.descriptor = None
        rig.keeper.challenges.hear(bytes(range(16)), rig.clock.boottime_ns() + 10**12, {"bme280-76"})
        rig.append()
        rig.settle()
        rig.sealer.descriptor = make_descriptor()
        rig.clock.advance(10)
        rig.settle()
        (answer,) = rig.proofs()
        assert answer.claims.freshness[1] == bytes(range(16))


def test_an_older_beacon_replaces_no_newer_one(tmp_path):
    with Rig(tmp_path) as rig:
        rig.keeper.hear_beacon(*heard(7))
        rig.keeper.hear_beacon(*heard(6))
        rig.append()
        rig.keeper.seal_open_window()
        (proof,) = rig.proofs()
        assert proof.claims.freshness == (heard(7)[0].hash,)
