"""Virtual time for simulated nodes.

- Time moves only when somebody waits, and only as far as the nearest instant anybody waits for: a thread
  that comes late makes no sampler miss its instant, and no other thread outruns its deadline.
- A thread that has just waited holds time until it waits again, but no longer than `PATIENCE_S` of real
  time: by then it does something else, such as waiting for a lock or for the end of the program.
- A wait of s seconds really sleeps s / speed; at infinite speed nothing sleeps.
"""

from __future__ import annotations

import hashlib
import math
import select
import threading
import time

from agent.clock import SOURCE_NTP, Wall
from hardware_sim.pty_line import line_behind

# Listening to a real descriptor: at least so many steps of at least so much real time each, and in each the
# part behind it is asked.
_STEPS, _STEP_REAL_S = 20, 0.005
_HEARING_S = 0.01
PATIENCE_S = 0.1
_POLL_S = 0.01


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
        self._moved = threading.Condition()
        self._targets: dict[threading.Thread, int] = {}  # who waits, and for which instant
        self._busy: dict[threading.Thread, float] = {}  # who has waited before, and since when it runs

    def boottime_ns(self) -> int:
        with self._moved:
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
        step_s, line = seconds / count, line_behind(fd)
        for number in range(count):
            began_s, looks = time.monotonic(), line.looks if line else 0
            readable = bool(select.select([fd], [], [], max(_STEP_REAL_S, step_s / self._speed))[0])
            if line and not readable:
                line.await_look(looks)
            passed_s = step_s
            if readable:  # hearing costs time too, else a line that never falls silent would stop it
                real_s = time.monotonic() - began_s
                passed_s = _HEARING_S if math.isinf(self._speed) else real_s * self._speed
                passed_s = min(passed_s, max(step_s, _HEARING_S))
            passed_ns = began_ns + round(min(number * step_s + passed_s, seconds) * 1e9)
            if readable:
                self._pass(passed_ns)
                return True
            self._in_step(passed_ns, threading.Event(), math.inf)
        return False

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        return self._in_step(boottime_ns, stop, self._speed)

    def _in_step(self, boottime_ns: int, stop: threading.Event, speed: float) -> bool:
        """True once time has come to `boottime_ns`, moved there by this thread if it is its turn."""
        me = threading.current_thread()
        with self._moved:
            self._targets[me] = boottime_ns
            self._moved.notify_all()
        try:
            while not stop.is_set():
                if self.boottime_ns() >= boottime_ns:
                    return True
                if self._leads(me):
                    if stop.wait(max(0.0, (boottime_ns - self.boottime_ns()) / 1e9 / speed)):
                        return False
                    with self._moved:
                        if self._leads(me):  # nobody nearer has come meanwhile
                            self._pass(boottime_ns)
                            return True
                with self._moved:
                    self._moved.wait(_POLL_S)
            return False
        finally:
            with self._moved:
                del self._targets[me]
                self._busy[me] = time.monotonic()
                self._moved.notify_all()

    def _leads(self, me: threading.Thread) -> bool:
        """Whether all who matter wait, and nobody for a nearer instant."""
        with self._moved:
            since_s = time.monotonic() - PATIENCE_S
            self._busy = {t: s for t, s in self._busy.items() if s > since_s and t.is_alive()}
            if any(thread not in self._targets for thread in self._busy):
                return False
            mine = self._targets[me]
            return all(mine <= target for target in self._targets.values())

    def _pass(self, boottime_ns: int) -> None:
        with self._moved:
            self._now_ns = max(self._now_ns, boottime_ns)
            self._moved.notify_all()
