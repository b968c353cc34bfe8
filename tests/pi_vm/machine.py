"""One machine of the Raspberry Pi's class: Cortex-A72, 512 MB, Debian 12, emulated by qemu.

- Its disk is `disk`, which stays as it is: what the machine writes goes to an overlay and into a log.
- Two ports of it are ports of 127.0.0.1 here: ssh and MQTT. It reaches nothing else.
- Its instruments hang on `lines`, terminals of this machine: to it they are UARTs, /dev/ttyS0 and on.
- Without KASLR, for with it Linux isolates its page tables, and each system call costs the emulation more.
- `cut_power` stops its processors, lets the log end whole, and kills it; nothing in it is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import hold_port

_KERNEL = "root=/dev/vda console=ttyAMA0 quiet panic=-1 net.ifnames=0 nokaslr mitigations=off audit=0"


class MachineError(Exception):
    """The machine did not do what it should; the sentence says what."""


@dataclass(frozen=True, slots=True)
class Image:
    """What `build-image` made."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"


class Ports:
    """Two of 127.0.0.1, the same for every boot; see `hold_port`."""

    def __init__(self) -> None:
        self._held = hold_port(), hold_port()
        self.ssh, self.mqtt = (int(held.getsockname()[1]) for held in self._held)

    def close(self) -> None:
        for held in self._held:
            held.close()


class Machine:
    """Started by `start`. `folder` takes what belongs to one boot: overlay, log, console."""

    def __init__(
        self, image: Image, disk: Path, folder: Path, ports: Ports, lines: Sequence[Path] = ()
    ) -> None:
        self._image, self._disk, self._folder, self._ports = image, disk, folder, ports
        self._lines = lines
        self.log, self.console = folder / "disk.log", folder / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        overlay, self._monitor = self._folder / "overlay.qcow2", self._folder / "monitor"
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self._disk), str(overlay)]
        subprocess.run(make, check=True)
        self.log.write_bytes(b"")
        drive = {
            "driver": "blklogwrites",
            "node-name": "disk",
            "file": {"driver": "qcow2", "file": _host_file(overlay)},
            "log": _host_file(self.log),
        }
        forwards = (
            f"hostfwd=tcp:127.0.0.1:{self._ports.ssh}-:22,hostfwd=tcp:127.0.0.1:{self._ports.mqtt}-:1883"
        )
        words: list[object] = ["qemu-system-aarch64"]
        words += ["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-nodefaults"]
        words += ["-kernel", self._image.folder / "kernel", "-initrd", self._image.folder / "initrd"]
        words += ["-append", _KERNEL, "-no-reboot", "-display", "none"]
        words += ["-serial", f"file:{self.console}", "-qmp", f"unix:{self._monitor},server=on,wait=off"]
        words += ["-blockdev", json.dumps(drive)]
        # What a disk with a cache says of itself; discarded blocks would only make the log hard to read.
        words += ["-device", "virtio-blk-device,drive=disk,write-cache=on,discard=off,write-zeroes=off"]
        words += [
            "-netdev",
            f"user,id=wire,restrict=on,{forwards}",
            "-device",
            "virtio-net-device,netdev=wire",
        ]
        for number, line in enumerate(self._lines):
            words += ["-chardev", f"serial,id=line{number},path={line}"]
            words += ["-device", f"pci-serial,chardev=line{number}"]
        self.started_s = time.monotonic()
        self._process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL)

    def ssh(self, command: str, given: bytes = b"", deadline_s: float = 120.0) -> str:
        """Run `command` as root in it; its output. Raises `MachineError`."""
        done = self._ssh(command, given, deadline_s)
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise MachineError(
                f"in the machine `{command[:80]}` failed with {done.returncode}: {said[-600:]}"
            )
        return done.stdout.decode()

    def put(self, data: bytes, path: str) -> None:
        self.ssh(f"mkdir -p $(dirname {path}) && cat > {path}", data, 300.0)

    def let_run(self, seconds: float) -> float:
        """Do nothing for so long; how long after power-on that ends."""
        time.sleep(seconds)
        return time.monotonic() - self.started_s

    def until(self, condition: Callable[[], object], deadline_s: float, what: str) -> float:
        """Wait; how many seconds after power-on it came true. Raises `MachineError`."""
        end = time.monotonic() + deadline_s
        while True:
            if self._process is None or self._process.poll() is not None:
                raise MachineError(f"the machine ended while waiting for {what}; see {self.console}")
            with contextlib.suppress(MachineError, subprocess.TimeoutExpired):
                if condition():
                    return time.monotonic() - self.started_s
            if time.monotonic() > end:
                raise MachineError(f"{what}: not within {deadline_s:.0f} s; see {self.console}")
            time.sleep(0.5)

    def await_ssh(self) -> float:
        return self.until(lambda: self._ssh("true", b"", 60.0).returncode == 0, 600.0, "a login")

    def cut_power(self) -> None:
        assert self._process is not None
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(60)
            monitor.connect(str(self._monitor))
            answers = monitor.makefile("rb")
            for command in ("qmp_capabilities", "stop"):
                monitor.sendall(json.dumps({"execute": command}).encode() + b"\n")
                while "return" not in (answer := json.loads(answers.readline())):
                    if "error" in answer:
                        raise MachineError(f"qemu: {answer['error']}")
        self.kill()

    def shut_down(self) -> None:
        """In order."""
        assert self._process is not None
        self._ssh("systemctl poweroff", b"", 60.0)
        self._process.wait(300)

    def processor_s(self) -> float:
        """Of this machine, that its emulation has used so far."""
        assert self._process is not None
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def _ssh(self, command: str, text: bytes, deadline_s: float) -> subprocess.CompletedProcess[bytes]:
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=30",
        ]
        words = ["ssh", "-i", str(self._image.folder / "key"), "-p", str(self._ports.ssh)]
        words += [word for option in options for word in ("-o", option)]
        return subprocess.run(
            [*words, "root@127.0.0.1", command], input=text, capture_output=True, timeout=deadline_s
        )


def _host_file(path: Path) -> dict[str, Any]:
    """That the host syncs is of no use: the host's power is not what is cut."""
    return {"driver": "file", "filename": str(path), "cache": {"no-flush": True}}


@contextlib.contextmanager
def running(machine: Machine) -> Iterator[Machine]:
    machine.start()
    try:
        yield machine
    finally:
        machine.kill()
