"""What this process holds in memory stays there: no core dump, no debugger of another process of its user.

- `close` is called by every program that opens a key, before it does. A child program starts open again.
- It does not wipe anything: Python copies bytes as it likes, and a seed stays in memory while it is used.
- Root can read everything all the same. Other processes of the same user can no longer read /proc/PID/mem.
"""

from __future__ import annotations

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4  # <sys/prctl.h>


def close() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
