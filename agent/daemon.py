"""The running daemon. Started by `fieldproof-agent run`, which has checked the settings and then becomes
this program (execv): neither the command line's nor pydantic's code stays in memory (decision 0003).

- Settings arrive pickled on an inherited file descriptor; nobody but our own command line writes there.
- READY is said when the instruments were opened and the threads run; SIGTERM and SIGINT stop in order.
- Exit code 0 after a stop, 2 when a person must act, 1 otherwise.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from agent import lean

    lean.prepare()

import fcntl
import os
import pickle
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from agent import logs, membership, memory, notify
from agent.buses import HardwareBuses
from agent.clock import SystemClock
from agent.control import ControlServer
from agent.errors import AgentError, HardStop
from agent.node import Node
from agent.rotation import KeptKeys
from agent.settings import Settings
from agent.watch import LOOK_S

_log = structlog.get_logger()


def main(fd: int) -> int:
    with os.fdopen(fd, "rb") as file:
        settings: Settings = pickle.load(file)  # noqa: S301 written by our own parent, a moment ago
    logs.configure(settings.log_format)
    try:
        clock = SystemClock()
        keys = KeptKeys(settings.key, clock)
        device, now_s = keys.current().device, clock.wall().ns // 10**9
        joined = membership.load(settings.membership_path, device, now_s)
        with alone(settings.state_dir):
            return serve(Node(settings, keys, joined, clock, HardwareBuses(clock)), settings)
    except AgentError as error:
        notify.notify(f"STATUS={error.sentence}")
        sys.stderr.write(f"fieldproof-agent: {error.sentence}\n")
        return error.exit_code


class AgentRuns(HardStop):
    """Another agent has the state folder."""


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """The state folder for this process only; raises `AgentRuns` while another agent runs in it, `HardStop`
    where other users could put a journal, a membership or a socket of their own there."""
    try:
        folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HardStop(
            f"The state folder {state_dir} cannot be used: {error.strerror}. "
            "Run `fieldproof-provision init`, as the user the agent runs as."
        ) from None
    try:
        if (mode := os.fstat(folder).st_mode) & 0o002:  # a group may be its owner's alone
            raise HardStop(
                f"Everybody may write to the state folder {state_dir} (mode {stat.S_IMODE(mode):04o}), where "
                f"journal and membership lie. Run `chmod 0700 {state_dir}`, and look at what is in it."
            )
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AgentRuns(
                f"Another agent runs in {state_dir}: stop it first, or give this one its own state_dir."
            ) from None
        yield
    finally:
        os.close(folder)


def serve(node: Node, settings: Settings, stop: threading.Event | None = None) -> int:
    """Run `node` until SIGTERM or SIGINT (or `stop`); raises `AgentError` when it cannot start."""
    stop = stop or threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with ExitStack() as closing:
        closing.callback(node.stop)  # the first: whatever fails when the others close, it stops in order
        node.start()
        if settings.page.enabled:
            from agent import page as pages  # off, it costs nothing

            if page := pages.start(node, settings):
                closing.callback(page.close)
        server = ControlServer(
            settings.control_socket,
            node.answers.status,
            node.answers.export,
            node.prove_now,
            node.rotate,
            node.resume,
            node.answers.log,
            node.answers.explain,
        )
        closing.callback(server.close)
        notify.notify("READY=1")
        say_how_it_is(node)
        hold(node, stop, notify.watchdog_s(), lambda: feed(node))
        notify.notify("STOPPING=1")
    return 0


@contextmanager
def looking() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 what only tells of the node must not end it
        _log.exception("unexpected error", thread="main")


def hold(node: Node, stop: threading.Event, every_s: float | None, feed: Callable[[], None]) -> None:
    """Wait until `stop`; `feed` is called every `every_s` seconds in which `node` made progress."""
    step_s = min(every_s or LOOK_S, LOOK_S)
    fed_s = time.monotonic()
    while not stop.wait(step_s):
        with looking():
            node.answers.watch()
        now_s = time.monotonic()
        if every_s is not None and now_s - fed_s >= every_s - step_s / 2:
            fed_s = now_s
            if node.progress():
                feed()


def feed(node: Node) -> None:
    notify.notify("WATCHDOG=1")  # first: what follows may take a moment
    say_how_it_is(node)


def say_how_it_is(node: Node) -> None:
    """The line in `systemctl status`."""
    with looking():
        notify.notify(f"STATUS={node.answers.status_line()}")


if __name__ == "__main__":
    memory.close()
    sys.exit(main(int(sys.argv[1])))
