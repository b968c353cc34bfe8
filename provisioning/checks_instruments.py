"""Checks of the instruments: each opened and read once; while the agent runs, what it read last.

Two who talk to one part by turns mix up each other's answers: a running agent's instruments are not touched.
"""

from __future__ import annotations

from typing import Any

from agent import testread
from agent.buses import Buses
from agent.clock import Clock
from agent.settings import InstrumentSettings
from drivers.errors import DropSample, RetryLater, RetryNow
from provisioning.checks import FAIL, PASS, SKIPPED, WARN, Finding, failed

OPENING_S = 3.0
LONGEST_S = 12.0


def deadline_s(instrument: InstrumentSettings) -> float:
    return min(LONGEST_S, OPENING_S + instrument.deadline_s)


def instrument(
    instrument: InstrumentSettings, bus: str | None, buses: Buses, clock: Clock, report: dict[str, Any]
) -> Finding:
    """`bus` is None where that did not pass."""
    if report:
        return _told(instrument, report)
    if bus is None:
        return Finding(SKIPPED, f"It needs what `bus {instrument.bus}` did not give.")
    try:
        identity, _, values = testread.read(instrument, buses, clock)
    except (RetryLater, RetryNow, DropSample) as error:
        return Finding(WARN, error.sentence, "It answers: examine it again in a minute.")
    said = f"{identity.model} {identity.serial}: {testread.values_text(values)}"
    if any(value is None for value, _ in values.values()):
        return Finding(WARN, f"{said}.", "A value is missing: check the part and its probe.")
    return Finding(PASS, f"{said}.")


def _told(instrument: InstrumentSettings, report: dict[str, Any]) -> Finding:
    for said in report["instruments"]:
        if said["name"] == instrument.name:
            break
    else:
        to_do = "Restart the agent: it took no notice of the configuration since its start."
        return Finding(WARN, "The running agent does not know it.", to_do)
    if said["problem"]:
        told = failed(said["problem"])
        return Finding(FAIL, f"The running agent says: {told.found}", told.to_do)
    if not said["latest"]:
        return Finding(WARN, "The running agent has read no value yet.", "Examine it again in a minute.")
    values = testread.values_text(said["latest"])
    return Finding(PASS, f"{said['model']} {said['serial']}, read last by the running agent: {values}.")
