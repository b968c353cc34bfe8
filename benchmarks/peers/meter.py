"""What a peer's processes cost, from /proc; looked at once a second and just before each end.

- Memory: the peak of the sum of what is resident (RSS).
- CPU: user and system time. Written: `write_bytes`, pages on their way to the device, logs not included.
- Syncs: strace, filtered in the kernel (--seccomp-bpf), so that no other call is slowed down.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

_SYNCS = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"
_STRACE = shutil.which("strace")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def traced(command: list[str], trace: Path) -> list[str]:
    """The command stays the direct child (-D): it gets the signals, and its PID is its own."""
    if _STRACE is None:
        raise SystemExit("This benchmark needs strace: install the Debian package `strace`.")
    return [_STRACE, "-D", "-f", "-q", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={_SYNCS}", *command]


@dataclass(slots=True)
class Meter:
    """`trace` is the folder of the syncs' traces."""

    trace: Path
    peak_kB: int = 0
    _alive: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _cpu_s: dict[int, float] = field(default_factory=dict)
    _written: dict[int, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._alive = processes

    def look(self) -> None:
        rss_kB = 0
        for process in self._alive:
            try:
                folder = Path("/proc", str(process.pid))
                rss_kB += _number(r"^Rss: +(\d+)", folder / "smaps_rollup")
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                self._cpu_s[process.pid] = (int(fields[11]) + int(fields[12])) * _TICK_S
                self._written[process.pid] = _number(r"^write_bytes: (\d+)", folder / "io")
            except OSError:  # it has ended: what it was last seen to have used counts
                continue
        self.peak_kB = max(self.peak_kB, rss_kB)

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    @property
    def cpu_s(self) -> float:
        return sum(self._cpu_s.values())

    @property
    def written(self) -> int:
        return sum(self._written.values())

    @property
    def syncs(self) -> int:
        calls = re.compile(r"^\d+ +(?:f?sync|fdatasync|syncfs|sync_file_range|msync)\(", re.MULTILINE)
        return sum(len(calls.findall(path.read_text())) for path in self.trace.glob("*.strace"))

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self.look()


def _number(pattern: str, path: Path) -> int:
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
