"""The last 48 hours of every quantity, in memory, for the page: what it shows beside the newest values.

- Buckets of five minutes, wider where there are many quantities: about 2 MB at most. Of each: how many
  readings, their mean, least and greatest, and every flag that one of them had.
- A bucket without a reading is not there. Where one is missing that the interval would have filled, a row of
  nothing says so: a gap is a gap.
- Filled from the samples as they are appended, and once at the start from the journal, newest first, in small
  pieces that are decoded here and not in the journal's thread (`fill`).
- Times are the wall's as stored with the reading. A bucket of another time is replaced by a new reading, by
  one from the journal only if that is later.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from agent.clock import Wall
from agent.journal import Journal, unpacked
from agent.sample import Captured, from_record
from proof import sealing
from proof.reasons import Refused

HOURS = 48
SPAN_S = HOURS * 3600
_WIDTH_S = 300
_SERIES_AT_WIDTH = 100  # of more, each has wider buckets
_AT_ONCE = 4  # proofs
_REST = 2.0  # times as long as a piece took
Caller = Callable[[Callable[[Journal], Any]], Any]
_Reading = tuple[str, float, tuple[tuple[str, str, float], ...], int]


@dataclass(frozen=True, slots=True)
class Told:
    """One instrument: its quantities as (name, unit), and how often it is read."""

    name: str
    interval_s: float
    quantities: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Newest:
    at_s: float
    flags: int
    values: tuple[tuple[str, str, float], ...]


class _Series:
    """A ring of buckets. `numbers` says which bucket stands in a place; -1 for none."""

    __slots__ = ("counts", "flags", "greatest", "least", "numbers", "sums", "unit")

    def __init__(self, unit: str, places: int) -> None:
        self.unit = unit
        self.numbers = array("q", [-1]) * places
        self.counts, self.flags = array("I", [0]) * places, array("H", [0]) * places
        self.sums, self.least, self.greatest = (array("d", [0.0]) * places for _ in range(3))

    def add(self, number: int, value: float, flags: int, *, stored: bool) -> None:
        at = number % len(self.numbers)
        if self.numbers[at] != number:
            if stored and self.numbers[at] > number:
                return
            self.numbers[at], self.counts[at], self.flags[at] = number, 0, 0
            self.sums[at], self.least[at], self.greatest[at] = 0.0, math.inf, -math.inf
        self.counts[at] += 1
        self.flags[at] |= flags & 0xFFFF
        self.sums[at] += value
        self.least[at] = min(self.least[at], value)
        self.greatest[at] = max(self.greatest[at], value)


class History:
    def __init__(self, instruments: Sequence[Told]) -> None:
        total = sum(len(told.quantities) for told in instruments)
        self.width_s = _WIDTH_S * max(1, math.ceil(total / _SERIES_AT_WIDTH))
        places = SPAN_S // self.width_s + 2
        self._lock = threading.Lock()
        self.instruments = {told.name: told for told in instruments}
        self._series = {
            told.name: {name: _Series(unit, places) for name, unit in told.quantities} for told in instruments
        }
        self._newest: dict[str, Newest] = {}
        self._heard_s: dict[str, float] = {}  # the first that was appended: nothing is filled after it
        self._place: tuple[int, int] | None = None  # in the journal: so far it was read
        self.state: Literal["filling", "filled", "failed"] = "filling"
        """Whether what the journal knew is here; "failed" where it does not come at the moment."""

    def append(self, sample: Captured) -> None:
        """A reading that was just taken; from its sampler's thread, which it does not make wait."""
        values = tuple((m.quantity, m.unit, float(m.value)) for m in sample.values)
        self._add(sample.instrument, sample.wall.ns // 10**6 / 1000, values, sample.flags, stored=False)

    def newest(self) -> dict[str, Newest]:
        """By instrument: the newest reading that is known."""
        with self._lock:
            return dict(self._newest)

    def _add(
        self,
        instrument: str,
        at_s: float,
        values: Sequence[tuple[str, str, float]],
        flags: int,
        *,
        stored: bool,
    ) -> None:
        series = self._series.get(instrument)
        if series is None:
            return
        with self._lock:
            known = self._newest.get(instrument)
            if stored and at_s >= self._heard_s.get(instrument, math.inf):
                return
            if not stored and instrument not in self._heard_s:
                self._heard_s[instrument] = at_s
                if known is not None and known.at_s == at_s:  # the journal was quicker
                    return
            if not stored or known is None:  # of what is stored, the newest comes first
                self._newest[instrument] = Newest(at_s, flags, tuple(values))
            for name, unit, value in values:
                found = series.get(name)
                if found is not None and found.unit == unit and at_s >= 0:
                    found.add(int(at_s // self.width_s), value, flags, stored=stored)

    def json_of(self, instrument: str, since_s: float, until_s: float) -> list[str]:
        """A JSON object for each quantity: columns of the buckets between two times, oldest first."""
        return [
            self._columns(self.instruments[instrument], name, series, since_s, until_s)
            for name, series in self._series[instrument].items()
        ]

    def _columns(self, told: Told, name: str, series: _Series, since_s: float, until_s: float) -> str:
        with self._lock:  # what may change is copied; the rest takes its time
            numbers, counts, flags = series.numbers[:], series.counts[:], series.flags[:]
            sums, least, greatest = series.sums[:], series.least[:], series.greatest[:]
        first, last = int(since_s // self.width_s), int(until_s // self.width_s)
        places = sorted(
            (number, at) for at, number in enumerate(numbers) if number >= 0 and first <= number <= last
        )
        columns: tuple[list[str], ...] = ([], [], [], [], [], [])
        before = None
        for number, at in places:
            if before is not None and (number - before) * self.width_s > self._hole_s(told):
                row: tuple[Any, ...] = ((before + 1) * self.width_s, *["null"] * 5)
                for column, cell in zip(columns, row, strict=True):
                    column.append(str(cell))
            mean = sums[at] / counts[at]
            cells = (f"{mean:.7g}", f"{least[at]:.7g}", f"{greatest[at]:.7g}", flags[at], counts[at])
            for column, cell in zip(columns, (number * self.width_s, *cells), strict=True):
                column.append(str(cell))
            before = number
        names = ("t", "mean", "min", "max", "flags", "count")
        listed = ",".join(f'"{n}":[{",".join(c)}]' for n, c in zip(names, columns, strict=True))
        return f'{{"quantity":{json.dumps(name)},"unit":{json.dumps(series.unit)},{listed}}}'

    def _hole_s(self, told: Told) -> float:
        """Two readings farther apart than this have one missing between them."""
        narrow = told.interval_s <= self.width_s / 2
        return 1.5 * self.width_s if narrow else 1.5 * told.interval_s + self.width_s

    def fill(self, read: Caller, now_s: float, stop: threading.Event) -> None:
        """What the journal keeps of the last 48 hours before `now_s`; a proof that cannot be read is passed
        over. Raises `AgentError` where the journal does not answer; called again, it goes on from there."""
        since_s, began_s = now_s - SPAN_S, time.monotonic()

        def rest() -> bool:
            nonlocal began_s
            ended = stop.wait(_REST * (time.monotonic() - began_s))
            began_s = time.monotonic()
            return ended

        if self._place is None:
            samples, self._place = read(_unsealed)
            for row in samples:
                self._take(_of_sample(row), since_s)
            if rest():
                return
        while batch := read(partial(_proofs_before, place=self._place)):
            self.state = "filling"
            for log_id, seq, _, message, proof_hash in batch:
                self._place = (log_id, seq)  # first: nothing is counted twice
                self._take(_of_proof(message, proof_hash, seq) if message else (), since_s)
                if rest():
                    return
            if all(last_s < since_s for _, _, last_s, _, _ in batch):
                break
        self.state = "filled"

    def _take(self, readings: Iterable[_Reading], since_s: float) -> None:
        for instrument, at_s, values, flags in readings:
            if since_s <= at_s:
                self._add(instrument, at_s, values, flags, stored=True)


def _unsealed(journal: Journal) -> tuple[list[tuple[Any, ...]], tuple[int, int]]:
    """Rows of samples without a proof, and the place after the newest proof."""
    rows = journal.execute(
        "SELECT instrument, boot_id, boottime_ns, wall_ns, source, maxerror_us, record FROM samples "
        "ORDER BY id DESC LIMIT 1000"
    ).fetchall()
    log = journal.open_log()
    return rows, (log.id, log.seq + 1) if log else (0, 0)


def _proofs_before(journal: Journal, place: tuple[int, int]) -> list[tuple[Any, ...]]:
    return journal.execute(
        "SELECT log_id, seq, last_s, data, hash FROM proofs WHERE (log_id, seq) < (?, ?) "
        "ORDER BY log_id DESC, seq DESC LIMIT ?",
        (*place, _AT_ONCE),
    ).fetchall()


def _of_sample(row: tuple[Any, ...]) -> Iterator[_Reading]:
    name, boot_id, boottime_ns, wall_ns, source, maxerror_us, record = row
    try:
        sample = from_record(record, name, boot_id, boottime_ns, Wall(wall_ns, source, maxerror_us))
    except (Refused, TypeError, ValueError):  # the sealer will say so
        return
    values = tuple((m.quantity, m.unit, float(m.value)) for m in sample.values)
    yield name, wall_ns // 10**6 / 1000, values, sample.flags


def _of_proof(message: bytes, proof_hash: bytes, seq: int) -> list[_Reading]:
    try:
        readings = sealing.parse(unpacked(message, proof_hash, seq)).readings()
    except (Refused, sqlite3.Error):  # the journal will say so when it is asked for it
        return []
    return [
        (
            reading.instrument,
            reading.time_ms / 1000,
            tuple((m.quantity, m.unit, float(m.value)) for m in reading.values),
            reading.flags,
        )
        for reading in reversed(readings)
    ]
