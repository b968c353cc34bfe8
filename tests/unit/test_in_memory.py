"""The quick suite keeps its files in memory where there is room, and takes them away when it passed."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests import in_memory
from tests.docs_commands import ROOT

_CONFTEST = """\
import pathlib
from tests import in_memory
in_memory.MEMORY, in_memory._ROOM_BYTES = pathlib.Path({memory!r}), 1
def pytest_configure(config): config.pluginmanager.register(in_memory)
"""
_TEST = "def test_it(tmp_path): (tmp_path / 'file').touch(); assert {passes}"


@pytest.mark.parametrize(
    ("words", "passes", "kept"),
    [
        (("-m", "not slow"), True, False),
        (("-m", "not slow", "-n", "1"), True, False),
        (("-m", "not slow"), False, True),
    ],
    ids=["passed", "passed in a process of its own", "failed"],
)
def test_a_run_that_failed_leaves_its_files_in_memory(tmp_path, words, passes, kept):
    memory = tmp_path / "memory"
    memory.mkdir()
    (tmp_path / "conftest.py").write_text(_CONFTEST.format(memory=str(memory)))
    (tmp_path / "test_it.py").write_text(_TEST.format(passes=passes))
    said = run(tmp_path, *words)
    assert [path.name for path in memory.iterdir()], "another folder was taken"
    assert bool(list(memory.rglob("file"))) == kept, said


@pytest.mark.parametrize("words", [(), ("-m", "slow or not slow"), ("-m", "not slow", "--basetemp", "own")])
def test_other_runs_keep_theirs_where_pytest_does(tmp_path, words):
    memory = tmp_path / "memory"
    memory.mkdir()
    (tmp_path / "conftest.py").write_text(_CONFTEST.format(memory=str(memory)))
    (tmp_path / "test_it.py").write_text(_TEST.format(passes=True))
    run(tmp_path, *words)
    assert list(memory.iterdir()) == []


def run(folder, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("blocks", "flags", "room"),
    [(2**20, 0, True), (2**18, 0, False), (2**20, os.ST_NOEXEC, False)],
    ids=["a tmpfs", "a container's", "programs may not be started there"],
)
def test_a_place_too_small_or_forbidden_to_programs_is_not_taken(tmp_path, monkeypatch, blocks, flags, room):
    found = SimpleNamespace(f_bavail=blocks, f_frsize=4096, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda _folder: found)
    assert in_memory.has_room(tmp_path) == room
    assert not in_memory.has_room(tmp_path / "none")
