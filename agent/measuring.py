"""The measuring chain: from what a driver gave to what is signed.

- Values are corrected by certificates (§12), then rounded to the power of ten nearest to the instrument's
  resolution (§3.3), then flagged. What was not measured is left out.
- A sample of which no value could be corrected is no sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.calibration import Calibrator
from agent.clock import Wall
from agent.quality import Inspector
from drivers.contract import Quantity, Sample
from drivers.errors import DropSample
from proof import cbor
from proof.senml import Measured


@dataclass(frozen=True, slots=True)
class Measurement:
    """`problem` is "" or a sentence for what had to be left out."""

    values: tuple[Measured, ...]
    flags: int
    problem: str


class MeasuringChain:
    """Of one instrument."""

    def __init__(self, quantities: Sequence[Quantity], calibrator: Calibrator, inspector: Inspector) -> None:
        self._quantities, self._calibrator, self._inspector = quantities, calibrator, inspector
        self._decimals = [decimals(quantity.resolution) for quantity in quantities]

    def measured(self, sample: Sample, wall: Wall, began_ns: int) -> Measurement:
        """Of a read that began at `wall` and `began_ns`; raises `DropSample`."""
        corrected = self._calibrator.correct(sample.values, wall, began_ns)
        if corrected.problem and all(value is None for value in corrected.values):
            raise DropSample(corrected.problem)
        rounded = [
            None if value is None else cbor.number(value, places)
            for value, places in zip(corrected.values, self._decimals, strict=True)
        ]
        floats = [None if value is None else float(value) for value in rounded]
        values = tuple(
            Measured(quantity.name, quantity.unit, value)
            for quantity, value in zip(self._quantities, rounded, strict=True)
            if value is not None
        )
        flags = sample.flags | corrected.flags | self._inspector.flags(floats, began_ns)
        return Measurement(values, flags, corrected.problem)


def decimals(resolution: float) -> int:
    """Decimal places of the power of ten nearest to `resolution`: 0.18 -> 1, 0.008 -> 2, 5 -> 0."""
    return max(0, round(-math.log10(resolution)))
