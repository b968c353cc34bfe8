"""The plot of a fit: reference against device, and what the correction leaves over."""

from __future__ import annotations

import io
from collections.abc import Sequence

from agent.errors import HardStop
from proof.calibration import Certificate
from provisioning.colocation import Pair
from provisioning.fitting import Fit, residuals_of


def png(pairs: Sequence[Pair], certificate: Certificate, fit: Fit) -> bytes:
    """Raises `HardStop` where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # no pyplot: no window, no global state
    except ImportError:
        raise HardStop("--plot needs matplotlib: install the extra `calibrate` of fieldproof.") from None
    ordered = sorted(pairs, key=lambda pair: pair.device)
    device = [pair.device for pair in ordered]
    reference = [pair.reference for pair in ordered]
    residuals = residuals_of(ordered, certificate.model, certificate.coefficients)
    figure = Figure(figsize=(7, 7), dpi=120, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    above.plot(device, reference, ".", color="0.6", markersize=3, label=f"{fit.points} pairs")
    corrected = [value - residual for value, residual in zip(reference, residuals, strict=True)]
    style = "." if certificate.needs_humidity else "-"  # with humidity it is no function of the device alone
    above.plot(device, corrected, style, markersize=2, label=f"{certificate.model}, R² = {fit.r_squared:.4f}")
    above.set_ylabel(f"reference ({certificate.unit})")
    above.set_title(f"{certificate.instrument_model} {certificate.serial}: {certificate.quantity}")
    above.legend()
    below.plot(device, residuals, ".", color="0.6", markersize=3)
    below.axhline(0.0, color="C0", linewidth=1)
    label = f"± {fit.uncertainty:.2g} {certificate.unit}, standard uncertainty"
    below.axhline(fit.uncertainty, color="C0", linewidth=1, linestyle="--", label=label)
    below.axhline(-fit.uncertainty, color="C0", linewidth=1, linestyle="--")
    below.legend()
    below.set_ylabel(f"residual ({certificate.unit})")
    below.set_xlabel(f"device before correction ({certificate.unit})")
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()
