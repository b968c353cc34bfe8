"""Where true values come from: a seeded synthetic climate. Recorded days are in `replay.py`.

- A world is a pure function of boot time: `at(boottime_ns)` gives true values by name, or None: no power.
- Names carry units: `temperature_degC`, `pressure_Pa`, `humidity_pctRH`.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping

from hardware_sim.worlds_mains import Mains
from hardware_sim.worlds_particles import particles
from hardware_sim.worlds_place import place
from hardware_sim.worlds_water import counts_per_minute, water

_DAY_S = 86_400.0
_STANDARD_PRESSURE_PA = 101_325.0


class ClimateWorld:
    """A temperate outdoor station: days, weather fronts and noise from `seed`.

    Humidity follows from the dew point, which changes with the fronts only, so it falls as the day warms.
    `origin_ns` is the wall time (1970) of boot time 0 and sets the phase of the day.
    """

    def __init__(self, seed: int, origin_ns: int = 0) -> None:
        self.origin_ns = origin_ns
        self._seed = seed
        self._place = place(seed)
        self._mains = Mains(seed, origin_ns / 1e9)
        rng = random.Random(seed)
        self._mean_degC = rng.uniform(8.0, 16.0)
        self._swing_degC = rng.uniform(3.0, 7.0)
        # Fronts: a few sines of 1.5 to 9 days with amplitudes that add up to at most 1.
        self._fronts = [
            (amplitude, 2 * math.pi / (rng.uniform(1.5, 9.0) * _DAY_S), rng.uniform(0, 2 * math.pi))
            for amplitude in (0.5, 0.3, 0.2)
        ]

    def at(self, boottime_ns: int) -> Mapping[str, float]:
        t_s = (boottime_ns + self.origin_ns) / 1e9
        front = sum(a * math.sin(omega * t_s + phase) for a, omega, phase in self._fronts)
        day = 2 * math.pi * t_s / _DAY_S
        noise = self._noise(boottime_ns)
        # Warmest at 15 h, coldest at 3 h; the surface pressure tide peaks at 10 h and 22 h (about 100 Pa).
        temperature = self._mean_degC + 4.0 * front - self._swing_degC * math.cos(day - math.pi / 4)
        temperature += 0.03 * noise[0]
        dew_point = self._mean_degC - self._swing_degC - 1.0 + 3.0 * front
        pressure = (
            _STANDARD_PRESSURE_PA - 1_800.0 * front + 100.0 * math.cos(2 * (day - 2 * math.pi * 10 / 24))
        )
        humidity = 100.0 * _saturation(dew_point) / _saturation(temperature) + 0.1 * noise[2]
        # On still nights what plants and soils breathe out stays near the ground, most at 2 h and in a high.
        still = max(0.0, math.cos(day - 2 * math.pi * 2 / 24)) ** 2 * (1.0 - 0.5 * front)
        return {
            "temperature_degC": temperature,
            "pressure_Pa": pressure + 2.0 * noise[1],
            "humidity_pctRH": min(max(humidity, 0.0), 100.0),
            **particles(day, front, noise[1]),
            **self._place,
            **self._mains.at(t_s, noise[1]),
            **water(day, temperature, front, noise[0]),
            "cpm": counts_per_minute(front),
            "co2_ppm": 425.0 + 40.0 * still + 0.5 * noise[2],
        }

    def _noise(self, boottime_ns: int) -> tuple[float, float, float]:
        """Three numbers in -1 ... 1, independent from one moment to the next."""
        digest = hashlib.blake2b(f"{self._seed} {boottime_ns}".encode(), digest_size=12).digest()
        a, b, c = (int.from_bytes(digest[i : i + 4], "big") / 2**31 - 1.0 for i in (0, 4, 8))
        return a, b, c


def _saturation(celsius: float) -> float:
    """Saturation vapour pressure over water in hPa (Magnus form, WMO-No. 8, annex 4.B)."""
    return 6.112 * math.exp(17.62 * celsius / (243.12 + celsius))
