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

# Listening to a real descriptor: at least so many steps of at least so much real time each.
_STEPS, _STEP_REAL_S = 20, 0.005
_HEARING_S = 0.01


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
        """True as soon as `fd` can be read. Time passes in small steps meanwhile, for what is behind `fd` (a
        pseudo-terminal) answers in real time and speaks by itself at its own instants of this clock."""
        began_ns = self.boottime_ns()
        count = max(_STEPS, math.ceil(seconds / self._speed / _STEP_REAL_S))
        step_s = seconds / count
        for number in range(count):
            began_s = time.monotonic()
            readable = bool(select.select([fd], [], [], max(_STEP_REAL_S, step_s / self._speed))[0])
            passed_s = step_s
            if readable:  # hearing costs time too, else a line that never falls silent would stop it
                real_s = time.monotonic() - began_s
                passed_s = _HEARING_S if math.isinf(self._speed) else real_s * self._speed
                passed_s = min(passed_s, max(step_s, _HEARING_S))
            self._pass(began_ns + round(min(number * step_s + passed_s, seconds) * 1e9))
            if readable:
                return True
        return False

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        left_s = (boottime_ns - self.boottime_ns()) / 1e9
        if stop.wait(max(0.0, left_s / self._speed)):
            return False
        self._pass(boottime_ns)
        return True

    def _pass(self, boottime_ns: int) -> None:
        with self._lock:
            self._now_ns = max(self._now_ns, boottime_ns)
