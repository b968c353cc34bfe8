"""Recorded days of real stations as a world.

File: Sensor.Community day file, `;` between columns, a header line, ISO timestamps in UTC.

- Every file is bounded in size before it is read. A row that cannot be understood refuses the file with one
  sentence that names file and line; a blank, `nan` or impossible value (-999, 999.9 …) is "no value".
- Rows are sorted by time. Of rows with the same time the last in the file counts.
- The nominal interval is the lower decile of the intervals: a lossy day's median is several times too long.
- A row holds from its time on for 0.9 nominal intervals; then the station is off until the next row.
"""

from __future__ import annotations

import bisect
import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

_LIMIT_BYTES = 16 << 20
_HOLD, _HOLE = 0.9, 2.5  # in nominal intervals
_BOOT_S = 60  # the node boots this long before the first row
_ONLY_ROW_S = 150  # Sensor.Community's usual interval, for a recording of one row

# Column: (our name, least, most possible value): ranges of BME280 and SDS011.
_COLUMNS = {
    "temperature": ("temperature_degC", -40.0, 85.0),
    "pressure": ("pressure_Pa", 30_000.0, 110_000.0),
    "humidity": ("humidity_pctRH", 0.0, 100.0),
    "P1": ("pm10_ugm3", 0.0, 1999.9),
    "P2": ("pm2p5_ugm3", 0.0, 999.9),
}


class RecordingError(Exception):
    """A recording that cannot be used; the sentence says which file, which line and what is wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded reading; `t_s` is seconds since 1970, None is "no value"."""

    t_s: int
    temperature_degC: float | None = None
    pressure_Pa: float | None = None
    humidity_pctRH: float | None = None
    pm10_ugm3: float | None = None
    pm2p5_ugm3: float | None = None

    def values(self) -> dict[str, float]:
        """What was recorded, by name."""
        named = ((name, getattr(self, name)) for name, _, _ in _COLUMNS.values())
        return {name: value for name, value in named if value is not None}


class ReplayWorld:
    """`rows` in order of time; `origin_ns` is the wall time (1970) of boot time 0."""

    def __init__(self, rows: tuple[Row, ...], origin_ns: int) -> None:
        self.rows = rows
        self.origin_ns = origin_ns
        intervals = sorted(later.t_s - earlier.t_s for earlier, later in pairwise(rows))
        self.nominal_s = intervals[len(intervals) // 10] if intervals else _ONLY_ROW_S
        self._times_ns = [row.t_s * 10**9 - origin_ns for row in rows]
        self._values = [row.values() for row in rows]

    @classmethod
    def from_csv(cls, *paths: Path, origin_ns: int | None = None) -> ReplayWorld:
        """The recording in these files, in any order. Raises `RecordingError`."""
        by_time = {row.t_s: row for path in paths for row in _read(path)}
        rows = tuple(by_time[t_s] for t_s in sorted(by_time))
        if not rows:
            raise RecordingError(f"{', '.join(str(path) for path in paths)}: no rows.")
        return cls(rows, (rows[0].t_s - _BOOT_S) * 10**9 if origin_ns is None else origin_ns)

    def at(self, boottime_ns: int) -> Mapping[str, float] | None:
        index = bisect.bisect_right(self._times_ns, boottime_ns) - 1
        if index < 0 or boottime_ns - self._times_ns[index] > self.nominal_s * _HOLD * 1e9:
            return None
        return self._values[index] or None

    def instants(self) -> list[int]:
        """Boot times at which to read: every row's, and the nominal beat through holes (`at` is None)."""
        beat_ns = self.nominal_s * 10**9
        instants: list[int] = []
        for time_ns in self._times_ns:
            if instants and time_ns - instants[-1] > _HOLE * beat_ns:
                instants += range(instants[-1] + beat_ns, time_ns - beat_ns // 2, beat_ns)
            instants.append(time_ns)
        return instants


def _read(path: Path) -> list[Row]:
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise RecordingError(f"{path}: larger than {_LIMIT_BYTES >> 20} MiB, which is no day file.")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}).") from error
    rows = csv.reader(lines, delimiter=";")
    try:
        header = next(rows, [])
        if "timestamp" not in header or not _COLUMNS.keys() & set(header):
            raise RecordingError(
                f"{path}, line 1: expected columns timestamp and one of {', '.join(_COLUMNS)}."
            )
        return [_row(header, cells, f"{path}, line {rows.line_num}") for cells in rows if cells]
    except csv.Error as error:
        raise RecordingError(f"{path}, line {rows.line_num}: {error}.") from error


def _row(header: list[str], cells: list[str], where: str) -> Row:
    if len(cells) != len(header):
        raise RecordingError(f"{where}: {len(cells)} columns, expected {len(header)}.")
    named = dict(zip(header, cells, strict=True))
    try:
        stamp = datetime.fromisoformat(named["timestamp"])
    except ValueError as error:
        raise RecordingError(f"{where}: {named['timestamp'][:40]!r} is no ISO time.") from error
    t_s = round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp())
    known = _COLUMNS.keys() & named.keys()
    return Row(t_s, **{_COLUMNS[column][0]: _value(column, named[column], where) for column in known})


def _value(column: str, cell: str, where: str) -> float | None:
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError as error:
        raise RecordingError(f"{where}: {column} is {cell[:40]!r}, expected a number or nothing.") from error
    _, least, most = _COLUMNS[column]
    return value if math.isfinite(value) and least <= value <= most else None
