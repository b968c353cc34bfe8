"""Faults that happen: to the world, to a part, to its bus, to the plug.

- One `Faults` serves one node. Without a fault for it, an instrument gets its world, its part and its bus as
  they are.
- Chance comes from the file's seed, the fault's place in the file and the instrument: a run repeats exactly,
  as far as its transactions do.
- Pulled out means without power: the part forgets what it forgets then. A serial line is pulled out when
  every part on it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.buses import split
from agent.errors import FixConfig
from agent.settings import InstrumentSettings
from drivers.contract import Clock
from hardware_sim.bus import FaultPlan
from hardware_sim.faults import KINDS, Fault, FaultFile
from hardware_sim.faulty_wires import FaultySerial, I2CFaults, Striking, Swapped
from hardware_sim.parts import catalogue as parts
from hardware_sim.parts.bme280_physics import World
from hardware_sim.worlds import ClimateWorld

_WORLDLY = ("frozen", "drift", "jump")


class Faults:
    """Raises `FixConfig` for an instrument, a bus, a key or a chip that is not there."""

    def __init__(self, file: FaultFile, instruments: Sequence[InstrumentSettings], clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str, list[Striking]] = {instrument.name: [] for instrument in instruments}
        for place, fault in enumerate(file.fault):
            hit = [i for i in instruments if fault.instrument == i.name or fault.bus == i.bus]
            if not hit:
                named = f"instrument {fault.instrument!r}" if fault.instrument else f"bus {fault.bus!r}"
                raise FixConfig(f"--faults: fault.{place}: the configuration has no {named}.")
            for instrument in hit:
                _check(f"--faults: fault.{place}: {fault.fault}", fault, split(instrument.bus)[0])
                rng = random.Random(f"{file.seed} {place} {instrument.name}")
                self._of[instrument.name].append(Striking(fault, rng))

    def world(self, instrument: str, world: World) -> World:
        gone = self._kind(instrument, "unplug")
        shifts = [striking.fault for striking in self._kind(instrument, *_WORLDLY)]
        return FaultyWorld(world, gone, shifts) if gone or shifts else world

    def part(self, instrument: str, part: Any, world: World) -> Any:
        """`part`, or what stands in its place."""
        for striking in self._kind(instrument, "wrong-chip"):
            chip = striking.fault.chip or ""
            make = parts.chip(chip)
            if make is None:
                raise FixConfig(
                    f"--faults: there is no chip {chip[:40]!r}; there are {', '.join(parts.chips())}."
                )
            wrong = make(world, self._clock)
            if not any(hasattr(wrong, way) and hasattr(part, way) for way in ("powered", "heard")):
                raise FixConfig(f"--faults: a {chip} cannot stand in the place of {instrument}: another bus.")
            part = Swapped(part, wrong, striking.fault, self._clock)
        if self._of[instrument] and hasattr(part, "heard"):
            return FaultySerial(part, self._of[instrument], self._clock)
        return part

    def plan(self, instruments: Mapping[int, str]) -> FaultPlan | None:
        """The plan of an I2C bus with these instruments by address."""
        found = {address: self._of[name] for address, name in instruments.items() if self._of[name]}
        return I2CFaults(found, self._clock) if found else None

    def present(self, instruments: Sequence[str]) -> Callable[[], bool] | None:
        """Whether the serial line with these instruments is plugged in; None: always."""
        gone = [self._kind(name, "unplug") for name in instruments]
        if not all(gone):
            return None
        return lambda: not all(any(g.lasts(self._clock.boottime_ns()) for g in of_one) for of_one in gone)

    def _kind(self, instrument: str, *kinds: str) -> list[Striking]:
        return [striking for striking in self._of[instrument] if striking.fault.fault in kinds]


class FaultyWorld:
    """What one instrument is made to see."""

    def __init__(self, world: World, gone: Sequence[Striking], shifts: Sequence[Fault]) -> None:
        self._world, self._gone, self._shifts = world, gone, shifts

    def at(self, boottime_ns: int) -> Mapping[str, float] | None:
        true = self._world.at(boottime_ns)
        if true is None or any(striking.lasts(boottime_ns) for striking in self._gone):
            return None
        seen = dict(true)
        for fault in self._shifts:
            if fault.holds(boottime_ns):
                self._shift(seen, fault, boottime_ns)
        return seen

    def _shift(self, seen: dict[str, float], fault: Fault, boottime_ns: int) -> None:
        begin_ns = round(fault.from_s * 1e9)
        if fault.fault == "frozen":
            then = self._world.at(begin_ns) or {}
            seen.update({key: then[key] for key in seen.keys() & then.keys() if fault.key in (None, key)})
        elif fault.key in seen:
            hours = (boottime_ns - begin_ns) / 3.6e12
            seen[fault.key] += (fault.by or 0.0) + (fault.per_hour or 0.0) * hours


def _check(where: str, fault: Fault, kind: str) -> None:
    """Raises `FixConfig` for a fault that cannot happen on a bus of this kind."""
    if kind not in KINDS[fault.fault].buses:
        raise FixConfig(
            f"{where} is no fault of {kind}:; it is one of {', '.join(sorted(KINDS[fault.fault].buses))}."
        )
    if kind == "w1" and (fault.transactions is not None or fault.rate is not None):
        raise FixConfig(f"{where} on w1: has no transactions: give from_s and until_s.")
    if fault.key is not None and fault.key not in (known := ClimateWorld(0).at(0)):
        raise FixConfig(f"{where}: no world has {fault.key[:40]!r}; there are {', '.join(sorted(known))}.")
