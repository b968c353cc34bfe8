"""A network on this machine: a real mosquitto, a real gateway process, one device that has joined it.

- Everything lives in a folder below `build/`, on the file system of the checkout, not in a tmpfs.
- Processes run one by one as asked for; leaving the context ends them.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from agent import control, membership
from agent.errors import TryAgain
from agent.keystore import create_key
from agent.membership import Joined
from agent.settings import InstrumentSettings, MqttSettings, ProofSettings, Settings
from benchmarks.membership import NETWORK, join
from gateway import folder as gateway_folder
from proof import wire
from proof.keys import Signer

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def until(condition: Callable[[], object], deadline_s: float, what: str) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end_s:
            raise SystemExit(f"{what} did not come within {deadline_s:g} s")
        time.sleep(0.02)


@functools.cache
def as_installed() -> dict[str, str]:
    """The environment of systemd/fieldproof-agent.service, and bytecode in place as pip leaves it: a process
    that compiles its modules is larger."""
    names = ("agent", "drivers", "gateway", "hardware_sim", "proof", "web", "benchmarks")
    packages = [str(ROOT / name) for name in names]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *packages], check=True)  # noqa: S603
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return plain | {"MALLOC_ARENA_MAX": "2"}


@contextmanager
def work_folder() -> Iterator[Path]:
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as name:
        yield Path(name)


@dataclass(slots=True)
class Field:
    """`settings` are the device's; `gateway` is the gateway's folder."""

    folder: Path
    port: int
    settings: Settings
    signer: Signer
    joined: Joined
    gateway: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def device(self) -> str:
        return self.signer.device

    def start_broker(self, more: str = "") -> subprocess.Popen[bytes]:
        if MOSQUITTO is None:
            raise SystemExit("This benchmark needs mosquitto: install the Debian package `mosquitto`.")
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
            f"max_inflight_messages 0\nset_tcp_nodelay true\nlog_dest none\n{more}"
        )
        process = self.spawn("mosquitto", [MOSQUITTO, "-c", str(config)])
        until(self._listens, 10, "mosquitto")
        return process

    def start_gateway(self) -> subprocess.Popen[bytes]:
        """Returns when its first beacon is at the broker."""
        program = Path(sys.executable).with_name("fieldproof-gateway")
        process = self.spawn("gateway", [str(program), "listen", "--dir", str(self.gateway)])
        heard = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda *_: heard.set()
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        client.subscribe(wire.beacon_topic(NETWORK))
        until(heard.is_set, 20, "the gateway's beacon")
        client.disconnect()
        client.loop_stop()
        return process

    def start_agent(self, **environment: str) -> subprocess.Popen[bytes]:
        settings = self.folder / "settings.pickle"
        settings.write_bytes(pickle.dumps(self.settings))
        return self.spawn("agent", self.child("agent", str(settings)), environment)

    def start_naive(self, interval_s: float, what: str = "naive") -> subprocess.Popen[bytes]:
        return self.spawn(what, self.child(what, "127.0.0.1", str(self.port), str(interval_s)))

    def child(self, what: str, *rest: str) -> list[str]:
        return [sys.executable, "-m", "benchmarks.child", what, str(self.folder / f"{what}.usage"), *rest]

    def spawn(
        self, name: str, command: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        env = as_installed() | dict(environment or {})
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=env)  # noqa: S603
        self.processes.append(process)
        return process

    def usage(self, process: subprocess.Popen[bytes], what: str) -> dict[str, int]:
        """What a child of `benchmarks.child` says of itself now."""
        path = self.folder / f"{what}.usage"
        before = path.read_text().count("\n")
        process.send_signal(signal.SIGUSR1)
        until(lambda: path.read_text().count("\n") > before, 10, f"the usage of {what}")
        usage: dict[str, int] = json.loads(path.read_text().splitlines()[-1])
        return usage

    def status(self) -> dict[str, dict[str, int]]:
        """The running agent's report, empty while it does not answer."""
        try:
            return control.ask_status(self.settings.control_socket)  # type: ignore[return-value]
        except TryAgain:
            return {}

    def receipted(self, proofs: int) -> bool:
        """Whether at least `proofs` are sealed and none waits for a receipt."""
        report = self.status().get("proofs")
        return bool(report and report["sealed"] >= proofs and not report["unreceipted"])

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def joined_field(interval_s: float = 0.2, readings: int = 60) -> Iterator[Field]:
    """A device with one BME280, read every `interval_s`, `readings` to a proof. No process runs yet."""
    with work_folder() as folder, socket.socket() as held:
        # Bound and silent: while the broker is away nobody else is given its port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        state, broker = folder / "agent", f"mqtt://127.0.0.1:{port}"
        state.mkdir()
        key = f"sim:{state}/device.key"
        signer = create_key(key, int(time.time()))
        settings = Settings(
            state,
            key,
            (InstrumentSettings("bme280", "bme280", "i2c:1", "0x76", interval_s, min(2.0, interval_s)),),
            ProofSettings(readings=readings),
            mqtt=MqttSettings(allow_plain=True),
        )
        gateway = gateway_folder.create(
            folder / "gateway", gateway_folder.Settings(NETWORK, "test", broker), os.urandom
        )
        joined = join(folder / "gateway", gateway, signer, broker)
        membership.save(settings.membership_path, joined)
        field = Field(folder, port, settings, signer, joined, folder / "gateway")
        try:
            yield field
        except SystemExit:
            for log in folder.glob("*.log"):
                sys.stderr.write(f"-- {log.name}\n{log.read_text()[-2000:]}\n")
            raise
        finally:
            field.close()
