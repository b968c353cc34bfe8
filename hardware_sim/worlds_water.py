"""A stream beside the synthetic station, and the radiation of its ground and rain."""

from __future__ import annotations

import math


def water(day: float, air_degC: float, front: float, noise: float) -> dict[str, float]:
    """`day` is the phase of the day (2 pi is one), `front` and `noise` are -1 ... 1.

    Plants take CO2 and give oxygen by day: pH and oxygen are highest at 16 h. Rain thins the salts.
    Saturation of oxygen in fresh water: Weiss (1970) to within 1 %, as 468 / (31.6 + t).
    """
    light = math.cos(day - 2 * math.pi * 16 / 24)
    water_degC = max(0.3, 0.6 * air_degC + 3.5)
    return {
        "water_degC": water_degC + 0.002 * noise,
        "ph": 7.7 + 0.25 * light + 0.002 * noise,
        "conductivity_uScm": 480.0 * math.exp(0.25 * front) + 0.3 * noise,
        "do_mgL": 468.0 / (31.6 + water_degC) * (0.95 + 0.06 * light) + 0.01 * noise,
    }


def counts_per_minute(front: float) -> float:
    """Mean of a small tube at the ground; a front (`front` below 0) washes radon's daughters down."""
    return 18.0 * (1.0 + 0.4 * max(0.0, -front))
