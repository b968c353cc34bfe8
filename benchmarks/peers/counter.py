"""What all peers read: a sensor whose reading n says that it is the n-th. Standard library only.

- The number lives in a shared mapping of a file: it outlives a SIGKILL, and the harness sees what was read.
- As a pressure it is 40,000 Pa + 10 Pa * n: two orders above a BME280's resolution, inside its range.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from pathlib import Path

_BYTES = 8
_BASE_PA, _STEP_PA = 40_000, 10
MOST = 6_900  # beyond, the pressure leaves the part's range


class Counter:
    """One process reads, any may look."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_BYTES))
        with path.open("r+b") as file:
            self._number = ctypes.c_uint64.from_buffer(mmap.mmap(file.fileno(), _BYTES))  # one store: SIGKILL
        self._lock = threading.Lock()

    @property
    def now(self) -> int:
        return self._number.value

    def next(self) -> int:
        with self._lock:
            self._number.value = number = self.now + 1
        return number


def pressure_Pa(number: int) -> float:
    return _BASE_PA + _STEP_PA * number


def number_of(pressure_Pa: float) -> int:
    return round((pressure_Pa - _BASE_PA) / _STEP_PA)
