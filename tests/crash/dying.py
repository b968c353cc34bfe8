"""The far side of `fault_points`: a server that forks a process per command line, which may be told to die.

- Started once, it imports the program and has one thread; from then on a command costs a fork.
- The child writes down each operation *before* it is done; before number `die_at` it kills its process group.
- Python's audit events tell of most; what has none is wrapped. `write` stands for the moment when a file is
  open for writing and still empty.
- Requests and answers are lines of JSON, on stdin and stdout.
"""

from __future__ import annotations

import builtins
import importlib
import io
import json
import os
import signal
import socket
import sqlite3
import ssl
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent import settings
from agent.errors import FixConfig

LONGEST_S = 50  # a command that hangs ends before pytest's own limit
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS = frozenset(
    "os.mkdir os.rename os.link os.symlink os.remove os.rmdir os.truncate os.chmod os.chown subprocess.Popen "
    "os.posix_spawn os.system socket.connect socket.sendto socket.sendmsg sqlite3.connect".split()
)
_READS = ("SELECT", "PRAGMA")


class Operations:
    """Counts what this process does to the world outside it, from all its threads."""

    def __init__(self, die_at: int, names_fd: int) -> None:
        self._die_at, self._fd, self._count = die_at, names_fd, 0
        self._lock, self._write = threading.RLock(), os.write

    def before(self, name: str, what: object = "") -> None:
        with self._lock:
            self._count += 1
            self._write(self._fd, f"{name} {' '.join(str(what).split())[:160]}\n".encode(errors="replace"))
            if self._count == self._die_at:
                os.killpg(0, signal.SIGKILL)

    def watch(self) -> None:
        for name in ("fsync", "fdatasync"):
            self._wrap(os, name, lambda *_: True, f"os.{name}")
        self._wrap(os, "write", _is_file, "os.write")
        for kind in (socket.socket, ssl.SSLSocket):
            for name in ("send", "sendall"):
                self._wrap(kind, name, _is_network, f"socket.{name}")
        self._wrap_open()
        self._wrap_sqlite()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS or (event == "open" and arguments[2] & _WRITING and arguments[0] != os.devnull):
            self.before(event, arguments[0])

    def _wrap(self, owner: Any, name: str, counts: Callable[..., bool], said: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if counts(*arguments):
                self.before(said)
            return original(*arguments, **named)

        setattr(owner, name, wrapped)

    def _wrap_open(self) -> None:
        original = io.open

        def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            stream = original(file, mode, *arguments, **named)
            if set(mode) & set("wxa+"):
                self.before("write", file)
            return stream

        builtins.open = io.open = opened

    def _wrap_sqlite(self) -> None:
        before, original = self.before, sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if not sql.lstrip().upper().startswith(_READS):
                    before("sqlite3", sql)
                return super().execute(sql, *arguments)

            def commit(self) -> None:
                before("sqlite3", "COMMIT")
                super().commit()

        def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
            return original(*arguments, **{"factory": Connection, **named})

        sqlite3.connect = connect  # type: ignore[assignment]


def _is_file(fd: int, *_: object) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _is_network(sock: socket.socket, *_: object) -> bool:
    """A pair of AF_UNIX sockets is how threads wake each other."""
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def serve(module: str, function: str) -> None:
    sys.dont_write_bytecode = True
    _warm_up()
    main = getattr(importlib.import_module(module), function)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(main, asked)
        os.setpgid(child, child)  # both sides do it: whoever comes first
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        sys.stdout.flush()


def _warm_up() -> None:
    """What each command would import and build when it needs it: here once for all forks."""
    importlib.import_module("rich.console")
    with suppress(FixConfig):
        settings.parse({}, "")


def _become(main: Callable[[], object], asked: dict[str, Any]) -> None:
    """This forked process is the command now; it does not return."""
    code: object = 70
    try:
        os.setpgid(0, 0)
        signal.alarm(LONGEST_S)
        folder = Path(asked["folder"])
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(folder / "stdin", os.O_RDONLY), 0)
        os.dup2(os.open(folder / "stdout", flags), 1)
        os.dup2(os.open(folder / "stderr", flags), 2)
        names = os.open(folder / "operations", flags)
        sys.stdin = os.fdopen(0, "r", closefd=False)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
        os.environ.update(asked["environment"])
        sys.argv = asked["arguments"]
        Operations(asked["die_at"], names).watch()
        code = main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 whatever it is: this is the top of a process
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1 if code else 0)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
