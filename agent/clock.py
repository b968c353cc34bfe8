"""Time as the device knows it.

- Samples are ordered by boot time (CLOCK_BOOTTIME): it counts through suspend and never steps.
- Wall time is an attribute with a source and a maximum error, never a sort key (§3.5).
- Nothing in the agent asks the operating system for time except through a `Clock`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

SOURCE_NONE, SOURCE_NTP, SOURCE_GNSS, SOURCE_RTC = range(4)

# systemd's own rule: the kernel clock counts as synchronised below 16 s of maximum error.
UNSYNCED_US = 16_000_000
_TIMESYNC_STAMP = Path("/run/systemd/timesync/synchronized")
_TIMESYNC_STALE_S = 2 * 2048.0
# A clock disciplined within the last poll interval drifts at most 100 ppm of it (RFC 5905, PHI is 15 ppm).
_DRIFT = 100e-6
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Wall:
    """Wall time `ns` since 1970, where it came from (§3.2 label -70004) and how wrong it can be."""

    ns: int
    source: int
    maxerror_us: int


class Clock(Protocol):
    """What the agent needs of time; `drivers.contract.Clock` is the part that drivers see."""

    @property
    def boot_id(self) -> bytes:
        """16 bytes that name this boot."""

    def boottime_ns(self) -> int: ...

    def wall(self) -> Wall: ...

    def wait(self, seconds: float) -> None: ...

    def wait_readable(self, fd: int, seconds: float) -> bool:
        """True as soon as `fd` can be read, False after `seconds` without."""

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        """True when the time has come, False when `stop` was set first."""


class SystemClock:
    """The Linux clocks. Reads `adjtimex`; where a sandbox forbids it, timesyncd's stamp."""

    def __init__(self) -> None:
        self.boot_id = bytes.fromhex(_BOOT_ID.read_text().strip().replace("-", ""))

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall(self) -> Wall:
        maxerror_us = _kernel_maxerror_us()
        if maxerror_us is None:
            maxerror_us = _timesyncd_maxerror_us(time.time())
        source = SOURCE_NTP if maxerror_us < UNSYNCED_US else SOURCE_NONE
        return Wall(time.time_ns(), source, maxerror_us)

    def wait(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait_readable(self, fd: int, seconds: float) -> bool:
        return bool(select.select([fd], [], [], max(0.0, seconds))[0])

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        while (left_ns := boottime_ns - self.boottime_ns()) > 0:
            # Short naps: Event.wait runs on CLOCK_MONOTONIC, which stands still in suspend.
            if stop.wait(min(left_ns / 1e9, 60.0)):
                return False
        return not stop.is_set()


class Told(Protocol):
    """UTC as an instrument tells it: at `boottime_ns` it was `utc_ns`, give or take `error_ns`."""

    @property
    def utc_ns(self) -> int: ...

    @property
    def error_ns(self) -> int: ...


class Teller(Protocol):
    """An instrument's clock, such as `drivers.gnss_time.UtcSource`."""

    def at(self, boottime_ns: int) -> Told | None:
        """None while there is nothing to trust."""


@runtime_checkable
class TellsTime(Protocol):
    """An instrument that knows the time."""

    @property
    def utc(self) -> Teller: ...


class AidedClock:
    """A clock, and the instruments that know the time: the one with the smaller error is believed, and an
    instrument's only below the error that counts as synchronised. Boot time stays the clock's own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.tellers: tuple[Teller, ...] = ()
        self.boottime_ns, self.wait = clock.boottime_ns, clock.wait
        self.wait_readable, self.wait_until = clock.wait_readable, clock.wait_until

    @property
    def boot_id(self) -> bytes:
        return self._clock.boot_id

    def wall(self) -> Wall:
        best, now_ns = self._clock.wall(), self.boottime_ns()
        for teller in self.tellers:
            told = teller.at(now_ns)
            error_us = UNSYNCED_US if told is None else -(-told.error_ns // 1000)
            limit_us = UNSYNCED_US if best.source == SOURCE_NONE else min(best.maxerror_us, UNSYNCED_US)
            if told is not None and error_us < limit_us:
                best = Wall(told.utc_ns, SOURCE_GNSS, error_us)
        return best


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2) on 64-bit Linux: 208 bytes, only the head is named."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("rest", ctypes.c_byte * 168),
    ]


_LIBC = ctypes.CDLL(None, use_errno=True)


def _kernel_maxerror_us() -> int | None:
    """The kernel's bound on its clock error in microseconds; None where reading it is forbidden."""
    timex = _Timex()
    if _LIBC.adjtimex(ctypes.byref(timex)) < 0:
        if ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
            return None
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(timex.maxerror)


def _timesyncd_maxerror_us(now_s: float, stamp: Path = _TIMESYNC_STAMP) -> int:
    """Bound from the age of timesyncd's last synchronisation; unsynchronised when stale or absent."""
    try:
        age_s = now_s - stamp.stat().st_mtime
    except OSError:
        return UNSYNCED_US
    if not 0 <= age_s <= _TIMESYNC_STALE_S:
        return UNSYNCED_US
    return round(100_000 + age_s * _DRIFT * 1e6)
