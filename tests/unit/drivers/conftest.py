from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.bme280 import BME280
from drivers.i2c import SharedBus
from hardware_sim.bus import VirtualI2C
from hardware_sim.clock import PacedClock
from hardware_sim.parts.bme280 import BME280 as Chip
from hardware_sim.parts.bme280_physics import DEFAULT_TRIM, FixedWords, Words
from hardware_sim.worlds import ClimateWorld

ADDRESS = 0x76
DATA = Path(__file__).parents[4] / "shared" / "data"


@dataclass
class Rig:
    """Our driver on a virtual chip on a virtual bus, in virtual time."""

    clock: PacedClock
    wire: VirtualI2C
    driver: BME280


def _rig(source: Any = None, trim: bytes = DEFAULT_TRIM, chip_id: int = 0x60) -> Rig:
    clock = PacedClock(60 * 10**9, 1_700_000_000 * 10**9)
    if source is None:
        chip = Chip.in_world(ClimateWorld(seed=1), clock, trim)
    elif hasattr(source, "at"):
        chip = Chip.in_world(source, clock, trim)
    else:
        chip = Chip(source, clock, trim, chip_id)
    wire = VirtualI2C({ADDRESS: chip}, clock)
    return Rig(clock, wire, BME280(SharedBus(wire, "I2C bus 1"), ADDRESS, clock))


@pytest.fixture
def make_rig():
    """make_rig(source or world, trim, chip_id) -> Rig; without arguments a synthetic climate."""
    return _rig


@pytest.fixture
def fixed_words():
    """fixed_words(adc_T, adc_P, adc_H): a chip that always reads these."""
    return lambda t, p, h: FixedWords(Words(t, p, h))


@pytest.fixture(scope="session")
def vectors() -> dict[str, dict[str, Any]]:
    path = DATA / "vectors.json"
    if not path.exists():
        pytest.skip("the shared recordings are not beside this checkout")
    return {vector["name"]: vector for vector in json.loads(path.read_text())}


@pytest.fixture(scope="session")
def aberdeen() -> list[Path]:
    """Day files of the Aberdeen station's BME280, oldest first."""
    files = sorted((DATA / "bme280_sds011_aberdeen").glob("*bme280*.csv"))
    if not files:
        pytest.skip("the shared recordings are not beside this checkout")
    return files
