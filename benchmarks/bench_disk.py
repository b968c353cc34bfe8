"""Bytes and syncs that reach the storage device per reading, beside a plain INSERT of the same record.

1,800 readings, each appended in a transaction of its own; the agent also seals a proof every 60 and accepts
its receipt. `write_bytes` of the process (whole pages, WAL, checkpoints, the last one included), on the file
system of the checkout. Syncs are counted by strace where that is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import figures
from benchmarks.field import ROOT, work_folder
from benchmarks.figures import Figure

_READINGS = 1800
_STRACE = shutil.which("strace")


def run(what: str, folder: Path) -> tuple[float, float | None]:
    """(bytes, syncs) per reading."""
    trace = folder / f"{what}.strace"
    command = [sys.executable, "-m", "benchmarks.writer", what, str(folder), str(_READINGS)]
    if _STRACE:
        command = [_STRACE, "-f", "-o", str(trace), "-e", "trace=fsync,fdatasync", *command]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
    syncs = trace.read_text().count("sync(") if _STRACE else None
    return int(done.stdout.split()[-1]) / _READINGS, syncs / _READINGS if syncs is not None else None


def measure() -> list[Figure]:
    """Writing per reading of the agent's journal and of plain SQLite."""
    with work_folder() as folder:
        found = {what: run(what, folder) for what in ("agent", "plain")}
    figures_found = [Figure("agent against plain INSERT", found["agent"][0] / found["plain"][0], "times")]
    for what, (size, syncs) in found.items():
        name = {"agent": "agent", "plain": "plain INSERT"}[what]
        figures_found.append(Figure(f"{name}, written", size, "bytes/reading"))
        if syncs is not None:
            figures_found.append(Figure(f"{name}, synced", syncs, "times/reading"))
    return figures_found


if __name__ == "__main__":
    figures.run(measure)
