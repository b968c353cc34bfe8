"""From the configuration to an unopened driver."""

from __future__ import annotations

from agent.buses import Buses, split
from agent.clock import Clock
from agent.errors import FixConfig, HardStop
from agent.settings import InstrumentSettings
from drivers import catalogue
from drivers.contract import Instrument
from drivers.errors import NeedsHuman


def build_instrument(settings: InstrumentSettings, buses: Buses, clock: Clock) -> Instrument:
    """The unopened driver of one instrument; raises `HardStop` for what only a person can mend."""
    try:
        part = catalogue.entry(settings.driver)
        kind, _ = split(settings.bus)
        if kind != part.bus:
            raise NeedsHuman(f"A {settings.driver} is read over {part.bus}:, its bus is {settings.bus!r}.")
        address = catalogue.address_of(settings.driver, settings.address)
        return catalogue.create(settings.driver, buses.get(settings.bus), address, clock)
    except (NeedsHuman, FixConfig) as error:
        raise HardStop(f"Instrument {settings.name}: {error.sentence}") from None
