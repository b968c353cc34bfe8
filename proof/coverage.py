"""How complete an instrument's readings are: how much of the time they cover, and what its holes are.

- The usual distance between two readings is the median of what is here: nothing signed says how often an
  instrument is read. A hole is a distance of more than 2.5 times that.
- A hole is what the device said it is: samples it declared lost (at least half of what is missing), proofs it
  gave up, a new log, or another boot between its two sides. What is left is unexplained.
- Times are as signed. Where a clock had no source, another proof of the same boot whose clock had one dates
  the readings (§3.5); else they are undated and count as they stand.
- Eight bytes a reading are kept until the end, and the losses.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from proof.claims import Claims, Lost
from proof.finding import Coverage, Hole, Why
from proof.reasons import QUALITY_REASONS
from proof.senml import EARLIEST_TIME_MS, END_OF_TIME_MS, Reading

_HOLE = 2.5
_ENOUGH = 0.5  # of a hole's missing readings
_ANY_INSTRUMENT = "*"


@dataclass(frozen=True, slots=True)
class _Undated:
    """The readings `first` to `end` of an instrument, whose proof puts the start of `boot` at `offset_ms`."""

    first: int
    end: int
    boot: bytes
    offset_ms: int


@dataclass(slots=True)
class _Track:
    """One instrument; `joints` say what lies before the reading of that number."""

    times: array[int] = field(default_factory=lambda: array("q"))
    flags: Counter[int] = field(default_factory=Counter)
    joints: dict[int, Why] = field(default_factory=dict)
    undated: list[_Undated] = field(default_factory=list)


class Watcher:
    """Takes the proofs of a bundle in their order."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._offsets: dict[bytes, int] = {}  # boot -> wall time minus boot time, where a clock had a source
        self._losses: list[tuple[bytes, int, Lost]] = []  # boot, offset as signed
        self._before: Claims | None = None

    def take(self, claims: Claims, readings: tuple[Reading, ...] | None) -> None:
        """None where they cannot be read: nobody knows then of which moment the clock spoke (§3.5)."""
        self._join(claims)
        if readings is None:
            return
        at_ms = readings[0].time_ms if readings else claims.sealed_at_s * 1000
        offset_ms = at_ms - claims.time.boottime_ns // 10**6
        if claims.time.source and _in_time(at_ms):
            self._offsets.setdefault(claims.bootseed, offset_ms)
        dated = (lost for lost in claims.lost if lost.to_boottime_ns)  # else nobody knows when (§5.3)
        self._losses += [(claims.bootseed, offset_ms, lost) for lost in dated]
        firsts = {reading.instrument: -1 for reading in readings}
        for reading in readings:
            track = self._tracks.setdefault(reading.instrument, _Track())
            if firsts[reading.instrument] < 0:
                firsts[reading.instrument] = len(track.times)
            track.times.append(reading.time_ms)
            track.flags.update(bit for bit in QUALITY_REASONS if reading.flags & bit)
        if not claims.time.source:
            for name, first in firsts.items():
                track = self._tracks[name]
                track.undated.append(_Undated(first, len(track.times), claims.bootseed, offset_ms))

    def coverage(self) -> Iterator[Coverage]:
        losses = sorted(self._dated_losses(), key=lambda pair: pair[0])
        for name in sorted(self._tracks):
            yield _coverage(name, self._tracks[name], self._date(self._tracks[name]), losses)

    def _join(self, claims: Claims) -> None:
        before, self._before = self._before, claims
        if before is None:
            return
        if claims.log != before.log:
            why = Why.NEW_LOG
        elif claims.seq != before.seq + 1:
            why = Why.GAP
        elif claims.bootseed != before.bootseed:
            why = Why.OFF
        else:
            return
        for track in self._tracks.values():
            if track.joints.get(len(track.times)) is not Why.GAP:  # it weighs more than a boot
                track.joints[len(track.times)] = why

    def _date(self, track: _Track) -> int:
        """Date what another proof of its boot dates; how many readings none does. Where the two contradict
        each other so much that a reading had no time (§3.5), none is dated."""
        left = 0
        for part in track.undated:
            known_ms = self._offsets.get(part.boot)
            moved_ms = None if known_ms is None else known_ms - part.offset_ms
            times = track.times[part.first : part.end]
            if moved_ms is None or not _in_time(min(times) + moved_ms, max(times) + moved_ms):
                left += len(times)
                continue
            for number in range(part.first, part.end):
                track.times[number] += moved_ms
        track.undated.clear()
        return left

    def _dated_losses(self) -> Iterator[tuple[int, Lost]]:
        for boot, offset_ms, lost in self._losses:
            yield lost.from_boottime_ns // 10**6 + self._offsets.get(boot, offset_ms), lost


def _coverage(name: str, track: _Track, undated: int, losses: list[tuple[int, Lost]]) -> Coverage:
    times = track.times
    first_ms, last_ms = min(times), max(times)
    interval_ms = _median(later - before for before, later in pairwise(times))
    ours = [(at_ms, lost.count) for at_ms, lost in losses if lost.instrument in (name, _ANY_INSTRUMENT)]
    holes = tuple(_holes(track, interval_ms, ours))
    missing_ms = sum(hole.to_ms - hole.from_ms - interval_ms for hole in holes)
    span_ms = last_ms - first_ms
    return Coverage(
        instrument=name,
        readings=len(times),
        first_ms=first_ms,
        last_ms=last_ms,
        interval_ms=interval_ms,
        covered=max(0.0, 1 - missing_ms / span_ms) if span_ms else 1.0,
        holes=holes,
        flags=tuple((QUALITY_REASONS[bit].value, count) for bit, count in sorted(track.flags.items())),
        undated=undated,
    )


def _holes(track: _Track, interval_ms: int, losses: list[tuple[int, int]]) -> Iterator[Hole]:
    for number in range(1, len(track.times)):
        from_ms, to_ms = track.times[number - 1], track.times[number]
        if interval_ms and to_ms - from_ms > _HOLE * interval_ms:
            first, end = bisect_left(losses, from_ms, key=_when), bisect_right(losses, to_ms, key=_when)
            lost = sum(count for _, count in losses[first:end])
            if lost >= _ENOUGH * ((to_ms - from_ms) / interval_ms - 1):
                yield Hole(from_ms, to_ms, Why.LOSS)
            else:
                yield Hole(from_ms, to_ms, track.joints.get(number, Why.UNEXPLAINED))


def _in_time(*times_ms: int) -> bool:
    return all(EARLIEST_TIME_MS <= time_ms < END_OF_TIME_MS for time_ms in times_ms)


def _when(loss: tuple[int, int]) -> int:
    return loss[0]


def _median(distances: Iterable[int]) -> int:
    """Of those that go forward; 0 where there are none. A bundle may hold millions, of few different ones."""
    counts = Counter(distance for distance in distances if distance > 0)
    rest = (sum(counts.values()) + 1) // 2
    for distance, count in sorted(counts.items()):
        rest -= count
        if rest <= 0:
            return distance
    return 0
