"""From what is wrong now to what happened: looked at every few seconds, told to the diary.

- What lasts (`agent.conditions`) is a span: it begins when it was seen in two looks, from the first of them
  on, and ends with the look that does not see it.
- A wall clock that moved otherwise than boot time did was set: told, with by how much.
"""

from __future__ import annotations

from agent.clock import SOURCE_NONE, Wall
from agent.conditions import Situation, conditions
from agent.diary import Diary

LOOK_S = 10.0
STEP_S = 2.0
# Consequences, and what says itself elsewhere.
_NOT_TOLD = ("no_receipt_yet", "receipts_old", "instrument_troubled")


class Watch:
    """Used by one thread."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self._seen: dict[tuple[str, str], int] = {}  # at the last look: since when
        self._told: set[tuple[str, str]] = set()
        self._clock: tuple[int, Wall] | None = None

    def look(self, now: Situation, now_ns: int) -> None:
        self._look_at_the_clock(now.wall, now_ns)
        found = {(c.code, c.subject): c.sentence for c in conditions(now) if c.code not in _NOT_TOLD}
        for key, sentence in found.items():
            if key in self._seen and key not in self._told:
                self._diary.begin(*key, sentence, self._seen[key])
                self._told.add(key)
        for key in self._told - found.keys():
            self._diary.end(*key)
        self._told &= found.keys()
        self._seen = {key: self._seen.get(key, now_ns) for key in found}

    def _look_at_the_clock(self, wall: Wall, now_ns: int) -> None:
        before, self._clock = self._clock, (now_ns, wall)
        if before is None:
            return
        was_ns, was = before
        step_s = (wall.ns - was.ns - (now_ns - was_ns)) / 1e9
        if abs(step_s) < STEP_S:
            return
        self._diary.note("clock_stepped", f"By {step_s:+.0f} s.", subject=f"{step_s:+.0f}")
        if was.source == SOURCE_NONE and wall.source != SOURCE_NONE:
            self._diary.clock_moved(round(step_s))
