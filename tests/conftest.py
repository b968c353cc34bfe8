"""What all tests share: how many run at once, Hypothesis' patience, a real Mosquitto on a port of its own.

Tests run beside each other in several processes (pytest-xdist), on machines that do other work, too. A test
keeps its files in `tmp_path`, its port is held (`hold_port`), and it awaits conditions (`until`).
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import in_memory, seed_watch

# How fast examples are made and run says how busy the machine is, nothing else.
PATIENT = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("patient", PATIENT)
hypothesis.settings.load_profile("patient")

# Debian installs it where ordinary users' PATH does not look.
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 0
max_queued_messages 0
user {user}
log_dest file {folder}/mosquitto.log
"""


@pytest.hookimpl(optionalhook=True)  # there may be no pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: half of the suite's time is spent waiting for processes, so two for each core."""
    return min(8, 2 * len(os.sched_getaffinity(0)))


def wait_until(
    condition: Callable[[], object], deadline_s: float = 10.0, what: str = "the condition"
) -> None:
    """Wait until `condition()` is true; fail with `what` after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {deadline_s:g} s")
        time.sleep(0.01)


def hold_port() -> socket.socket:
    """Bound and silent: while it is open nobody else is given its port, and a server that we start may listen
    there, again and again. Other tests run beside this one: a port that was merely free is soon taken."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like Mosquitto and asyncio
    held.bind(("127.0.0.1", 0))
    return held


class Mosquitto:
    """One broker on 127.0.0.1:`port`. Sessions and retained messages outlive `stop`, not `kill`."""

    def __init__(self, folder: Path) -> None:
        held = hold_port()
        weakref.finalize(self, held.close)
        self.port = int(held.getsockname()[1])
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(_CONFIG.format(port=self.port, folder=folder, user=getpass.getuser()))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens, what="mosquitto's port")

    def stop(self) -> None:
        """SIGTERM: it saves its sessions and retained messages."""
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """SIGKILL: what it held in memory is gone."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"mosquitto ended: {self.log.read_text() if self.log.exists() else 'no log'}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(in_memory)
    config.pluginmanager.register(seed_watch)


@pytest.fixture
def until() -> Callable[..., None]:
    """`until(condition, deadline_s, what)`: how a test awaits another thread or process."""
    return wait_until


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, for the length of the test; see `hold_port`."""
    with hold_port() as held:
        yield int(held.getsockname()[1])


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker; mark the test `mosquitto` too."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (Debian package `mosquitto`)")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    broker.start()
    yield broker
    broker.kill()
