"""Bytes that a day writes to the card, at one reading of three values every ten seconds.

8,640 readings on a clock that runs as fast as the journal, each appended by the keeper as the daemon does it,
with 144 proofs, beacons and receipts; `write_bytes` of the process (/proc/self/io: whole blocks of 4 KiB as
they are handed to the block layer; the file system's own journal comes on top). Once with every reading on
disk before the next, once with `loss_window_s = 60`. The floor of the first is one block per reading.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks import figures
from benchmarks.field import ROOT, work_folder
from benchmarks.figures import Figure

READINGS = 8640
_AIMS_MB = {0: 80.0, 60: 12.0}


def measure() -> list[Figure]:
    """Megabytes written on a simulated day, without and with a loss window."""
    found = []
    with work_folder() as folder:
        for window_s, most in _AIMS_MB.items():
            command = [sys.executable, "-m", "benchmarks.a_day", str(folder), str(READINGS), str(window_s)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
            name = f"loss window of {window_s} s" if window_s else "every reading by itself"
            found.append(Figure(name, int(done.stdout.split()[-1]) / 1e6, "MB/day", most=most))
    return [*found, Figure("floor, one 4 KiB block per reading", READINGS * 4096 / 1e6, "MB/day")]


if __name__ == "__main__":
    figures.run(measure)
