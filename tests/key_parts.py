"""Boards that keys can live on: a software TPM (swtpm), and a Raspberry Pi's mailbox with OTP."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.wrapping_otp import GET_PRIVATE_OTP, PROPERTY
from tests.conftest import hold_port, wait_until

TOOLS = {
    "swtpm": "swtpm",
    "tpm2_unseal": "tpm2-tools",
    "systemd-creds": "systemd",
}


def need(*programs: str) -> None:
    """Skip with a sentence where one of `programs` is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian package `{TOOLS[program]}`)")


class Swtpm:
    """One TPM 2.0, as its state lies in `folder`; `restart` is what a power cut is to it."""

    def __init__(self, folder: Path) -> None:
        need("swtpm", "tpm2_unseal")
        folder.mkdir()
        held = hold_pair()
        for port in held:
            weakref.finalize(self, port.close)
        self.port = int(held[0].getsockname()[1])
        self.tcti = f"swtpm:host=127.0.0.1,port={self.port}"
        listen = [f"type=tcp,port={port},bindaddr=127.0.0.1" for port in (self.port, self.port + 1)]
        self._words = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}", "--server", listen[0]]
        self._words += ["--ctrl", listen[1], "--flags", "startup-clear,not-need-init"]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens, 30, "swtpm's ports")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)

    def restart(self) -> None:
        self.stop()
        self.start()

    def clean(self) -> None:
        """Without a resource manager nobody else frees the few places a TPM has."""
        for what in ("-t", "-l"):
            self._run("flushcontext", what)

    def run(self, tool: str, *words: str, data: bytes = b"", check: bool = True) -> bytes:
        self.clean()
        return self._run(tool, *words, data=data, check=check)

    def _run(self, tool: str, *words: str, data: bytes = b"", check: bool = True) -> bytes:
        environment = {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        ran = subprocess.run(
            [f"tpm2_{tool}", *words], input=data, capture_output=True, env=environment, check=check
        )
        return ran.stdout

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail("swtpm ended")
        try:
            socket.create_connection(("127.0.0.1", self.port + 1), timeout=1).close()
        except OSError:
            return False
        return True


def hold_pair() -> tuple[socket.socket, socket.socket]:
    """Two held ports in a row: the tools look for a TPM's control port right above the other."""
    while True:
        first, second = hold_port(), socket.socket()
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            second.bind(("127.0.0.1", first.getsockname()[1] + 1))
        except (OSError, OverflowError):
            first.close()
            second.close()
        else:
            return first, second


# What raspberrypi.com prints for `vcmailbox 0x00030081 40 40 0 8 0 0 0 0 0 0 0 0`, and for the same key
# `rpi-otp-private-key`.
PRINTED_ANSWER = (
    "0x00000040 0x80000000 0x00030081 0x00000028 0x80000028 0x00000000 0x00000008 0xf8dbc7b0 0xa4fcfb1d "
    "0x706e298a 0xc9d0485c 0x2226ce8d 0xf7f7596a 0xc77337bd 0x09fbe160 0x00000000"
)
PRINTED_KEY = "f8dbc7b0a4fcfb1d706e298ac9d0485c2226ce8df7f7596ac77337bd09fbe160"


@dataclass
class Firmware:
    """The mailbox of a Raspberry Pi, at the ioctl: it answers as the printed example does."""

    rows: list[int] = field(default_factory=lambda: [int(word, 16) for word in PRINTED_ANSWER.split()[7:15]])
    locked: bool = False
    asked: list[list[int]] = field(default_factory=list)

    def ioctl(self, _descriptor: int, request: int, buffer: bytearray, mutate: bool) -> int:
        assert request == PROPERTY
        assert mutate
        words = list(struct.unpack("<16I", buffer))
        self.asked.append(list(words))
        if words[2] == GET_PRIVATE_OTP and not self.locked:
            words[1], words[4], words[7:15] = 0x80000000, 0x80000028, self.rows
        else:  # an unknown tag: the request succeeds, the tag stays unanswered
            words[1] = 0x80000000
        buffer[:] = struct.pack("<16I", *words)
        return 0
