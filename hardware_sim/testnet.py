"""A test network on this machine, made of the real commands as processes.

- Everything lies in one folder: the gateway's, the device's, the configuration, what was captured, logs.
- Each process leads its own group, dies with this one (Linux, PR_SET_PDEATHSIG), and is ended by `close`.
- The broker is a process of its own: it can be stopped while the gateway goes on. Its port is held by a
  socket of ours that never listens: no other program is given it meanwhile.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from agent.control import ask_status
from agent.errors import AgentError, TryAgain

NETWORK = "demo"
INSTRUMENT = "bme280-76"
INTERVAL_S = 60
_COMMAND_S = 60.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_AGENT_TOML = """\
state_dir = "{state}"
key = "sim:{state}/device.key"

[[instrument]]
name = "{instrument}"
driver = "bme280"
bus = "i2c:1"
address = "0x76"
interval_s = {interval_s}

[proof]
readings = {readings}
window_s = 86400         # of virtual time: proofs close by their number of readings

[mqtt]
allow_plain = true       # loopback
"""


class NetworkFailed(AgentError):
    """A process did not do its part; the sentence says which, and where its log is."""


class TestNetwork:
    """Made by `set_up`; use as a context manager."""

    __test__ = False  # not a test, whatever pytest thinks of its name

    def __init__(self, folder: Path, readings_per_proof: int) -> None:
        self.folder = folder
        self.gateway, self.state = folder / "gateway", folder / "device"
        self.config, self.captured = folder / "agent.toml", folder / "captured.jsonl"
        self.claim = self.device = ""
        self._readings_per_proof = readings_per_proof
        self._held = _held_port()
        self._port = int(self._held.getsockname()[1])
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for name in list(self._running):
            self.kill(name)
        self._held.close()

    def set_up(self, say: Callable[[str], None]) -> None:
        """Broker, gateway and a device that has joined. Raises `NetworkFailed`."""
        say("making a test network")
        self.start_broker()
        broker = f"mqtt://127.0.0.1:{self._port}"
        self.command("gateway", "init", "--dir", self.gateway, "--network", NETWORK, "--broker", broker)
        self.start("gateway", "gateway", "listen", "--dir", self.gateway)
        self.claim = self.command("gateway", "claim", "new", "--dir", self.gateway).strip()
        say("provisioning a simulated device")
        self.config.write_text(
            _AGENT_TOML.format(
                state=self.state,
                instrument=INSTRUMENT,
                interval_s=INTERVAL_S,
                readings=self._readings_per_proof,
            )
        )
        identity = self.command("provisioning", "init", "--json", "--config", self.config)
        self.device = json.loads(identity)["device"]
        self._await(self._broker_listens, "the broker did not open its port", "broker")
        with contextlib.suppress(NetworkFailed):  # only to save time: an early `join` asks again after 5 s
            self._await(self._gateway_listens, "the gateway does not listen yet", "gateway", 5.0)
        self.command("provisioning", "join", "-", "--config", self.config, text=self.claim)

    def start_broker(self) -> None:
        self.start("broker", "hardware_sim", "broker", "--port", self._port)

    def command(self, program: str, *arguments: object, text: str = "") -> str:
        """Run one command of `program` to its end; its output."""
        words = [*_python(program), *map(str, arguments)]
        try:
            done = subprocess.run(  # noqa: S603 our own modules
                words, input=text, capture_output=True, text=True, timeout=_COMMAND_S, preexec_fn=_die_with_us
            )
        except subprocess.TimeoutExpired:
            raise NetworkFailed(f"{program} {arguments[0]} did not end within {_COMMAND_S:.0f} s.") from None
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise NetworkFailed(f"{program} {arguments[0]} failed with {done.returncode}: {last}")
        return done.stdout

    def start(self, name: str, program: str, *arguments: object) -> None:
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 our own modules
                [*_python(program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_us,
            )

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self._end(name, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """SIGTERM; SIGKILL for one that does not obey."""
        self._end(name, signal.SIGTERM)

    def exit_code(self, name: str) -> int | None:
        """None while it runs."""
        return self._running[name].poll()

    def require(self, *names: str) -> None:
        """Raises `NetworkFailed` if one of them has ended."""
        for name in names:
            if self._running[name].poll() is not None:
                raise self.failure(f"the {name} ended with {self._running[name].returncode}", name)

    def status(self) -> dict[str, object] | None:
        """What the agent says of itself; None while none answers."""
        try:
            return ask_status(self.state / "control.sock")
        except TryAgain:
            return None

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def failure(self, what: str, name: str) -> NetworkFailed:
        with contextlib.suppress(OSError, IndexError):
            what += f" ({self.log(name).read_text(errors='replace').splitlines()[-1][:200]})"
        return NetworkFailed(f"{what}; see {self.log(name)}.")

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._running[name]
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def _broker_listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return True
        except OSError:
            return False

    def _gateway_listens(self) -> bool:
        return "event=listening" in self.log("gateway").read_text(errors="replace")

    def _await(
        self, condition: Callable[[], bool], what: str, name: str, within_s: float = _COMMAND_S
    ) -> None:
        end_s = time.monotonic() + within_s
        while not condition():
            self.require(name)
            if time.monotonic() > end_s:
                raise self.failure(what, name)
            time.sleep(0.05)


def _python(program: str) -> list[str]:
    """What the console script of `program` does, with this interpreter and these modules."""
    return [sys.executable, "-c", f"from {program}.cli import main; main()"]


def _die_with_us() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _held_port() -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like servers: they may listen here
    held.bind(("127.0.0.1", 0))
    return held
