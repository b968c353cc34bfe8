"""Files written whole or not at all: configurations and certificates, which everybody may read; with another
mode also others.

A temporary file beside it, fsync, then `link` to the name (`write_new`) or `rename` over it (`replace`),
fsync of the folder. An interrupted write leaves the temporary file behind; the next write removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from agent.errors import FixConfig

_MODE = 0o644


def write_new(path: Path, data: bytes, mode: int = _MODE) -> bool:
    """False, and nothing changed, where something already is; raises `FixConfig`."""
    try:
        _write(path, data, os.link, mode)
    except FileExistsError:
        return False
    return True


def replace(path: Path, data: bytes) -> None:
    """`data` in the place of what is at `path`; raises `FixConfig`."""
    _write(path, data, os.replace, _MODE)


def set_aside(path: Path) -> None:
    """A copy of `path` as `.old` beside it; raises `FixConfig`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FixConfig(f"{path} cannot be read: {error.strerror}.") from None
    replace(path.with_name(f"{path.name}.old"), data)


def _write(path: Path, data: bytes, put: Callable[[Path, Path], None], mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # left behind, it may be another name of the file at `path`
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, mode), "wb") as file:  # noqa: PTH123 - of a descriptor
                os.fchmod(file.fileno(), mode)  # the service runs as another user, whatever this one's umask
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            put(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise
    except OSError as error:
        raise FixConfig(f"{path} cannot be written: {error.strerror}.") from None
