"""What all peers read: a sensor whose reading n says that it is the n-th. Standard library only.

- The number lives in a shared mapping of a file: it outlives a SIGKILL, and the harness sees what was read.
- As a pressure it is 40,000 Pa + 10 Pa * n: two orders above a BME280's resolution, inside its range.
"""

from __future__ import annotations

import mmap
import struct
import threading
from pathlib import Path

_WORD = struct.Struct("<Q")
_BASE_PA, _STEP_PA = 40_000, 10
MOST = 6_900  # beyond, the pressure leaves the part's range


class Counter:
    """One process reads, any may look."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_WORD.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _WORD.size)
        self._lock = threading.Lock()

    @property
    def now(self) -> int:
        return int(_WORD.unpack_from(self._shared)[0])

    def next(self) -> int:
        with self._lock:
            number = self.now + 1
            _WORD.pack_into(self._shared, 0, number)
        return number


def pressure_Pa(number: int) -> float:
    return _BASE_PA + _STEP_PA * number


def number_of(pressure_Pa: float) -> int:
    return round((pressure_Pa - _BASE_PA) / _STEP_PA)
