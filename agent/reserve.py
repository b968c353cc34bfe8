"""Room for making room: `journal.db.reserve`, blocks that are set aside while the disk has them.

- To give up anything SQLite must first write. On a disk without a free block the agent could neither start
  nor evict: then these blocks are given back to the file system, and set aside again once there is room.
- Nothing is written into them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import structlog

BYTES, _MORE = 256 * 1024, 64 * 1024
_log = structlog.get_logger()


def free_bytes(folder: Path) -> int:
    """What its file system has left for us. Not `shutil.disk_usage`: it brings bz2 and lzma into memory."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def keep(journal: Path) -> None:
    """Where there is room for a little more. A disk that is full, read-only or failing is none; nor is that
    an error."""
    path = _of(journal)
    with suppress(OSError):
        if _is_whole(path) or free_bytes(path.parent) < BYTES + _MORE:
            return
        try:
            _set_aside(path)
        except OSError:
            path.unlink(missing_ok=True)  # part of one would be taken for a whole one's room
            raise


def give(journal: Path) -> bool:
    """Whether the disk was full, and has so much room now."""
    path = _of(journal)
    with suppress(OSError):
        if _is_whole(path) and free_bytes(path.parent) < BYTES:
            path.unlink()
            _log.warning("reserve given up", problem="The disk is full.", bytes=BYTES)
            return True
    return False


def _set_aside(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, BYTES)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_whole(path: Path) -> bool:
    return path.exists() and path.stat().st_size >= BYTES


def _of(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.reserve")
