"""Which parts can be simulated, by the name of the driver that reads them.

An I2C part is `make(world, clock)`, a serial one likewise; a 1-Wire part writes its files into a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

_MAKERS = {
    "bme280": ("hardware_sim.parts.bme280", "BME280.in_world"),
    "mhz19b": ("hardware_sim.parts.mhz19b", "MHZ19B"),
    "senseair-s8": ("hardware_sim.parts.senseair_s8", "SenseAirS8"),
    "ds18b20": ("hardware_sim.parts.ds18b20", "DS18B20"),
    "scd30": ("hardware_sim.parts.scd30", "SCD30"),
    "scd41": ("hardware_sim.parts.scd41", "SCD41"),
    "sht4x": ("hardware_sim.parts.sht4x", "SHT4x"),
    "hdc1080": ("hardware_sim.parts.hdc1080", "HDC1080"),
    "gnss": ("hardware_sim.parts.gnss", "GNSS"),
    "pms5003": ("hardware_sim.parts.pms5003", "PMS5003"),
    "pms7003": ("hardware_sim.parts.pms5003", "PMS5003"),
    "sds011": ("hardware_sim.parts.sds011", "SDS011"),
    "sps30": ("hardware_sim.parts.sps30", "SPS30"),
    "ezo-ph": ("hardware_sim.parts.ezo", "PH"),
    "ezo-ec": ("hardware_sim.parts.ezo", "EC"),
    "ezo-do": ("hardware_sim.parts.ezo", "DO"),
    "ezo-rtd": ("hardware_sim.parts.ezo", "RTD"),
    "sdm120": ("hardware_sim.parts.eastron_sdm", "EastronSDM"),
    "sdm230": ("hardware_sim.parts.eastron_sdm", "EastronSDM"),
    "pzem-004t": ("hardware_sim.parts.pzem004t", "PZEM004T"),
    "dsmr": ("hardware_sim.parts.dsmr", "DSMR"),
    "gmc320": ("hardware_sim.parts.gmc320", "GMC320"),
}
# What is sold or soldered in the place of a part that a driver reads.
_LOOKALIKES = {"bmp280": ("hardware_sim.parts.bme280", "BME280.bmp280_in_world")}


def known() -> tuple[str, ...]:
    return tuple(sorted(_MAKERS))


def maker(driver: str) -> Callable[..., Any] | None:
    """`make(world, clock)` of the part that `driver` reads; None where there is no such part."""
    return _made(*_MAKERS[driver]) if driver in _MAKERS else None


def chips() -> tuple[str, ...]:
    """All parts, also those that no driver reads."""
    return tuple(sorted(_MAKERS | _LOOKALIKES))


def chip(name: str) -> Callable[..., Any] | None:
    """`make(world, clock)` of any part; None where there is no such part."""
    found = (_MAKERS | _LOOKALIKES).get(name)
    return _made(*found) if found else None


def _made(module: str, place: str) -> Callable[..., Any]:
    found: Any = import_module(module)
    for name in place.split("."):
        found = getattr(found, name)
    make: Callable[..., Any] = found
    return make
