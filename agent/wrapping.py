"""What the seeds in key files are wrapped under: 32 bytes from the board, one provider per URI scheme.

- Seeds lie in files whatever the scheme, the hardware keeps a wrapping key (decision 0009). A provider that
  needs a program or a device stands in a module of its own, `wrapping_*`, imported when its scheme is used.
- `file:` makes the key from what the board says of itself; `sim:` has a constant.
- A provider that makes something never replaces what is there, and opens nothing it did not make.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import FixKey

KEY_BYTES = 32
_MAX_FACT_BYTES = 256


class Wrapping(Protocol):
    """Where the 32 bytes come from that seeds are wrapped under."""

    def create(self) -> None:
        """Make it where there is none, whole or not at all; what is there stays. Raises `FixKey`."""

    def key(self) -> bytes:
        """The 32 bytes; raises `FixKey`, or `TryAgain` where a device did not answer in time."""


@dataclass(frozen=True, slots=True)
class Board:
    """Where the facts stand that tell this board from others."""

    machine_id: Path = Path("/etc/machine-id")
    serial_number: Path = Path("/proc/device-tree/serial-number")
    mailbox: Path = Path("/dev/vcio")

    def wrapping_key(self) -> bytes:
        """32 bytes; the serial number counts where the board has one. Raises `FixKey`."""
        machine_id, serial = _fact(self.machine_id), _fact(self.serial_number)
        if len(machine_id) != 32:  # `uninitialized` on the first boot, empty in a container
            raise FixKey(
                f"{self.machine_id} holds no machine id, so a key cannot be tied to this board. "
                "Run `systemd-machine-id-setup`."
            )
        return derive(machine_id + b"\0" + serial, b"fieldproof file")


THIS_BOARD = Board()


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """The wrapping key of `file:`: made from what the board says of itself, never kept."""

    board: Board

    def create(self) -> None:
        self.key()

    def key(self) -> bytes:
        return self.board.wrapping_key()


@dataclass(frozen=True, slots=True)
class Constant:
    """The wrapping key of `sim:`: no secret at all."""

    def create(self) -> None:
        pass

    def key(self) -> bytes:
        return derive(b"", b"fieldproof sim")


def derive(material: bytes, person: bytes) -> bytes:
    """A wrapping key of 32 bytes, of its own for each `person` (at most 16 bytes)."""
    return hashlib.blake2b(
        material, key=b"fieldproof key wrapping 1", person=person, digest_size=KEY_BYTES
    ).digest()


def _fact(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FACT_BYTES).strip(b"\0\n ")
    except OSError:
        return b""
