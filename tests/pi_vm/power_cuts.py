"""`make pi`: the power of a Raspberry Pi-class machine is cut, again and again, and nothing may be lost.

- The agent is installed, joins the network of a gateway that runs here, outside (`owner`), and samples
  simulated instruments, which hang on the machine's serial lines and have their own power.
- A boot: the machine starts from the disk as the last cut left it, captures and delivers, and loses its power
  at a random moment (some of them while it still boots). What was flushed stays on its disk, and any part of
  the rest; from that disk the next boot starts. These are the `reboots`.
- Beside it, of each boot's log, disks as of other random moments are rebuilt and judged without booting them.
  Both kinds are judged by `judge`, beside the next boot.
- After the last cut everything promised must be in proofs that the gateway accepted, once; no number has two
  proofs, the device is not suspended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

from hardware_sim.plugged import in_lines
from proof import sealing
from tests.integration import gateway_process
from tests.integration.gateway_process import GatewayProcess
from tests.pi_vm import owner, vital_signs
from tests.pi_vm.disk_log import DiskLog
from tests.pi_vm.judge import Boot, Judge, Verdict, copy, write
from tests.pi_vm.machine import Image, Machine, MachineError, Ports, running
from tests.pi_vm.oracle import Promises, Readings, promised

RECEIPT_S, ALIVE_S = 900.0, 15.0
EARLY = 0.2  # of the boots: cut before the time in which the last one came to a proof
_judge: Judge | None = None  # in the judge's process


def say(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, flush=True)


def _appoint(device: str, gateway_key: bytes, keep: Path) -> None:
    global _judge
    _judge = Judge(device, gateway_key, keep)


def _judged(boot: Boot) -> Verdict:
    assert _judge is not None
    return _judge.boot(boot)


def _judged_at_rest(name: str, disk: Path, promises: Promises, accepted: list[bytes]) -> list[str]:
    assert _judge is not None
    return _judge.at_rest(name, disk, promises, accepted)


class Campaign:
    """One device, one gateway, and one disk that goes from boot to boot: `disk`, as the last cut left it."""

    def __init__(self, found: Image, folder: Path, seed: int) -> None:
        self._image, self._folder, self._dice = found, folder, Random(seed)
        self._ports, self._closing = Ports(), contextlib.ExitStack()
        self._closing.callback(self._ports.close)
        self.lines = self._closing.enter_context(in_lines(folder / "instruments", owner.INSTRUMENTS, seed))
        self.disk = folder / "disk.img"
        self.gateway = GatewayProcess(folder / "gateway", f"mqtt://127.0.0.1:{self._ports.mqtt}")
        self._closing.callback(self.gateway.end)
        self._promises = Promises()
        self.mqtt_port = self._ports.mqtt
        self._device = ""
        self._judges: ProcessPoolExecutor | None = None
        self._verdict: Future[Verdict] | None = None
        self.problems: list[str] = []
        self._start_s = 60.0
        self.boots = self.early = self.cuts = self.unflushed = 0

    def close(self) -> None:
        if self._judges is not None:
            self._judges.shutdown(cancel_futures=True)
        self._closing.close()

    def install(self, product: bytes, name: str) -> None:
        """As an owner would, over ssh; kept for the next run with the same product."""
        installed = self._image.folder / f"installed-{name}.img"
        if not installed.exists():
            self.fresh()
            with running(self.machine("install")) as machine:
                say(f"a login {machine.await_ssh():.0f} s after power-on; installing")
                say(owner.install(machine, product))
                self.shut_down(machine)
            copy(self.disk, installed.with_suffix(".new")).rename(installed)
        copy(installed, self.disk)

    def fresh(self) -> None:
        """The disk is the image's: a Debian that has never heard of Fieldproof."""
        copy(self._image.disk, self.disk)

    def join(self) -> None:
        """Until the gateway has a proof; then in order to sleep."""
        made = gateway_process.run("claim", "new", "--dir", str(self.gateway.directory))
        with running(self.machine("join")) as machine:
            say(f"a login {machine.await_ssh():.0f} s after power-on; joining")
            self.gateway.start()
            self._device = owner.join(machine, made.stdout)
            self.await_proof(machine)
            self.shut_down(machine)
        appointed = (self._device, self.gateway.key, self._folder)
        self._judges = ProcessPoolExecutor(1, initializer=_appoint, initargs=appointed)
        self._judge_at_rest("boot join")

    def boot_and_cut(self, cuts: int) -> None:
        """One boot that ends with a cut, and `cuts` other moments of it."""
        self.boots += 1
        name = f"boot-{self.boots}"
        machine = self.machine(name)
        with running(machine):
            if self._dice.random() < EARLY:
                self.early += 1
                alive_s = machine.let_run(self._dice.uniform(1.0, self._start_s))
                said = "cut before a proof,"
            else:
                self._start_s = self.await_proof(machine)
                alive_s = machine.let_run(self._dice.uniform(0.0, ALIVE_S))
                said = f"a new proof accepted after {self._start_s:.0f} s, cut"
            used_s = machine.processor_s()
            machine.cut_power()
        copy(self.disk, machine.log.with_name("before.img"))
        with closing(DiskLog(machine.log)) as log:
            log.without_last_flush()
            last = len(log.entries)
            moments = tuple(self._dice.randint(0, last) for _ in range(cuts))
            boot = Boot(
                name.replace("-", " "),
                machine.log.parent,
                Promises(dict(self._promises.samples), set(self._promises.published)),
                moments,
                self._dice.getrandbits(32),
                self._dice.getrandbits(32),
            )
            kept = log.flushed(last)
            write(self.disk, log.kept(0, kept))
            write(self.disk, log.remains(last, Random(boot.remains_seed)))
            self._promises.add(promised(log, last))
        self.cuts += cuts
        say(
            f"boot {self.boots}: {said} {alive_s:.0f} s after power-on ({used_s:.0f} s of processor); "
            f"{last} entries, {last - kept} not flushed; {len(self._promises.samples)} samples promised "
            f"so far, {self.missing()} not accepted yet; load {os.getloadavg()[0]:.1f}"
        )
        self.hear()
        assert self._judges is not None, "join first"
        self._verdict = self._judges.submit(_judged, boot)

    def hear(self) -> None:
        """What the judge said of the boot before."""
        if self._verdict is not None:
            verdict, self._verdict = self._verdict.result(600), None
            self.problems += verdict.problems
            self.unflushed += verdict.unflushed
            for problem in verdict.problems[:5]:
                say("PROBLEM:", problem)

    def finish(self) -> str:
        """A last boot, until everything promised before it is accepted."""
        self.hear()
        machine, expected = self.machine("last"), Promises(dict(self._promises.samples))
        with running(machine):
            self.await_proof(machine)
            machine.until(lambda: self.missing() == 0, RECEIPT_S, "a receipt for everything promised")
            self.shut_down(machine)
        self._judge_at_rest("boot last")
        readings = self._accepted()
        self.problems += readings.problems(expected)
        (line,) = self.gateway.lines()
        wrong = {"equivocation", "rolled_back", "broken_chain", "two_boards"} & line.verdicts.keys()
        if line.suspended or wrong:
            self.problems.append(f"the gateway holds against the device: suspended {line.suspended}, {wrong}")
        return (
            f"RESULT {self.boots} power cuts with a reboot ({self.early} before a proof) and {self.cuts} "
            f"without, {self.unflushed} of all with unflushed writes, one device: {len(expected.samples)} "
            f"samples promised, {len(readings)} readings in {self._head()} accepted proofs, "
            f"{len(self.problems)} problems"
        )

    def shut_down(self, machine: Machine) -> None:
        """In order: the disk takes everything."""
        machine.shut_down()
        with closing(DiskLog(machine.log)) as log:
            write(self.disk, log.kept(0, len(log.entries)))
            self._promises.add(promised(log, len(log.entries)))
        shutil.rmtree(machine.log.parent)

    def _judge_at_rest(self, name: str) -> None:
        assert self._judges is not None, "join first"
        accepted = self.gateway.accepted(self._device)
        given = (name, self.disk, self._promises, accepted)
        self.problems += self._judges.submit(_judged_at_rest, *given).result(600)

    def machine(self, name: str) -> Machine:
        paths = [line.path for line in self.lines]
        return Machine(self._image, self.disk, self._folder / name, self._ports, paths)

    def await_proof(self, machine: Machine) -> float:
        """Until the gateway has accepted another proof; how long after power-on."""
        before = self._head()
        return machine.until(lambda: self._head() > before, RECEIPT_S, "another accepted proof")

    def missing(self) -> int:
        readings = self._accepted()
        return sum(readings.at(place) is None for place in self._promises.samples)

    def _head(self) -> int:
        lines = self.gateway.lines()
        return lines[0].head_seq if lines else 0

    def _accepted(self) -> Readings:
        readings = Readings()
        readings.add_proofs(map(sealing.parse, self.gateway.accepted(self._device)))
        return readings


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Cuts the power of a Raspberry Pi-class machine.")
    parser.add_argument("--reboots", type=int, default=10, help="cuts after which the machine boots again")
    parser.add_argument(
        "--cuts", type=int, default=100, help="cuts in all; those above --reboots are not booted"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="after so many no boot but the last one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="an empty folder to work in and keep; else a temporary one")
    parser.add_argument(
        "--wheels", type=Path, help="a folder that systemd/wheelhouse made; else they are fetched"
    )
    parser.add_argument("--no-vital-signs", action="store_true", help="only the cuts")
    return parser.parse_args()


def run(asked: argparse.Namespace, folder: Path, end_s: float) -> int:
    """The number of problems. Raises `MachineError`, `subprocess.SubprocessError`."""
    owner.require_programs()
    campaign = Campaign(owner.image(), folder, asked.seed)
    with closing(campaign):
        wheels = asked.wheels or owner.fetch_wheels(folder)
        campaign.install(*owner.product_from(wheels))
        campaign.join()
        for boot in range(asked.reboots):
            if time.monotonic() < end_s:
                left = asked.cuts - asked.reboots - campaign.cuts
                campaign.boot_and_cut(max(0, left // (asked.reboots - boot)))
        say(campaign.finish())
        if not asked.no_vital_signs:
            vital_signs.show(campaign, say)
        for problem in campaign.problems:
            say("PROBLEM:", problem)
        return len(campaign.problems)


def main() -> int:
    asked = arguments()
    folder = asked.dir or Path(tempfile.mkdtemp(prefix="fieldproof-pi-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the machine is ended
    say(f"seed {asked.seed}, folder {folder}, load {os.getloadavg()}")
    try:
        problems = run(asked, folder, time.monotonic() + asked.minutes * 60)
    except (MachineError, subprocess.SubprocessError) as error:
        say(f"fieldproof: {error}")
        return 1
    finally:
        say(f"load {os.getloadavg()}; folder {folder}")
    if not problems and not asked.dir:
        shutil.rmtree(folder)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
