"""UTC from a GNSS receiver's messages, without a pulse per second.

- A message arrives within a second after the moment it speaks of (receivers report at 1 Hz or faster), so UTC
  when its first byte came is that moment, or up to a second later.
- Nothing is said before three epochs at different moments agree. One that disagrees starts the count again:
  receivers correct themselves by whole leap seconds when they hear the almanac.
- NMEA does not say whether leap seconds are known; its error is a second larger for that.
- Between epochs the error grows with the boot clock's drift. Whether that is good enough, who asks decides.
- One thread adds, any thread asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.gnss_epoch import Epoch

_LATENCY_NS = 10**9
_LEAP_NS = {"nmea": 10**9, "ubx": 0}
_AGREEING = 3
_DRIFT_PPM = 100


@dataclass(frozen=True, slots=True)
class Utc:
    """At `boottime_ns` it was `utc_ns` (since 1970), give or take `error_ns`."""

    utc_ns: int
    boottime_ns: int
    error_ns: int


class UtcSource:
    """What a receiver's epochs, given in the order of their arrival, say about the time."""

    def __init__(self) -> None:
        self._last: Utc | None = None
        self._agreed = 0
        self._trusted: Utc | None = None

    def add(self, epoch: Epoch) -> None:
        """An epoch that has no time, or whose beginning was missed, says nothing."""
        if epoch.utc_ns is None or not epoch.whole:
            return
        error_ns = _LATENCY_NS + _LEAP_NS[epoch.source] + epoch.utc_error_ns
        said = Utc(epoch.utc_ns, epoch.boottime_ns, error_ns)
        last, self._last = self._last, said
        if last is not None and said.utc_ns == last.utc_ns:
            self._agreed, self._trusted = 0, None  # time stands still: so does the receiver
            return
        self._agreed = self._agreed + 1 if last is None or _agree(last, said) else 1
        self._trusted = said if self._agreed >= _AGREEING else None

    def at(self, boottime_ns: int) -> Utc | None:
        """UTC at `boottime_ns`, or None while there is nothing to trust."""
        trusted = self._trusted
        if trusted is None:
            return None
        passed_ns = boottime_ns - trusted.boottime_ns
        return Utc(trusted.utc_ns + passed_ns, boottime_ns, trusted.error_ns + _drift_ns(passed_ns))


def _agree(before: Utc, after: Utc) -> bool:
    passed_ns = after.boottime_ns - before.boottime_ns
    apart_ns = after.utc_ns - before.utc_ns - passed_ns
    return passed_ns >= 0 and abs(apart_ns) < _LATENCY_NS + _drift_ns(passed_ns)


def _drift_ns(passed_ns: int) -> int:
    return abs(passed_ns) * _DRIFT_PPM // 1_000_000
