"""`make pi`: the power of a Raspberry Pi-class machine is cut, again and again, and nothing may be lost.

- The image is made once (`build-image`). The agent is installed in it over ssh with our installer, joins the
  network of a gateway that runs here, outside, and samples simulated instruments through real ttys.
- A boot: the machine starts from the disk as the last cut left it, captures and delivers, and loses its power
  at a random moment (some of them while it still boots). What was flushed stays on its disk, and any part of
  the rest; from that disk the next boot starts. These are the `reboots`.
- Beside it, of each boot's log, disks as of other random moments are rebuilt and judged without booting them.
  Both kinds are judged by `oracle`.
- After the last cut everything promised must be in proofs that the gateway accepted, once; no number has two
  proofs, the device is not suspended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from random import Random

from proof import sealing
from proof.sealing import Proof
from tests.integration import gateway_process
from tests.integration.gateway_process import GatewayProcess
from tests.pi_vm import disk_log, oracle, vital_signs
from tests.pi_vm.disk_log import DiskLog, Piece
from tests.pi_vm.machine import Image, Machine, MachineError, Ports, running
from tests.pi_vm.oracle import Oracle, Promises, Readings, promised

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fieldproof" / "pi_vm"
RECEIPT_S, ALIVE_S = 900.0, 40.0
PROGRAMS = "qemu-system-aarch64 qemu-img debootstrap update-binfmts cpio mke2fs e2fsck debugfs ssh".split()
EARLY = 0.2  # of the boots: cut before the time in which the last one came to a proof
_INSTALL = """set -e
mkdir -p /root/new && cd /root/new && tar xf -
WHEELS=wheels systemd/install
rm -rf /root/new
"""
_CONFIG = """
state_dir = "/var/lib/fieldproof"
key = "sim:/var/lib/fieldproof/device.key"
[mqtt]
broker_url = "mqtt://127.0.0.1:1883"
allow_plain = true
[proof]
readings = 12
window_s = 20
[[instrument]]
name = "meter"
driver = "sdm120"
bus = "serial:/run/instruments/dev/serial/by-id/usb-simulated-sdm120-if00-port0"
address = "1"
interval_s = 2
[[instrument]]
name = "dust"
driver = "sds011"
bus = "serial:/run/instruments/dev/serial/by-id/usb-simulated-sds011-if00-port0"
interval_s = 1
deadline_s = 1
"""
_DROP_IN_FILE = "/etc/systemd/system/fieldproof-agent.service.d/witness.conf"
_DROP_IN = """# The agent with a witness (witness.py), which writes to the sectors behind the file system.
[Service]
ExecStart=
ExecStart=/opt/fieldproof/current/bin/python -P /opt/witness.py run --config /etc/fieldproof/agent.toml
SupplementaryGroups=disk
DeviceAllow=/dev/vda rw
"""
_JOIN = (
    "fieldproof-provision join - --json --deadline-s 300 --config /etc/fieldproof/agent.toml "
    "&& chown -R fieldproof: /var/lib/fieldproof"
)


def say(*words: object) -> None:
    print(*words, flush=True)


def image() -> Image:
    """Made where it is missing; another script makes another image."""
    parts = [HERE / "build-image", *sorted(path for path in (HERE / "rootfs").rglob("*") if path.is_file())]
    name = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:12]
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([HERE / "build-image", folder], check=True)
    return Image(folder)


def require_programs() -> None:
    """Raises `MachineError`."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian keeps some of them
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise MachineError(f"missing here: {', '.join(missing)}; `make pi` installs their packages as root")


def copy(disk: Path, to: Path) -> Path:
    subprocess.run(["cp", "--sparse=always", disk, to], check=True)
    return to


class Campaign:
    """One device, one gateway, and one disk that goes from boot to boot: `disk`, as the last cut left it."""

    def __init__(self, found: Image, folder: Path, seed: int) -> None:
        self._image, self._folder, self._dice = found, folder, Random(seed)
        self._ports = Ports()
        self.disk, self._scratch = folder / "disk.img", folder / "scratch.img"
        self._gateway = GatewayProcess(folder / "gateway", f"mqtt://127.0.0.1:{self._ports.mqtt}")
        self._promises = Promises()
        self._oracle: Oracle | None = None
        self.problems: list[str] = []
        self._start_s = ALIVE_S
        self.boots = self.cuts = self.unflushed = 0

    def close(self) -> None:
        self._gateway.end()
        self._ports.close()

    def install(self, product: bytes) -> None:
        """As an owner would, over ssh; kept for the next run with the same product."""
        installed = self._image.folder / f"installed-{hashlib.sha256(product).hexdigest()[:12]}.img"
        if not installed.exists():
            copy(self._image.disk, self.disk)
            with running(self._machine("install")) as machine:
                say(f"a login {machine.await_ssh():.0f} s after power-on; installing")
                say(machine.ssh(_INSTALL, product, deadline_s=3600.0).strip())
                self._shut_down(machine)
            copy(self.disk, installed.with_suffix(".new")).rename(installed)
        copy(installed, self.disk)

    def join(self) -> None:
        """Key, membership, instruments; until the gateway has a proof; then in order to sleep."""
        made = gateway_process.run("claim", "new", "--dir", str(self._gateway.directory))
        with running(self._machine("join")) as machine:
            say(f"a login {machine.await_ssh():.0f} s after power-on; joining")
            machine.put(_CONFIG.encode(), "/etc/fieldproof/agent.toml")
            machine.put((HERE / "witness.py").read_bytes(), "/opt/witness.py")
            machine.put(_DROP_IN.encode(), _DROP_IN_FILE)
            self._gateway.start()
            joined = json.loads(machine.ssh(_JOIN, made.stdout.encode(), deadline_s=900.0))
            self._oracle = Oracle(joined["device"], self._gateway.key)
            machine.ssh(
                "systemctl daemon-reload && systemctl enable --now simulated-instruments", deadline_s=900.0
            )
            machine.ssh("systemctl enable --now fieldproof-agent", deadline_s=900.0)
            self._await_proof(machine)
            say(machine.ssh("systemctl status --no-pager --lines=0 fieldproof-agent"))
            self._shut_down(machine)
        self._judge(self._promises, "after the first boot")

    def boot_and_cut(self, cuts: int) -> None:
        """One boot that ends with a cut, and `cuts` other moments of it."""
        self.boots += 1
        machine = self._machine(f"boot-{self.boots}")
        with running(machine):
            if self._dice.random() < EARLY:
                alive_s = machine.let_run(self._dice.uniform(1.0, self._start_s))
                said = f"cut {alive_s:.0f} s after power-on"
            else:
                self._start_s = self._await_proof(machine)
                said = f"new proofs accepted {self._start_s:.0f} s after power-on"
                machine.let_run(self._dice.uniform(0.0, ALIVE_S))
            machine.cut_power()
        with closing(DiskLog(machine.log)) as log:
            log.without_last_flush()
            last = len(log.entries)
            done = 0
            for moment in sorted(self._dice.randint(0, last) for _ in range(cuts)):
                done = self._advance(log, done, log.flushed(moment))
                self._cut(log, moment, f"boot {self.boots}, entry {moment} of {last}")
                self.cuts += 1
            done = self._advance(log, done, log.flushed(last))
            with self.disk.open("r+b") as disk:
                disk_log.write(disk, log.remains(last, self._dice))
            self._promises.add(promised(log, last))
            self._judge(self._promises, f"boot {self.boots}, its end")
            say(
                f"boot {self.boots}: {said}; {last} entries, {last - done} not flushed at the end; "
                f"{len(self._promises.samples)} samples promised so far; {len(self.problems)} problems"
            )
        shutil.rmtree(machine.log.parent)

    def finish(self) -> str:
        """A last boot, until everything promised before it is accepted; its own promises are on its disk."""
        machine, expected = self._machine("last"), Promises(dict(self._promises.samples))
        with running(machine):
            self._await_proof(machine)
            machine.until(lambda: self._missing() == 0, RECEIPT_S, "a receipt for everything promised")
            self._shut_down(machine)
        self._judge(self._promises, "after the last boot")
        readings, proofs = self._accepted()
        self.problems += readings.problems(expected)
        self.problems += self._known().conflicts(proofs)
        (line,) = self._gateway.lines()
        wrong = {"equivocation", "rolled_back", "broken_chain", "two_boards"} & line.verdicts.keys()
        if line.suspended or wrong:
            self.problems.append(f"the gateway holds against the device: suspended {line.suspended}, {wrong}")
        return (
            f"{self.boots} power cuts with a reboot and {self.cuts} without, all on one device: "
            f"{len(expected.samples)} samples promised, {len(readings)} readings in {len(proofs)} "
            f"accepted proofs, {len(self.problems)} problems"
        )

    def vital_signs(self) -> None:
        """Of the agent as it was installed, without the witness; then of one whose instruments hang."""
        subprocess.run([oracle.DEBUGFS, "-w", "-R", f"rm {_DROP_IN_FILE}", self.disk], check=True)
        with running(self._machine("vital-signs")) as machine:
            vital_signs.measure(machine, say)
            machine.put(_DROP_IN.encode(), _DROP_IN_FILE)
            machine.ssh("systemctl daemon-reload && systemctl restart fieldproof-agent", deadline_s=900.0)
            for names in ("dust", "dust meter"):
                vital_signs.hang_instruments(machine, names, say)

    def _shut_down(self, machine: Machine) -> None:
        """In order: the disk takes everything."""
        machine.shut_down()
        with closing(DiskLog(machine.log)) as log:
            self._advance(log, 0, len(log.entries))
            self._promises.add(promised(log, len(log.entries)))
        shutil.rmtree(machine.log.parent)

    def _machine(self, name: str) -> Machine:
        return Machine(self._image, self.disk, self._folder / name, self._ports)

    def _await_proof(self, machine: Machine) -> float:
        """Until the gateway has accepted another proof; how long after power-on."""
        before = self._head()
        return machine.until(lambda: self._head() > before, RECEIPT_S, "another accepted proof")

    def _head(self) -> int:
        lines = self._gateway.lines()
        return lines[0].head_seq if lines else 0

    def _accepted(self) -> tuple[Readings, list[Proof]]:
        readings, proofs = Readings(), list(map(sealing.parse, self._gateway.accepted(self._known().device)))
        readings.add_proofs(proofs)
        return readings, proofs

    def _missing(self) -> int:
        readings, _ = self._accepted()
        return sum(readings.at(place) is None for place in self._promises.samples)

    def _known(self) -> Oracle:
        assert self._oracle is not None, "install first"
        return self._oracle

    def _advance(self, log: DiskLog, first: int, last: int) -> int:
        """The disk takes the writes from `first` to before `last`; the new `first`."""
        if last > first:
            with self.disk.open("r+b") as disk:
                disk_log.write(disk, log.kept(first, last))
        return max(first, last)

    def _cut(self, log: DiskLog, moment: int, name: str) -> None:
        promises = promised(log, moment)
        promises.add(self._promises)
        remains = log.remains(moment, self._dice)
        self._judge(promises, name, remains)

    def _judge(self, promises: Promises, name: str, remains: Iterable[Piece] = ()) -> None:
        """The disk, and what else remained, as a machine would find it."""
        copy(self.disk, self._scratch)
        with self._scratch.open("r+b") as disk:
            disk_log.write(disk, remains)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            found = self._known().problems_of(self._scratch, promises, Path(folder))
        for problem in found[:5]:
            say(f"PROBLEM: {name}: {problem}")
        if found:
            shutil.copy(self._scratch, self._folder / f"problem-{len(self.problems)}.img")
        self.problems += [f"{name}: {problem}" for problem in found]


def product_from(wheels: Path) -> bytes:
    """Installer and wheels, as one archive: the same files make the same bytes."""
    words = ["tar", "-cf", "-", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"]
    words += [
        "-C",
        str(ROOT),
        "systemd",
        "-C",
        str(wheels.parent),
    ]
    return subprocess.run([*words, wheels.name], check=True, capture_output=True).stdout


def fetch_wheels(folder: Path) -> Path:
    """For the machine's architecture and Python: it has no network."""
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONS": "3.11"}
    subprocess.run([ROOT / "systemd" / "wheelhouse", folder / "wheels", "arm64"], check=True, env=environment)
    return folder / "wheels"


def main() -> int:
    parser = argparse.ArgumentParser(description="Cuts the power of a Raspberry Pi-class machine.")
    parser.add_argument("--reboots", type=int, default=10, help="cuts after which the machine boots again")
    parser.add_argument(
        "--cuts", type=int, default=100, help="cuts in all; those above --reboots are not booted"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="an empty folder to work in and keep; else a temporary one")
    parser.add_argument(
        "--wheels", type=Path, help="a folder that systemd/wheelhouse made; else they are fetched"
    )
    asked = parser.parse_args()
    folder = asked.dir or Path(tempfile.mkdtemp(prefix="fieldproof-pi-"))
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the machine is ended
    say(f"seed {asked.seed}, folder {folder}, load {os.getloadavg()}")
    campaign = None
    try:
        require_programs()
        campaign = Campaign(image(), folder, asked.seed)
        campaign.install(product_from(asked.wheels or fetch_wheels(folder)))
        campaign.join()
        for boot in range(asked.reboots):
            left = asked.cuts - asked.reboots - campaign.cuts
            campaign.boot_and_cut(max(0, left // (asked.reboots - boot)))
        say(campaign.finish())
        campaign.vital_signs()
    except (MachineError, subprocess.SubprocessError) as error:
        say(f"fieldproof: {error}")
        return 1
    finally:
        if campaign is not None:
            campaign.close()
        say(f"load {os.getloadavg()}; folder {folder}")
    if not campaign.problems and not asked.dir:
        shutil.rmtree(folder)
    return 1 if campaign.problems else 0


if __name__ == "__main__":
    sys.exit(main())
