"""What simulated parts measure, by a file: TOML.

    climate = 7                      # seed of the synthetic climate under everything; may be left out
    origin = 2025-06-01T00:00:00Z    # wall time of boot time 0; else the first recorded row's, else 2025

    [[quantity]]                     # a sine and noise
    key = "ph"                       # names as in `worlds.py`
    base = 7.2                       # in the key's unit, as are amplitude and noise (at most so much)
    amplitude = 0.3
    period_s = 86400

    [[values]]                       # a recorded table; paths are relative to this file
    file = "office.csv"
    time = "date"                    # column of ISO times, UTC where they name no zone
    columns = { CO2 = "co2_ppm" }

    [[bytes]]                        # what a real sensor said, for one instrument on a serial line
    instrument = "gps"
    file = "ublox.log"
    line_s = 0.2                     # or bytes_per_s

- Later tables win: climate, then `values`, then `quantity`. A recorded value holds until the next row; a
  blank one, and the time before the first row and after the last, is "not measured here".
- Every file is bounded before it is read; what cannot be understood is refused with one sentence.
"""

from __future__ import annotations

import bisect
import csv
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Le

from agent.errors import FixConfig
from agent.settings import Finite
from drivers.contract import Clock
from hardware_sim import toml_file
from hardware_sim.parts.recorded_serial import RecordedSerial
from hardware_sim.worlds import ClimateWorld

_LIMIT_BYTES = 16 << 20
_STRICT = {"extra": "forbid"}
_KEYS = frozenset(ClimateWorld(0).at(0))
_2025 = datetime(2025, 1, 1, tzinfo=UTC)

Positive = Annotated[float, Gt(0), Le(1e9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """A `[[quantity]]` table."""

    __pydantic_config__ = _STRICT
    key: str
    base: Finite
    amplitude: Finite = 0.0
    period_s: Positive = 86_400.0
    noise: Finite = 0.0

    def __post_init__(self) -> None:
        _require_known(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A `[[values]]` table; `columns` are key by column."""

    __pydantic_config__ = _STRICT
    file: Path
    time: str
    columns: dict[str, str]
    separator: str = ","

    def __post_init__(self) -> None:
        for key in self.columns.values():
            _require_known(key)
        if len(self.separator) != 1:
            raise ValueError("separator is not one character")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A `[[bytes]]` table."""

    __pydantic_config__ = _STRICT
    instrument: str
    file: Path
    bytes_per_s: Positive | None = None
    line_s: Positive | None = None
    repeat: bool = True

    def __post_init__(self) -> None:
        if (self.bytes_per_s is None) == (self.line_s is None):
            raise ValueError("give either bytes_per_s or line_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldFile:
    """The whole file."""

    __pydantic_config__ = _STRICT
    climate: int | None = None
    origin: datetime | None = None
    quantity: tuple[Wave, ...] = ()
    values: tuple[Table, ...] = ()
    bytes: tuple[Recording, ...] = ()


class FileWorld:
    """`origin_ns` is the wall time (1970) of boot time 0; `recordings` are bytes by instrument."""

    def __init__(self, path: Path) -> None:
        """Raises `FixConfig`."""
        file = toml_file.load(WorldFile, path)
        folder = path.parent
        tables = [_Held(table, folder / table.file) for table in file.values]
        starts = [table.times_ns[0] for table in tables]
        origin = (file.origin or _2025).replace(tzinfo=(file.origin or _2025).tzinfo or UTC)
        self.origin_ns = min(starts) if starts and file.origin is None else round(origin.timestamp()) * 10**9
        self.recordings = {r.instrument: _speaker(r, folder / r.file) for r in file.bytes}
        self.name = repr(file)
        self._climate = None if file.climate is None else ClimateWorld(file.climate, self.origin_ns)
        self._tables, self._waves = tables, file.quantity

    def at(self, boottime_ns: int) -> Mapping[str, float]:
        true = dict(self._climate.at(boottime_ns)) if self._climate else {}
        for table in self._tables:
            for key in table.keys:
                true.pop(key, None)
            true.update(table.at(boottime_ns + self.origin_ns))
        for wave in self._waves:
            phase = 2 * math.pi * (boottime_ns / 1e9 % wave.period_s) / wave.period_s
            noise = wave.noise * _chance(wave.key, boottime_ns)
            true[wave.key] = wave.base + wave.amplitude * math.sin(phase) + noise
        return true


class _Held:
    """A recorded table in memory; times are nanoseconds since 1970."""

    def __init__(self, table: Table, path: Path) -> None:
        self.keys = frozenset(table.columns.values())
        rows: list[tuple[int, dict[str, float]]] = []
        lines = csv.DictReader(
            toml_file.bounded(path, _LIMIT_BYTES).decode("utf-8-sig", "replace").splitlines(),
            delimiter=table.separator,
        )
        try:
            if missing := {table.time, *table.columns} - set(lines.fieldnames or ()):
                raise FixConfig(f"{path}, line 1: there is no column {', '.join(sorted(missing))}.")
            for line in lines:
                stamp = datetime.fromisoformat(line[table.time] or "")
                time_ns = round(stamp.replace(tzinfo=stamp.tzinfo or UTC).timestamp()) * 10**9
                cells = {key: (line[column] or "").strip() for column, key in table.columns.items()}
                values = {key: float(cell) for key, cell in cells.items() if cell}
                rows.append((time_ns, {key: value for key, value in values.items() if math.isfinite(value)}))
        except (ValueError, csv.Error) as error:
            raise FixConfig(f"{path}, line {lines.line_num}: {str(error)[:120]}.") from None
        if not rows:
            raise FixConfig(f"{path}: no rows.")
        rows.sort(key=lambda row: row[0])
        self.times_ns = [time_ns for time_ns, _ in rows]
        self._values = [values for _, values in rows]

    def at(self, time_ns: int) -> Mapping[str, float]:
        index = bisect.bisect_right(self.times_ns, time_ns) - 1
        if index < 0 or time_ns > self.times_ns[-1]:
            return {}
        return self._values[index]


def _speaker(recording: Recording, path: Path) -> Callable[[Clock], RecordedSerial]:
    data = toml_file.bounded(path, _LIMIT_BYTES)
    if not data:
        raise FixConfig(f"{path} is empty.")

    def speaker(clock: Clock) -> RecordedSerial:
        return RecordedSerial(
            data, clock, bytes_per_s=recording.bytes_per_s, line_s=recording.line_s, repeat=recording.repeat
        )

    return speaker


def _require_known(key: str) -> None:
    if key not in _KEYS:
        raise ValueError(f"there is no {key[:40]!r} to measure; there are {', '.join(sorted(_KEYS))}")


def _chance(key: str, boottime_ns: int) -> float:
    """-1 ... 1, the same for the same moment."""
    digest = hashlib.blake2b(f"{key} {boottime_ns}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**31 - 1.0
