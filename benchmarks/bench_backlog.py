"""What a million readings that wait for a gateway cost: the start, the memory, and how fast they drain.

1,000,000 readings of three values, sealed at 60 per proof by the agent's own sealer (without syncs, to save
time), none receipted. Agent, a real mosquitto and a real gateway are processes of this machine.

- Start: from exec to READY=1 (systemd's notification) and to the first reading in the journal, with no
  broker; once with everything in the page cache, once after the kernel dropped it (as root; else only the
  journal's file was dropped). The check of the file (`agent.store.is_sound`) is part of each.
- Memory: the peak (VmHWM) of the process that starts and then drains it, `status` asked once a second.
- Drained: from CONNACK to the last receipt. The proofs name a beacon that the gateway never gave, so each
  gets a verdict: the costlier case. Processor times of agent and gateway say which waits for the other.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import TryAgain
from agent.store import is_sound, open_journal
from benchmarks import backlog, figures
from benchmarks.bench_drain import connected_at_s
from benchmarks.field import Field, as_installed, joined_field, until
from benchmarks.figures import Figure

READINGS, _PER_PROOF = 1_000_000, 60
_DEADLINE_S = 1800.0
_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True, slots=True)
class Start:
    ready_s: float
    sampled_s: float
    status_s: float


def fill(field: Field, readings: int) -> None:
    journal = open_journal(field.settings.journal_path, field.device, backlog.BOOT_ID).journal
    journal.execute("PRAGMA synchronous=OFF")
    backlog.fill(journal, field.signer, readings, _PER_PROOF)
    journal.close()


def forget(path: Path) -> str:
    """Out of the page cache; what that was."""
    os.sync()
    with suppress(OSError):
        _CACHES.write_text("3\n")
        return "nothing cached"
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return "journal not cached"


@contextmanager
def notified(field: Field) -> Iterator[socket.socket]:
    """What systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{field.folder.name}")
        listening.settimeout(60)
        yield listening


def started(field: Field, listening: socket.socket) -> Start:
    """An agent that has begun to sample; it goes on."""
    began_s = time.monotonic()
    field.start_agent(NOTIFY_SOCKET=f"@{field.folder.name}")
    while b"READY=1" not in listening.recv(4096):
        pass
    ready_s = time.monotonic() - began_s
    until(lambda: sampled(field), 60, "the first reading")
    sampled_s = time.monotonic() - began_s
    asked_s = time.monotonic()
    field.status()
    return Start(ready_s, sampled_s, time.monotonic() - asked_s)


def sampled(field: Field) -> int:
    """Readings of this life."""
    report: dict[str, Any] = field.status()
    return int(report["instruments"][0]["samples"]) if report else 0


def stop(field: Field) -> None:
    agent = field.processes.pop()
    agent.send_signal(signal.SIGTERM)
    agent.wait(30)


def memory_MB(pid: int, name: str) -> float:
    (kB,) = re.findall(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(kB) * 1024 / 1e6


def processor_s(pid: int) -> float:
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def measure(readings: int = READINGS) -> list[Figure]:
    """A start with a backlog of a million readings, and its draining."""
    proofs = -(-readings // _PER_PROOF)
    with joined_field(interval_s=1, readings=_PER_PROOF) as field, notified(field) as listening:
        path = field.settings.journal_path
        fill(field, readings)
        as_installed()  # not a part of the first start
        size_MB = path.stat().st_size / 1e6
        began_s = time.monotonic()
        assert is_sound(path, field.device)
        check_s = time.monotonic() - began_s
        warm = started(field, listening)
        stop(field)
        what = forget(path)
        cold = started(field, listening)
        stop(field)
        field.start_broker()
        gateway = field.start_gateway()
        started(field, listening)
        agent = field.processes[-1]
        before = [processor_s(process.pid) for process in (agent, gateway)]

        def all_receipted() -> bool:
            time.sleep(1.0)
            with suppress(TryAgain):
                return field.receipted(proofs)
            return False

        until(all_receipted, _DEADLINE_S, "the last receipt")
        drained_s = time.time() - (connected_at_s(field) or sys.float_info.max)
        used = [processor_s(p.pid) - b for p, b in zip((agent, gateway), before, strict=True)]
        peak_MB = memory_MB(agent.pid, "VmHWM")
    return [
        Figure("journal", size_MB, "MB"),
        Figure("start to READY, all cached", warm.ready_s, "s", most=3),
        Figure("start to the first reading, all cached", warm.sampled_s, "s", most=3),
        Figure(f"start to READY, {what}", cold.ready_s, "s", most=3),
        Figure(f"start to the first reading, {what}", cold.sampled_s, "s", most=3),
        Figure("of which the check of the file, cached", check_s, "s"),
        Figure("`status` while all of it waits", warm.status_s * 1000, "ms"),
        Figure("resident at most, start and draining", peak_MB, "MB", most=45),
        Figure("drained", readings / drained_s, "readings/s", least=5000),
        Figure("drained in", drained_s, "s"),
        Figure("processor time meanwhile, agent", used[0], "s"),
        Figure("processor time meanwhile, gateway", used[1], "s"),
    ]


if __name__ == "__main__":
    figures.run(measure)
