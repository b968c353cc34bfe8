"""One world from its making to its verdict: lives, faults, healing, the last life, the oracle.

    python -m tests.crash.run_world --seed 7 --lives 100 --menu kills --menu network

- One thread, which forks; the broker is a real Mosquitto. Prints one line of JSON per world; exit code 0
  where everything held. Several worlds take seeds `--step` apart.
- The same seed gives the same plan. Its moments depend on the machine too: a seed that failed may need a few
  runs to fail again. Its folder is kept.
- When the plan is over everything is healed at once and the agent, not killed any more, must have all it
  holds receipted within `LIVELY_S`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agent.errors import TryAgain
from tests.crash import failing_disk, faults, lives, oracle, proxy
from tests.crash.faults import Fault, Life, Plan
from tests.crash.oracle import Allowed
from tests.crash.stage import Stage

LIVELY_S = 90.0
_FIRST_SAMPLE_S = 30.0  # a life that is to sample first; a machine under load takes its time
_TROUBLED_S = 0.3  # so long a life under a fault of the disk waits for samples that may never come
_MET_S = 0.7  # so long a life waits for its network's fault to meet something, or for the gateway
_LAST = 12  # readings of the last life


class Runner:
    """The lives of one world, and what went wrong in them."""

    def __init__(self, stage: Stage) -> None:
        self.kills = 0
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._stage, self._world = stage, stage.world

    def live(self, plan: Plan) -> oracle.Verdict:
        for life in plan.lives:
            self._live(life)
        self._stage.heal(everything=True)
        self._live_on(plan.last)
        stage = self._stage
        allowed = Allowed(self.kills + stage.failed_calls(), stage.damaged_at, stage.gaps)
        return oracle.judge(self._world, allowed)

    def _live(self, life: Life) -> None:
        self._mind_gateway()
        for fault in life.faults:
            if not fault.during:
                self._stage.strike(fault)
        enough = oracle.witnessed(self._world) + (life.captured or 0)
        committed, met = self._committed(), self._stage.met()
        agent = lives.agent(self._world)
        for fault in life.faults:
            if fault.during:
                time.sleep(fault.number % 100 / 2_000)  # the moment is what the seed draws
                self._stage.strike(fault)
        if self._stage.trouble:
            self._await(lambda: oracle.witnessed(self._world) >= enough, _TROUBLED_S)
        elif not self._await(lambda: oracle.witnessed(self._world) >= enough):
            self.problems.append(f"no sample within {_FIRST_SAMPLE_S:g} s of a start")
        if life.heard:
            self._await(lambda: self._committed() != committed, _MET_S)
        if any(fault.kind in proxy.MODES for fault in life.faults):
            self._await(lambda: self._stage.met() != met, _MET_S)
        time.sleep(life.linger_s)  # likewise: SIGKILL comes at a drawn moment, for nothing to wait for
        code = agent.kill()
        if code == -signal.SIGKILL:
            self.kills += 1
        elif code == TryAgain.exit_code and self._stage.trouble:
            self.counts["ended, to be restarted"] += 1
        else:
            self.problems.append(f"the agent ended by itself with {code}: {self._last_words()}")
        self._stage.heal()

    def _live_on(self, last: Sequence[Fault]) -> None:
        """The last life, which nobody ends."""
        agent = lives.agent(self._world, more=_LAST)
        for fault in last:
            time.sleep(fault.number % 100 / 200)
            self._stage.strike(replace(fault, during=True))
        if last:
            time.sleep(0.5)
            self._stage.heal(everything=True)
        end_s = time.monotonic() + LIVELY_S
        while (code := agent.ended(end_s - time.monotonic())) == TryAgain.exit_code:
            agent = lives.agent(self._world, more=_LAST)  # as systemd does
        if code is None:
            agent.kill()
            self.problems.append(f"not everything was receipted {LIVELY_S:g} s after the last fault")
        elif code:
            self.problems.append(f"the last life ended with {code}: {self._last_words()}")
        self._mind_gateway()
        for log in (self._world.log, self._world.gateway_log, self._world.folder / "proxy.log"):
            if log.exists() and "Traceback" in (said := log.read_text(errors="replace")):
                self.problems.append(f"{log.name}: {said[said.index('Traceback') :][:1500]}")

    def _mind_gateway(self) -> None:
        if (code := self._stage.restart_gateway()) is not None:
            self.counts["gateway ended, restarted"] += 1
            if code != TryAgain.exit_code:
                self.problems.append(f"the gateway ended by itself with {code}")

    def _committed(self) -> int:
        """Changes when the gateway has committed."""
        wal = self._world.ledger.with_name(self._world.ledger.name + "-wal")
        return wal.stat().st_mtime_ns if wal.exists() else 0

    def _await(self, condition: Callable[[], bool], within_s: float = _FIRST_SAMPLE_S) -> bool:
        end_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            time.sleep(0.003)
        return True

    def _last_words(self) -> str:
        return self._world.log.read_text(errors="replace")[-300:]


def run(seed: int, menus: Sequence[str], count: int, folder: Path) -> dict[str, Any]:
    """A verdict as plain values."""
    began_s = time.monotonic()
    stage = Stage(folder, seed, menus)
    try:
        runner = Runner(stage)
        verdict = runner.live(faults.draw(seed, menus, count))
        met = dict(stage.met())
    finally:
        stage.close()
    took_s = round(time.monotonic() - began_s, 2)
    problems = [*runner.problems, *verdict.problems]
    counts = dict(stage.counts + runner.counts)
    said = asdict(verdict) | {"seed": seed, "menus": menus, "kills": runner.kills, "took_s": took_s}
    return said | {"faults": counts, "met": met, "problems": problems, "good": not problems}


def memory_folder() -> Path | None:
    """SIGKILL takes nothing from the kernel: memory is as good as a disk, and nobody waits for it."""
    shm = Path("/dev/shm")
    return shm if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 512 * 1024**2 else None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--worlds", type=int, default=1)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--menu", action="append", choices=sorted(faults.MENUS))
    parser.add_argument("--folder", type=Path, default=memory_folder())
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    without = set[str]()
    if sentence := failing_disk.missing():
        sys.stderr.write(f"crash: no faults of disks: {sentence}\n")
        without.add("disk")
    else:
        failing_disk.preload()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    lives.prepare()
    good = True
    for seed in range(options.seed, options.seed + options.worlds * options.step, options.step):
        folder = Path(tempfile.mkdtemp(prefix=f"fieldproof-crash-{seed}-", dir=options.folder))
        said = run(seed, options.menu or faults.menus_of(seed, without), options.lives, folder)
        good = good and said["good"]
        if said["good"] and not options.keep:
            shutil.rmtree(folder)
        else:
            said["kept"] = str(folder)
        print(json.dumps(said), flush=True)
    failing_disk.clean_up()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
