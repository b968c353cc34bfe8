"""Mains of a synthetic household: what its meter measures."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

_DAY_S = 86_400.0
_POWER_FACTOR = 0.93


class Mains:
    """A load with a daily and two faster rhythms from `seed`; energy is its integral since `since_s`."""

    def __init__(self, seed: int, since_s: float) -> None:
        rng = random.Random(f"mains {seed}")
        self._since_s = since_s
        self._before_kWh = rng.uniform(100.0, 4_000.0)
        self._mean_W = rng.uniform(250.0, 900.0)
        # Amplitudes add up to less than the mean: the household only takes.
        self._rhythms = [
            (share * self._mean_W, 2 * math.pi / period_s, rng.uniform(0, 2 * math.pi))
            for share, period_s in ((0.45, _DAY_S), (0.25, _DAY_S / 3), (0.2, 1_700.0))
        ]

    def at(self, t_s: float, noise: float) -> Mapping[str, float]:
        """`t_s` in seconds since 1970, `noise` in -1 ... 1."""
        power = self._mean_W + sum(a * math.sin(omega * t_s + phase) for a, omega, phase in self._rhythms)
        voltage = 231.0 - 0.002 * power + 0.8 * noise
        joules = self._mean_W * (t_s - self._since_s) + sum(
            a / omega * (math.cos(omega * self._since_s + phase) - math.cos(omega * t_s + phase))
            for a, omega, phase in self._rhythms
        )
        return {
            "voltage_V": voltage,
            "current_A": power / (voltage * _POWER_FACTOR),
            "power_W": power,
            "energy_kWh": self._before_kWh + joules / 3.6e6,
            "frequency_Hz": 50.0 + 0.02 * noise,
        }
