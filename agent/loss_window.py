"""Samples that are not on disk yet: within the loss window (`journal.loss_window_s`) they wait in memory.

- They are written once the oldest of them is older than the window, and into every transaction that writes or
  seals before: order on disk is the order of the calls.
- They are forgotten here once that is committed; after one that was not they are written again.
- Any thread may hold a sample, up to a bound; the rest is the journal's thread's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from agent.clock import Clock
from agent.journal import Journal, Waiting
from agent.sample import Captured

_MOST_HELD = 4096  # of an hour, the longest window, at one a second


class LossWindow:
    def __init__(self, window_s: float, clock: Clock) -> None:
        self._window_s, self._clock = window_s, clock
        self._held: deque[Captured] = deque()
        self._writing = 0  # so many of the held are in the transaction that is open

    def hold(self, sample: Captured) -> bool:
        """Whether there is room for it."""
        if len(self._held) >= _MOST_HELD:
            return False
        self._held.append(sample)
        return True

    def __len__(self) -> int:
        """How many are held; what the transaction that is open has written does not count."""
        return len(self._held) - self._writing

    def is_over(self) -> bool:
        """Whether the oldest has waited for long enough."""
        if not self._held:
            return False
        return self._clock.boottime_ns() - self._held[0].boottime_ns > self._window_s * 1e9

    def write(self, journal: Journal) -> None:
        """Into the transaction that is open; then `committed`, or `undo` where that was not."""
        count = len(self._held)
        for number in range(self._writing, count):
            journal.append(self._held[number])
        self._writing = count

    def committed(self) -> None:
        for _ in range(self._writing):
            self._held.popleft()
        self._writing = 0

    def undo(self) -> None:
        self._writing = 0

    def with_stored(self, stored: Waiting) -> Waiting:
        """What waits for a proof, here and on disk."""
        if not self._held:
            return stored
        first, count = self._held[0], stored.samples + len(self._held)
        if stored.samples:
            return replace(stored, samples=count)
        return Waiting(count, stored.losses, first.boot_id, first.boottime_ns)
