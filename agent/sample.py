"""A captured sample: what one instrument gave in one read, calibrated, flagged, with its time.

On disk it is a CBOR array [[[quantity, unit, value] …], flags, raw, sum]; time and names are columns. `sum`
is a CRC-32 of the columns and of the array up to it: SQLite does not notice a bit that flipped on the card,
and what was not measured must not be signed. Records of an earlier version have none. It is packed like a
message (§7.3) where that is shorter: the dictionary knows the names.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from agent.clock import Wall
from proof import cbor, wire
from proof.reasons import Refused
from proof.senml import Measured

MAX_RECORD_BYTES = 16 * 1024
_SUM_BYTES = 4
_ZLIB = b"\x78"


@dataclass(frozen=True, slots=True)
class Captured:
    """`boottime_ns` is when the read began, in boot `boot_id`; `wall` is what the clock said then."""

    instrument: str
    boot_id: bytes
    boottime_ns: int
    wall: Wall
    values: tuple[Measured, ...]
    flags: int = 0
    raw: bytes = b""

    def record(self) -> bytes:
        values = [[m.quantity, m.unit, m.value] for m in self.values]
        body = cbor.encode([values, self.flags, self.raw, bytes(_SUM_BYTES)])[:-_SUM_BYTES]
        return wire.deflate(body + self._sum(body))

    def _sum(self, body: bytes) -> bytes:
        wall = self.wall
        columns = (self.instrument, self.boot_id, self.boottime_ns, wall.ns, wall.source, wall.maxerror_us)
        return zlib.crc32(body, zlib.crc32(repr(columns).encode())).to_bytes(_SUM_BYTES, "big")

    def wrote(self, record: bytes) -> bool:
        """Whether `record`, unpacked, is to the bit what was stored of this sample."""
        body, stored = record[:-_SUM_BYTES], record[-_SUM_BYTES:]
        return self._sum(body) == stored


@dataclass(frozen=True, slots=True)
class Missed:
    """`count` samples that should exist between two boot times of boot `boot_id` and do not."""

    instrument: str
    boot_id: bytes
    from_ns: int
    to_ns: int
    reason: str
    count: int = 1


def readable(record: bytes, instrument: str, boot_id: bytes, boottime_ns: int, wall: Wall) -> bool:
    """Whether `record` is what was stored with these columns."""
    try:
        from_record(record, instrument, boot_id, boottime_ns, wall)
    except (Refused, TypeError, ValueError):
        return False
    return True


def unpacked(record: bytes) -> bytes:
    """The CBOR of a stored record; raises `Refused`."""
    return wire.inflate(record, MAX_RECORD_BYTES) if record[:1] == _ZLIB else record


def from_record(record: bytes, instrument: str, boot_id: bytes, boottime_ns: int, wall: Wall) -> Captured:
    """Raises `Refused`, TypeError or ValueError where `record` or a column is damaged."""
    values: list[Any]
    record = unpacked(record)
    values, flags, raw, *summed = cbor.decode(record, MAX_RECORD_BYTES, "a stored sample")
    measured = tuple(Measured(name, unit, value) for name, unit, value in values)
    sample = Captured(instrument, boot_id, boottime_ns, wall, measured, flags, raw)
    if summed and not sample.wrote(record):
        raise ValueError("it is not what was stored")
    return sample
