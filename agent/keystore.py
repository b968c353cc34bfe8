"""Key URI -> `Signer`. The same URI works in provisioning and in the agent.

- `file:/PATH`: an Ed25519 seed in a file, wrapped under a key made from what the board offers. **Weak**:
  it stops a card or a backup that is copied without a thought, not a person who can read the board.
- `sim:/PATH`: the same file for simulated devices, wrapped under a constant; a live network refuses it.
- Every place holds two keys: the device's, and at `/PATH.next` the one a rotation must use (§8.4).
- A key that is missing, damaged, too open or another board's is a `FixKey`. Never a new identity, never
  a fallback: only `create_key` makes keys, and it never overwrites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import FixConfig, FixKey
from agent.keyfile import KeyFile
from proof.keys import SEED_BYTES, Signer

_MAX_FACT_BYTES = 256


@dataclass(frozen=True, slots=True)
class Board:
    """Where the facts stand that tell this board from others."""

    machine_id: Path = Path("/etc/machine-id")
    serial_number: Path = Path("/proc/device-tree/serial-number")

    def wrapping_key(self) -> bytes:
        """32 bytes; the serial number counts where the board has one. Raises `FixKey`."""
        machine_id, serial = _fact(self.machine_id), _fact(self.serial_number)
        if len(machine_id) != 32:  # `uninitialized` on the first boot, empty in a container
            raise FixKey(
                f"{self.machine_id} holds no machine id, so a key cannot be tied to this board. "
                "Run `systemd-machine-id-setup`."
            )
        return _derive(machine_id + b"\0" + serial, b"fieldproof file")


class Provider(Protocol):
    """One scheme's way of keeping a device's key and the key after it."""

    def exists(self) -> bool: ...

    def open(self) -> Signer: ...

    def open_next(self) -> Signer: ...

    def create(self, created_s: int) -> Signer:
        """Make both keys; raises `FixKey` where one already is."""


# `credential:`, `tpm2:` and `otp:` (§3.4) join here, one line each.
PROVIDERS: dict[str, Callable[[Path, Board], Provider]] = {
    "file": lambda path, board: KeyFile(path, "file", board.wrapping_key),
    "sim": lambda path, _board: KeyFile(path, "sim", lambda: _derive(b"", b"fieldproof sim")),
}


def open_key(uri: str, board: Board = Board()) -> Signer:
    """The device's key; raises `FixConfig` for the URI, `FixKey` for the key."""
    return _provider(uri, board).open()


def open_next_key(uri: str, board: Board = Board()) -> Signer:
    """The key that a rotation of `uri` must use (§8.4)."""
    return _provider(uri, board).open_next()


def create_key(uri: str, created_s: int, board: Board = Board()) -> Signer:
    """Make the device's key and the next one; `created_s` is seconds since 1970, a note for people."""
    return _provider(uri, board).create(created_s)


def key_exists(uri: str, board: Board = Board()) -> bool:
    """Whether there is something in the key's place, good or not."""
    return _provider(uri, board).exists()


def _provider(uri: str, board: Board) -> Provider:
    scheme, path = _split(uri)
    return PROVIDERS[scheme](path, board)


def _split(uri: str) -> tuple[str, Path]:
    scheme, colon, place = uri.partition(":")
    if not colon or scheme not in PROVIDERS:
        known = ", ".join(f"{name}:/PATH" for name in PROVIDERS)
        raise FixConfig(f"key: {uri[:200]!r} has no scheme of this version; there are {known}.")
    path = Path(place)
    if not path.is_absolute() or path.name in ("", "..") or "\0" in place:
        raise FixConfig(f"key: {uri[:200]!r} must name a file by its absolute path, like {scheme}:/PATH.")
    return scheme, path


def _derive(facts: bytes, person: bytes) -> bytes:
    return hashlib.blake2b(
        facts, key=b"fieldproof key wrapping 1", person=person, digest_size=SEED_BYTES
    ).digest()


def _fact(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FACT_BYTES).strip(b"\0\n ")
    except OSError:
        return b""
