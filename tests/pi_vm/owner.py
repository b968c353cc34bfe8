"""What somebody does once with a machine: make its image, install the agent in it, let it join.

- The image is made by `build-image` and kept; another script makes another image.
- The agent is installed over ssh by `make install`, out of wheels that come with it (WHEELS): the machine
  has no network, so fetching them, which `make install` does elsewhere, is done here.
- For the power cuts, a drop-in puts the witness before the daemon. The witness starts it with settings that
  the command line has checked once, here: at each boot that check would be a third of what is emulated.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.pi_vm.machine import Image, Machine, MachineError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fieldproof" / "pi_vm"
PROGRAMS = "qemu-system-aarch64 qemu-img debootstrap update-binfmts cpio mke2fs e2fsck debugfs ssh".split()
INSTRUMENTS = ("sdm120", "sds011")
UNIT = "fieldproof-agent"
_INSTALL = """set -e
rm -rf /root/new && mkdir -p /root/new && cd /root/new && tar xf -
WHEELS=wheels make install
rm -rf /root/new
"""
CONFIG = """
state_dir = "/var/lib/fieldproof"
key = "sim:/var/lib/fieldproof/device.key"
[mqtt]
broker_url = "mqtt://127.0.0.1:1883"
allow_plain = true
[proof]
readings = 8
window_s = 20
[[instrument]]
name = "meter"
driver = "sdm120"
bus = "serial:/dev/ttyS0"
address = "1"
interval_s = 2
[[instrument]]
name = "dust"
driver = "sds011"
bus = "serial:/dev/ttyS1"
interval_s = 1
deadline_s = 1
"""
DROP_IN_FILE = f"/etc/systemd/system/{UNIT}.service.d/witness.conf"
_DROP_IN = """# The agent with a witness (witness.py), which writes to the sectors behind the file system.
[Service]
ExecStart=
ExecStart=/opt/fieldproof/current/bin/python -P /opt/witness.py /opt/settings
SupplementaryGroups=disk
DeviceAllow=/dev/vda rw
"""
_JOIN = (
    "fieldproof-provision join - --json --deadline-s 300 --config /etc/fieldproof/agent.toml "
    "&& chown -R fieldproof: /var/lib/fieldproof"
)
_PYTHON = "/opt/fieldproof/current/bin/python -P"
_CHECK = f"cd / && {_PYTHON} /opt/witness.py check /etc/fieldproof/agent.toml /opt/settings"


def image() -> Image:
    """Made where it is missing."""
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


def fetch_wheels(folder: Path) -> Path:
    """For the machine's architecture and Python: it has no network."""
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONS": "3.11"}
    subprocess.run([ROOT / "systemd" / "wheelhouse", folder / "wheels", "arm64"], check=True, env=environment)
    return folder / "wheels"


def product_from(wheels: Path) -> tuple[bytes, str]:
    """What of a clone `make install` needs, and wheels: one archive; and its name. Same files, same bytes."""
    words = ["tar", "-cf", "-", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"]
    words += ["-C", str(ROOT), "Makefile", "systemd", "-C", str(wheels.parent), wheels.name]
    product = subprocess.run(words, check=True, capture_output=True).stdout
    return product, hashlib.sha256(product).hexdigest()[:12]


def install(machine: Machine, product: bytes) -> str:
    """What the installer says. Again is an upgrade."""
    return machine.ssh(_INSTALL, product, deadline_s=3600.0).strip()


def join(machine: Machine, claim: str) -> str:
    """Key, membership, instruments, the service; its device id."""
    machine.put(CONFIG.encode(), "/etc/fieldproof/agent.toml")
    joined = json.loads(machine.ssh(_JOIN, claim.encode(), deadline_s=900.0))
    put_witness(machine)
    machine.ssh(f"systemctl daemon-reload && systemctl enable --now {UNIT}", deadline_s=900.0)
    return str(joined["device"])


def put_witness(machine: Machine) -> None:
    machine.put((HERE / "witness.py").read_bytes(), "/opt/witness.py")
    machine.put(_DROP_IN.encode(), DROP_IN_FILE)
    machine.ssh(_CHECK, deadline_s=300.0)
