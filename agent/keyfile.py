"""A device's keys in files: the one in force, the next, and during a rotation the one after it (§8.4).

- Layout of each: JSON {v, scheme, kid, created_s, wrapped} and, where the device's first key was another,
  `device`. `wrapped` is base64 of SecretBox(nonce | box) of the 32-byte seed; `kid` (§2.2) tells people
  which key it is. How the files are written and read: `privatefile`.
- Slots: PATH in force, PATH.next committed to, PATH.after made for the next rotation. Each later slot is
  on disk before the one before it changes: where the device's key is, its next one is too.
- `settle`: PATH := the next key, then PATH.after becomes PATH.next. Between the two, PATH.next is the
  key in force: whoever comes next sees that and finishes.
- What the seeds are wrapped under comes from a `Wrapping`: the providers differ in nothing else.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from agent import privatefile
from agent.errors import FixKey
from agent.wrapping import Wrapping
from proof.keys import SEED_BYTES, SeedSigner, Signer, key_id, public_key_of
from proof.reasons import Refused

VERSION = 1


@dataclass(frozen=True, slots=True)
class Seeds:
    """What a backup holds of a device: its id, the seed in force and the next one."""

    device: str
    current: bytes = field(repr=False)
    next: bytes = field(repr=False)

    def __post_init__(self) -> None:
        public_key_of(self.device)  # raises `Refused`
        if not len(self.current) == len(self.next) == SEED_BYTES or self.current == self.next:
            raise ValueError("these are not two seeds")


@dataclass(frozen=True, slots=True)
class _Opened:
    seed: bytes = field(repr=False)
    signer: Signer

    @property
    def public_key(self) -> bytes:
        return self.signer.public_key


class KeyFile:
    """The keys at `path`, `path`.next and `path`.after. Everything here raises `FixKey`."""

    def __init__(self, path: Path, scheme: str, wrapping: Wrapping) -> None:
        self._path, self._scheme, self._wrapping = path, scheme, wrapping
        self._next = path.with_name(f"{path.name}.next")
        self._after = path.with_name(f"{path.name}.after")

    def exists(self) -> bool:
        return os.path.lexists(self._path)

    def open(self) -> Signer:
        return self._open(self._path).signer

    def open_next(self) -> Signer:
        device = self._finish().signer.device
        return self._open(self._next, device).signer

    def create(self, created_s: int) -> Signer:
        if self.exists():
            raise self._taken()
        self._wrapping.create()
        if not os.path.lexists(self._next):  # else an earlier attempt came this far: that key is as good
            self._write_new(self._next, secrets.token_bytes(SEED_BYTES), created_s)
        self._open(self._next)
        self._write_new(self._path, secrets.token_bytes(SEED_BYTES), created_s)
        return self.open()

    def prepare_rotation(self, created_s: int) -> Signer:
        """The key after the next one, made where there is none yet."""
        device = self._finish().signer.device
        if not os.path.lexists(self._after):
            self._write_new(self._after, secrets.token_bytes(SEED_BYTES), created_s)
        return self._open(self._after, device).signer

    def rotation_prepared(self) -> bool:
        self._finish()
        return os.path.lexists(self._after)

    def settle(self, in_force: bytes, created_s: int) -> Signer:
        """Make `in_force`, the current or the next key, the current one; the old seed is then gone."""
        current = self._finish()
        if current.public_key != in_force:
            following = self._open(self._next, current.signer.device)
            if following.public_key != in_force:
                raise FixKey(
                    f"The network holds another key of this device in force ({key_id(in_force).hex()}) than "
                    f"{self._path} and the one committed to: an older copy of the key was put back. Restore "
                    "the newest backup, or move the key away and provision this board as a new device."
                )
            self.prepare_rotation(created_s)
            record = self._record(following.seed, created_s, current.signer.device)
            privatefile.replace(self._path, record)
            self._finish()
        for path in (self._path, self._next, self._after):
            privatefile.sweep(path)
        return self.open()

    def export_seeds(self) -> Seeds:
        current = self._finish()
        return Seeds(current.signer.device, current.seed, self._open(self._next).seed)

    def import_seeds(self, seeds: Seeds, created_s: int) -> Signer:
        """Put the keys of a backup here; repeated with the same it finds them there."""
        if self.exists() and self.export_seeds() != seeds:
            raise self._taken()
        self._wrapping.create()
        if not os.path.lexists(self._next):
            self._write_new(self._next, seeds.next, created_s)
        if self._open(self._next).seed != seeds.next:
            raise self._taken(self._next)
        if not self.exists():
            self._write_new(self._path, seeds.current, created_s, seeds.device)
        return self.open()

    def _finish(self) -> _Opened:
        """Complete an interrupted `settle`; the key in force."""
        current = self._open(self._path)
        if os.path.lexists(self._after) and self._open(self._next).public_key == current.public_key:
            privatefile.move(self._after, self._next)
        return current

    def _taken(self, path: Path | None = None) -> FixKey:
        return FixKey(f"There is something at {path or self._path} already; a key never replaces it.")

    @cached_property
    def _box(self) -> SecretBox:
        return SecretBox(self._wrapping.key())

    def _write_new(self, path: Path, seed: bytes, created_s: int, device: str = "") -> None:
        try:
            privatefile.write_new(path, self._record(seed, created_s, device))
        except FileExistsError:
            raise self._taken(path) from None

    def _record(self, seed: bytes, created_s: int, device: str = "") -> bytes:
        own = SeedSigner(seed, self._scheme)
        record = {
            "v": VERSION,
            "scheme": self._scheme,
            "kid": key_id(own.public_key).hex(),
            "created_s": created_s,
            "wrapped": base64.b64encode(self._box.encrypt(seed)).decode(),
        }
        if device not in ("", own.device):
            record["device"] = device
        return json.dumps(record).encode() + b"\n"

    def _open(self, path: Path, device: str = "") -> _Opened:
        scheme, kid, recorded, wrapped = _parse(
            path, privatefile.read(path, "" if path == self._path else privatefile.lost(path))
        )
        if scheme != self._scheme:
            raise FixKey(
                f"The key {path} was made for `{scheme[:32]}:`, not for `{self._scheme}:`. "
                "Correct `key` in the configuration."
            )
        try:
            seed = self._box.decrypt(wrapped)
        except CryptoError:
            raise FixKey(
                f"The key {path} was made on another board, or it is damaged. A key stays with its board: "
                "put the card back there, or move this file away and provision this board as a new device."
            ) from None
        signer = SeedSigner(seed, self._scheme, device or recorded)
        if key_id(signer.public_key).hex() != kid:
            raise _damaged(path)
        return _Opened(seed, signer)


def _parse(path: Path, data: bytes) -> tuple[str, str, str, bytes]:
    """(scheme, kid, device or nothing, wrapped seed); raises `FixKey`."""
    try:
        record = json.loads(data) if len(data) <= privatefile.MAX_BYTES else None
        match record:
            case {"v": int(v)} if v > VERSION:
                raise FixKey(f"The key {path} was made by a newer version ({v}). Update the agent.")
            case {"v": 1, "scheme": str(scheme), "kid": str(kid), "wrapped": str(wrapped), **rest}:
                packed = base64.b64decode(wrapped, validate=True)
                device = str(rest.get("device", ""))
                if "device" in rest:
                    public_key_of(device)
                if len(packed) == SecretBox.NONCE_SIZE + SecretBox.MACBYTES + SEED_BYTES:
                    return scheme, kid, device, packed
    except (ValueError, RecursionError, Refused):  # binascii.Error is a ValueError
        pass
    raise _damaged(path)


def _damaged(path: Path) -> FixKey:
    return FixKey(
        f"The key {path} is damaged: it is not a whole key file. Restore it from this board's backup; "
        "without one, move it away and provision this board as a new device."
    )
