"""How often something may be done for one key: a flood of bad messages must not flood log or broker.

- Bounded: when too many keys are known, the oldest is forgotten.
"""

from __future__ import annotations


class Throttle:
    """At most `burst` times per `period_s` for each key, for at most `keys` keys."""

    def __init__(self, burst: int, period_s: float, keys: int = 1024) -> None:
        self._burst, self._period_s, self._keys = burst, period_s, keys
        self._windows: dict[str, tuple[float, int]] = {}

    def allows(self, key: str, now_s: float) -> bool:
        started_s, count = self._windows.pop(key, (now_s, 0))
        if not 0 <= now_s - started_s < self._period_s:
            started_s, count = now_s, 0
        if len(self._windows) >= self._keys:
            self._windows.pop(next(iter(self._windows)))
        self._windows[key] = (started_s, count + 1)
        return count < self._burst
