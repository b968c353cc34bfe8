"""`test-read`: each instrument opened and read once, with a verdict for a person or a machine."""

from __future__ import annotations

from typing import Any

from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.errors import AgentError
from agent.node import build_instrument
from agent.settings import InstrumentSettings
from drivers.errors import DriverError, NeedsHuman


def read_once(settings: InstrumentSettings) -> dict[str, Any]:
    """{name, problem, exit_code} and, where it answered, model, serial and values with their units."""
    clock = SystemClock()
    buses = HardwareBuses(clock)
    result: dict[str, Any] = {"name": settings.name, "problem": "", "exit_code": 0}
    try:
        instrument = build_instrument(settings, buses, clock)
        identity = instrument.open()
        sample = instrument.read(settings.deadline_s)
        instrument.close()
        result |= {"model": identity.model, "serial": identity.serial, "raw": sample.raw.hex()}
        result["values"] = {
            quantity.name: [value, quantity.unit]
            for quantity, value in zip(instrument.quantities, sample.values, strict=True)
        }
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
    values = ", ".join(
        f"{quantity} {value:.2f} {unit}" if value is not None else f"{quantity} not measured"
        for quantity, (value, unit) in result["values"].items()
    )
    return f"{name}: {result['model']} {result['serial']}: {values}"
