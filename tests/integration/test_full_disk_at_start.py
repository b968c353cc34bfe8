"""A disk that is full when the agent starts: systemd starts it again and again, and it says why each time."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In a mount namespace of its own: a disk of 600 kB that a member's folder lies on, filled to its last block.
CHILD = """
import contextlib, os, pickle, subprocess, sys
from pathlib import Path

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k,mode=0700", "none", folder], check=True)
from agent import daemon
from agent.settings import load
from hardware_sim.buses import SimulatedBuses
from hardware_sim.worlds import ClimateWorld
from tests.sim_parts import joined_config

config, _ = joined_config(folder)
settings = load(config)
with open(folder / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
    while True:
        filler.write(bytes(512))
daemon.HardwareBuses = lambda clock: SimulatedBuses(settings.instrument, ClimateWorld(seed=1), clock)
for _ in range(2):
    fd = os.memfd_create("settings")
    os.write(fd, pickle.dumps(settings))
    os.lseek(fd, 0, os.SEEK_SET)
    code = daemon.main(fd)
sys.exit(code)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root mounts a small disk")
def test_each_start_on_a_full_disk_says_so_in_one_sentence_and_to_systemd(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        systemd.settimeout(5)
        done = subprocess.run(
            ["unshare", "-m", sys.executable, "-c", CHILD, str(disk)],
            cwd=ROOT, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n")},
            capture_output=True, text=True, timeout=50,
        )  # fmt: skip
        told = systemd.recv(1000).decode()
    if "mount:" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.returncode == 1, done.stderr  # it may work later: systemd tries again
    said = [line for line in done.stderr.splitlines() if "cannot be opened now" in line]
    assert len(said) == 2, done.stderr
    assert "full" in said[0]
    assert "Look at the disk (`df`, `dmesg`)" in said[0]
    assert "Traceback" not in done.stderr
    assert told == "STATUS=" + said[0].removeprefix("fieldproof-agent: ")
