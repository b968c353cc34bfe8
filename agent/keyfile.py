"""A device's key in a file: written once, complete or not at all; read only where nobody else could.

- Layout: JSON {v, scheme, kid, created_s, wrapped}; `wrapped` is base64 of SecretBox(nonce | box) of the
  32-byte seed, `kid` (§2.2) tells people which key it is. `PATH.next` has the same layout.
- Creation: a private temporary file, fsync, `link` to the final name (which never overwrites), fsync of
  the folder. A power cut leaves no key or a whole one. The next key comes first: where the device's key
  is, both are.
- Reading refuses symbolic links, another owner, and any permission for group or others.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import pwd
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from agent.errors import FixKey
from proof.keys import SEED_BYTES, SeedSigner, Signer, key_id

VERSION = 1
MAX_BYTES = 4096
_MODE = 0o400


class KeyFile:
    """The keys at `path` and `path`.next; `wrapping_key` is asked for only when it is needed."""

    def __init__(self, path: Path, scheme: str, wrapping_key: Callable[[], bytes]) -> None:
        self._path, self._scheme, self._wrapping_key = path, scheme, wrapping_key
        self._next = path.with_name(f"{path.name}.next")

    def exists(self) -> bool:
        return os.path.lexists(self._path)

    def open(self) -> Signer:
        return self._open(self._path)

    def open_next(self) -> Signer:
        return self._open(self._next)

    def create(self, created_s: int) -> Signer:
        if self.exists():
            raise self._exists()
        box = SecretBox(self._wrapping_key())
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.path.lexists(self._next):
                self.open_next()  # an earlier attempt came this far: that key is as good
            else:
                self._write(self._next, box, created_s)
            self._write(self._path, box, created_s)
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            raise FixKey(
                f"The device key cannot be written to {self._path}: {error.strerror}. Mend that, then repeat."
            ) from None
        return self.open()

    def _exists(self) -> FixKey:
        return FixKey(f"There is something at {self._path} already; a key never replaces it.")

    def _write(self, path: Path, box: SecretBox, created_s: int) -> None:
        seed = secrets.token_bytes(SEED_BYTES)
        record = {
            "v": VERSION,
            "scheme": self._scheme,
            "kid": key_id(SeedSigner(seed, self._scheme).public_key).hex(),
            "created_s": created_s,
            "wrapped": base64.b64encode(box.encrypt(seed)).decode(),
        }
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, _MODE), "wb") as file:  # noqa: PTH123 - of a descriptor
                file.write(json.dumps(record).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _open(self, path: Path) -> Signer:
        scheme, kid, wrapped = _parse(path, self._read(path))
        if scheme != self._scheme:
            raise FixKey(
                f"The key {path} was made for `{scheme[:32]}:`, not for `{self._scheme}:`. "
                "Correct `key` in the configuration."
            )
        try:
            seed = SecretBox(self._wrapping_key()).decrypt(wrapped)
        except CryptoError:
            raise FixKey(
                f"The key {path} was made on another board, or it is damaged. A key stays with its board: "
                "put the card back there, or move this file away and provision this board as a new device."
            ) from None
        signer = SeedSigner(seed, self._scheme)
        if key_id(signer.public_key).hex() != kid:
            raise _damaged(path)
        return signer

    def _read(self, path: Path) -> bytes:
        try:
            # Not blocking: a FIFO at this place must not hang the agent.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                _require_private(path, os.fstat(descriptor))
                return os.read(descriptor, MAX_BYTES + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise FixKey(_why_unreadable(path, error)) from None


def _require_private(path: Path, status: os.stat_result) -> None:
    """A file of this user that nobody else may touch; raises `FixKey`."""
    if not stat.S_ISREG(status.st_mode):
        raise FixKey(f"The key {path} is not a file. Correct `key` in the configuration.")
    if status.st_uid != os.geteuid():
        owner, this = _user(status.st_uid), _user(os.geteuid())
        raise FixKey(f"The key {path} belongs to {owner}, and this runs as {this}. Run it as {owner}.")
    if status.st_mode & 0o077:
        raise FixKey(
            f"The key {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}). "
            f"Run `chmod 0400 {path}`, and ask yourself who may have copied it."
        )


def _parse(path: Path, data: bytes) -> tuple[str, str, bytes]:
    """(scheme, kid, wrapped seed); raises `FixKey`."""
    try:
        record = json.loads(data) if len(data) <= MAX_BYTES else None
        match record:
            case {"v": int(v)} if v > VERSION:
                raise FixKey(f"The key {path} was made by a newer version ({v}). Update the agent.")
            case {"v": 1, "scheme": str(scheme), "kid": str(kid), "wrapped": str(wrapped)}:
                packed = base64.b64decode(wrapped, validate=True)
                if len(packed) == SecretBox.NONCE_SIZE + SecretBox.MACBYTES + SEED_BYTES:
                    return scheme, kid, packed
    except (ValueError, RecursionError):  # binascii.Error is a ValueError
        pass
    raise _damaged(path)


def _damaged(path: Path) -> FixKey:
    return FixKey(
        f"The key {path} is damaged: it is not a whole key file. Restore it from this board's backup; "
        "without one, move it away and provision this board as a new device."
    )


def _why_unreadable(path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return (
                f"There is no device key at {path}. Run `fieldproof-provision init`, "
                "or correct `key` in the configuration."
            )
        case errno.ELOOP:
            return f"The key {path} is a symbolic link, which anyone could turn. Give the file itself."
    return f"The key {path} cannot be read: {error.strerror}. Run this as the user who owns it."


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
