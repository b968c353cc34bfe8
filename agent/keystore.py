"""Key URI -> `Signer`. The same URI works in provisioning and in the agent.

- `file:/PATH`: an Ed25519 seed in a file, wrapped under a key made from what the board offers. **Weak**:
  it stops a card or a backup that is copied without a thought, not a person who can read the board.
- `sim:/PATH`: the same file for simulated devices, wrapped under a constant; a live network refuses it.
- Every place holds two keys: the device's, and at `/PATH.next` the one a rotation must use (§8.4); during
  a rotation a third. They lie in files whatever the scheme (decision 0006): `keyfile`.
- A key that is missing, damaged, too open or another board's is a `FixKey`. Never a new identity, never
  a fallback: only `create_key` makes keys, and it never overwrites.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FixConfig, FixKey
from agent.keyfile import KeyFile, Seeds, Wrapping
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
        return _derive(b"", b"fieldproof sim")


@dataclass(frozen=True, slots=True)
class Provider:
    """How a scheme's URI ends, and what its seeds are wrapped under."""

    form: str
    parameters: frozenset[str]
    wrapping: Callable[[Path, Mapping[str, str], Board], Wrapping]


PROVIDERS = {
    "file": Provider("/PATH", frozenset(), lambda _path, _given, board: BoardFacts(board)),
    "sim": Provider("/PATH", frozenset(), lambda _path, _given, _board: Constant()),
}


def open_key(uri: str, board: Board = Board()) -> Signer:
    """The device's key; raises `FixConfig` for the URI, `FixKey` for the key, like all of these."""
    return _slots(uri, board).open()


def open_next_key(uri: str, board: Board = Board()) -> Signer:
    """The key that a rotation of `uri` must use (§8.4)."""
    return _slots(uri, board).open_next()


def create_key(uri: str, created_s: int, board: Board = Board()) -> Signer:
    """Make the device's key and the next one; `created_s` is seconds since 1970, a note for people."""
    return _slots(uri, board).create(created_s)


def key_exists(uri: str, board: Board = Board()) -> bool:
    """Whether there is something in the key's place, good or not."""
    return _slots(uri, board).exists()


def prepare_rotation(uri: str, created_s: int, board: Board = Board()) -> Signer:
    """The key after the next one, to be committed to by a rotation: made, or found where it is already."""
    return _slots(uri, board).prepare_rotation(created_s)


def rotation_prepared(uri: str, board: Board = Board()) -> bool:
    """Whether `prepare_rotation` was called since the last `settle_key`."""
    return _slots(uri, board).rotation_prepared()


def settle_key(uri: str, in_force: bytes, created_s: int, board: Board = Board()) -> Signer:
    """Make the public key `in_force`, the current or the next one, the current; repeated it converges."""
    return _slots(uri, board).settle(in_force, created_s)


def export_seeds(uri: str, board: Board = Board()) -> Seeds:
    """What a backup must hold; nothing else ever sees it."""
    return _slots(uri, board).export_seeds()


def import_seeds(uri: str, seeds: Seeds, created_s: int, board: Board = Board()) -> Signer:
    """Put a backup's keys where no key is; repeated with the same seeds it converges."""
    return _slots(uri, board).import_seeds(seeds, created_s)


def _slots(uri: str, board: Board) -> KeyFile:
    scheme, path, given = _split(uri)
    return KeyFile(path, scheme, PROVIDERS[scheme].wrapping(path, given, board))


def _split(uri: str) -> tuple[str, Path, dict[str, str]]:
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in PROVIDERS:
        known = ", ".join(f"{name}:{provider.form}" for name, provider in PROVIDERS.items())
        raise FixConfig(f"key: {uri[:200]!r} has no scheme of this version; there are {known}.")
    place, mark, query = rest.partition("?")
    path = Path(place)
    if not path.is_absolute() or path.name in ("", "..") or "\0" in place:
        raise FixConfig(f"key: {uri[:200]!r} must name a file by its absolute path, like {scheme}:/PATH.")
    pairs = [pair.partition("=") for pair in query.split("&")] if mark else []
    given = {name: value for name, _, value in pairs}
    if len(given) < len(pairs) or not given.keys() <= PROVIDERS[scheme].parameters or not all(given.values()):
        raise FixConfig(f"key: {uri[:200]!r} is not of the form {scheme}:{PROVIDERS[scheme].form}.")
    return scheme, path, given


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
