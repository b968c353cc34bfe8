"""Virtual time for simulated nodes.

- Time moves only when somebody waits: a thread that comes late makes no sampler miss its instant.
- A wait of s seconds really sleeps s / speed; at infinite speed nothing sleeps.
- Several threads may wait at once; time is the furthest any of them has waited, and never falls.
"""

from __future__ import annotations

import hashlib
import math
import select
import threading
import time

from agent.clock import SOURCE_NTP, Wall

_ANSWER_S = 0.05


class PacedClock:
    """Satisfies `agent.clock.Clock`. Wall time is boot time + `wall_offset_ns` (1970-based nanoseconds)."""

    def __init__(
        self,
        start_boottime_ns: int,
        wall_offset_ns: int,
        speed: float = math.inf,
        *,
        boot_id: bytes | None = None,
        source: int = SOURCE_NTP,
        maxerror_us: int = 1_000,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed is {speed}: it must be above 0 (1 is real time, inf never sleeps)")
        names_boot = f"{start_boottime_ns} {wall_offset_ns}".encode()
        self.boot_id = boot_id or hashlib.sha256(names_boot).digest()[:16]
        self._now_ns = start_boottime_ns
        self._wall_offset_ns = wall_offset_ns
        self._speed = speed
        self._source = source
        self._maxerror_us = maxerror_us
        self._lock = threading.Lock()

    def boottime_ns(self) -> int:
        with self._lock:
            return self._now_ns

    def wall(self) -> Wall:
        return Wall(self.boottime_ns() + self._wall_offset_ns, self._source, self._maxerror_us)

    def wait(self, seconds: float) -> None:
        self.wait_until(self.boottime_ns() + round(seconds * 1e9), threading.Event())

    def wait_readable(self, fd: int, seconds: float) -> bool:
        """Real devices behind `fd` (a pseudo-terminal) answer in real time: they get at least 50 ms of it."""
        began_s = time.monotonic()
        readable = bool(select.select([fd], [], [], max(_ANSWER_S, seconds / self._speed))[0])
        passed_s = seconds
        if readable and not math.isinf(self._speed):
            passed_s = min(seconds, (time.monotonic() - began_s) * self._speed)
        with self._lock:
            self._now_ns += 0 if readable and math.isinf(self._speed) else round(passed_s * 1e9)
        return readable

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        left_s = (boottime_ns - self.boottime_ns()) / 1e9
        if stop.wait(max(0.0, left_s / self._speed)):
            return False
        with self._lock:
            self._now_ns = max(self._now_ns, boottime_ns)
        return True
