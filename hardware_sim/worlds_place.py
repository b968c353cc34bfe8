"""Where a synthetic station stands: somewhere inhabited, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping


def place(seed: int) -> Mapping[str, float]:
    """`lat_deg` and `lon_deg` on WGS 84, `alt_m` above mean sea level."""
    rng = random.Random(f"place {seed}")
    return {
        "lat_deg": rng.choice((-1.0, 1.0)) * rng.uniform(5.0, 60.0),
        "lon_deg": rng.uniform(-180.0, 180.0),
        "alt_m": rng.uniform(0.0, 900.0),
    }
