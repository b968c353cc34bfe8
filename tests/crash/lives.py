"""What the harness starts and kills: agent and gateway, each forked from the harness, which has imported
everything and has one thread. A life costs a fork, not a start of Python.

- The agent is the real node on a simulated chip, in virtual time, on a real broker. What `append` returned
  from is written down by a tap around it, with one write(2): whoever is killed later cannot take it back.
- Its publisher's time runs `HASTE` times as fast, so that waits of minutes are waits of seconds.
- The last life (`more` readings) ends by itself when everything it has is receipted; a superseded store is
  given its owner's word first, which is written down too.
- Anything but a sentence and an exit code of ours is a defect: `DEFECT`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import structlog

from agent import logs, membership
from agent import node as nodes
from agent.clock import SOURCE_NONE, SOURCE_NTP, UNSYNCED_US, SystemClock, Wall
from agent.errors import AgentError, TryAgain
from agent.node import Node
from agent.rotation import KeptKeys
from agent.schedule import Every
from gateway import listener
from gateway.errors import GatewayError
from gateway.link import Link
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.run import witness
from hardware_sim.scenario import Within
from hardware_sim.worlds import ClimateWorld
from proof.keys import multibase_part
from tests.crash.world import INTERVAL_S, NETWORK, Shared, World

SPEED = 4_000  # a reading every 2.5 ms
HASTE = 10.0
DEFECT = 70
LONGEST_S = 180  # no life of the agent is longer
BEACON_S = 1.0
_ORIGIN_NS = 1_798_761_600 * 10**9
_PR_SET_PDEATHSIG = 1
_IMPORTED_LATE = ("adafruit_bme280.basic", "drivers.bme280", "hardware_sim.parts.bme280")
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Child:
    pid: int

    def kill(self) -> int:
        """SIGKILL, at once; the exit code, -9 where it was alive."""
        self.send(signal.SIGKILL)
        return self.wait()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)  # it is ours and not waited for: the number is still its own

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def ended(self, within_s: float) -> int | None:
        """The exit code if it ends by itself."""
        end_s = time.monotonic() + within_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end_s:
                return None
            time.sleep(0.01)


def fork(main: Callable[[], int], log: Path, longest_s: int = 0) -> Child:
    """A process that does `main` and nothing of ours after it; it dies with us."""
    assert threading.active_count() == 1, "a fork of a process with threads may hang"
    pid = os.fork()
    if not pid:
        _be(main, log, longest_s)
    return Child(pid)


def _be(main: Callable[[], int], log: Path, longest_s: int) -> NoReturn:
    code = DEFECT
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(longest_s)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        random.seed()
        code = main()
    except (AgentError, GatewayError) as error:
        sys.stderr.write(f"ended: {error.sentence}\n")
        code = error.exit_code
    except BaseException:  # noqa: BLE001 this is the top of a process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class CrashClock(PacedClock):
    """Notes how far it came, for the next life; its wall clock is set from outside."""

    def __init__(self, shared: Shared, boot_id: bytes) -> None:
        super().__init__(shared.lived_ns() + 10**9, _ORIGIN_NS, SPEED, boot_id=boot_id)
        self._shared = shared

    def wait_until(self, boottime_ns: int, stop: threading.Event) -> bool:
        self._shared.live_until(boottime_ns)
        return super().wait_until(boottime_ns, stop)

    def wall(self) -> Wall:
        offset_ns, synced = self._shared.clock()
        source, error_us = (SOURCE_NTP, 1_000) if synced else (SOURCE_NONE, UNSYNCED_US)
        return Wall(super().wall().ns + offset_ns, source, error_us)


def agent(world: World, more: int | None = None) -> Child:
    """A life of the agent; with `more` readings the last one."""
    return fork(lambda: _agent(world, more), world.log, LONGEST_S)


def _agent(world: World, more: int | None) -> int:
    vars(nodes)["time"] = SimpleNamespace(monotonic=lambda: time.monotonic() * HASTE)
    _log_what_matters()
    settings = world.settings
    keys = KeptKeys(settings.key, SystemClock())
    joined = membership.load(settings.membership_path, keys.current().device, int(time.time()))
    clock = CrashClock(world.shared, world.boot_id)
    every = Every(INTERVAL_S)
    last_ns = None if more is None else clock.boottime_ns() + round(more * INTERVAL_S * 1e9)
    buses = SimulatedBuses(settings.instrument, ClimateWorld(world.seed, _ORIGIN_NS), clock)
    node = Node(settings, keys, joined, clock, buses, lambda _instrument: Within(every, last_ns=last_ns))
    witness(node.keeper, world.witness)
    node.start()
    while more is None:
        signal.pause()  # the end of this life is SIGKILL
    while not _is_done(node, world):
        time.sleep(0.05)
    node.stop()
    return 0


def _is_done(node: Node, world: World) -> bool:
    """Whether all was read and everything is receipted."""
    try:
        if not all(sampler.state.ended for sampler in node.samplers):
            return False
        node.keeper.seal_open_window()
        report: dict[str, Any] = node.answers.status()
        if report["superseded"]:
            with world.resumed.open("a") as file:
                file.write("resumed\n")
            node.resume()
            return False
        return not (report["readings"]["unsealed"] or report["proofs"]["unreceipted"])
    except TryAgain:  # a busy or failing disk: the next look will tell
        return False


def gateway(world: World) -> Child:
    """`fieldproof-gateway listen`, without its command line."""
    return fork(lambda: _gateway(world), world.gateway_log)


def _gateway(world: World) -> int:
    _log_what_matters()
    filters = [f"fieldproof/1/{NETWORK}/+/{leaf}" for leaf in ("proof", "enrol")]
    name = f"fieldproof-gateway-{multibase_part(world.gateway_id)}"
    link = Link(("127.0.0.1", world.broker_port), name, filters, jitter=lambda: -0.4)
    with world.opened() as opened:
        listener.listen(opened.service, link, threading.Event(), BEACON_S)
    return 0


def _log_what_matters() -> None:
    logs.configure("text")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def prepare() -> None:
    """Before the first fork: what a life would import is here, and what is here stays shared."""
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
