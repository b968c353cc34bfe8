"""How often the agent died, and the machine under it: `lifetimes.json` in the state folder, for `status`.

- Written when the node starts and when it stops in order. A start that finds no such stop: in the same boot
  the agent died and was started again (`restarts`), in a later one the machine lost power or hung
  (`power_cuts`).
- Reboots are counted by who makes them: `systemd/last-resort`, in a file of its own.
- Counts for people, nothing more: what cannot be read counts as none, what cannot be written is left.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

REBOOTS = Path("/var/lib/fieldproof-last-resort/reboots")
_MAX_BYTES = 1000
_MAX_COUNT = 10**9


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """`boot_id` is of the start that was written last, `running` until it stopped in order."""

    boot_id: str = ""
    running: bool = False
    restarts: int = 0
    power_cuts: int = 0


NONE = Lifetimes()


def begin(path: Path, boot_id: bytes) -> Lifetimes:
    """The counts as they are now, written down as those of a running agent."""
    before = read(path)
    died = int(before.running)
    here = before.boot_id == boot_id.hex()
    now = Lifetimes(boot_id.hex(), True, before.restarts + died * here, before.power_cuts + died * (not here))
    _write(path, now)
    return now


def end(path: Path, lifetimes: Lifetimes) -> None:
    _write(path, replace(lifetimes, running=False))


def reboots(path: Path = REBOOTS) -> int:
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        return int(file.read(20))
    return 0


def how_it_began(before: Lifetimes, now: Lifetimes) -> str:
    """The diary's code for the start between the two."""
    if now.restarts > before.restarts:
        return "restarted"
    if now.power_cuts > before.power_cuts:
        return "power_cut"
    return "rebooted" if before.boot_id not in ("", now.boot_id) else "started"


def read(path: Path) -> Lifetimes:
    with contextlib.suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        match json.loads(file.read(_MAX_BYTES)):
            case {"boot_id": str(boot_id), "running": bool(running), **counts}:
                known = [counts.get(name) for name in ("restarts", "power_cuts")]
                restarts, power_cuts = (n if type(n) is int and 0 <= n < _MAX_COUNT else 0 for n in known)
                return Lifetimes(boot_id, running, restarts, power_cuts)
    return Lifetimes()


def _write(path: Path, lifetimes: Lifetimes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(OSError), temporary.open("w") as file:
        json.dump(asdict(lifetimes), file)
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)
