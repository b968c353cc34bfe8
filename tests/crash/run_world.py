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
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agent.errors import TryAgain
from tests.conftest import Mosquitto, hold_port
from tests.crash import damage, failing_disk, faults, lives, oracle, proxy
from tests.crash.faults import Fault, Life, Plan
from tests.crash.lives import Child
from tests.crash.oracle import Allowed
from tests.crash.world import World

LIVELY_S = 90.0
_FIRST_SAMPLE_S = 30.0  # a life that is to sample first; a machine under load takes its time
_TROUBLED_S = 0.3  # so long a life under a fault of the disk waits for samples that may never come
_MET_S = 0.7  # so long a life waits for its network's fault to meet something, or for the gateway
_LAST = 12  # readings of the last life
_STEPS_S = {
    "day_on": 86_400,
    "day_back": -86_400,
    "ten_years_on": 315_576_000,
    "ten_years_back": -315_576_000,
    "at_1970": -1_798_761_600,
}
_CALLS = {
    "turned_read_only": failing_disk.READ_ONLY,
    "write_error": failing_disk.WRITE_EIO,
    "half_write": failing_disk.WRITE_EIO | failing_disk.HALF,
    "sync_error": failing_disk.SYNC_EIO,
}
_ANY_CALL = (failing_disk.FULL, *_CALLS.values())
Heal = Callable[[], None]


class Runner:
    def __init__(self, folder: Path, seed: int, menus: Sequence[str]) -> None:
        self.kills = 0
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._seed, self._folder = seed, folder
        self._healing: list[tuple[int, Heal]] = []  # after how many more lives
        self._modes: Counter[str] = Counter()
        self._did = folder / "done-to-packets"
        self._broker = Mosquitto(folder)
        self._broker.start()
        self._through = not {"network", "answers"}.isdisjoint(menus)
        self._listening = hold_port()
        self._listening.listen()
        agent_port = self._listening.getsockname()[1] if self._through else self._broker.port
        state = folder / "state"
        state.mkdir()
        self._disk = failing_disk.SmallDisk(state) if "disk" in menus else None
        self._trouble = 0  # faults in force that may keep the agent from starting or sampling
        self._failed_before = failing_disk.failed_calls() if self._disk else 0
        self._gaps = False
        self._damaged_at: int | None = None
        self._dice = random.Random(f"details {seed}")
        self.world = World(folder, state, seed, 3 + seed % 9, self._broker.port, agent_port)
        with (folder / "set-up.log").open("w") as said, contextlib.redirect_stdout(said):
            self.world.set_up()
        self._proxy = self._start_proxy() if self._through else None
        self._gateway = lives.gateway(self.world)

    def close(self) -> None:
        self._gateway.kill()
        if self._proxy:
            self._proxy.kill()
        self._broker.kill()
        if self._disk:
            shutil.copytree(self.world.state, self._folder / "state-at-the-end")
            self._disk.close()

    def did(self) -> list[str]:
        """What the network did to packets and connections."""
        return self._did.read_text().split() if self._did.exists() else []

    def live(self, plan: Plan) -> oracle.Verdict:
        for life in plan.lives:
            self._live(life)
        self._heal(everything=True)
        self._live_on(plan.last)
        failed = failing_disk.failed_calls() - self._failed_before if self._disk else 0
        allowed = Allowed(self.kills + failed, self._damaged_at, self._gaps)
        return oracle.judge(self.world, allowed)

    def _live(self, life: Life) -> None:
        self._mind_gateway()
        for fault in life.faults:
            if not fault.during:
                self._strike(fault)
        before, did, committed = self._witnessed(), len(self.did()), self._committed()
        agent = lives.agent(self.world)
        for fault in life.faults:
            if fault.during:
                time.sleep(fault.number % 100 / 2_000)
                self._strike(fault)
        enough = before + (life.captured or 0)
        if self._trouble:
            self._await(lambda: self._witnessed() >= enough, _TROUBLED_S)
        elif not self._await(lambda: self._witnessed() >= enough):
            self.problems.append(f"no sample within {_FIRST_SAMPLE_S:g} s of a start")
        if life.heard:
            self._await(lambda: self._committed() != committed, _MET_S)
        if self._through and any(fault.kind in proxy.MODES for fault in life.faults):
            self._await(lambda: len(self.did()) > did, _MET_S)
        time.sleep(life.linger_s)
        code = agent.kill()
        if code == -signal.SIGKILL:
            self.kills += 1
        elif code == TryAgain.exit_code and self._trouble:
            self.counts["ended, to be restarted"] += 1
        else:
            self.problems.append(f"the agent ended by itself with {code}: {self._last_words()}")
        self._heal()

    def _live_on(self, last: Sequence[Fault]) -> None:
        """The last life, which nobody ends."""
        agent = lives.agent(self.world, more=_LAST)
        for fault in last:
            time.sleep(fault.number % 100 / 200)
            self._strike(replace(fault, during=True))
        if last:
            time.sleep(0.5)
            self._heal(everything=True)
        end_s = time.monotonic() + LIVELY_S
        while (code := agent.ended(end_s - time.monotonic())) == TryAgain.exit_code:
            agent = lives.agent(self.world, more=_LAST)  # as systemd does
        if code is None:
            agent.kill()
            self.problems.append(f"not everything was receipted {LIVELY_S:g} s after the last fault")
        elif code:
            self.problems.append(f"the last life ended with {code}: {self._last_words()}")
        self._mind_gateway()
        for log in (self.world.log, self.world.gateway_log):
            if "Traceback" in (said := log.read_text(errors="replace")):
                self.problems.append(f"{log.name}: {said[said.index('Traceback') :][:1500]}")

    def _mind_gateway(self) -> None:
        """As its service manager does: what may work later is started again."""
        code = self._gateway.ended(0)
        if code is None:
            return
        if code != TryAgain.exit_code:
            self.problems.append(f"the gateway ended by itself with {code}")
        self.counts["gateway ended, restarted"] += 1
        self._gateway = lives.gateway(self.world)

    def _witnessed(self) -> int:
        with contextlib.suppress(FileNotFoundError), self.world.witness.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 16), b""))
        return 0

    def _committed(self) -> int:
        """Changes when the gateway has committed."""
        wal = self.world.ledger.with_name(self.world.ledger.name + "-wal")
        return wal.stat().st_mtime_ns if wal.exists() else 0

    def _await(self, condition: Callable[[], bool], within_s: float = _FIRST_SAMPLE_S) -> bool:
        end_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > end_s:
                return False
            time.sleep(0.003)
        return True

    def _last_words(self) -> str:
        return self.world.log.read_text(errors="replace")[-300:]

    # Faults

    def _strike(self, fault: Fault) -> None:
        self.counts[fault.kind] += 1
        heal: Heal | None
        if fault.kind in _STEPS_S:
            heal = self._step_clock(_STEPS_S[fault.kind], synced=fault.number % 2 == 0)
        elif fault.kind in proxy.MODES:
            heal = self._mode(fault.kind)
        elif fault.kind in damage.KINDS:
            heal = self._damage_later(fault)
        elif fault.kind in faults.DISK:
            heal = self._break_disk(fault)
        else:
            heal = getattr(self, f"_{fault.kind}")()
        if heal:
            self._healing.append((fault.lives, heal))

    def _heal(self, *, everything: bool = False) -> None:
        """A life is over."""
        left = [(more - 1, heal) for more, heal in self._healing]
        for more, heal in left:
            if everything or more <= 0:
                heal()
        self._healing = [] if everything else [(more, heal) for more, heal in left if more > 0]

    def _kill_gateway(self) -> None:
        self._gateway.kill()
        self._gateway = lives.gateway(self.world)

    def _kill_broker(self) -> None:
        self._broker.kill()
        self._broker.start()

    def _freeze_gateway(self) -> Heal:
        frozen = self._gateway
        frozen.send(signal.SIGSTOP)

        def heal() -> None:
            if frozen is self._gateway:
                frozen.send(signal.SIGCONT)

        return heal

    def _reboot(self) -> None:
        """From the next life on: its time is that boot's."""
        self._healing.append((1, self.world.reboot))

    def _step_clock(self, by_s: int, *, synced: bool) -> Heal:
        self.world.shared.set_clock(by_s, synced=synced)
        return lambda: self.world.shared.set_clock(0, synced=True)

    def _mode(self, mode: str) -> Heal:
        self._modes[mode] += 1
        self._tell_proxy()

        def heal() -> None:
            self._modes[mode] -= 1
            self._tell_proxy()

        return heal

    def _damage_later(self, fault: Fault) -> Heal:
        """Between this life and the next: nobody has the file open."""

        def strike() -> None:
            if damage.damage(self.world.settings.journal_path, fault.kind, random.Random(fault.number)):
                self._damaged_at = self._witnessed()

        return strike

    def _break_disk(self, fault: Fault) -> Heal | None:
        assert self._disk is not None
        small, whose, every = self._disk, failing_disk.AGENT, self._dice.choice((1, 1, 2, 5))
        if fault.kind == "full":
            small.fill(self._dice.choice((0, 0, 8_192, 65_536)))
            self._gaps, undo = True, small.empty
        elif fault.kind == "read_only":
            if fault.during:
                return None  # files are open for writing there: `turned_read_only`
            small.read_only(True)

            def undo() -> None:
                small.read_only(False)
        else:
            what = _CALLS.get(fault.kind) or self._dice.choice(_ANY_CALL)
            if fault.kind == "turned_read_only":
                every = 1
            if fault.kind == "gateway_disk":
                whose = failing_disk.GATEWAY
            failing_disk.fail(whose, what, every)

            def undo() -> None:
                failing_disk.fail(whose, 0)

        self._trouble += 1

        def heal() -> None:
            undo()
            self._trouble -= 1

        return heal

    def _start_proxy(self) -> Child:
        ours, theirs = socket.socketpair()
        self._control = ours
        made = proxy.Proxy(self._broker.port, self.world.device, self.world.gateway, self._seed, self._did)

        def main() -> int:
            ours.close()
            return proxy.run(made, self._listening, theirs)

        child = lives.fork(main, self._folder / "proxy.log")
        theirs.close()
        return child

    def _tell_proxy(self) -> None:
        self._control.sendall(json.dumps(sorted(+self._modes)).encode() + b"\n")


def run(seed: int, menus: Sequence[str], count: int, folder: Path) -> dict[str, Any]:
    """A verdict as plain values."""
    failed_before = failing_disk.failed_calls() if "disk" in menus else 0
    runner = Runner(folder, seed, menus)
    began_s = time.monotonic()
    try:
        verdict = runner.live(faults.draw(seed, menus, count))
    finally:
        runner.close()
    took_s = time.monotonic() - began_s
    problems = [*runner.problems, *verdict.problems]
    said = asdict(verdict) | {"seed": seed, "menus": menus, "kills": runner.kills, "took_s": round(took_s, 2)}
    met = dict(Counter(runner.did()))
    if "disk" in menus:
        met["failed calls"] = failing_disk.failed_calls() - failed_before
    return said | {"faults": dict(runner.counts), "met": met, "problems": problems, "good": not problems}


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
