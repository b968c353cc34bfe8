"""The whole daemon on simulated buses: in this process, or in one of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import daemon, membership
from agent.clock import SystemClock
from agent.node import Node
from agent.rotation import KeptKeys
from agent.settings import Settings, load
from hardware_sim.buses import SimulatedBuses
from hardware_sim.worlds import ClimateWorld

ROOT = Path(__file__).parents[2]


def node_of(settings: Settings, world: Any = None) -> Node:
    """A node in real time whose chips are simulated."""
    clock = SystemClock()
    keys = KeptKeys(settings.key, clock)
    joined = membership.load(settings.membership_path, keys.current().device, int(time.time()))
    buses = SimulatedBuses(settings.instrument, world or ClimateWorld(seed=1), clock)
    return Node(settings, keys, joined, clock, buses)


def serve(folder: str, url: str) -> int:
    """What a child process does: `agent.daemon.main` with simulated buses."""
    settings = settings_of(Path(folder) / "agent.toml", url)
    with daemon.alone(settings.state_dir):
        return daemon.serve(node_of(settings), settings)


def settings_of(config: Path, url: str, interval_s: float = 0.2) -> Settings:
    settings = load(config)
    instruments = tuple(replace(i, interval_s=interval_s, deadline_s=0.2) for i in settings.instrument)
    return replace(settings, instrument=instruments, mqtt=replace(settings.mqtt, broker_url=url))


class Served:
    """`agent.daemon.serve` in this process, in the main thread's stead."""

    def __init__(self, node: Node, settings: Settings) -> None:
        self.node, self.settings, self.stopping = node, settings, threading.Event()
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = daemon.serve(self.node, self.settings, self.stopping)

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join(20)
        assert self.code == 0
