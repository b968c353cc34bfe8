"""Entry points that only tests have, for `FaultPoints`."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest import mock

from provisioning.identity import write_example


def write_an_example() -> None:
    write_example(Path(sys.argv[1]))


def write_in_place() -> None:
    """What must not be done: the file is empty for a moment."""
    Path(sys.argv[1]).write_text("whole")


def do_all_kinds() -> None:
    """One operation of each kind that is counted."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "sub").mkdir()
    first = folder / "first"
    fd = os.open(first, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"1")
    os.fsync(fd)
    os.close(fd)
    os.link(first, folder / "second")
    (folder / "second").rename(folder / "third")
    (folder / "third").unlink()
    first.chmod(0o600)
    with contextlib.closing(sqlite3.connect(folder / "db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode")
        db.execute("CREATE TABLE t (a)")
    subprocess.run(["true"], check=True)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"x")


def write_files(folder: Path) -> None:
    """What `recording` follows, once each."""
    folder.mkdir()
    one, two = folder / "one", folder / "two"
    with one.open("wb", buffering=0) as file:
        file.write(b"abc")
        os.pwrite(file.fileno(), b"X", 1)
        os.fsync(file.fileno())
    os.link(one, two)
    one.unlink()
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    os.write(1, b"done\n")


def set_up_with_what_is_found() -> None:
    """`fieldproof-provision`, its search for instruments cut short: it changes nothing and takes 12 s."""
    from agent.discover import Finding
    from provisioning import cli, instruments

    found = [Finding("serial:/dev/serial/by-id/x", drivers=("sds011",))]
    with (
        mock.patch.object(instruments, "find", return_value=found),
        mock.patch.object(instruments, "read_each", lambda chosen, _person: (tuple(chosen), [])),
    ):
        cli.main()


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
