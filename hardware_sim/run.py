"""The agent's own node on simulated buses, in virtual time.

- Only with a `sim:` key: what a simulated device signs says that it is simulated.
- A killed run goes on at the instant after the newest one in its journal; nothing is skipped or read twice.
- The virtual clock claims no source (§3.2 time): nobody holds replayed times against real ones.
- A witness, if asked for, writes down every sample once the journal has it: one JSON line, for checks from
  outside. A sample whose process died in between stands in the journal only.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from agent import membership
from agent.clock import SOURCE_NONE, SystemClock
from agent.errors import FixConfig, FixKey, TryAgain
from agent.keeper import Keeper
from agent.node import Node
from agent.rotation import KeptKeys
from agent.sample import Captured
from agent.settings import Settings
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.faults import FaultFile
from hardware_sim.resume import lived_ns
from hardware_sim.scenario import Scenario, Within

_LOOK_S = 0.1


def build(
    settings: Settings,
    scenario: Scenario,
    speed: float,
    captured: Path | None = None,
    faults: FaultFile | None = None,
) -> Node:
    """The node, not started. Raises `HardStop`."""
    require_simulated(settings)
    keys = KeptKeys(settings.key, SystemClock())
    device = keys.current().device
    joined = membership.load(settings.membership_path, device, int(time.time()))
    names = [instrument.name for instrument in settings.instrument]
    lived = lived_ns(settings.journal_path, device, scenario.boot_id, names)
    clock = PacedClock(
        min(lived.get(name, 0) for name in names),
        scenario.origin_ns,
        speed,
        boot_id=scenario.boot_id,
        source=SOURCE_NONE,
    )
    node = Node(
        settings,
        keys,
        joined,
        clock,
        SimulatedBuses(
            settings.instrument, scenario.world, clock, faults or FaultFile(), scenario.recordings
        ),
        lambda instrument: Within(scenario.schedule(instrument), after_ns=lived.get(instrument.name)),
    )
    if captured:
        witness(node.keeper, captured)
    return node


def require_simulated(settings: Settings) -> None:
    """Raises `FixKey`."""
    if not settings.key.startswith("sim:"):
        raise FixKey(
            f"key: {settings.key[:200]!r} is not a sim: key. A simulated device must say so: give it a key "
            "of its own, like sim:/PATH, and join a test network with it."
        )


def stop_when_done(node: Node, stop: threading.Event) -> threading.Thread:
    """Watch `node`: when every schedule has ended, seal what is open; when all is receipted, set `stop`."""
    watcher = threading.Thread(target=_watch, args=(node, stop), name="done", daemon=True)
    watcher.start()
    return watcher


def _watch(node: Node, stop: threading.Event) -> None:
    while not all(sampler.state.ended for sampler in node.samplers):
        if stop.wait(_LOOK_S):
            return
    while not stop.wait(_LOOK_S):
        with contextlib.suppress(TryAgain):  # a busy disk: the next look will tell
            node.keeper.seal_open_window()
            if not _is_waiting(node.answers.status()):
                stop.set()


def _is_waiting(report: dict[str, Any]) -> bool:
    return bool(not report["answered"] or report["readings"]["unsealed"] or report["proofs"]["unreceipted"])


def witness(keeper: Keeper, path: Path) -> None:
    """From outside, so that the agent knows nothing of being watched."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FixConfig(f"--captured: {path} cannot be written: {error.strerror}.") from None
    append = keeper.append

    def witnessed(sample: Captured) -> None:
        append(sample)
        line = {
            "instrument": sample.instrument,
            "boot_id": sample.boot_id.hex(),
            "boottime_ns": sample.boottime_ns,
            "values": {measured.quantity: str(measured.value) for measured in sample.values},
        }
        os.write(fd, json.dumps(line).encode() + b"\n")

    keeper.append = witnessed  # type: ignore[method-assign]
