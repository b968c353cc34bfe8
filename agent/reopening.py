"""When an instrument that failed may be opened again. Pure: times and random numbers come in.

- One that gave a sample since it was opened may be at once; one that did not waits, ever longer, from its own
  interval on: a read that came late is not to cost a fast instrument seconds.
- The waits are jittered and end where those of a link do (`agent.backoff`). The next sample ends them.
- A failure while it waits makes nothing longer.
"""

from __future__ import annotations

from agent.backoff import Backoff


class Reopening:
    """`opened`, `gave` and `failed` follow the instrument, `may` says whether it is time."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._backoff = interval_s, Backoff()
        self._gave = False
        self._in_vain = 0  # openings since the last sample
        self._at_ns = 0

    def may(self, now_ns: int) -> bool:
        return now_ns >= self._at_ns

    def opened(self, now_ns: int) -> None:
        """Again."""
        self._backoff.up(now_ns)

    def gave(self) -> None:
        """A sample."""
        self._gave, self._in_vain = True, 0

    def failed(self, now_ns: int, was_open: bool, random: float) -> None:
        """`random` is uniform in [0, 1)."""
        if was_open or self.may(now_ns):
            self._backoff.down(now_ns)
            wait_s = 0.0 if self._gave else self._wait_s(random)
            self._at_ns = now_ns + round(wait_s * 1e9)
        self._gave = False

    def _wait_s(self, random: float) -> float:
        own_s = self._interval_s * 2.0 ** min(self._in_vain, 16)
        self._in_vain += 1
        return min(own_s, self._backoff.next_delay_s(random))
