"""What the service does in the machine, measured there: start, memory, processor, and being wedged.

- The agent is the installed one; only for a hanging instrument the witness runs, which can make one hang.
- On a busy host the machine's own count of processor time holds what the host gave to others, too.
- Times and processor shares are an emulated machine's beside whatever else the host does: its load is said.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.pi_vm import oracle, owner
from tests.pi_vm.machine import Machine, running
from tests.pi_vm.owner import UNIT

if TYPE_CHECKING:
    from tests.pi_vm.power_cuts import Campaign

CPU_S = 60.0
_MEMORY = "grep -hE '^(Rss|Pss|Pss_Anon|Private_Dirty):' /proc/{pid}/smaps_rollup"
_TICKS = "cut -d' ' -f14,15 /proc/{pid}/stat; getconf CLK_TCK"


def show(campaign: Campaign, say: Callable[..., None]) -> None:
    """Of the agent as it was installed, without the witness; then of one whose instruments hang."""
    drop = f"rm {owner.DROP_IN_FILE}"
    subprocess.run([oracle.DEBUGFS, "-w", "-R", drop, campaign.disk], check=True, capture_output=True)
    with running(campaign.machine("vital-signs")) as machine:
        measure(machine, say)
        owner.put_witness(machine)
        machine.ssh(f"systemctl daemon-reload && systemctl restart {UNIT}", deadline_s=900.0)
        for names in ("dust", "dust meter"):
            hang_instruments(machine, names, say)


def measure(machine: Machine, say: Callable[..., None]) -> None:
    """On a machine that has just been started, with the plain unit; it is left running."""
    say(f"a login {machine.await_ssh():.0f} s after power-on")
    machine.until(lambda: _sealed(machine), 900.0, "a sealed proof")
    say(
        "first sealed proof, seconds after the kernel's start:",
        _sealed(machine).partition("]")[0].strip("[ "),
    )
    say(machine.ssh("systemd-analyze time | head -n 1").strip())
    say(machine.ssh(f"systemctl status --no-pager --lines=0 {UNIT}"))
    pid = _main_pid(machine)
    before, samples, began = _cpu_s(machine, pid), _samples(machine), time.monotonic()
    machine.let_run(CPU_S)
    used, taken = _cpu_s(machine, pid) - before, _samples(machine) - samples
    passed = time.monotonic() - began
    say(f"processor: {used:.2f} s in {passed:.0f} s, {taken} samples; load here {os.getloadavg()[0]:.1f}")
    say("memory:", " ".join(machine.ssh(_MEMORY.format(pid=pid)).split()))
    say(f"wedged (SIGSTOP): another process is ready after {_wedge(machine, 'kill -STOP {pid}'):.0f} s")


def hang_instruments(machine: Machine, names: str, say: Callable[..., None]) -> None:
    """With the witness's unit: the threads of `names` never come back from their reads."""
    machine.until(lambda: not _named(machine, names), 600.0, f"{names} to be well")
    pid, began = _main_pid(machine), time.monotonic()
    machine.ssh(f"echo {names} > /run/hanging-instruments")
    machine.until(lambda: _noticed(machine, pid, names), 600.0, f"{names} to be noticed")
    say(f"hanging {names}: noticed after {time.monotonic() - began:.0f} s: {_how(machine, pid)}")
    machine.ssh("rm /run/hanging-instruments")


def _noticed(machine: Machine, pid: str, names: str) -> bool:
    return _main_pid(machine) != pid or _named(machine, names)


def _named(machine: Machine, names: str) -> bool:
    """Whether the agent says that something is wrong with one of them."""
    return any(f"Instrument {name}" in _why(machine) for name in names.split())


def _how(machine: Machine, pid: str) -> str:
    restarted = _main_pid(machine) != pid
    return "systemd started another process" if restarted else f"status says: {_why(machine)}"


def _why(machine: Machine) -> str:
    return " ".join(_status(machine)["why"])


def _wedge(machine: Machine, how: str) -> float:
    pid, began = _main_pid(machine), time.monotonic()
    machine.ssh(how.format(pid=pid))
    active = f"systemctl is-active {UNIT}"
    machine.until(
        lambda: _main_pid(machine) not in ("0", pid) and machine.ssh(active).strip() == "active",
        600.0,
        "another process",
    )
    return time.monotonic() - began


def _sealed(machine: Machine) -> str:
    """The line of this boot's first sealed proof, with the kernel's time; empty before."""
    journal = f"journalctl -b -o short-monotonic -u {UNIT} --no-pager"
    return machine.ssh(f"{journal} | grep -m 1 'proof sealed' || true")


def _main_pid(machine: Machine) -> str:
    return machine.ssh(f"systemctl show -P MainPID {UNIT}").strip()


def _cpu_s(machine: Machine, pid: str) -> float:
    user, system, per_s = map(int, machine.ssh(_TICKS.format(pid=pid)).split())
    return (user + system) / per_s


def _status(machine: Machine) -> dict:
    command = "fieldproof-agent status --json --config /etc/fieldproof/agent.toml || true"
    return json.loads(machine.ssh(command))


def _samples(machine: Machine) -> int:
    return sum(instrument["samples"] for instrument in _status(machine)["instruments"])
