"""How long to wait before the next attempt to reach something that many others want to reach too.

- Exponential with full jitter, 1 s to 120 s: a fleet that lost its broker does not return in one second.
- Starts over only after the link was up for `STABLE_S`: a link that flaps keeps its long waits.
- Pure: the caller brings the time and the random number.
"""

from __future__ import annotations

SHORTEST_S, LONGEST_S = 1.0, 120.0
STABLE_S = 60.0
_FIRST_S = 8.0  # the first wait lies between 1 s and 8 s, the next below 16 s, and so on


class Backoff:
    """`up` and `down` follow the link, `next_delay_s` gives the wait before the next attempt."""

    def __init__(self) -> None:
        self._attempts = 0
        self._up_since_ns: int | None = None

    def up(self, boottime_ns: int) -> None:
        self._up_since_ns = boottime_ns

    def down(self, boottime_ns: int) -> None:
        if self._up_since_ns is not None and boottime_ns - self._up_since_ns >= STABLE_S * 1e9:
            self._attempts = 0
        self._up_since_ns = None

    def next_delay_s(self, random: float) -> float:
        """Seconds to wait; `random` is uniform in [0, 1)."""
        ceiling_s = min(LONGEST_S, _FIRST_S * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        return SHORTEST_S + random * (ceiling_s - SHORTEST_S)
