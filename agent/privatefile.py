"""Files that only their owner may touch, written whole or not at all.

- Writing: a private temporary file, fsync, then `link` to the final name (`write_new`, which never
  overwrites) or `rename` over it (`replace`), fsync of the folder. A power cut leaves nothing, the old or
  the new. It can leave the temporary file too, with a secret in it: `sweep` removes those.
- Reading refuses symbolic links, another owner, and any permission for group or others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.errors import FixKey

MAX_BYTES = 4096
_MODE = 0o400


def write_new(path: Path, data: bytes) -> None:
    """Raises `FileExistsError`, nothing changed, where something is; `FixKey` where it cannot be written."""
    _write(path, data, os.link)


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of what is at `path`; raises `FixKey`."""
    _write(path, data, os.replace)


def move(path: Path, over: Path) -> None:
    """`path` takes the place of `over`; raises `FixKey`."""
    with _writing(over):
        path.replace(over)
        _settle(over.parent)


def sweep(path: Path) -> None:
    """Remove what interrupted writes of `path` left beside it; raises `FixKey`."""
    litter = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}")
    with _writing(path):
        left = [file for file in path.parent.iterdir() if litter.fullmatch(file.name)]
        for file in left:
            file.unlink(missing_ok=True)
        if left:
            _settle(path.parent)


def read(path: Path, missing: str = "") -> bytes:
    """At most `MAX_BYTES` + 1 bytes, so that a longer file shows; raises `FixKey`, with the sentence
    `missing` where nothing is."""
    try:
        # Not blocking: a FIFO at this place must not hang the agent.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _require_private(path, os.fstat(descriptor))
            return os.read(descriptor, MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR)
        raise FixKey(missing if gone and missing else _why_unreadable(path, error)) from None


def lost(path: Path) -> str:
    """The sentence for a file that belongs to a key and is not there."""
    return (
        f"{path}, which belongs to the key beside it, is gone. Restore it from a copy of this board's files, "
        "or restore the identity from its backup."
    )


def _write(path: Path, data: bytes, put: Callable[[Path, Path], None]) -> None:
    with _writing(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, _MODE), "wb") as file:  # noqa: PTH123 - of a descriptor
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            put(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _settle(path.parent)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise FixKey(
            f"The device key cannot be written to {path}: {error.strerror}. Mend that, then repeat."
        ) from None


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
