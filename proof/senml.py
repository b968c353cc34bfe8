"""The payload: readings as a SenML pack in CBOR (§3.3, RFC 8428).

- One row per reading, in time order: the row's first record moves the base time `bt`, the others
  inherit it, so a time is written once per reading (decision 0002).
- `bn` is the device id and "/"; a name is `<instrument>/<quantity>`.
- Numbers are integers or exact decimal fractions (tag 4); a reader also accepts finite floats.
- `<instrument>/quality` (integer, §9) is written only when not zero, `<instrument>/raw` (`vd`) only
  where raw evidence is on.
- A time below 2^28 s would mean "relative to now" (RFC 8428 §4.5.3) and is never written or accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from proof import cbor
from proof.fields import finite
from proof.reasons import Reason, Refused

MAX_RECORDS = 4096
MAX_BYTES = 256 * 1024
EARLIEST_TIME_MS = 2**28 * 1000
END_OF_TIME_MS = 2**40 * 1000
_BN, _BT, _BU, _BV = -2, -3, -4, -5
_N, _U, _V, _T, _VD = 0, 1, 2, 6, 8
_LABELS = {_BN, _BT, _BU, _BV, _N, _U, _V, _T, _VD}
_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,31})/([a-z0-9][a-z0-9._-]{0,31})")
QUALITY, RAW = "quality", "raw"
_MAX_FLAGS = 0xFFFF
_MAX_RAW_BYTES = 64

# IANA "Sensor Measurement Lists" registry: RFC 8428 §12.1 and the secondary units of RFC 8798 in use here.
UNITS = frozenset(
    "m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s "
    "l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m B "
    "VA VAs var vars J/m kg/m3 deg NTU "
    "ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s mV mA dBm ug/m3 mm/h "
    "m/h ppm /100 /1000 hPa mm cm km km/h ppb".split()
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One quantity's calibrated value, rounded to the instrument's resolution."""

    quantity: str
    unit: str
    value: int | Decimal


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instrument gave in one read. `time_ms` is the row's time as written (§3.5)."""

    instrument: str
    time_ms: int
    values: tuple[Measured, ...]
    flags: int = 0
    raw: bytes = b""

    def records(self) -> int:
        return len(self.values) + (self.flags != 0) + (self.raw != b"")


def encode(device: str, readings: Iterable[Reading]) -> bytes:
    """The pack of `readings`, which come in time order. An empty pack is a heartbeat (§3.7)."""
    records: list[dict[int, Any]] = []
    time_ms = None
    for reading in readings:
        row: list[dict[int, Any]] = [
            {_N: f"{reading.instrument}/{measured.quantity}", _U: measured.unit, _V: measured.value}
            for measured in reading.values
        ]
        if reading.flags:
            row.append({_N: f"{reading.instrument}/{QUALITY}", _V: reading.flags})
        if reading.raw:
            row.append({_N: f"{reading.instrument}/{RAW}", _VD: reading.raw})
        if row and reading.time_ms != time_ms:
            time_ms = reading.time_ms
            row[0][_BT] = cbor.number(time_ms / 1000, 3) if time_ms % 1000 else time_ms // 1000
        records += row
    if records:
        records[0][_BN] = f"{device}/"
    return cbor.encode(records)


def decode(payload: bytes, device: str) -> tuple[Reading, ...]:
    """The readings of a pack (§4.10); raises `Refused` bad_payload or unknown_unit."""
    try:
        records = cbor.decode(payload, MAX_BYTES, "the pack")
    except Refused as refused:
        raise Refused(Reason.BAD_PAYLOAD, refused.verdict.detail) from None
    if not isinstance(records, list | tuple) or len(records) > MAX_RECORDS:
        raise Refused(Reason.BAD_PAYLOAD, f"the pack is not an array of at most {MAX_RECORDS} records")
    return _Reader(f"{device}/").read(records)


@dataclass(slots=True)
class _Row:
    """A reading while its records come in; `values` by quantity."""

    instrument: str
    time_ms: int
    values: dict[str, Measured] = field(default_factory=dict)
    flags: int = 0
    raw: bytes = b""


class _Reader:
    """Resolves base fields (RFC 8428 §4.6) and collects neighbouring records of one read."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._base: dict[int, Any] = {_BN: "", _BT: 0, _BU: None, _BV: 0}
        self._names: dict[str, tuple[str, str]] = {}  # names repeat in every row
        self._rows: list[_Row] = []

    def read(self, records: Iterable[Any]) -> tuple[Reading, ...]:
        for record in records:
            self._record(record)
        return tuple(
            Reading(row.instrument, row.time_ms, tuple(row.values.values()), row.flags, row.raw)
            for row in self._rows
        )

    def _record(self, record: Any) -> None:
        if not isinstance(record, dict) or not record.keys() <= _LABELS or (_V in record) == (_VD in record):
            raise Refused(Reason.BAD_PAYLOAD, "a record is not a map of known labels with one value")
        for label in (_BN, _BT, _BU, _BV):
            if label in record:
                self._base[label] = record[label]
        instrument, quantity = self._name(record)
        time_ms = self._time_ms(record)
        if quantity == RAW and _VD in record:
            raw = record[_VD]
            if not isinstance(raw, bytes) or not 0 < len(raw) <= _MAX_RAW_BYTES:
                raise Refused(Reason.BAD_PAYLOAD, "raw words are not 1 to 64 bytes")
            self._add(instrument, time_ms, raw=raw)
        elif quantity == QUALITY and _V in record:
            flags = record[_V]
            if type(flags) is not int or not 0 < flags <= _MAX_FLAGS:
                raise Refused(Reason.BAD_PAYLOAD, "a quality field is not a bit field")
            self._add(instrument, time_ms, flags=flags)
        elif _V in record:
            self._add(
                instrument, time_ms, measured=Measured(quantity, self._unit(record), self._value(record))
            )
        else:
            raise Refused(Reason.BAD_PAYLOAD, "only raw words are bytes")

    def _name(self, record: dict[int, Any]) -> tuple[str, str]:
        base, name = self._base[_BN], record.get(_N, "")
        if not isinstance(base, str) or not isinstance(name, str):
            raise Refused(Reason.BAD_PAYLOAD, "a name is not a text")
        full = base + name
        if (known := self._names.get(full)) is not None:
            return known
        match = _NAME.fullmatch(full, len(self._prefix)) if full.startswith(self._prefix) else None
        if match is None:
            raise Refused(Reason.BAD_PAYLOAD, f"name {full[-48:]!r} is not <device>/<instrument>/<quantity>")
        self._names[full] = match[1], match[2]
        return self._names[full]

    def _time_ms(self, record: dict[int, Any]) -> int:
        base, offset = self._base[_BT], record.get(_T, 0)
        if type(base) is int and type(offset) is int and offset == 0:
            time_ms = base * 1000
        else:
            time_ms = round((_number(base, "bt") + _number(offset, "t")) * 1000)
        if not EARLIEST_TIME_MS <= time_ms < END_OF_TIME_MS:
            raise Refused(Reason.BAD_PAYLOAD, "a time is relative to now or out of range")
        return time_ms

    def _unit(self, record: dict[int, Any]) -> str:
        unit = record.get(_U, self._base[_BU])
        if not isinstance(unit, str) or unit not in UNITS:
            raise Refused(Reason.UNKNOWN_UNIT, f"unit {str(unit)[:16]!r}")
        return unit

    def _value(self, record: dict[int, Any]) -> int | Decimal:
        value = _number(record[_V], "a value")
        base = self._base[_BV]
        return value if type(base) is int and base == 0 else value + _number(base, "bv")

    def _add(
        self,
        instrument: str,
        time_ms: int,
        *,
        measured: Measured | None = None,
        flags: int = 0,
        raw: bytes = b"",
    ) -> None:
        row = self._rows[-1] if self._rows else None
        if row is None or row.time_ms != time_ms or row.instrument != instrument:
            row = _Row(instrument, time_ms)
            self._rows.append(row)
        elif (measured and measured.quantity in row.values) or (flags and row.flags) or (raw and row.raw):
            raise Refused(Reason.BAD_PAYLOAD, f"a name of {instrument} is written twice for one time")
        if measured:
            row.values[measured.quantity] = measured
        row.flags |= flags
        row.raw = row.raw or raw


def _number(value: Any, what: str) -> int | Decimal:
    """An exact number; floats become the decimal that prints them."""
    if type(value) is int and abs(value) < 2**63:
        return value
    if isinstance(value, int):
        raise Refused(Reason.BAD_PAYLOAD, f"{what} is not a number of less than 64 bits")
    try:
        as_float = finite(value, what)
    except Refused as refused:
        raise Refused(Reason.BAD_PAYLOAD, refused.verdict.detail) from None
    return value if isinstance(value, Decimal) else Decimal(repr(as_float))
