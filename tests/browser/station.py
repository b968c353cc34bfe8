"""A station as its owner has it: Mosquitto, a gateway, and the daemon in a process of its own, with a page.

`past` lives two days in a moment before: what the page then shows was captured, sealed and never sent. The
daemon itself runs in real time, on the machine's own clock, which it takes to be synchronised.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import daemon, membership
from agent.clock import SOURCE_NTP, Clock, SystemClock, Wall
from agent.node import Node
from agent.rotation import KeptKeys
from agent.settings import Settings, load
from hardware_sim.buses import SimulatedBuses
from hardware_sim.faults import Fault, FaultFile
from hardware_sim.worlds import ClimateWorld
from tests.agent_parts import FakeClock
from tests.integration.gateway_process import GatewayProcess
from tests.integration.network_parts import provision

ROOT = Path(__file__).parents[2]
DAYS_S = 2 * 86_400
CONFIG = """\
state_dir = "{folder}"
key = "sim:{folder}/device.key"

[[instrument]]
name = "roof"
driver = "bme280"
bus = "i2c:1"
address = "0x76"
interval_s = {interval_s}
deadline_s = 0.5

[[instrument]]
name = "living-room"
driver = "sht4x"
bus = "i2c:1"
interval_s = {interval_s}
deadline_s = 0.5

[proof]
readings = {readings}

[mqtt]
allow_plain = true

[page]
enabled = true
listen = "127.0.0.1:{port}"
"""
WRONG = FaultFile(
    fault=(
        Fault(fault="unplug", instrument="roof", from_s=19 * 3600.0, until_s=22.5 * 3600.0),
        Fault(
            fault="jump",
            instrument="roof",
            key="temperature_degC",
            by=6.0,
            from_s=34 * 3600.0,
            until_s=34.6 * 3600.0,
        ),
    )
)


class SyncedClock(SystemClock):
    """This machine's, whatever it says of its synchronisation."""

    def wall(self) -> Wall:
        return replace(super().wall(), source=SOURCE_NTP, maxerror_us=12_000)


class Station:
    def __init__(self, folder: Path, url: str, port: int, until: Callable[..., None]) -> None:
        self.folder, self._port, self._until = folder, port, until
        folder.mkdir(exist_ok=True)
        self.config, self.log = folder / "agent.toml", folder / "agent.log"
        self.gateway = GatewayProcess(folder.with_name("gateway"), url)
        self.gateway.start()
        until(lambda: self.gateway.log.exists() and self.gateway.starts(), 30, "the gateway's subscription")
        self.write_config(120, 20)
        self._process: subprocess.Popen[bytes] | None = None
        provision("join", self.gateway.claim().to_text(), "--config", self.config)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def write_config(self, interval_s: float, readings: int) -> None:
        self.config.write_text(
            CONFIG.format(folder=self.folder, interval_s=interval_s, readings=readings, port=self._port)
        )

    def past(self) -> None:
        """Two days that end a minute ago, without a network; instant by instant, however slow the machine."""
        settings = load(self.config)
        origin_s = time.time() - DAYS_S - 60
        clock = FakeClock(0, origin_s)
        world = ClimateWorld(3, round(origin_s * 1e9))
        node = _node(settings, clock, SimulatedBuses(settings.instrument, world, clock, WRONG))
        node.keeper.start()
        try:
            for sampler in node.samplers:
                sampler.open_once()
            for instant_ns in range(120 * 10**9, DAYS_S * 10**9, 120 * 10**9):
                clock.wait_until(instant_ns, threading.Event())
                for sampler in node.samplers:
                    sampler._turn(instant_ns)
            node.keeper.seal_open_window()
        finally:
            node.stop()

    def start(self) -> None:
        self.write_config(1, 10)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.browser.station", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        self._until(self._answers, 30, f"the page; its log is {self.log}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop()
        self.gateway.kill()

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "api/status", timeout=20) as answer:
            return dict(json.load(answer))

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return bool(self.status())
        except OSError:
            return False


def _node(settings: Settings, clock: Clock, buses: SimulatedBuses) -> Node:
    keys = KeptKeys(settings.key, clock)
    joined = membership.load(settings.membership_path, keys.current().device, int(time.time()))
    return Node(settings, keys, joined, clock, buses)


def main() -> int:
    settings = load(Path(sys.argv[1]))
    clock = SyncedClock()
    # Boot time is what the world is a function of; where it begins is the machine's matter.
    world = ClimateWorld(3, time.time_ns() - clock.boottime_ns())
    with daemon.alone(settings.state_dir):
        buses = SimulatedBuses(settings.instrument, world, clock)
        return daemon.serve(_node(settings, clock, buses), settings)


if __name__ == "__main__":
    sys.exit(main())
