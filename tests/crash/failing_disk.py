"""Disks that are full, read-only or failing, for one process and what it forks.

- **A file system of its own** (root only): a small tmpfs in a private mount namespace, which ends with the
  process. It is really full, and really read-only; neither needs the help of anything else.
- **Failing calls** (gcc only): `failing_disk.c`, preloaded, so that the real SQLite meets EIO on write and on
  fsync, half a write, a file system that turned read-only under open files.
- What cannot be had is said in a sentence (`missing`), and the faults that need it are left out.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

AGENT, GATEWAY = 0, 1
WRITE_EIO, SYNC_EIO, FULL, READ_ONLY, HALF = 1, 2, 4, 8, 16
_CONTROL = "FIELDPROOF_DISK"
_SOURCE = Path(__file__).with_name("failing_disk.c")
_RULE = struct.Struct("=iiii")
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1, 0x20, 0x4000, 0x40000, 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_SIZE = "size=8m"


def missing() -> str:
    """Why disks cannot be broken here; "" where they can."""
    if os.geteuid() != 0:
        return "a file system of its own needs root"
    if shutil.which("gcc") is None:
        return "failing calls need gcc (Debian package `build-essential`)"
    return ""


def preload() -> None:
    """Become the same program with `failing_disk` in front of the C library; return where it is already."""
    if _CONTROL in os.environ:
        _private_namespace()
        return
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-disk-"))
    library, control = folder / "failing_disk.so", folder / "control"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    control.write_bytes(bytes(mmap.PAGESIZE))
    environment = os.environ | {"LD_PRELOAD": str(library), _CONTROL: str(control)}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def clean_up() -> None:
    """The folder of `preload`, at the end."""
    if control := os.environ.get(_CONTROL):
        shutil.rmtree(Path(control).parent, ignore_errors=True)


@functools.cache
def _memory() -> mmap.mmap:
    with Path(os.environ[_CONTROL]).open("r+b") as file:
        return mmap.mmap(file.fileno(), mmap.PAGESIZE)


def fail(whose: int, what: int, every: int = 1) -> None:
    """From now on every `every`-th call about the files of `whose` fails so; 0 is none."""
    _, _, _, met = _RULE.unpack_from(_memory(), whose * _RULE.size)
    _RULE.pack_into(_memory(), whose * _RULE.size, what, every, 0, met)


def failed_calls() -> int:
    """How many calls failed, ever."""
    return sum(_RULE.unpack_from(_memory(), whose * _RULE.size)[3] for whose in (AGENT, GATEWAY))


class SmallDisk:
    """A tmpfs at `path`, until `close`."""

    def __init__(self, path: Path) -> None:
        self.path, self._ballast, self._wanted_empty = path, path / "ballast", False
        self._mount(0, _SIZE)

    def fill(self, leave: int) -> None:
        """Nothing fits any more but `leave` bytes."""
        self._wanted_empty = False
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:  # it may be read-only, too
            with suppress(OSError):  # full
                while True:
                    file.write(bytes(4096))
            file.truncate(max(0, file.tell() - leave))

    def empty(self) -> None:
        """At once, or when it is no longer read-only."""
        self._wanted_empty = True
        with suppress(OSError):
            self._ballast.unlink(missing_ok=True)

    def read_only(self, wanted: bool) -> None:
        """Only while nobody writes there."""
        self._mount(_MS_REMOUNT | (_MS_RDONLY if wanted else 0), _SIZE)
        if self._wanted_empty and not wanted:
            self.empty()

    def close(self) -> None:
        _check(_LIBC.umount2(bytes(self.path), _MNT_DETACH))

    def _mount(self, flags: int, data: str) -> None:
        _check(_LIBC.mount(b"tmpfs", bytes(self.path), b"tmpfs", ctypes.c_ulong(flags), data.encode()))


def _private_namespace() -> None:
    _check(_LIBC.unshare(_CLONE_NEWNS))
    _check(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
