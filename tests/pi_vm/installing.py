"""What an owner does with a fresh machine: install, set up, upgrade to a version that fails; a package.

`make pi-owner`. Done is what the README says, with two differences: wheels
come from outside, because the machine has no network, and setup is told its answers instead of asking.
What is not as it should be is a `MachineError`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.integration import gateway_process
from tests.pi_vm import owner, vital_signs
from tests.pi_vm.machine import Machine, MachineError, running
from tests.pi_vm.owner import UNIT
from tests.pi_vm.power_cuts import Campaign, say

Say = Callable[..., None]
SETUP = (
    "fieldproof-provision setup --json --claim - --instruments all --interval-s 2 --allow-plain --ask "
    "--serial /dev/ttyS0 --serial /dev/ttyS1 --wait-s 900"
)
BROKEN = "0.1.99"


def show(campaign: Campaign, wheels: Path, deb: Path | None, say: Say) -> None:
    """With a campaign whose device has not joined: its gateway, its instruments, its image."""
    campaign.gateway.start()
    campaign.fresh()
    with running(campaign.machine("owner")) as machine:
        machine.await_ssh()
        began = time.monotonic()
        say(owner.install(machine, owner.product_from(wheels)[0]))
        say(f"make install: {time.monotonic() - began:.0f} s; {vital_signs.load()}")
        set_up(machine, campaign, say)
        upgrade_that_fails(machine, wheels, say)
        campaign.shut_down(machine)
    with running(campaign.machine("second-boot")) as machine:
        vital_signs.start(machine, say)
    if deb is not None:
        campaign.fresh()
        with running(campaign.machine("package")) as machine:
            machine.await_ssh()
            machine.put(deb.read_bytes(), f"/root/{deb.name}")
            said = machine.ssh(f"cd /root && apt-get install -y -qq ./{deb.name}", deadline_s=3600.0)
            say("apt install:", said.strip()[-300:])
            set_up(machine, campaign, say)


def set_up(machine: Machine, campaign: Campaign, say: Say) -> None:
    """As root, with the installed unit, until there is a receipt."""
    claim = gateway_process.run("claim", "new", "--dir", str(campaign.gateway.directory)).stdout
    # The claim names the broker as the gateway reaches it: in the machine it has that port, too.
    machine.put(f"listener {campaign.mqtt_port}\n".encode(), "/etc/mosquitto/conf.d/claim.conf")
    machine.ssh("systemctl restart mosquitto", deadline_s=300.0)
    began = time.monotonic()
    done = json.loads(machine.ssh(SETUP, claim.encode(), deadline_s=1800.0))
    say(f"setup: {time.monotonic() - began:.0f} s: {json.dumps(done)[:900]}")
    say(machine.ssh(f"systemctl status --no-pager --lines=0 {UNIT}"))
    say(machine.ssh("systemctl is-enabled fieldproof-agent; ls -ld /var/lib/fieldproof").strip())


def upgrade_that_fails(machine: Machine, wheels: Path, say: Say) -> None:
    """Its daemon ends before READY: the version before runs again, and the installer says so."""
    before = machine.ssh("readlink /opt/fieldproof/current").strip()
    with tempfile.TemporaryDirectory() as folder:
        product, _ = owner.product_from(broken(wheels, Path(folder) / "wheels"))
    began = time.monotonic()
    try:
        owner.install(machine, product)
    except MachineError as error:
        say(f"upgrade to a version that fails: {time.monotonic() - began:.0f} s: {error}")
    else:
        raise MachineError("an upgrade whose version does not start was taken")
    after = machine.ssh("readlink /opt/fieldproof/current").strip()
    if before != after:
        raise MachineError(f"current is {after} and was {before}")
    active = f"systemctl is-active {UNIT}"
    machine.until(lambda: machine.ssh(active).strip() == "active", 600.0, "the old version")
    say(f"current is {after} again, the service", machine.ssh(active).strip())


def broken(wheels: Path, to: Path) -> Path:
    """The same wheels, but Fieldproof's has another version and a daemon that ends at once."""
    shutil.copytree(wheels, to)
    (wheel,) = to.glob("fieldproof-*.whl")
    version = wheel.name.split("-")[1]
    named, renamed = f"fieldproof-{version}", f"fieldproof-{BROKEN}"
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(to / wheel.name.replace(named, renamed), "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "agent/daemon.py":
                data = b"raise SystemExit('fieldproof-agent: this version is broken, for a test.')\n"
            if item.filename.endswith((".dist-info/METADATA", ".dist-info/RECORD")):
                data = data.replace(f"Version: {version}".encode(), f"Version: {BROKEN}".encode())
                data = data.replace(named.encode(), renamed.encode())
            new.writestr(item.filename.replace(named, renamed), data)
    wheel.unlink()
    return to


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs the agent in a fresh virtual machine.")
    parser.add_argument("--wheels", type=Path, help="made by systemd/wheelhouse; else they are fetched")
    parser.add_argument("--deb", type=Path, help="a package for arm64 that `make deb` made")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-pi-"))
    say(f"folder {folder}, load {os.getloadavg()}")
    try:
        owner.require_programs()
        with closing(Campaign(owner.image(), folder, 1)) as campaign:
            show(campaign, asked.wheels or owner.fetch_wheels(folder), asked.deb, say)
    except (MachineError, subprocess.SubprocessError) as error:
        say(f"fieldproof: {error}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
