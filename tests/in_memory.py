"""Where the quick suite keeps its files: in memory, where there is room for them.

- It makes thousands of stores and keys and syncs each step of each: on a disk that is much of its time.
- SIGKILL takes nothing from a file in memory either; what a power cut takes is told from the recorded calls.
- `make test-all` keeps everything on the disk, and so does whoever names a folder (`--basetemp`).
- A run that passed takes its files away; one that failed leaves them to be looked at.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 * 2**30  # a run leaves some hundred megabytes


def has_room(folder: Path) -> bool:
    """Programs are started there, too: a container's is often small, and forbids that."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= _ROOM_BYTES and not found.f_flag & os.ST_NOEXEC


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == "not slow" and not config.option.basetemp and has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The controller's folder holds those of its workers."""
    if exitstatus == pytest.ExitCode.OK and not session.config.option.basetemp:
        folder = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        if folder.is_relative_to(MEMORY):
            shutil.rmtree(folder, ignore_errors=True)
