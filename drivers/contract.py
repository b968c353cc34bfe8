"""What an instrument is to the rest of the node.

- An instrument names its quantities once; a sample's values are aligned with them.
- `None` is "not measured"; a driver never invents, repeats or interpolates a value.
- Units are those of the SenML registry (RFC 8428 §12.1), uncertainties standard ones (GUM 2.3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol


class Clock(Protocol):
    """What a driver needs of time; `agent.clock.Clock` satisfies it."""

    def boottime_ns(self) -> int: ...
    def wait(self, seconds: float) -> None: ...

    def wait_readable(self, fd: int, seconds: float) -> bool:
        """True as soon as `fd` can be read, False after `seconds` without."""


class Flag(IntFlag):
    """Quality flags of one sample, protocol §9."""

    RANGE = 1
    JUMP = 2
    FROZEN = 4
    WARMING_UP = 8
    RETRIED = 16
    CLAMPED = 32
    CALIBRATION_EXPIRED = 64
    CROSS_CHECK = 128
    LATE = 256
    REOPENED = 512


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing an instrument measures; all numbers in `unit`."""

    name: str
    unit: str
    resolution: float
    uncertainty: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Which specimen this is. `kind` says what `serial` is: "serial" or "trim-sha256"."""

    model: str
    serial: str
    kind: str
    evidence: bytes = b""
    """What a verifier needs besides `Sample.raw` to recompute the values."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one read gave. `flags` holds only what the driver itself knows."""

    values: tuple[float | None, ...]
    raw: bytes = b""
    flags: int = 0


class Instrument(Protocol):
    """One open instrument, used by one thread at a time. Every method raises only `DriverError`."""

    @property
    def quantities(self) -> tuple[Quantity, ...]: ...

    def open(self) -> Identity:
        """Find, check and set up the instrument. May be called again after any error."""

    def read(self, deadline_s: float) -> Sample:
        """One measurement, or an error, not later than `deadline_s` seconds from now."""

    def close(self) -> None:
        """Let go. Never raises, may be called twice."""
