"""A captured sample: what one instrument gave in one read, calibrated, flagged, with its time.

On disk it is a CBOR array [[[quantity, unit, value] …], flags, raw]; time and names are columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.clock import Wall
from proof import cbor
from proof.reasons import Refused
from proof.senml import Measured

MAX_RECORD_BYTES = 16 * 1024


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
        return cbor.encode([[[m.quantity, m.unit, m.value] for m in self.values], self.flags, self.raw])


@dataclass(frozen=True, slots=True)
class Missed:
    """`count` samples that should exist between two boot times of boot `boot_id` and do not."""

    instrument: str
    boot_id: bytes
    from_ns: int
    to_ns: int
    reason: str
    count: int = 1


def readable(record: bytes) -> bool:
    """Whether `record` is one that `Captured.record` wrote."""
    try:
        from_record(record, "", b"", 0, Wall(0, 0, 0))
    except (Refused, TypeError, ValueError):
        return False
    return True


def from_record(record: bytes, instrument: str, boot_id: bytes, boottime_ns: int, wall: Wall) -> Captured:
    """Raises `Refused`, TypeError or ValueError where `record` is damaged."""
    values: list[Any]
    values, flags, raw = cbor.decode(record, MAX_RECORD_BYTES, "a stored sample")
    return Captured(
        instrument, boot_id, boottime_ns, wall, tuple(Measured(n, u, v) for n, u, v in values), flags, raw
    )
