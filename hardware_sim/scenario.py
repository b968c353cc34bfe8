"""What a simulated node lives through: a world, when to read it, and the boot it happens in.

- The boot is named by the world: the same world is the same boot, in whichever process and however often the
  node is killed; another world is another boot.
- A recorded day is read at every row's own time, once, and on its usual beat through holes.
- A climate and a world file are read at the configured interval, for ever or for a number of readings.
- Boot time begins 60 s before the first row, or at 0.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.backoff import LONGEST_S
from agent.schedule import Every, Schedule
from agent.settings import InstrumentSettings
from drivers.contract import Clock
from hardware_sim.parts.bme280_physics import World
from hardware_sim.pty_line import SerialPart
from hardware_sim.replay import ReplayWorld
from hardware_sim.world_file import FileWorld
from hardware_sim.worlds import ClimateWorld

_CLIMATE_ORIGIN_NS = 1_798_761_600 * 10**9  # 2027-01-01: a run repeats exactly, dates included


@dataclass(frozen=True, slots=True)
class Scenario:
    """`origin_ns` is the wall time (1970) of boot time 0; `recordings` stand in the place of serial parts."""

    world: World
    origin_ns: int
    boot_id: bytes
    schedule: Callable[[InstrumentSettings], Schedule]
    recordings: Mapping[str, Callable[[Clock], SerialPart]] = field(default_factory=dict)


class Instants:
    """A schedule of given boot times, in order."""

    def __init__(self, instants_ns: Sequence[int]) -> None:
        self._instants_ns = instants_ns

    def next_ns(self, after_ns: int) -> int | None:
        index = bisect.bisect_right(self._instants_ns, after_ns)
        return self._instants_ns[index] if index < len(self._instants_ns) else None


class Within:
    """The part of a schedule after `after_ns` and up to `last_ns`, both boot times; None is no bound."""

    def __init__(self, schedule: Schedule, after_ns: int | None = None, last_ns: int | None = None) -> None:
        self._schedule, self._after_ns, self._last_ns = schedule, after_ns, last_ns

    def next_ns(self, after_ns: int) -> int | None:
        if self._after_ns is not None:
            after_ns = max(after_ns, self._after_ns)
        found_ns = self._schedule.next_ns(after_ns)
        if found_ns is None or self._last_ns is None or found_ns <= self._last_ns:
            return found_ns
        return None


def recorded(world: ReplayWorld) -> Scenario:
    schedule = Instants(attempts_ns(world))
    return Scenario(world, world.origin_ns, _boot_id(world.rows), lambda _instrument: schedule)


def recorded_day(path: Path) -> Scenario:
    """Raises `RecordingError`."""
    return recorded(ReplayWorld.from_csv(path))


def climate(seed: int, readings: int | None = None) -> Scenario:
    """`readings` per instrument, then the schedule ends."""
    world = ClimateWorld(seed, _CLIMATE_ORIGIN_NS)
    return Scenario(world, world.origin_ns, _boot_id(("climate", seed)), _on_the_beat(readings))


def written(world: FileWorld, readings: int | None = None) -> Scenario:
    """`readings` per instrument, then the schedule ends."""
    boot_id = _boot_id(("file", world.name))
    return Scenario(world, world.origin_ns, boot_id, _on_the_beat(readings), world.recordings)


def _on_the_beat(readings: int | None) -> Callable[[InstrumentSettings], Schedule]:
    def schedule(instrument: InstrumentSettings) -> Schedule:
        every = Every(instrument.interval_s)
        return Within(every, last_ns=None if readings is None else every.next_ns(0) * readings)

    return schedule


def attempts_ns(world: ReplayWorld) -> list[int]:
    """The world's instants, but none in a hole so late that the node would still be waiting to open its
    instrument again when the next row is there to be read."""
    rows_ns = [row.t_s * 10**9 - world.origin_ns for row in world.rows]
    next_row = Instants(rows_ns)
    recorded_ns = set(rows_ns)
    quiet_ns = int(LONGEST_S * 1e9)
    return [
        instant_ns
        for instant_ns in world.instants()
        if instant_ns in recorded_ns or (next_row.next_ns(instant_ns) or 0) - instant_ns > quiet_ns
    ]


def _boot_id(world: object) -> bytes:
    return hashlib.sha256(f"simulated boot {world!r}".encode()).digest()[:16]
