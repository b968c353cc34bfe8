"""The whole demo as a user starts it: real processes, a broker that stops, an agent that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.sim_parts import made_up_day, write_day

DEMO = [sys.executable, "-m", "hardware_sim.cli", "demo"]
LINE = re.compile(
    r"demo: captured (\d+) readings, receipted (\d+), lost 0, duplicates 0, proofs (\d+), "
    r"bytes/reading (\d+\.\d)"
)
# A demo takes about 20 s; on a busy machine the waits of agent and gateway before they connect again add up.
PATIENCE_S = 170


def demo(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run in the repository, with temporary files below `folder`."""
    return subprocess.run(
        [*DEMO, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S - 10,
        env=os.environ | {"TMPDIR": str(folder)},
    )


def counted(done: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    """(readings, proofs) of the last line of a good run."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = LINE.fullmatch(done.stdout.splitlines()[-1])
    assert found, done.stdout
    assert found[1] == found[2]
    assert 5 < float(found[4]) < 60
    return int(found[1]), int(found[3])


def told(done: subprocess.CompletedProcess[str], *sentences: str) -> None:
    """These phases, in this order."""
    assert re.search(".*".join(map(re.escape, sentences)), done.stdout, re.DOTALL), done.stdout


@pytest.mark.timeout(PATIENCE_S)
def test_a_climate_with_an_outage_and_two_kills_arrives_whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("d")  # short: a socket's path has at most 107 characters
    done = demo(folder, "--readings", 150, "--seconds", 8)
    assert counted(done) == (150, 3)
    told(
        done,
        "the broker is stopped",
        "the agent is killed (SIGKILL)",
        "the agent is started again, the broker is still down",
        "the broker is started again",
        "the agent is killed again",
    )
    assert list(folder.iterdir()) == []
    assert _left_over(folder) == []


@pytest.mark.timeout(PATIENCE_S)
def test_a_recorded_day_comes_out_as_it_was_recorded(tmp_path):
    day, folder = made_up_day(tmp_path / "day.csv", 120), tmp_path / "kept"
    readings, proofs = counted(demo(tmp_path, "--world", day, "--seconds", 8, "--dir", folder))
    assert readings == 120
    assert proofs >= 2
    assert (folder / "evidence.cbor").stat().st_size > 0
    assert _left_over(folder) == []


def test_a_bad_world_is_one_sentence_and_exit_code_2_and_nothing_is_started(tmp_path):
    bad = write_day(tmp_path / "bad.csv", ("00:00:00", "101325", "twenty", "50"))
    for world, sentence in (
        (bad, "line 2: temperature is 'twenty'"),
        (tmp_path / "none.csv", "cannot be read"),
    ):
        done = demo(tmp_path, "--world", world)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1
        assert sentence in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    done = demo(tmp_path, "--dir", tmp_path)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),  # the demo makes a SIGTERM the same
        signal.SIGTERM,
        signal.SIGKILL,
    ],
)
def test_whatever_ends_the_demo_ends_every_process_it_started(tmp_path, number):
    folder = tmp_path / "d"
    words = [*DEMO, "--dir", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: (folder / "captured.jsonl").exists(), 50, "the agent's start")
            assert len(_left_over(folder)) >= 2
        finally:
            process.send_signal(number)
        assert process.wait(30) == {signal.SIGKILL: -9}.get(number, 130)
    wait_until(lambda: _left_over(folder) == [], 10, "the end of every process")


def _left_over(folder: Path) -> list[str]:
    """Command lines of running processes that name `folder` or stand in it, the demo itself left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue  # it has ended meanwhile
            if str(folder) in words and " demo " not in words:
                found.append(words)
    return found
