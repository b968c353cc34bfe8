"""The log of a disk, read back; and what a power cut may leave. On logs written here by the format."""

from __future__ import annotations

import struct
from pathlib import Path
from random import Random

import pytest

from tests.pi_vm.disk_log import DISCARD, FLUSH, FUA, MAGIC, DiskLog, LogError, write

SECTOR = 512


def sectors(*letters: str) -> bytes:
    return b"".join(letter.encode() * SECTOR for letter in letters)


def entry(sector: int, data: bytes = b"", flags: int = 0, count: int | None = None) -> bytes:
    header = struct.pack("<QQQQ", sector, len(data) // SECTOR if count is None else count, flags, 0)
    return header.ljust(SECTOR, b"\0") + data


def flush() -> bytes:
    return entry(0, flags=FLUSH)


def log_of(folder: Path, *entries: bytes, announced: int = 0, magic: int = MAGIC) -> DiskLog:
    path = folder / "disk.log"
    path.write_bytes(
        struct.pack("<QQQI", magic, 1, announced, SECTOR).ljust(SECTOR, b"\0") + b"".join(entries)
    )
    return DiskLog(path)


def disk_after(folder: Path, log: DiskLog, position: int, dice: Random, size: int = 8) -> str:
    """The first letter of each sector, `.` where nothing was ever written."""
    path = folder / "disk.img"
    path.write_bytes(bytes(size * SECTOR))
    with path.open("r+b") as disk:
        write(disk, log.kept(0, log.flushed(position)))
        write(disk, log.remains(position, dice))
    data = path.read_bytes()
    return "".join(chr(data[at]) if data[at] else "." for at in range(0, len(data), SECTOR))


def every_disk(folder: Path, log: DiskLog, position: int) -> set[str]:
    return {disk_after(folder, log, position, Random(seed)) for seed in range(300)}


def test_entries_are_read_to_the_end_whatever_the_superblock_says(tmp_path):
    log = log_of(tmp_path, entry(1, sectors("a")), flush(), entry(2, sectors("b", "c")), announced=2)
    assert [(e.sector, e.sectors, e.flags) for e in log.entries] == [(1, 1, 0), (0, 0, FLUSH), (2, 2, 0)]
    assert list(log.kept(0, 3)) == [(SECTOR, sectors("a")), (2 * SECTOR, sectors("b", "c"))]


def test_an_entry_cut_short_and_a_hole_at_the_end_are_left_out(tmp_path):
    assert len(log_of(tmp_path, entry(1, sectors("a")), entry(2, sectors("b", "c"))[:-1]).entries) == 1
    assert len(log_of(tmp_path, entry(1, sectors("a")), bytes(SECTOR), entry(2, sectors("b"))).entries) == 1


def test_a_discard_has_no_data_and_changes_nothing(tmp_path):
    log = log_of(
        tmp_path, entry(1, sectors("a")), entry(1, flags=DISCARD, count=4), entry(2, sectors("b")), flush()
    )
    assert disk_after(tmp_path, log, 4, Random(1)) == ".ab....."


def test_what_was_flushed_stays_whatever_the_dice_say(tmp_path):
    log = log_of(tmp_path, entry(1, sectors("a")), entry(2, sectors("b")), flush(), entry(2, sectors("c")))
    assert every_disk(tmp_path, log, 3) == {".ab....."}
    assert every_disk(tmp_path, log, 4) == {".ab.....", ".ac....."}


def test_of_what_was_not_flushed_anything_may_be_left(tmp_path):
    log = log_of(
        tmp_path, entry(0, sectors("z")), flush(), entry(1, sectors("a", "b")), entry(4, sectors("c"))
    )
    possible = {"z" + a + b + "." + c + "..." for a in "a." for b in "b." for c in "c."}
    assert every_disk(tmp_path, log, 4) == possible


def test_an_older_write_may_outlive_a_newer_one_of_the_same_place(tmp_path):
    log = log_of(tmp_path, entry(1, sectors("a")), entry(1, sectors("b")))
    assert every_disk(tmp_path, log, 2) == {"........", ".a......", ".b......"}


def test_a_write_through_the_cache_stays_without_a_flush(tmp_path):
    log = log_of(tmp_path, entry(1, sectors("a"), flags=FUA), entry(2, sectors("b")))
    assert every_disk(tmp_path, log, 2) == {".a......", ".ab....."}


def test_a_flush_covers_only_what_stands_before_it(tmp_path):
    log = log_of(tmp_path, entry(1, sectors("a")), flush(), entry(2, sectors("b")), flush())
    assert [log.flushed(position) for position in range(5)] == [0, 0, 2, 2, 4]


def test_the_flush_with_which_the_machine_was_stopped_is_not_counted(tmp_path):
    log = log_of(tmp_path, entry(1, sectors("a")), flush(), entry(2, sectors("b")), flush())
    log.without_last_flush()
    assert (len(log.entries), log.flushed(3)) == (3, 2)
    log.without_last_flush()
    assert len(log.entries) == 3


def test_the_same_seed_leaves_the_same(tmp_path):
    log = log_of(tmp_path, *(entry(n % 8, sectors(chr(97 + n))) for n in range(20)))
    assert disk_after(tmp_path, log, 20, Random(7)) == disk_after(tmp_path, log, 20, Random(7))


def test_a_disk_that_was_never_written_has_no_entries(tmp_path):
    (tmp_path / "disk.log").write_bytes(b"")
    log = DiskLog(tmp_path / "disk.log")
    log.without_last_flush()
    assert (log.entries, log.flushed(0), list(log.remains(0, Random(1)))) == ([], 0, [])


def test_what_is_no_log_is_refused(tmp_path):
    with pytest.raises(LogError, match="is no log"):
        log_of(tmp_path, magic=1)
    with pytest.raises(LogError, match="announces 5 entries and has 1"):
        log_of(tmp_path, flush(), announced=5)
