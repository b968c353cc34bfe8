"""A recorded office: CO2, temperature and humidity once a minute, as a world.

Reference: UCI "Occupancy Detection" data set (Candanedo and Feldheim, 2016).

- A moment has the values of the newest row not younger than it: nothing is interpolated.
- Before the first row the office has no power; after the last row it stays as it was.
"""

from __future__ import annotations

import bisect
import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

_COLUMNS = {"Temperature": "temperature_degC", "Humidity": "humidity_pctRH", "CO2": "co2_ppm"}


class OfficeWorld:
    """Boot time 0 is the first row's time, `origin_ns`."""

    def __init__(self, path: Path) -> None:
        with path.open(newline="") as opened:
            header, *lines = csv.reader(opened)
        # The header names no column for the row numbers that every line begins with.
        rows = [dict(zip(header, line[1:], strict=True)) for line in lines]
        times_ns = [round(_utc(row["date"]).timestamp()) * 10**9 for row in rows]
        self.origin_ns = times_ns[0]
        self.instants_ns = [ns - self.origin_ns for ns in times_ns]
        self._values = [{name: float(row[c]) for c, name in _COLUMNS.items()} for row in rows]

    def at(self, boottime_ns: int) -> Mapping[str, float] | None:
        index = bisect.bisect_right(self.instants_ns, boottime_ns) - 1
        return self._values[index] if index >= 0 else None


def _utc(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
