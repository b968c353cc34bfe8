"""A node on a disk without a free block: it starts, makes room, and samples."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from agent import reserve
from tests.crash.recording import ROOT


@pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0,
    reason="a file system of its own needs root",
)
def test_a_start_on_a_full_disk_gives_up_its_reserve_then_receipted_proofs_and_samples(tmp_path):
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "tests.crash.full_start"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [line for line in done.stdout.splitlines() if not line.startswith("20")]
    assert said[0] == "left 0"
    assert said[1].startswith("sampled 800 given up ")
    assert int(said[1].split()[-1]) < 800
    assert said[2] == "started again"


def test_a_reserve_that_could_not_be_made_is_none_and_is_made_later(tmp_path, free, monkeypatch):
    journal, path = tmp_path / "journal.db", tmp_path / "journal.db.reserve"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        reserve.keep(journal)
    assert not path.exists()
    path.touch()  # of an agent before, or a power cut
    free[0] = reserve.BYTES - 1
    assert not reserve.give(journal)
    free[0] = 10**9
    reserve.keep(journal)
    assert path.stat().st_blocks * 512 >= reserve.BYTES


@pytest.fixture
def free(monkeypatch):
    """Bytes that the disk has left, to be set."""
    left = [10**9]
    monkeypatch.setattr(reserve, "free_bytes", lambda _folder: left[0])
    return left


def test_the_reserve_is_real_blocks_and_is_given_up_only_where_the_disk_is_full(tmp_path, free):
    journal = tmp_path / "journal.db"
    reserve.keep(journal)
    path = tmp_path / "journal.db.reserve"
    assert path.stat().st_blocks * 512 >= reserve.BYTES
    assert not reserve.give(journal)
    free[0] = reserve.BYTES - 1
    assert reserve.give(journal)
    assert not path.exists()
    assert not reserve.give(journal)
    reserve.keep(journal)
    assert not path.exists()
    free[0] = 10**9
    reserve.keep(journal)
    assert path.exists()
