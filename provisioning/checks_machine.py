"""Checks of the machine: who runs here, the service, the clock, the disk, the buses. Nothing is opened for
writing and nothing is changed."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.buses import split
from agent.clock import SOURCE_GNSS, SOURCE_NONE, SOURCE_NTP, SOURCE_RTC, Clock
from agent.settings import Settings
from drivers import onewire
from provisioning.checks import FAIL, PASS, SKIPPED, WARN, Finding

UNIT = "fieldproof-agent.service"
FIRST_YEAR = 2026
_SOURCES = {SOURCE_NONE: "no source", SOURCE_NTP: "NTP", SOURCE_GNSS: "GNSS", SOURCE_RTC: "RTC"}
_PROPERTIES = "LoadState,ActiveState,UnitFileState,Result,User,SupplementaryGroups"
_GROUPS = {"i2c": "i2c", "serial": "dialout"}
_IN_MEMORY = ("tmpfs", "ramfs", "overlay")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where this machine tells of itself; tests give other places."""

    dev: Path = Path("/dev")
    one_wire: Path = onewire.DEVICES
    locks: Path = Path("/proc/locks")
    mounts: Path = Path("/proc/self/mountinfo")
    command_line: Path = Path("/proc/cmdline")
    systemd: Path = Path("/run/systemd/system")
    systemctl: str = "systemctl"


def service(machine: Machine) -> Finding:
    """The value is what systemd says of the unit."""
    if not machine.systemd.is_dir():
        return Finding(SKIPPED, "systemd does not run here.")
    command = [machine.systemctl, "show", UNIT, f"--property={_PROPERTIES}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=4, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(WARN, f"{machine.systemctl} cannot be asked: {error}.")
    said = dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)
    if asked.returncode or "LoadState" not in said:
        return Finding(WARN, f"systemctl says nothing of {UNIT}: {asked.stderr.strip()[:200]}", "", said)
    state = f"{UNIT}: {said['ActiveState']}, {said.get('UnitFileState') or 'no unit file'}"
    if said["LoadState"] != "loaded":
        return Finding(WARN, f"{UNIT}: {said['LoadState']}.", "Install the unit: systemd/README.md.", said)
    if said["ActiveState"] == "failed":
        reason = f" ({said.get('Result', '?')})"
        return Finding(FAIL, f"{state}{reason}.", f"See why: journalctl -u {UNIT} -n 20", said)
    if said["ActiveState"] not in ("active", "activating", "reloading"):
        return Finding(WARN, f"{state}.", f"sudo systemctl enable --now {UNIT}", said)
    if said.get("UnitFileState") != "enabled":
        return Finding(WARN, f"{state}: it is not started at boot.", f"sudo systemctl enable {UNIT}", said)
    return Finding(PASS, f"{state}.", "", said)


def user(settings: Settings, unit: dict[str, str] | None) -> Finding:
    """Who this is, and who the service is: what one may, the other may not."""
    names = sorted({_group(gid) for gid in (os.getegid(), *os.getgroups())})
    who = f"{user_name(os.geteuid())}, groups {', '.join(names)}"
    wanted = {_GROUPS[kind] for i in settings.instrument if (kind := split(i.bus)[0]) in _GROUPS}
    if unit and unit.get("LoadState") == "loaded":
        groups = unit.get("SupplementaryGroups", "").split()
        who += f"; the service runs as {unit.get('User') or 'a user of its own'}, groups {' '.join(groups)}"
        if lacking := sorted(wanted - set(groups)):
            to_do = f"sudo systemctl edit {UNIT}: SupplementaryGroups={' '.join(lacking)}"
            return Finding(WARN, f"{who}: it lacks {', '.join(lacking)}.", to_do)
    lacking = sorted(wanted - set(names)) if os.geteuid() else []
    if lacking:
        to_do = f"sudo usermod -aG {','.join(lacking)} {user_name(os.geteuid())}, then log in again."
        return Finding(WARN, f"{who}: not in {', '.join(lacking)}.", to_do)
    return Finding(PASS, f"{who}.")


def clock(clock: Clock, report: dict[str, Any] | None) -> Finding:
    """The running agent may know better: a GNSS receiver is its clock too."""
    wall, up_s = clock.wall(), clock.boottime_ns() / 1e9
    source, error_s = wall.source, wall.maxerror_us / 1e6
    if report:
        source, error_s = report["clock"]["source"], report["clock"]["maxerror_s"]
    now = datetime.fromtimestamp(wall.ns / 1e9, UTC)
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC, {_SOURCES.get(source, '?')}"
    booted = f"; up for {_span(up_s)}"
    if now.year < FIRST_YEAR:
        return Finding(WARN, f"{said}{booted}: that is in the past.", _SET_CLOCK)
    if source == SOURCE_NONE:
        return Finding(WARN, f"{said}: not synchronised{booted}.", _SET_CLOCK)
    return Finding(PASS, f"{said}, at most {error_s:.3f} s wrong{booted}.")


_SET_CLOCK = "sudo timedatectl set-ntp true, and let the network through to a time server (UDP 123)."


def disk(settings: Settings, machine: Machine) -> Finding:
    place = settings.state_dir
    while not place.exists():
        place = place.parent
    free, bounds = shutil.disk_usage(place).free, settings.journal
    used = settings.journal_path.stat().st_size if settings.journal_path.exists() else 0
    grows = max(0, bounds.max_bytes - used)
    kind, device = _file_system(place, machine.mounts)
    card = " on an SD card" if device.startswith("/dev/mmcblk") else ""
    said = (
        f"{_mb(free)} free on {kind}{card}; the journal has {_mb(used)}, may have {_mb(bounds.max_bytes)}, "
        f"and leaves {_mb(bounds.free_floor_bytes)}"
    )
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return Finding(FAIL, f"The file system of {place} is read-only.", "See why: dmesg | tail; then fsck.")
    if free < bounds.free_floor_bytes:
        return Finding(FAIL, f"{said}: the oldest proofs are being given up.", "Free some space.")
    if free - bounds.free_floor_bytes < grows:
        fits = _mb(used + free - bounds.free_floor_bytes)
        return Finding(WARN, f"{said}: it cannot grow that far.", f"Free space, or max_bytes below {fits}.")
    if kind in _IN_MEMORY:
        return Finding(WARN, f"{said}: that may be in memory only.", "Put state_dir on a disk.")
    if card and kind == "ext4" and "fsck.repair=yes" not in _words(machine.command_line):
        waits = "after a power cut it may wait at its start until somebody repairs it"
        return Finding(WARN, f"{said}: {waits}.", _REPAIR)
    return Finding(PASS, f"{said}.")


_REPAIR = "Add fsck.repair=yes to the one line of /boot/firmware/cmdline.txt, as Raspberry Pi OS has it."


def bus(name: str, machine: Machine, simulated: bool = False) -> Finding:
    """One bus of the configuration: there, the right kind of thing, and open to this user. A simulated device
    needs none. The value is the bus's name."""
    kind, place = split(name)
    path = {"i2c": machine.dev / f"i2c-{place}", "w1": machine.one_wire}.get(kind, Path(place))
    try:
        status = path.stat()
    except OSError as error:
        if simulated:
            return Finding(SKIPPED, f"There is no {path}: a device with a sim: key has the simulator's.")
        return Finding(FAIL, f"{path}: {error.strerror}.", _MISSING[kind])
    if not (stat.S_ISDIR(status.st_mode) if kind == "w1" else stat.S_ISCHR(status.st_mode)):
        return Finding(FAIL, f"{path} is no device of that kind.", "Correct `bus` in the configuration.")
    group = _group(status.st_gid)
    said = f"{path}, group {group}, mode {stat.S_IMODE(status.st_mode):04o}"
    wanted = os.R_OK if kind == "w1" else os.R_OK | os.W_OK
    if not os.access(path, wanted, effective_ids=True):
        this = user_name(os.geteuid())
        to_do = f"sudo usermod -aG {_GROUPS.get(kind, group)} {this}, then log in again."
        return Finding(FAIL, f"{said}: {this} may not open it.", to_do)
    if kind == "serial" and path.name.startswith(("ttyUSB", "ttyACM")):
        to_do = "Use the name in /dev/serial/by-id that points to it."
        return Finding(WARN, f"{said}: that name changes with the order of plugging in.", to_do, name)
    return Finding(PASS, f"{said}.", "", name)


_MISSING = {
    "i2c": "sudo raspi-config nonint do_i2c 0; sudo modprobe i2c-dev; see: ls /dev/i2c-*",
    "serial": "Plug it in; see: ls /dev/serial/by-id/",
    "w1": "sudo raspi-config nonint do_onewire 0, then reboot.",
}


def buses_of(settings: Settings) -> Sequence[str]:
    return list(dict.fromkeys(instrument.bus for instrument in settings.instrument))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _file_system(place: Path, mounts: Path) -> tuple[str, str]:
    """(kind, device) of the mount that holds `place`."""
    number = place.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in mounts.read_text(errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2:3] == [wanted]:
            kind, device, *_ = (*rest.split(), "?", "?")
            return kind, device
    return "an unknown file system", ""


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
