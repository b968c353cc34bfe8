"""What the simulated dust sensors have in common: power, a fan that needs time, the air of a world."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

_SETTLING_S = 6.0  # within 1 % after the 30 s that the makers ask for


class World(Protocol):
    """True values by name (`pm1_ugm3`, `pm2p5_ugm3`, `pm10_ugm3`); None: no power."""

    def at(self, boottime_ns: int) -> Mapping[str, float] | None: ...


class Air:
    """What one sensor sees of `world` through its own fan, which starts with `blow`."""

    def __init__(self, world: World, boottime_ns: int) -> None:
        self._world = world
        self._since_ns = boottime_ns

    def blow(self, boottime_ns: int) -> None:
        self._since_ns = boottime_ns

    def powered(self, boottime_ns: int) -> bool:
        return self._world.at(boottime_ns) is not None

    def ugm3(self, boottime_ns: int) -> tuple[float, float, float]:
        """PM1, PM2.5, PM10 as seen now; 0 without power."""
        truth = self._world.at(boottime_ns) or {}
        settled = 1.0 - math.exp(-(boottime_ns - self._since_ns) / 1e9 / _SETTLING_S)
        pm1, pm2p5, pm10 = (settled * truth.get(f"{name}_ugm3", 0.0) for name in ("pm1", "pm2p5", "pm10"))
        return pm1, pm2p5, pm10
