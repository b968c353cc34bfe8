"""How often the log may say the same: an instrument that fails every second must not fill a disk.

- In an hour, one event of one instrument gets at most `ALIKE` lines, and at most `SAME` that say the same.
- What is left out is counted. When the hour is over its newest is written after all, with `suppressed=K`: as
  soon as anybody logs anything.
- Bounded: so many events and instruments, then the oldest hour is closed early; of what was left out only the
  newest is kept, without its traceback.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from structlog.typing import EventDict

SAME, ALIKE = 3, 60
PERIOD_S = 3600.0
_MAX_HOURS = 256
_TRACEBACK = ("exc_info", "exception", "stack_info")


@dataclass(slots=True)
class _Hour:
    """Of one event and instrument. `said` counts lines written, by the hash of what they say."""

    began_s: float
    said: Counter[int] = field(default_factory=Counter)
    suppressed: int = 0
    newest: EventDict = field(default_factory=dict)


class Repeats:
    """`monotonic` gives the seconds. May be used from many threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._hours: dict[tuple[object, object], _Hour] = {}  # oldest first

    def let_through(self, event: EventDict) -> list[EventDict]:
        """What is to be written now: what hours that are over left out, then `event`, unless it repeats."""
        key = (event.get("event"), event.get("instrument"))
        raised = repr(sys.exception()) if "exc_info" in event else ""
        text = hash((raised, *((name, str(value)) for name, value in event.items())))
        with self._lock:
            now_s = self._monotonic()
            sums = list(self._close(now_s, key))
            hour = self._hours.setdefault(key, _Hour(now_s))
            if hour.said[text] < SAME and hour.said.total() < ALIKE:
                hour.said[text] += 1
                return [*sums, event]
            hour.suppressed += 1
            hour.newest = {name: value for name, value in event.items() if name not in _TRACEBACK}
            return sums

    def _close(self, now_s: float, key: tuple[object, object]) -> Iterator[EventDict]:
        crowded = key not in self._hours and len(self._hours) >= _MAX_HOURS
        while self._hours:
            oldest = next(iter(self._hours))
            if now_s - self._hours[oldest].began_s < PERIOD_S and not crowded:
                return
            crowded = False
            hour = self._hours.pop(oldest)
            if hour.suppressed:
                yield {**hour.newest, "suppressed": hour.suppressed}
