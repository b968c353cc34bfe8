"""Power cuts, simulated: whatever a disk may have kept, the journal opens, whole. `make powercut` is the long
run. What a cut is: `disk`; what is promised: `promises`."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import power_cuts
from tests.crash.disk import Disk, cuts
from tests.crash.power_cuts import Recording, in_memory
from tests.crash.recording import STRACE, Claim, Name, Sync, Write, record

SEED = 20261121


def _may_trace() -> bool:
    return (
        STRACE is not None
        and not subprocess.run([STRACE, "-qq", "-o", os.devnull, "true"], check=False).returncode
    )


needs_strace = pytest.mark.skipif(
    not _may_trace(), reason="strace is not installed (Debian package `strace`), or may trace nothing here"
)


@pytest.fixture
def replayed() -> Iterator[Path]:
    """Where disks are put together."""
    with in_memory() as folder:
        yield folder / "cut"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return power_cuts.make(tmp_path_factory.mktemp("recorded"), rounds=4)


@needs_strace
def test_whatever_a_power_cut_leaves_the_journal_keeps_every_promise(recording, replayed):
    found = power_cuts.try_all(recording, replayed, SEED, subsets=2, at_most=300)
    assert found.violations == []
    assert found.states > 200
    assert {"nothing", "everything", "torn at"} <= set(found.kinds)


@needs_strace
def test_the_recording_holds_everything_that_can_happen_to_a_journal(recording):
    text = "\n".join(recording.claims)
    for claim in (
        "sample",
        "receipted",
        "gap",
        "key",
        "rolled back",
        "superseded",
        "resumed",
        "store corrupt",
    ):
        assert f'"{claim}"' in text


@needs_strace
def test_a_power_cut_takes_no_more_than_the_loss_window(tmp_path, replayed):
    made = power_cuts.make(tmp_path, 4, loss_window_s=60)
    assert power_cuts.try_all(made, replayed, SEED, subsets=1, at_most=150).violations == []
    strict = Recording(made.root, made.events)
    assert power_cuts.try_all(strict, replayed, SEED, subsets=1, stop_after=1).violations


@needs_strace
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_a_journal_that_syncs_less_is_caught(tmp_path, replayed, synchronous):
    made = power_cuts.make(tmp_path, 2, synchronous)
    found = power_cuts.try_all(made, replayed, SEED, subsets=2, stop_after=1)
    assert found.violations


@needs_strace
def test_a_recording_is_what_the_program_did(tmp_path):
    root = tmp_path / "state"
    events = record(root, "tests.crash.entries", str(root))
    folder = str(root)
    assert events == [
        Name(folder, -1),
        Name(f"{folder}/one", 1),
        Write(1, 0, b"abc"),
        Write(1, 1, b"X"),
        Sync(1),
        Name(f"{folder}/two", 1),
        Name(f"{folder}/one", None),
        Sync(None, folder),
        Claim("done"),
    ]


def states(*events: object) -> set[tuple[tuple[str, bytes], ...]]:
    """What files there may be at the end."""
    *_, last = cuts(list(events))  # type: ignore[arg-type]
    made = last.states(random.Random(1), 32)
    return {
        tuple(sorted((name, state.files.get(file, b"")) for name, file in state.names.items()))
        for state in made
    }


def test_what_was_not_synced_may_be_there_in_any_part():
    old, new = bytes(1024), b"\1" * 1024
    made = (Name("/f/a", 1), Write(1, 0, old), Sync(1), Sync(None, "/f"))
    found = states(*made, Write(1, 0, new))
    assert {dict(files)["/f/a"] for files in found} == {
        old,
        new,
        new[:512] + old[512:],
        old[:512] + new[512:],
    }


def test_a_name_is_durable_only_after_its_folder_was_synced():
    assert () in states(Name("/f/a", 1), Write(1, 0, b"x"), Sync(1))
    assert states(Name("/f/a", 1), Write(1, 0, b"x"), Sync(1), Sync(None, "/f")) == {(("/f/a", b"x"),)}


def test_a_later_write_may_be_kept_without_an_earlier_one():
    found = states(Name("/f/a", 1), Sync(None, "/f"), Write(1, 0, b"one"), Write(1, 3, b"two"))
    assert (("/f/a", bytes(3) + b"two"),) in found


def test_a_disk_forgets_nothing_that_was_synced():
    disk = Disk()
    disk.ask(Write(1, 0, b"x"))
    disk.sync(Sync(1))
    assert (disk.files, disk.changes) == ({1: bytearray(b"x")}, [])
