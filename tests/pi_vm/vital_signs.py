"""What the service does in the machine, measured there: start, memory, processor, and what wedges or hangs.

- The agent is the installed one; only for a thread that hangs the witness runs, which can make one hang.
- Times are an emulated machine's, beside whatever else its host does: the load is said.
- Processor time is what the emulation used of the host, without what an idle machine uses. Another program
  in the same machine, and the price of a signature there, say what that is worth.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware_sim.pty_line import SerialPart
from tests.pi_vm import oracle, owner
from tests.pi_vm.machine import Machine, running
from tests.pi_vm.owner import UNIT

if TYPE_CHECKING:
    from tests.pi_vm.power_cuts import Campaign

Say = Callable[..., None]
CPU_S, SIGNATURES = 60.0, 5000
_MEMORY = "grep -hE '^(Rss|Pss|Pss_Anon|Private_Dirty):' /proc/{pid}/smaps_rollup"
_PYTHON = "cd / && /opt/fieldproof/current/bin/python"
_SIGN = (
    f"{_PYTHON} -c 'from nacl.signing import SigningKey; key = SigningKey.generate()\n"
    "for n in range({count}): key.sign(bytes(400))'"
)
_PEER = "systemd-run --unit=peer /opt/fieldproof/current/bin/python /root/peer.py /dev/ttyS0 /dev/ttyS1"


class HalfAnswer:
    """The part from now on: it breaks off in the middle of a reading, and says nothing more."""

    def __init__(self, part: SerialPart) -> None:
        self.part, self._ended = part, False

    def heard(self, data: bytes) -> bytes:
        return self._half(self.part.heard(data))

    def due(self) -> bytes:
        return self._half(self.part.due())

    def _half(self, said: bytes) -> bytes:
        if self._ended or not said:
            return b""
        self._ended = True
        return said[: len(said) // 2]


def show(campaign: Campaign, say: Say) -> None:
    """Of the device of a campaign that is over."""
    drop = f"rm {owner.DROP_IN_FILE}"
    subprocess.run([oracle.DEBUGFS, "-w", "-R", drop, campaign.disk], check=True, capture_output=True)
    with running(campaign.machine("vital-signs")) as machine:
        start(machine, say)
        burden(machine, say)
        wedge(machine, say)
        silence(machine, campaign, say)
        owner.put_witness(machine)
        machine.ssh(f"systemctl daemon-reload && systemctl restart {UNIT}", deadline_s=900.0)
        for names in ("dust", "dust meter"):
            hang_threads(machine, names, say)


def start(machine: Machine, say: Say) -> None:
    """Of a machine that has just been started, with the plain unit."""
    began = f"journalctl -b -o short-monotonic -u {UNIT} --no-pager | grep -m 1 "
    machine.until(lambda: machine.ssh(f"{began} 'proof sealed'"), 900.0, "a sealed proof")
    for what in ("Starting", "Started", "connected", "proof sealed"):
        say(f"seconds after the kernel's start, {what}:", machine.ssh(f"{began} '{what}'").strip())
    say(machine.ssh("systemd-analyze time | head -n 1").strip(), load())
    say(machine.ssh(f"systemctl status --no-pager --lines=0 {UNIT}"))


def burden(machine: Machine, say: Say) -> None:
    """Processor and memory: the agent, a naive program in its place, a signature."""
    before = _captured(machine)
    with_agent = _processor_s(machine)
    readings = _captured(machine) - before
    pid = _main_pid(machine)
    say("memory:", " ".join(machine.ssh(_MEMORY.format(pid=pid)).split()))
    machine.put((Path(__file__).parent / "peer.py").read_bytes(), "/root/peer.py")
    machine.ssh(f"systemctl stop {UNIT}")
    idle = _processor_s(machine)
    machine.ssh(_PEER)
    machine.let_run(20)
    with_peer = _processor_s(machine)
    machine.ssh("systemctl is-active peer && systemctl stop peer")
    none, many = (_command_s(machine, _SIGN.format(count=count)) for count in (0, SIGNATURES))
    machine.ssh(f"systemctl start {UNIT}", deadline_s=900.0)
    say(
        f"emulated processor in {CPU_S:.0f} s, the idle machine's {idle:.2f} s taken off: agent "
        f"{with_agent - idle:.2f} s for {readings} readings (counted a little longer), naive program "
        f"{with_peer - idle:.2f} s; one Ed25519 signature {(many - none) / SIGNATURES * 1e3:.3f} ms; {load()}"
    )


def wedge(machine: Machine, say: Say) -> None:
    """SIGSTOP: the watchdog of systemd ends it, and the next one reads again."""
    pid, began = _main_pid(machine), time.monotonic()
    machine.ssh(f"kill -STOP {pid}")
    active = f"systemctl is-active {UNIT} || true"
    machine.until(lambda: _main_pid(machine) not in ("0", pid), 600.0, "another process")
    ended = time.monotonic() - began
    machine.until(lambda: machine.ssh(active).strip() == "active", 600.0, "another process that is ready")
    ready = time.monotonic() - began
    machine.until(lambda: all(_samples(machine).values()), 300.0, "a sample of each instrument")
    say(machine.ssh(f"journalctl -b -u {UNIT} --no-pager | grep -iE 'watchdog' || true").strip())
    say(
        f"wedged (SIGSTOP): another process after {ended:.0f} s, ready after {ready:.0f} s, each instrument "
        f"read after {time.monotonic() - began:.0f} s: {_samples(machine)}; {load()}"
    )


def silence(machine: Machine, campaign: Campaign, say: Say) -> None:
    """An instrument breaks off in the middle of an answer; later it is well again."""
    line = campaign.lines[1]
    pid, began, part = _main_pid(machine), time.monotonic(), line.part
    line.part = HalfAnswer(part)
    try:
        machine.until(lambda: "dust" in _why(machine), 600.0, "dust to be missed")
        say(f"dust breaks off: status says after {time.monotonic() - began:.0f} s: {_why(machine)}")
        before = _samples(machine)["meter"]
        machine.until(lambda: _samples(machine)["meter"] > before + 3, 300.0, "meter to go on")
        say(f"meter goes on; the same process: {_main_pid(machine) == pid}")
    finally:
        line.part = part
    began, before = time.monotonic(), _samples(machine)["dust"]
    machine.until(lambda: _samples(machine)["dust"] > before, 600.0, "dust to be read again")
    say(f"dust answers again: read after {time.monotonic() - began:.0f} s; {load()}")


def hang_threads(machine: Machine, names: str, say: Say) -> None:
    """With the witness's unit: the threads of `names` never come back from their reads."""
    machine.until(lambda: not _names_one(machine, names), 600.0, f"{names} to be well")
    pid, began = _main_pid(machine), time.monotonic()
    machine.ssh(f"echo {names} > /run/hanging-instruments")
    machine.until(lambda: _noticed(machine, pid, names), 600.0, f"{names} to be noticed")
    restarted = _main_pid(machine) != pid
    how = "systemd started another process" if restarted else f"status says: {_why(machine)}"
    say(f"hanging {names}: noticed after {time.monotonic() - began:.0f} s: {how}; {load()}")
    machine.ssh(f"rm /run/hanging-instruments; systemctl restart {UNIT}", deadline_s=900.0)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def _noticed(machine: Machine, pid: str, names: str) -> bool:
    return _main_pid(machine) != pid or _names_one(machine, names)


def _names_one(machine: Machine, names: str) -> bool:
    return any(name in _why(machine) for name in names.split())


def _why(machine: Machine) -> str:
    return " ".join(why for why in _status(machine)["why"] if "nstrument" in why)


def _main_pid(machine: Machine) -> str:
    return machine.ssh(f"systemctl show -P MainPID {UNIT}").strip()


def _processor_s(machine: Machine) -> float:
    before = machine.processor_s()
    machine.let_run(CPU_S)
    return machine.processor_s() - before


def _command_s(machine: Machine, command: str) -> float:
    before = machine.processor_s()
    machine.ssh(command, deadline_s=600.0)
    return machine.processor_s() - before


def _status(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.ssh("fieldproof-agent status --json || true"))
    return found


def _captured(machine: Machine) -> int:
    return int(_status(machine)["readings"]["captured"])


def _samples(machine: Machine) -> dict[str, int]:
    return {instrument["name"]: instrument["samples"] for instrument in _status(machine)["instruments"]}
