"""The fit of a co-location: coefficients with standard errors, and residuals of the very arithmetic of §12.2.

- `linear` and `polynomial` are ordinary least squares of the reference on the device's values: the device's
  own noise biases the gain towards 0 by the ratio of its variance to the variance of what was measured.
- `humidity-corrected-pm` takes the published coefficients; the co-location only tells how far they are off.
- Standard errors take the residuals as independent. Those of neighbouring minutes are not: the errors are
  then larger than they say.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import FixConfig, HardStop
from proof import calibration
from proof.calibration import (
    BARKJOHN_2021,
    HUMIDITY_CORRECTED_PM,
    LINEAR,
    MAX_DEGREE,
    POLYNOMIAL,
    Certificate,
    Model,
)
from provisioning.colocation import Pair

FEWEST_POINTS = 20


@dataclass(frozen=True, slots=True)
class Fit:
    """`uncertainty` is the standard uncertainty of a corrected value; all but `r_squared` in the unit."""

    points: int
    coefficients: tuple[float, ...]
    standard_errors: tuple[float, ...]
    rmse: float
    largest_residual: float
    residual_std: float
    r_squared: float
    uncertainty: float
    low: float
    high: float


def parse_model(text: str) -> tuple[Model, int]:
    """(model, degree) of `linear`, `polynomial:N` or `humidity-corrected-pm`; raises `FixConfig`."""
    name, _, degree = text.partition(":")
    if text == LINEAR:
        return LINEAR, 1
    if text == HUMIDITY_CORRECTED_PM:
        return HUMIDITY_CORRECTED_PM, 0
    if name == POLYNOMIAL and degree in map(str, range(1, MAX_DEGREE + 1)):
        return POLYNOMIAL, int(degree)
    raise FixConfig(
        f"--model: {text[:40]!r} is none of linear, polynomial:1 to polynomial:{MAX_DEGREE}, "
        f"{HUMIDITY_CORRECTED_PM}."
    )


def fit(pairs: Sequence[Pair], model: Model, degree: int, reference_uncertainty: float) -> Fit:
    """Raises `HardStop` for pairs that cannot carry the model."""
    if len(pairs) < FEWEST_POINTS:
        raise HardStop(
            f"Only {len(pairs)} values of reference and device are near each other in time, {FEWEST_POINTS} "
            "are needed. Do the clocks agree, in the same time zone? A wider --tolerance-s may help."
        )
    low, high = min(pair.device for pair in pairs), max(pair.device for pair in pairs)
    coefficients: tuple[float, ...] = BARKJOHN_2021
    errors: tuple[float, ...] = ()
    if model != HUMIDITY_CORRECTED_PM:
        coefficients, errors = _least_squares(pairs, degree)
    if low == high:
        raise HardStop(f"The device always gave {low:g}: nothing can be fitted to one value.")
    residuals = residuals_of(pairs, model, coefficients)
    squares = math.fsum(residual**2 for residual in residuals)
    mean = math.fsum(pair.reference for pair in pairs) / len(pairs)
    spread = math.fsum((pair.reference - mean) ** 2 for pair in pairs)
    std = math.sqrt(squares / (len(pairs) - len(errors)))
    return Fit(
        points=len(pairs),
        coefficients=coefficients,
        standard_errors=errors,
        rmse=math.sqrt(squares / len(pairs)),
        largest_residual=max(map(abs, residuals)),
        residual_std=std,
        r_squared=1 - squares / spread if spread else 0.0,
        uncertainty=math.hypot(reference_uncertainty, std),
        low=low,
        high=high,
    )


def residuals_of(pairs: Sequence[Pair], model: Model, coefficients: tuple[float, ...]) -> list[float]:
    """Reference minus corrected value, as the device will correct it; raises `HardStop`."""
    shape = Certificate("", "", "x", "", "", model, coefficients, "", 1.0, 0.0, 1.0, 0)
    corrected = [calibration.apply(shape, pair.device, pair.humidity) for pair in pairs]
    found = [p.reference - value for p, value in zip(pairs, corrected, strict=True) if value is not None]
    if len(found) != len(pairs):
        raise HardStop("Some values cannot be corrected with these coefficients: take a simpler model.")
    return found


def _least_squares(pairs: Sequence[Pair], degree: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(coefficients, standard errors), constant first."""
    try:
        import numpy
    except ImportError:
        raise HardStop("The fit needs numpy: install the extra `calibrate` of fieldproof.") from None
    device, reference = ([pair.device for pair in pairs], [pair.reference for pair in pairs])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            coefficients, covariance = numpy.polyfit(device, reference, degree, cov=True)
    except (numpy.exceptions.RankWarning, RuntimeWarning, ValueError, numpy.linalg.LinAlgError):
        raise HardStop(
            f"The device's values do not differ enough for a polynomial of degree {degree}: take a simpler "
            "model, or record for longer."
        ) from None
    errors = numpy.sqrt(numpy.diag(covariance))
    return tuple(coefficients[::-1].tolist()), tuple(errors[::-1].tolist())
