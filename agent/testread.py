"""`test-read`: each instrument opened and read once, with a verdict for a person or a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.buses import Buses, HardwareBuses
from agent.clock import Clock, SystemClock
from agent.errors import AgentError
from agent.instruments import build_instrument
from agent.settings import InstrumentSettings
from drivers.contract import Identity, Sample
from drivers.errors import DriverError, NeedsHuman

Values = Mapping[str, Sequence[Any]]
"""[value or None, unit] by quantity."""


def read(settings: InstrumentSettings, buses: Buses, clock: Clock) -> tuple[Identity, Sample, Values]:
    """One instrument opened, read and closed; raises `DriverError` or `HardStop`."""
    instrument = build_instrument(settings, buses, clock)
    try:
        identity = instrument.open()
        sample = instrument.read(settings.deadline_s)
    finally:
        instrument.close()
    named = zip(instrument.quantities, sample.values, strict=True)
    return identity, sample, {quantity.name: [value, quantity.unit] for quantity, value in named}


def read_once(settings: InstrumentSettings) -> dict[str, Any]:
    """{name, problem, exit_code} and, where it answered, model, serial and values with their units."""
    clock = SystemClock()
    buses = HardwareBuses(clock)
    result: dict[str, Any] = {"name": settings.name, "problem": "", "exit_code": 0}
    try:
        identity, sample, values = read(settings, buses, clock)
        result |= {"model": identity.model, "serial": identity.serial, "raw": sample.raw.hex()}
        result["values"] = values
    except (DriverError, AgentError) as error:
        needs_person = isinstance(error, NeedsHuman) or getattr(error, "exit_code", 1) == 2
        result |= {"problem": error.sentence, "exit_code": 2 if needs_person else 1}
    finally:
        buses.close()
    return result


def text(result: dict[str, Any]) -> str:
    name = result["name"]
    if result["problem"]:
        return f"{name}: {result['problem'].removeprefix(f'Instrument {name}: ')}"
    return f"{name}: {result['model']} {result['serial']}: {values_text(result['values'])}"


def values_text(values: Values) -> str:
    return ", ".join(
        f"{quantity} {value:.2f} {unit}" if value is not None else f"{quantity} not measured"
        for quantity, (value, unit) in values.items()
    )
