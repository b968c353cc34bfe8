"""Co-location: the same air, measured by a reference and by the device at the same time.

- A CSV file has a header with `time` and the columns asked for, separated by commas; others are passed over.
  A time is ISO 8601 (UTC unless it says otherwise) or seconds since 1970. An empty cell is a hole; anything
  else that is no number is refused with its line.
- A bundle (§11) gives the device's values as it signed them: only those that no certificate had corrected,
  of the instrument as its last descriptor shows it, not flagged frozen, warming up, clamped or cross-check.
- Each reference value meets the device value nearest in time, within the tolerance; each value is used once.
"""

from __future__ import annotations

import bisect
import csv
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import HardStop
from drivers.contract import Flag, Identity
from proof import bundle
from proof.descriptor import Descriptor, InstrumentDescriptor
from proof.reasons import Refused

MAX_BYTES = 64 * 1024 * 1024
_VOID = Flag.FROZEN | Flag.WARMING_UP | Flag.CLAMPED | Flag.CROSS_CHECK


class FixRecording(HardStop):
    """A recording of the co-location cannot be used; the sentence names file and line."""


@dataclass(frozen=True, slots=True)
class Moment:
    """`values` in the order of the columns asked for."""

    time_s: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """`device` before correction and `reference` at one time, in the quantity's unit; humidity in %RH."""

    device: float
    reference: float
    humidity: float | None = None


def read_csv(path: Path, columns: Sequence[str]) -> list[Moment]:
    """In time order, rows with holes left out; raises `FixRecording`."""
    try:
        text = _bytes(path).decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text), strict=True)
        header = [name.strip() for name in next(rows, [])]
        if missing := [name for name in ("time", *columns) if name not in header]:
            raise FixRecording(
                f"{path}: the first line names no column {', '.join(missing)}; it must hold time,"
                f"{','.join(columns)}, separated by commas."
            )
        places = [header.index(name) for name in columns]
        moments = []
        for row in filter(None, rows):
            where = f"{path}, line {rows.line_num}"
            if len(row) != len(header):
                raise FixRecording(f"{where}: {len(row)} cells instead of {len(header)}.")
            cells = [row[place].strip() for place in places]
            if all(cells):
                time_s = _time_s(row[header.index("time")].strip(), where)
                moments.append(Moment(time_s, tuple(_number(cell, where) for cell in cells)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FixRecording(f"{path} is not CSV in UTF-8: {str(error)[:120]}.") from None
    return sorted(moments, key=lambda moment: moment.time_s)


def read_bundle(
    path: Path, gateway_keys: Collection[bytes], name: str, quantity: str
) -> tuple[Identity, list[Moment]]:
    """Who instrument `name` is, and its uncorrected values; raises `FixRecording`."""
    data = _bytes(path)
    try:
        bundle.examine(data, gateway_keys)
    except Refused as refused:
        raise FixRecording(f"The bundle {path} is not good: {refused.verdict}") from None
    known: dict[bytes, Descriptor] = {}
    found: list[tuple[InstrumentDescriptor, Moment]] = []
    instrument: InstrumentDescriptor | None = None
    for proof in bundle.proofs(data):
        claims = proof.claims
        if claims.descriptor:
            known[claims.descriptor_hash] = claims.descriptor
        descriptor = known.get(claims.descriptor_hash)
        instrument = next((i for i in descriptor.instruments if i.name == name), None) if descriptor else None
        if instrument is None:
            continue
        found += [
            (instrument, Moment(reading.time_ms / 1000, (float(measured.value),)))
            for reading in proof.readings()
            if reading.instrument == name and not reading.flags & _VOID
            for measured in reading.values
            if measured.quantity == quantity
        ]
    if instrument is None:
        raise FixRecording(
            f"The bundle {path} does not say what its last proof knows of {name}: is that its name? If so, "
            "export again, from before the agent's last start."
        )
    if instrument.calibration_hash is not None:
        raise FixRecording(
            f"{path}: the values of {name} are corrected by a certificate already. Take `calibration` out of "
            "the configuration, restart the agent, and record the co-location without."
        )
    moments = [moment for of, moment in found if of == instrument]
    return Identity(instrument.model, instrument.serial, instrument.serial_kind), sorted(
        moments, key=lambda moment: moment.time_s
    )


def join(reference: Sequence[Moment], device: Sequence[Moment], tolerance_s: float) -> list[Pair]:
    """Both in time order; pairs in the order of the device's values."""
    times = [moment.time_s for moment in device]
    nearest: dict[int, tuple[float, float]] = {}
    for moment in reference:
        right = bisect.bisect_left(times, moment.time_s)
        away_s, place = min(
            ((abs(times[n] - moment.time_s), n) for n in (right - 1, right) if 0 <= n < len(times)),
            default=(math.inf, 0),
        )
        if away_s <= tolerance_s and away_s < nearest.get(place, (math.inf, 0.0))[0]:
            nearest[place] = (away_s, moment.values[0])
    return [
        Pair(device[place].values[0], value, *device[place].values[1:])
        for place, (_, value) in sorted(nearest.items())
    ]


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FixRecording(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_BYTES:
        raise FixRecording(f"{path} has more than {MAX_BYTES} bytes: is it the right file?")
    return data


def _number(cell: str, where: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not abs(number) <= 1e9:
        raise FixRecording(f"{where}: {cell[:40]!r} is not a number that an instrument gives.")
    return number


def _time_s(cell: str, where: str) -> float:
    try:
        if len(cell) <= 20 and cell.replace(".", "", 1).isdecimal():
            return float(cell)
        moment = datetime.fromisoformat(cell)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise FixRecording(
            f"{where}: {cell[:40]!r} is not a time like 2026-07-09T12:00:00 or seconds since 1970."
        ) from None
