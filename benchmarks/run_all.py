"""`make bench`: the benchmarks, one after another, and `docs/benchmarks.md` from what they found.

The section that `bench_peers` wrote stays in it: `make bench` runs that program afterwards.

Figures of two runs on a shared machine differ; one run on a quiet machine is what belongs into the file.
"""

from __future__ import annotations

import importlib
import os
import platform
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import marked
from benchmarks.field import MOSQUITTO, ROOT
from benchmarks.figures import Figure, table

BENCHMARKS = {
    "bench_memory": "Memory",
    "bench_memory_ten": "Memory with ten instruments",
    "bench_page": "The page",
    "bench_cpu": "CPU per reading",
    "bench_bytes": "Bytes on the wire",
    "bench_disk": "Bytes on disk",
    "bench_day": "A day's writing",
    "bench_drain": "Draining a backlog",
    "bench_backlog": "A backlog of a million",
    "bench_verify": "Verification",
}
_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; the README quotes it. Each figure stands beside a peer measured in the same run, or
is an absolute of this machine. Aims are the project's own; a missed one is said so. Every section is one
program, `python -m benchmarks.<name>`, whose first lines are repeated here.
"""


def main() -> int:
    sections, missed = [], []
    for name, title in BENCHMARKS.items():
        print(f"\n== {title}", flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        began_s = time.monotonic()
        figures: list[Figure] = module.measure()
        print(f"{table(figures)}\n({time.monotonic() - began_s:.0f} s)", flush=True)
        sections.append(f"## {title} (`{name}`)\n\n{(module.__doc__ or '').strip()}\n\n{table(figures)}\n")
        missed += [
            f"- {title}: {cells[0]}, {cells[1]}, aim {cells[2]}"
            for figure in figures
            if (cells := figure.cells())[3] == "MISSED"
        ]
    verdict = "## Missed aims\n\n" + ("\n".join(missed) or "None.") + "\n"
    path = ROOT / "docs" / "benchmarks.md"
    peers = marked.section(path, "peers")
    path.write_text("\n".join([_INTRODUCTION, machine(), verdict, *sections, peers]))
    print(f"\nWritten to {path.relative_to(ROOT)}.")
    return 0


def machine() -> str:
    """What was measured on, and when."""
    facts = {
        "Date": datetime.now(UTC).date().isoformat(),
        "Processor": f"{processor()}, {os.cpu_count()} cores",
        "Kernel": f"{platform.system()} {kernel(platform.release())}, {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "Broker": mosquitto(),
    }
    rows = "\n".join(f"| {name} | {fact} |" for name, fact in facts.items())
    return f"## Machine\n\n| | |\n|---|---|\n{rows}\n"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def kernel(release: str) -> str:
    """The series: what comes behind is the name that somebody gave a build."""
    return ".".join(release.split("-")[0].split(".")[:2])


def mosquitto() -> str:
    if MOSQUITTO is None:
        return "none"
    told = subprocess.run([MOSQUITTO, "-h"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    return told.partition("\n")[0].strip()


if __name__ == "__main__":
    sys.exit(main())
