"""What one message of a GNSS receiver says, whatever its language.

- A message says only what stands in it; `None` is "says nothing". Whether it is believed, see `gnss_epoch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Literal


class Kind(Enum):
    """How a position came about; the first two are fixes."""

    TWO_D = "2D"
    THREE_D = "3D"
    HELD = "time only"
    """The receiver only measures time and repeats a position it was given or surveyed before."""
    ESTIMATED = "estimated"
    """Dead reckoning, entered by hand or simulated: not measured."""


@dataclass(frozen=True, slots=True)
class Message:
    """`moment` names the epoch: messages with the same one belong together; `None` goes with the one before.

    `valid` is a statement about the fix, `utc_ns` counts from 1970, `day` has no time of its own,
    `accuracy_m` is one standard deviation of the horizontal position, `nonsense` says what cannot be.
    """

    source: Literal["nmea", "ubx"]
    name: str
    moment: int | None = None
    valid: bool | None = None
    kind: Kind | None = None
    lat_deg: float | None = None
    lon_deg: float | None = None
    alt_m: float | None = None
    accuracy_m: float | None = None
    hdop: float | None = None
    satellites: int | None = None
    day: date | None = None
    time_of_day_ns: int | None = None
    utc_ns: int | None = None
    utc_error_ns: int | None = None
    nonsense: str | None = None
    ends: bool = False
    """Nothing more comes for this moment."""


NO_TIME = -1  # the moment of sentences with an empty time field
