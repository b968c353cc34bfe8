"""Opening the journal in whatever state it is: sound, damaged in many ways, somebody else's, out of reach."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from agent import store
from agent.batch import next_batch
from agent.errors import FixStore, TryAgain
from agent.mark import Mark, Published
from agent.papers import counts
from agent.retention import evict_unreceipted
from agent.schema import PAGE_BYTES, SCHEMA_VERSION, words_of
from agent.store import is_damage, open_journal
from proof import cbor, sealing
from proof.chain import SUPERSEDED
from proof.claims import Predecessor
from proof.keys import device_id
from proof.sealing import parse
from tests.agent_parts import DEVICE_ID, FakeClock, captured, make_sealer, make_signer, open_test_journal


def fill(folder: Path, proofs: int = 20) -> tuple[bytes, bytes]:
    """A journal with proofs and samples; its log and head hash."""
    clock = FakeClock()
    journal = open_test_journal(folder, clock)
    sealer = make_sealer(clock, readings=10)
    journal.begin()
    for _ in range(proofs):
        for number in range(10):
            journal.append(captured(clock, number))
            clock.advance(1)
        sealer.seal(journal)
    for number in range(5):
        journal.append(captured(clock, number))
    journal.commit()
    log = journal.open_log()
    assert log is not None
    assert log.hash is not None
    journal.close()
    return log.log, log.hash


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def reopen(folder: Path):
    return open_journal(folder / "journal.db", DEVICE_ID, FakeClock().boot_id)


def test_a_sound_journal_opens_again_with_its_log(tmp_path):
    log, head = fill(tmp_path)
    opened = reopen(tmp_path)
    assert opened.quarantined is None
    found = opened.journal.open_log()
    assert (found.log, found.seq, found.hash) == (log, 20, head)
    opened.journal.close()


def pages_of(path: Path, table: str) -> list[int]:
    """Offsets of a table's pages."""
    with sqlite3.connect(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    db.close()
    return [(root - 1) * PAGE_BYTES]


def garbage_header(path: Path) -> None:
    damage(path, 0, b"not a database, not at all")


def zeroed_first_page(path: Path) -> None:
    damage(path, 0, bytes(PAGE_BYTES))


def zeroed_proofs_root(path: Path) -> None:
    damage(path, pages_of(path, "proofs")[0], bytes(PAGE_BYTES))


def zeroed_meta(path: Path) -> None:
    damage(path, pages_of(path, "meta")[0], bytes(PAGE_BYTES))


def zeroed_samples(path: Path) -> None:
    damage(path, pages_of(path, "samples")[0], bytes(PAGE_BYTES))


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def truncated_within_a_page(path: Path) -> None:
    os.truncate(path, 5 * PAGE_BYTES + 100)


def garbage_in_the_middle(path: Path) -> None:
    size = path.stat().st_size
    damage(path, pages_of(path, "proofs")[0], os.urandom(64))
    damage(path, size // 2, os.urandom(3 * PAGE_BYTES))


def lost_its_owner(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM meta")
    db.close()


DAMAGES = [
    garbage_header,
    zeroed_first_page,
    zeroed_proofs_root,
    zeroed_meta,
    zeroed_samples,
    truncated,
    truncated_within_a_page,
    garbage_in_the_middle,
    lost_its_owner,
]


@pytest.mark.parametrize("harm", DAMAGES)
def test_a_damaged_journal_is_kept_aside_and_sampling_goes_on(tmp_path, harm):
    log, _ = fill(tmp_path)
    path = tmp_path / "journal.db"
    harm(path)
    before = path.read_bytes()
    opened = reopen(tmp_path)
    assert opened.quarantined == tmp_path / "journal.db.corrupt-1"
    assert opened.quarantined.read_bytes() == before
    found = opened.journal.open_log()
    assert found.log != log
    assert found.seq == 0
    clock = FakeClock()
    opened.journal.begin()
    opened.journal.append(captured(clock))
    assert make_sealer(clock).seal(opened.journal).seq >= 1
    opened.journal.commit()
    opened.journal.close()


@pytest.mark.parametrize("harm", [zeroed_samples, zeroed_meta])
def test_the_new_log_names_the_old_ones_head_where_it_can_still_be_read(tmp_path, harm):
    log, head = fill(tmp_path)
    harm(tmp_path / "journal.db")
    opened = reopen(tmp_path)
    assert opened.journal.open_log().predecessor == Predecessor(log, head, "store corrupt")
    opened.journal.close()


def test_the_new_log_names_the_old_one_without_a_head_where_only_its_name_can_be_read(tmp_path):
    log, _ = fill(tmp_path)
    zeroed_proofs_root(tmp_path / "journal.db")
    opened = reopen(tmp_path)
    assert opened.journal.open_log().predecessor == Predecessor(log, None, "store corrupt")
    opened.journal.close()


@pytest.mark.parametrize("column", ["log", "hash"])
def test_a_name_that_is_no_name_any_more_is_not_passed_on(tmp_path, column):
    fill(tmp_path)
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        db.execute({"log": "UPDATE logs SET log = 'x'", "hash": "UPDATE proofs SET hash = 1"}[column])
    db.close()
    zeroed_meta(path)
    (tmp_path / "journal.db.mark").unlink()  # it would know
    opened = reopen(tmp_path)
    predecessor = opened.journal.open_log().predecessor
    assert predecessor is None if column == "log" else predecessor.head_hash is None
    opened.journal.close()


def test_a_journal_damaged_twice_keeps_both(tmp_path):
    for number in (1, 2):
        fill(tmp_path, 1)
        garbage_header(tmp_path / "journal.db")
        opened = reopen(tmp_path)
        assert opened.quarantined == tmp_path / f"journal.db.corrupt-{number}"
        opened.journal.close()


def test_a_card_that_damages_again_and_again_is_not_filled_with_the_damaged(tmp_path):
    for number in range(1, 6):
        fill(tmp_path, 1)
        garbage_header(tmp_path / "journal.db")
        (tmp_path / "journal.db-wal").write_bytes(b"its write-ahead log")
        opened = reopen(tmp_path)
        assert opened.quarantined == tmp_path / f"journal.db.corrupt-{number}"
        opened.journal.close()
    kept = {file.name for file in tmp_path.glob("journal.db.corrupt-*") if file.suffix[-4:] != "-shm"}
    assert kept == {f"journal.db.corrupt-{n}{end}" for n in (3, 4, 5) for end in ("", "-wal")}


def test_a_damaged_store_still_tells_what_it_had_given_up(tmp_path):
    """Its gap may not have reached the gateway: the readings are losses of the new log (§5.3)."""
    fill(tmp_path, 6)
    clock = FakeClock()
    with closing(open_test_journal(tmp_path, clock)) as journal:
        evict_unreceipted(journal, 1, 2, "store full")
    lost_its_owner(tmp_path / "journal.db")
    opened = reopen(tmp_path)
    with closing(opened.journal) as journal:
        assert journal.closed_logs() == [1]
        sealer = make_sealer(clock)
        sealer.reseal(journal, 1)
        sealer.seal(journal)
        lost = [x for kept in journal.unreceipted(2) for x in parse(kept.data).claims.lost]
        assert [x.count for x in lost] == [20]
        assert journal.closed_logs() == []


def test_a_damaged_journal_keeps_its_write_ahead_log_beside_it(tmp_path):
    fill(tmp_path)
    path = tmp_path / "journal.db"
    garbage_header(path)
    (tmp_path / "journal.db-wal").write_bytes(b"its write-ahead log")
    opened = reopen(tmp_path)
    assert (tmp_path / "journal.db.corrupt-1-wal").read_bytes() == b"its write-ahead log"
    opened.journal.close()


def test_garbage_in_the_write_ahead_log_opens_with_what_the_file_holds(tmp_path):
    log, head = fill(tmp_path)
    (tmp_path / "journal.db-wal").write_bytes(os.urandom(20_000))
    opened = reopen(tmp_path)
    found = opened.journal.open_log()
    assert (found.log, found.hash) == (log, head)
    opened.journal.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-shm", "-wal"))
    }


def test_another_devices_journal_is_a_hard_stop_and_stays_as_it_is(tmp_path):
    fill(tmp_path)
    before = contents(tmp_path)
    stranger = device_id(make_signer(2).public_key)
    with pytest.raises(FixStore, match="belongs to device"):
        open_journal(tmp_path / "journal.db", stranger, FakeClock().boot_id)
    assert contents(tmp_path) == before


def test_another_devices_journal_after_a_crash_keeps_its_write_ahead_log(tmp_path):
    """The other device may want it back as its crash left it."""
    source = tmp_path / "source"
    source.mkdir()
    journal = open_test_journal(source)
    journal.begin()
    journal.append(captured(FakeClock()))
    journal.commit()
    left = tmp_path / "left"
    left.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        (left / name).write_bytes((source / name).read_bytes())
    journal.close()
    before = {path.name: path.read_bytes() for path in left.iterdir()}
    stranger = device_id(make_signer(2).public_key)
    with pytest.raises(FixStore, match="belongs to device"):
        open_journal(left / "journal.db", stranger, FakeClock().boot_id)
    assert {name: (left / name).read_bytes() for name in before} == before


def test_a_newer_agents_journal_is_a_hard_stop(tmp_path):
    fill(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE meta SET version = 99")
        db.execute("CREATE TABLE of_later (a)")
    db.close()
    before = contents(tmp_path)
    with pytest.raises(FixStore, match="newer agent: upgrade"):
        reopen(tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_that_is_a_file_is_a_hard_stop_with_a_sentence(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(FixStore, match="cannot be opened"):
        open_journal(tmp_path / "state" / "journal.db", DEVICE_ID, FakeClock().boot_id)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("said by the disk")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_FULL),
        sqlite_error(sqlite3.SQLITE_IOERR_FSYNC),
        sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EROFS, "Read-only file system"),
    ],
)
def test_a_disk_that_refuses_is_worth_another_start(error, tmp_path, monkeypatch):
    before = fill(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(store, "Journal", mock.Mock(side_effect=error))
        with pytest.raises(TryAgain, match="it is tried again"):
            reopen(tmp_path)
    opened = reopen(tmp_path)
    log = opened.journal.open_log()
    opened.journal.close()
    assert (log.log, log.hash) == before


@pytest.mark.parametrize("flag", [os.ST_RDONLY, 0])
def test_a_file_system_that_is_read_only_lacks_no_permission(flag, tmp_path, monkeypatch):
    fill(tmp_path)
    told = mock.Mock(return_value=mock.Mock(f_flag=flag, f_bavail=1, f_bfree=1, f_blocks=1, f_frsize=2**30))
    monkeypatch.setattr(os, "statvfs", told)
    monkeypatch.setattr(store, "Journal", mock.Mock(side_effect=sqlite_error(sqlite3.SQLITE_READONLY)))
    with pytest.raises(TryAgain if flag else FixStore):
        reopen(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_a_hard_stop(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FixStore, match="does this user own it"):
            reopen(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_journal_another_process_keeps_locked_is_a_hard_stop_not_damage(tmp_path, monkeypatch):
    fill(tmp_path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0}))
    other = connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(FixStore, match="locked"):
        reopen(tmp_path)
    other.close()
    assert not list(tmp_path.glob("*.corrupt*"))


@pytest.mark.parametrize(
    ("word", "flipped"),
    [
        (b"prev_head BLOB, reason TEXT", b"prev_head BLOB, rea3on TEXT"),
        (b"CREATE TABLE beacons", b"CREATE TABLE beacoos"),
        (b"CREATE TABLE beacons", b"CREAT\xc5 TABLE beacons"),
        (b"device TEXT NOT NULL", b"dewice TEXT NOT NULL"),
        (b"seq INTEGER NOT NULL, hash", b"seq INTEGGR NOT NULL, hash"),
        (DEVICE_ID[-8:].encode(), DEVICE_ID[-8:].encode().swapcase()),
    ],
)
def test_a_flipped_bit_in_the_words_of_the_tables_is_damage(word, flipped, tmp_path):
    """SQLite takes what it reads there for what was meant: `no such column` at best."""
    log, _ = fill(tmp_path)
    path = tmp_path / "journal.db"
    data = path.read_bytes()
    assert word in data
    path.write_bytes(data.replace(word, flipped))
    opened = reopen(tmp_path)
    assert opened.quarantined is not None
    opened.journal.begin()
    opened.journal.append(captured(FakeClock()))
    opened.journal.commit()
    newest = opened.journal.open_log()
    assert newest is not None
    assert newest.log != log
    opened.journal.close()
    assert reopen(tmp_path).quarantined is None


def test_an_index_that_lost_its_entries_is_damage(tmp_path):
    """What is read through it is not there; `quick_check` finds nothing wrong."""
    fill(tmp_path, proofs=5)
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'unreceipted'").fetchone()[0]
    db.close()
    empty_leaf = bytes([10, 0, 0, 0, 0, *PAGE_BYTES.to_bytes(2, "big"), 0])
    damage(path, (page - 1) * PAGE_BYTES, empty_leaf.ljust(PAGE_BYTES, b"\0"))
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    db.close()
    opened = reopen(tmp_path)
    assert opened.quarantined is not None
    assert counts(opened.journal).unreceipted == 5
    opened.journal.close()


def test_a_flipped_version_is_damage_and_no_newer_agent(tmp_path):
    fill(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE meta SET version = version + 64")
    db.close()
    assert reopen(tmp_path).quarantined is not None


def test_what_tables_were_made_with_is_never_changed_only_added_to():
    """Else every journal that was made before would be taken for a damaged one."""
    versions = range(1, SCHEMA_VERSION + 1)
    made = [hashlib.sha256(repr(sorted(words_of(number).items())).encode()) for number in versions]
    assert [digest.hexdigest()[:8] for digest in made] == ["22a2670b", "b844517f", "1eb57f99", "75aa0986"]


def test_a_mistake_in_our_own_sql_is_not_taken_for_damage():
    db = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.ProgrammingError) as binding:
        db.execute("SELECT ?", ())
    db.close()
    with pytest.raises(sqlite3.ProgrammingError) as closed:
        db.execute("SELECT 1")
    assert not is_damage(binding.value)
    assert not is_damage(closed.value)


def test_undecodable_text_in_the_store_is_damage():
    db = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as undecodable:
        db.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    db.close()
    assert is_damage(undecodable.value)


def test_what_can_still_be_read_of_a_damaged_journal_is_taken_over(tmp_path):
    fill(tmp_path)
    zeroed_meta(tmp_path / "journal.db")
    journal = reopen(tmp_path).journal
    boot_id = FakeClock().boot_id
    assert [s.values[1].value for _, s in journal.oldest_samples(boot_id, 10)] == [
        100_000 + number for number in range(5)
    ]
    assert [proof.seq for proof in journal.unreceipted(1)] == list(range(1, 21))
    assert counts(journal).captured == 205
    assert journal.bootcount(boot_id) == 1
    journal.close()


def test_damage_in_one_table_leaves_the_others(tmp_path):
    fill(tmp_path)
    zeroed_samples(tmp_path / "journal.db")
    journal = reopen(tmp_path).journal
    assert journal.waiting().samples == 0
    assert len(list(journal.unreceipted(1))) == 20
    journal.close()


def test_a_hole_in_a_table_is_read_from_both_ends(tmp_path):
    clock = FakeClock()
    journal = open_test_journal(tmp_path, clock)
    journal.begin()
    for number in range(500):
        journal.append(captured(clock, number))
    journal.commit()
    journal.close()
    path = tmp_path / "journal.db"
    data = path.read_bytes()
    middle = data.index(captured(clock, 250).record()) // PAGE_BYTES * PAGE_BYTES
    damage(path, middle, bytes(PAGE_BYTES))
    journal = reopen(tmp_path).journal
    values = [s.values[1].value - 100_000 for _, s in journal.oldest_samples(clock.boot_id, 1000)]
    assert values == sorted(set(values))
    assert (values[0], values[-1]) == (0, 499)
    assert 400 < len(values) < 500
    journal.close()


def test_a_receipted_proof_is_not_taken_over(tmp_path):
    fill(tmp_path)
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE proofs SET receipted_s = 1 WHERE seq <= 18")
    db.close()
    zeroed_meta(path)
    journal = reopen(tmp_path).journal
    assert [proof.seq for proof in journal.unreceipted(1)] == [19, 20]
    journal.close()


def test_a_proof_that_is_not_what_its_hash_says_is_left_behind(tmp_path):
    fill(tmp_path)
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE proofs SET data = x'd2' || substr(data, 2, 99) WHERE seq = 7")
        db.execute("UPDATE samples SET record = x'00' WHERE id = (SELECT min(id) FROM samples)")
    db.close()
    zeroed_meta(path)
    journal = reopen(tmp_path).journal
    assert [proof.seq for proof in journal.unreceipted(1)] == [*range(1, 7), *range(8, 21)]
    assert journal.waiting().samples == 4
    journal.close()


def test_boots_count_on_above_the_salvaged_proofs_where_their_table_is_gone(tmp_path):
    """A boot count that falls within a log is a rollback to the gateway (§4.7)."""
    clock = FakeClock()
    journal = open_test_journal(tmp_path, clock)
    for _ in range(4):
        clock.reboot()
        journal.bootcount(clock.boot_id)
    journal.append(captured(clock))
    make_sealer(clock).seal(journal)
    journal.close()
    path = tmp_path / "journal.db"
    damage(path, pages_of(path, "boots")[0], bytes(PAGE_BYTES))
    journal = open_journal(path, DEVICE_ID, clock.boot_id).journal
    (stored,) = journal.unreceipted(1)
    assert journal.bootcount(clock.boot_id) > sealing.parse(stored.data).claims.bootcount
    journal.close()


def test_bytes_that_are_not_what_was_signed_are_damage_not_a_proof(tmp_path):
    fill(tmp_path)
    journal = reopen(tmp_path).journal
    journal.execute("UPDATE proofs SET data = x'd284' WHERE seq = 3")
    with pytest.raises(sqlite3.DatabaseError, match="proof 3 is not what was signed") as error:
        journal.proof_at(1, 3)
    assert is_damage(error.value)
    journal.close()


def test_a_sample_that_cannot_be_decoded_is_damage(tmp_path):
    fill(tmp_path)
    journal = reopen(tmp_path).journal
    journal.execute("UPDATE samples SET record = x'83'")
    with pytest.raises(sqlite3.DatabaseError, match="sample cannot be decoded") as error:
        journal.oldest_samples(FakeClock().boot_id, 1)
    assert is_damage(error.value)
    journal.close()


CHANGED_BY_A_BIT = [
    "instrument = 'cme280-76'",
    "boottime_ns = boottime_ns + 1024",
    "wall_ns = wall_ns - 4096",
    "source = source | 2",
    "maxerror_us = maxerror_us + 65536",
    "record = CAST(substr(record, 1, length(record) - 1) || x'00' AS BLOB)",
]


@pytest.mark.parametrize("changed", CHANGED_BY_A_BIT)
def test_a_sample_whose_bits_flipped_is_damage_and_is_never_sealed(changed, tmp_path):
    fill(tmp_path)
    journal = reopen(tmp_path).journal
    journal.execute(f"UPDATE samples SET {changed} WHERE id = (SELECT min(id) + 1 FROM samples)")
    with pytest.raises(sqlite3.DatabaseError, match="cannot be decoded"):
        journal.oldest_samples(FakeClock().boot_id, 5)
    journal.close()
    salvaged = open_journal(tmp_path / "journal.db", DEVICE_ID, FakeClock().boot_id, condemned=True).journal
    assert len(salvaged.oldest_samples(FakeClock().boot_id, 1000)) == 4
    salvaged.close()


def test_a_sample_of_a_journal_from_before_checksums_is_read(tmp_path):
    fill(tmp_path)
    journal = reopen(tmp_path).journal
    journal.execute("UPDATE samples SET record = ?", (cbor.encode([[["temperature", "Cel", 20]], 0, b""]),))
    found = journal.oldest_samples(FakeClock().boot_id, 1000)
    assert [sample.values[0].value for _, sample in found] == [20] * 5
    journal.close()


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("condemned", [False, True])
def test_a_disk_that_is_full_after_a_replacement_does_not_condemn_the_new_journal(
    tmp_path, monkeypatch, condemned
):
    fill(tmp_path)
    path = tmp_path / "journal.db"
    zeroed_samples(path)
    real, calls = store._opened, list[Path]()

    def full_once(*arguments):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(store, "_opened", full_once)
    monkeypatch.setattr("agent.reserve.give", lambda _path: len(calls) == 1)
    opened = open_journal(path, DEVICE_ID, FakeClock().boot_id, condemned=condemned)
    assert opened.quarantined == tmp_path / "journal.db.corrupt-1"
    assert not (tmp_path / "journal.db.corrupt-2").exists()
    assert counts(opened.journal).unreceipted == 20
    opened.journal.close()


@pytest.mark.parametrize("step", ["_build", "_quarantine", "_move_rest", "_move_in"])
@pytest.mark.parametrize("done", [False, True])
def test_a_replacement_that_was_cut_off_is_completed_or_begun_again(tmp_path, monkeypatch, step, done):
    log, head = fill(tmp_path)
    path = tmp_path / "journal.db"
    zeroed_samples(path)
    (tmp_path / "journal.db-wal").write_bytes(b"its write-ahead log")
    before = path.read_bytes()
    real = getattr(store, step)

    def cut(*arguments, **named):
        if done:
            real(*arguments, **named)
        raise PowerCut

    monkeypatch.setattr(store, step, cut)
    with pytest.raises(PowerCut):
        reopen(tmp_path)
    monkeypatch.undo()
    journal = reopen(tmp_path).journal
    assert journal.open_log().predecessor == Predecessor(log, head, "store corrupt")
    assert len(list(journal.unreceipted(1))) == 20
    journal.close()
    assert (tmp_path / "journal.db.corrupt-1").read_bytes() == before
    assert (tmp_path / "journal.db.corrupt-1-wal").read_bytes() == b"its write-ahead log"
    assert not {"journal.db.next", "journal.db.making"} & {file.name for file in tmp_path.iterdir()}


def test_a_first_journal_that_was_cut_off_is_made_again(tmp_path):
    (tmp_path / "journal.db.making").write_bytes(b"half of a journal")
    (tmp_path / "journal.db.making-journal").write_bytes(b"its rollback journal")
    journal = reopen(tmp_path).journal
    assert journal.open_log().seq == 0
    journal.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "journal.db",
        "journal.db.mark",
        "journal.db.reserve",
    ]


def publish(folder: Path, proofs: int = 3, clock: FakeClock | None = None) -> tuple[bytes, bytes, bytes]:
    """A journal that sealed so many proofs and gave all of them out: its file before that (what a lost
    write-ahead log leaves), its log and its head."""
    clock = clock or FakeClock()
    journal = open_test_journal(folder, clock)
    path, sealer = folder / "journal.db", make_sealer(clock, readings=2)
    journal.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = path.read_bytes()
    for _ in range(proofs):
        journal.begin()
        journal.append(captured(clock))
        clock.advance(1)
        sealer.seal(journal)
        journal.commit()
        assert next_batch(journal, (), 0, 9).in_turn
    log = journal.open_log()
    assert log is not None
    assert log.hash is not None
    journal.close()
    return before, log.log, log.hash


def test_a_journal_behind_what_it_published_signs_no_number_of_that_log_again(tmp_path):
    before, log, head = publish(tmp_path)
    (tmp_path / "journal.db").write_bytes(before)
    opened = reopen(tmp_path)
    assert opened.behind
    assert opened.quarantined is None
    newest = opened.journal.open_log()
    assert newest is not None
    assert (newest.log != log, newest.seq) == (True, 0)
    assert newest.predecessor == Predecessor(log, head, "store corrupt")
    opened.journal.close()
    again = reopen(tmp_path)
    assert not again.behind
    assert again.journal.open_log() == newest
    again.journal.close()


def test_a_journal_that_was_put_back_twice_leaves_its_log_twice(tmp_path):
    before, log, _ = publish(tmp_path)
    path = tmp_path / "journal.db"
    path.write_bytes(before)
    _, second, _ = publish(tmp_path, clock=FakeClock())
    assert second != log
    path.write_bytes(before)
    opened = reopen(tmp_path)
    assert opened.behind
    newest = opened.journal.open_log()
    assert newest is not None
    assert newest.predecessor is not None
    assert newest.predecessor.log == second
    opened.journal.close()


def test_a_journal_with_other_proofs_at_the_published_numbers_is_behind_too(tmp_path):
    before, _, _ = publish(tmp_path)
    mark = (tmp_path / "journal.db.mark").read_bytes()
    path = tmp_path / "journal.db"
    path.write_bytes(before)
    (tmp_path / "journal.db.mark").unlink()
    clock = FakeClock()
    clock.advance(99)
    publish(tmp_path, proofs=4, clock=clock)
    (tmp_path / "journal.db.mark").write_bytes(mark)
    assert reopen(tmp_path).behind


def test_a_deleted_journal_still_knows_which_log_to_name(tmp_path):
    _, log, head = publish(tmp_path)
    (tmp_path / "journal.db").unlink()
    opened = reopen(tmp_path)
    newest = opened.journal.open_log()
    assert newest is not None
    assert newest.predecessor == Predecessor(log, head, "store corrupt")
    opened.journal.close()


def test_a_mark_that_cannot_be_read_costs_one_new_log(tmp_path):
    _, log, head = publish(tmp_path)
    (tmp_path / "journal.db.mark").write_bytes(b"rust" * 2048)
    opened = reopen(tmp_path)
    assert opened.behind
    newest = opened.journal.open_log()
    assert newest is not None
    assert newest.predecessor == Predecessor(log, head, "store corrupt")
    opened.journal.close()
    assert not reopen(tmp_path).behind


def test_a_journal_from_before_there_were_marks_goes_on_with_its_log(tmp_path):
    _, log, _ = publish(tmp_path)
    (tmp_path / "journal.db.mark").unlink()
    opened = reopen(tmp_path)
    assert not opened.behind
    assert opened.journal.open_log().log == log
    opened.journal.close()
    published = Mark(tmp_path / "journal.db.mark", DEVICE_ID).published
    assert published is not None
    assert published.seq == 3


def test_a_forgotten_proof_is_not_missed(tmp_path):
    """A receipt is far past it: the mark was of an upgrade, and nothing was published since."""
    _, log, _ = publish(tmp_path)
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("DELETE FROM proofs WHERE seq < 3")
    db.close()
    Mark(tmp_path / "journal.db.mark", DEVICE_ID).begin(Published(log, 1, bytes(32)))
    assert not reopen(tmp_path).behind


def test_a_store_that_gave_way_and_was_put_back_gives_way_in_another_log(tmp_path):
    journal = open_test_journal(tmp_path)
    path = tmp_path / "journal.db"
    journal.begin()
    journal.start_log(b"s" * 8, Predecessor(b"theirs!!", bytes(32), SUPERSEDED))
    journal.commit()
    journal.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = path.read_bytes()
    journal.begin()
    make_sealer(FakeClock()).seal(journal)
    journal.commit()
    assert next_batch(journal, (), 0, 1).in_turn
    journal.close()
    path.write_bytes(before)
    opened = reopen(tmp_path)
    newest = opened.journal.open_log()
    assert newest is not None
    assert newest.log != b"s" * 8
    assert newest.predecessor == Predecessor(b"theirs!!", bytes(32), SUPERSEDED)
    opened.journal.close()


def test_nothing_is_given_out_where_the_mark_cannot_be_written(tmp_path, monkeypatch):
    journal = open_test_journal(tmp_path)
    journal.begin()
    make_sealer(FakeClock()).seal(journal)
    journal.commit()

    def full(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("agent.mark.os.pwrite", full)
    with pytest.raises(TryAgain, match="no proof is published before"):
        next_batch(journal, (), 0, 1)
    monkeypatch.undo()
    assert next_batch(journal, (), 0, 1).in_turn
    journal.close()
