"""A whole small network: Mosquitto, a gateway process, boards that run the node on simulated chips."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import control, daemon
from agent.settings import Settings, load
from gateway.register import DeviceLine
from proof import sealing
from tests.integration.daemon_parts import node_of
from tests.integration.gateway_process import GatewayProcess

ROOT = Path(__file__).parents[2]
_CONFIG = """\
state_dir = "{folder}"
key = "sim:{folder}/device.key"

[[instrument]]
name = "bme280-76"
driver = "bme280"
bus = "i2c:1"
address = "0x76"
interval_s = 0.1
deadline_s = 0.1

[proof]
readings = 4

[mqtt]
allow_plain = true
"""


def provision(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """What `fieldproof-provision … --json` says."""
    command = [sys.executable, "-W", "error", "-m", "provisioning.cli", *map(str, arguments), "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert ended.returncode == code, ended.stdout + ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


class RunningBoard:
    """One card in one board: its folder holds key, membership, configuration and journal."""

    def __init__(self, folder: Path, until: Callable[..., None]) -> None:
        self.folder, self._until = folder, until
        self.config = folder / "agent.toml"
        self._stopping: threading.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def settings(self) -> Settings:
        return load(self.config)

    def write_config(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.config.write_text(_CONFIG.format(folder=self.folder))

    def copy(self, folder: Path) -> RunningBoard:
        """The same card, in another board (with this one's paths)."""
        shutil.copytree(self.folder, folder)
        copied = RunningBoard(folder, self._until)
        copied.write_config()
        return copied

    def start(self) -> None:
        settings, stopping = self.settings, threading.Event()
        node = node_of(settings)

        def run() -> None:
            with daemon.alone(settings.state_dir):
                daemon.serve(node, settings, stopping)

        self._thread = threading.Thread(target=run)
        self._stopping = stopping
        self._thread.start()
        self._until(settings.control_socket.exists, 20, "the control socket")

    def stop(self) -> None:
        if self._stopping is not None and self._thread is not None:
            self._stopping.set()
            self._thread.join(30)
            assert not self._thread.is_alive()
            self._stopping = None

    def report(self) -> dict[str, Any]:
        return dict(control.ask_status(self.settings.control_socket))

    def receipted(self, more: int = 1) -> None:
        """Wait until `more` proofs of the open log were receipted than now."""
        before = self.report()["proofs"]["receipted_seq"]
        self._until(
            lambda: self.report()["proofs"]["receipted_seq"] >= before + more, 45, f"{more} more receipts"
        )

    def told(self, sentence: str) -> None:
        """Wait until the owner was told `sentence`."""
        self._until(lambda: sentence in self.report()["news"], 45, f"the news {sentence!r}")


class SmallNetwork:
    def __init__(self, folder: Path, url: str, until: Callable[..., None]) -> None:
        self.folder, self._until = folder, until
        self.gateway = GatewayProcess(folder / "gateway", url)
        self.gateway.start()
        until(lambda: self.gateway.log.exists() and self.gateway.starts(), 30, "the gateway's subscription")
        self.boards: list[RunningBoard] = []

    def board(self, name: str = "a") -> RunningBoard:
        """A new member, not started."""
        made = RunningBoard(self.folder / name, self._until)
        made.write_config()
        provision("join", self.gateway.claim().to_text(), "--config", made.config)
        self.boards.append(made)
        return made

    def copy(self, board: RunningBoard, name: str) -> RunningBoard:
        self.boards.append(board.copy(self.folder / name))
        return self.boards[-1]

    def line(self) -> DeviceLine:
        (line,) = self.gateway.lines()
        return line

    def times(self, device: str) -> list[int]:
        """Times (ms) of every reading the gateway accepted."""
        accepted = self.gateway.accepted(device)
        return [reading.time_ms for data in accepted for reading in sealing.parse(data).readings()]

    def close(self) -> None:
        for board in self.boards:
            board.stop()
        self.gateway.kill()
