"""What a day's accepted proofs held, counted as they are committed: no page decodes them again.

- A day is a UTC day of the gateway's clock, the one on which a proof was received: a device's clock may be
  wrong, and what an outage kept back counts when it comes.
- `quality` has a line per instrument for all its readings (code "") and one per flag (§9) that some bore.
- At most MAX_LINES lines a device and day: a member that invents instruments without end fills its proofs,
  not this table.
- What was accepted before these tables were there is not in them. When a day begins those go that no page
  shows: all but the newest DAYS that are there, and of `quality` QUALITY_DAYS. They are counted up to that
  day, not dated: a clock that ran ahead for a moment costs one day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.store import Store
from proof.reasons import QUALITY_REASONS
from proof.senml import Reading

DAY_S = 86_400
DAYS, QUALITY_DAYS = 30, 7
MAX_LINES = 512
_ADD_DAY = (
    "INSERT INTO day VALUES (?, ?, 1, ?) "
    "ON CONFLICT DO UPDATE SET proofs = proofs + 1, readings = readings + excluded.readings"
)
_ADD_LINE = (
    "INSERT INTO quality SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM quality WHERE day = ?1 "
    "AND device = ?2 AND NOT (instrument = ?3 AND code = ?4)) < ?6 "
    "ON CONFLICT DO UPDATE SET readings = readings + excluded.readings"
)
_FORGET = (
    "DELETE FROM {} WHERE day < (SELECT min(day) FROM "
    "(SELECT DISTINCT day FROM day WHERE day < ?1 ORDER BY day DESC LIMIT ?2))"
)


def number(at_s: float) -> int:
    """The day of a moment."""
    return int(at_s // DAY_S)


def lines(readings: Iterable[Reading]) -> Counter[tuple[str, str]]:
    """How many readings there are by (instrument, code)."""
    found: Counter[tuple[str, str]] = Counter()
    for reading in readings:
        found[reading.instrument, ""] += 1
        if reading.flags:
            for bit, reason in QUALITY_REASONS.items():
                if reading.flags & bit:
                    found[reading.instrument, reason.value] += 1
    return found


def add(store: Store, device: int, received_s: float, readings: tuple[Reading, ...]) -> None:
    """One accepted proof of the device in row `device`; inside a transaction."""
    day = number(received_s)
    if store.row("SELECT 1 FROM day WHERE day = ?", (day,)) is None:
        for table, days in (("day", DAYS), ("quality", QUALITY_DAYS)):
            store.run(_FORGET.format(table), (day, days - 1))
    store.run(_ADD_DAY, (day, device, len(readings)))
    for (instrument, code), count in lines(readings).most_common(MAX_LINES):
        store.run(_ADD_LINE, (day, device, instrument, code, count, MAX_LINES))
