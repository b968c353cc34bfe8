"""`make crash N=10000`, `make crash SEED=17`: many worlds, several at once, and what came of them.

- N counts SIGKILLs of the agent; those of gateway and broker come on top. A world has `LIVES` lives.
- A failing world is named by its seed and its folder is kept; the run goes on and ends with exit code 1.
- With a SEED only that world is run, `--times` times: its plan is the same each time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIVES = 100
_SUMS = ("kills", "captured", "ledgered", "lost", "given_up", "destroyed", "twice", "proofs")
_ROOT = Path(__file__).parents[2]


def worlds(seed: int, count: int, workers: int, more: list[str]) -> Iterator[dict[str, Any]]:
    """Verdicts as they come; worker n takes every `workers`-th seed."""
    command = [sys.executable, "-m", "tests.crash.run_world", f"--step={workers}", f"--lives={LIVES}", *more]
    reading, writing = os.pipe()
    running = [
        subprocess.Popen(
            [*command, f"--seed={seed + number}", f"--worlds={len(range(number, count, workers))}"],
            cwd=_ROOT,
            stdout=writing,  # one pipe for all: each line is one write, shorter than what a pipe keeps whole
        )
        for number in range(min(workers, count))
    ]
    os.close(writing)
    try:
        with os.fdopen(reading) as lines:
            yield from map(json.loads, lines)
    finally:
        for worker in running:
            worker.terminate()
            worker.wait()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this world")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4 * (os.cpu_count() or 1))
    options, more = parser.parse_known_args()
    one = options.seed is not None
    first, workers = (options.seed, 1) if one else (options.first, options.workers)
    began_s, sums, met = time.monotonic(), Counter[str](), Counter[str]()
    begun, failed = 0, list[int]()
    while begun < options.times if one else sums["kills"] < options.kills:
        count = 1 if one else -(-(options.kills - sums["kills"]) // LIVES)
        silent = set(range(first, first + count))
        for said in worlds(first, count, workers, more):
            silent.discard(said["seed"])
            sums.update({name: said[name] for name in _SUMS})
            met.update(said["faults"])
            if not said["good"]:
                failed.append(said["seed"])
                print(f"crash: seed {said['seed']} failed: {json.dumps(said, indent=1)}", flush=True)
            print(f"crash: seed {said['seed']}: {_line(Counter(said))}", flush=True)
        begun += count
        if silent:  # a worker broke, and said so on stderr
            failed += sorted(silent)
            break
        first += 0 if one else count
    took_s = time.monotonic() - began_s
    print(f"crash: {begun} worlds, seeds up to {first - (not one)}: {_line(sums)}")
    print(f"crash: faults: {', '.join(f'{kind} {number}' for kind, number in sorted(met.items())) or 'none'}")
    print(f"crash: {sums['kills'] / took_s:.1f} kills a second, load {os.getloadavg()[0]:.1f}")
    for seed in failed:
        print(f"crash: seed {seed} FAILED: make crash SEED={seed}")
    return 1 if failed else 0


def _line(sums: Counter[str]) -> str:
    return (
        f"{sums['kills']} SIGKILLs, captured {sums['captured']}, in the ledger {sums['ledgered']}, "
        f"lost {sums['lost']}, given up and declared {sums['given_up']}, destroyed with pages "
        f"{sums['destroyed']}, sealed twice {sums['twice']}, proofs {sums['proofs']}"
    )


if __name__ == "__main__":
    sys.exit(main())
