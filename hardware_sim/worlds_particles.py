"""Particles in the air of the synthetic climate: traffic and stoves, washed out by fronts."""

from __future__ import annotations

import math


def particles(day: float, front: float, noise: float) -> dict[str, float]:
    """Mass concentrations in µg/m3. `day` is the phase of the day (2 pi is one), `front` and `noise`
    are -1 ... 1.

    Highest at 8 h and 20 h and in a high. Shares of fine and coarse are those of a European town background.
    """
    twice_daily = math.cos(2 * (day - 2 * math.pi * 8 / 24))
    pm2p5 = 11.0 * math.exp(0.5 * twice_daily - 0.9 * front + 0.03 * noise)
    coarse = 7.0 * math.exp(0.2 * twice_daily - 0.4 * front - 0.03 * noise)
    return {"pm1_ugm3": 0.7 * pm2p5, "pm2p5_ugm3": pm2p5, "pm10_ugm3": pm2p5 + coarse}
