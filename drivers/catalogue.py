"""Which drivers there are and how to make one, by name.

- Asking what is known imports no driver; making one imports that driver and its libraries only.
- A driver not listed here does not exist for the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from drivers.contract import Clock, Instrument
from drivers.errors import NeedsHuman


@dataclass(frozen=True, slots=True)
class Entry:
    """One part: `module` has `factory(bus, address, clock)`; the first address is the usual one."""

    module: str
    factory: str
    bus: str
    addresses: tuple[int, ...]
    summary: str


_ENTRIES = {
    "bme280": Entry(
        "drivers.bme280", "BME280", "i2c", (0x76, 0x77), "Bosch BME280: temperature, pressure, humidity"
    ),
}


def known() -> tuple[str, ...]:
    """Names of all drivers."""
    return tuple(sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """The entry of one driver. Raises `NeedsHuman` for a name that is not known."""
    try:
        return _ENTRIES[name]
    except KeyError:
        raise NeedsHuman(f"There is no driver {name!r}: use one of {', '.join(known())}.") from None


def create(name: str, bus: object, address: int | None, clock: Clock) -> Instrument:
    """An unopened instrument on an open bus of the kind its entry names. Raises `NeedsHuman`."""
    part = entry(name)
    address = part.addresses[0] if address is None else address
    if address not in part.addresses:
        legal = ", ".join(f"0x{a:02x}" for a in part.addresses)
        raise NeedsHuman(f"A {name} is never at address 0x{address:02x}: use one of {legal}.")
    factory = getattr(import_module(part.module), part.factory)
    instrument: Instrument = factory(bus, address, clock)
    return instrument
