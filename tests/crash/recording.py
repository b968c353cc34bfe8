"""What a program asked of the disk, in order, as strace saw it: real system calls with their bytes.

- strace, not a SQLite VFS of our own: Python's sqlite3 takes none, and APSW would bring another SQLite with
  other defaults. An LD_PRELOAD shim needs a compiler, FUSE a privilege. The journal's real files go through
  these calls.
- Only files in one folder are followed. The write-ahead index (`-shm`) is mapped memory and rebuilt after a
  cut.
- Lines that the program writes to stdout are what it claims: they stand among the calls, at their moment.
- A call counts when it ends. One that this parser does not know on a followed file is an error, not ignored.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STRACE = shutil.which("strace")
ROOT = Path(__file__).parents[2]
_PATHS = "openat,open,creat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
_DATA = "write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,sendfile,lseek"
_CALLS = f"trace={_PATHS},{_DATA},fsync,fdatasync,close"
_LINE = re.compile(r"(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+)(?:\s.*)?$")
_UNFINISHED = re.compile(r"(\d+)\s+(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+)\s+<\.\.\. \w+ resumed>(.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Name:
    """`path` begins to mean `file`, or nothing where that is None; a folder is -1."""

    path: str
    file: int | None


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Sync:
    """Of a file, or of the folder `path`."""

    file: int | None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    line: str


Event = Write | Truncate | Name | Rename | Sync | Claim


def record(folder: Path, *command: str) -> list[Event]:
    """Run the Python module and arguments `command` to its end; what it did below `folder`, and claimed."""
    assert STRACE is not None
    trace = folder.with_name(f"{folder.name}.strace")
    strace = [
        STRACE,
        "-f",
        "-qq",
        "-xx",
        "-s",
        "10000000",
        "-o",
        str(trace),
        "-e",
        "signal=none",
        "-e",
        _CALLS,
    ]
    done = subprocess.run(
        [*strace, sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    with trace.open() as lines:
        events = list(_Parser(str(folder)).events(lines))
    trace.unlink()
    return events


class _Parser:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, int] = {}
        self._open: dict[int, int | str] = {}  # descriptor: file, or path of a folder
        self._at: dict[int, int] = {}
        self._files = 0

    def events(self, lines: Iterator[str] | list[str]) -> Iterator[Event]:
        begun: dict[str, str] = {}
        for line in lines:
            line = line.rstrip("\n")
            if unfinished := _UNFINISHED.match(line):
                begun[unfinished[1]] = unfinished[2]
                continue
            if resumed := _RESUMED.match(line):
                line = f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}"
            if (found := _LINE.match(line)) and not found[4].startswith("-"):
                yield from self._call(found[2], found[3], int(found[4]))

    def _call(self, name: str, text: str, result: int) -> Iterator[Event]:
        strings = [bytes.fromhex(s.replace("\\x", "")) for s in _STRING.findall(text)]
        arguments = _STRING.sub("-", text).split(", ")
        if "path" in (kind := _KINDS.get(name, "")):
            yield from self._path_call(name, [os.fsdecode(s) for s in strings], arguments, result)
            return
        descriptor = int(arguments[0])
        if name == "write" and descriptor == 1:
            yield from map(Claim, strings[0].decode().splitlines())
            return
        if name == "close":
            self._open.pop(descriptor, None)
        if (file := self._open.get(descriptor)) is None:
            return
        if kind == "sync":
            yield Sync(None, file) if isinstance(file, str) else Sync(file)
            return
        assert isinstance(file, int)
        match name:
            case "pwrite64":
                yield Write(file, int(arguments[-1]), strings[0][:result])
            case "write":
                at = self._at[descriptor]
                self._at[descriptor] = at + result
                yield Write(file, at, strings[0][:result])
            case "ftruncate":
                yield Truncate(file, int(arguments[1]))
            case "fallocate" if int(arguments[1]) == 0 == int(arguments[2]):  # only ever of a new file
                yield Truncate(file, int(arguments[3]))
            case "lseek":
                self._at[descriptor] = result
            case _:
                raise NotImplementedError(f"{name}({text[:80]}) on a followed file")

    def _path_call(self, name: str, paths: list[str], arguments: list[str], result: int) -> Iterator[Event]:
        if name in ("openat", "open", "creat"):
            self._open.pop(result, None)
        if not any(path == self._folder or path.startswith(self._folder + "/") for path in paths):
            return
        if any(path.endswith("-shm") for path in paths):
            return
        match name:
            case "openat" | "open" | "creat":
                yield from self._opened(paths[0], " ".join(arguments), result)
            case "mkdir" | "mkdirat":
                yield Name(paths[0], -1)
            case "unlink" | "unlinkat" | "rmdir":
                self._names.pop(paths[0], None)
                yield Name(paths[0], None)
            case "link" | "linkat":
                self._names[paths[1]] = self._names[paths[0]]
                yield Name(paths[1], self._names[paths[1]])
            case _:
                self._names[paths[1]] = self._names.pop(paths[0])
                yield Rename(*paths)

    def _opened(self, path: str, flags: str, descriptor: int) -> Iterator[Event]:
        if "O_DIRECTORY" in flags or (path not in self._names and "O_CREAT" not in flags):
            self._open[descriptor] = path  # a folder: every file here was made while we looked
            return
        if path not in self._names:
            self._files += 1
            self._names[path] = self._files
            yield Name(path, self._files)
        elif "O_TRUNC" in flags:
            yield Truncate(self._names[path], 0)
        self._open[descriptor], self._at[descriptor] = self._names[path], 0


_KINDS = dict.fromkeys(_PATHS.split(","), "path") | {"fsync": "sync", "fdatasync": "sync"}
