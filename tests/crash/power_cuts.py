"""`make powercut`: record a long run, cut the power at every sync of it, open what every disk may have kept.

    python -m tests.crash.power_cuts [--rounds 12] [--seed 1] [--subsets 4] [--synchronous FULL]

Prints what was tried and what was found; a violation is printed with the cut and the state that showed it,
and the same arguments try the same choices again. (Two recordings differ in the names of their logs.)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import disk, promises
from tests.crash.recording import Claim, Event, Sync, Truncate, Write, record

_MEMORY = Path("/dev/shm")


@dataclass
class Found:
    cuts: int = 0
    states: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recording:
    root: Path
    events: list[Event]
    loss_window_s: float = 0

    @property
    def claims(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, Claim)]

    def count(self, *kinds: type[Event]) -> int:
        return sum(isinstance(event, kinds) for event in self.events)


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder for the replay, whose syncs cost nothing where that can be."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


def make(folder: Path, rounds: int, synchronous: str = "FULL", loss_window_s: float = 0) -> Recording:
    root = folder / "state"
    arguments = (str(root), str(rounds), synchronous, str(loss_window_s))
    return Recording(root, record(root, "tests.crash.long_run", *arguments), loss_window_s)


def try_all(
    made: Recording, folder: Path, seed: int, subsets: int, at_most: int = 0, stop_after: int = 20
) -> Found:
    """Every state of every cut; or `at_most` of them, spread by chance over the run."""
    chance, found, contents = random.Random(seed), Found(), promises.contents_of(made.claims)
    share = min(1.0, at_most / max(1, _how_many(made, seed, subsets))) if at_most else 1.0
    for cut in disk.cuts(made.events):
        promised = promises.Promised(cut.claims, contents)
        found.cuts += 1
        for state in cut.states(chance, subsets):
            if share < 1 and chance.random() >= share:
                continue
            found.states += 1
            found.kinds[state.what.rstrip("0123456789 ")] += 1
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            state.put(str(made.root), folder)
            try:
                promises.check(folder, promised, made.loss_window_s)
            except Exception as error:  # noqa: BLE001 whatever the journal does with this disk is the finding
                found.violations.append(
                    f"sync {cut.number}, {state.what}: {type(error).__name__}: {error!s:.200}"
                )
                if len(found.violations) >= stop_after:
                    return found
    return found


def _how_many(made: Recording, seed: int, subsets: int) -> int:
    chance = random.Random(seed)
    return sum(1 for cut in disk.cuts(made.events) for _ in cut.states(chance, subsets))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--subsets", type=int, default=4)
    parser.add_argument("--synchronous", default="FULL")
    parser.add_argument("--loss-window-s", type=float, default=0)
    arguments = parser.parse_args()
    began_s = time.monotonic()
    with in_memory() as folder:
        made = make(folder, arguments.rounds, arguments.synchronous, arguments.loss_window_s)
        claims = Counter(next(iter(json.loads(line))) for line in made.claims)
        print(
            f"recorded: {made.count(Write, Truncate)} writes, {made.count(Sync)} syncs; claimed: "
            + ", ".join(f"{count} {kind}" for kind, count in claims.items()),
            flush=True,
        )
        found = try_all(made, folder / "cut", arguments.seed, arguments.subsets)
    took_s = time.monotonic() - began_s
    print(f"seed {arguments.seed}: {found.cuts} moments, {found.states} disks in {took_s:.0f} s")
    print(", ".join(f"{kind}: {count}" for kind, count in found.kinds.items()))
    print("\n".join([*found.violations, f"violations: {len(found.violations)}"]))
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
