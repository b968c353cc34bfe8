"""The last steps of `setup`: the agent runs, and a gateway has receipted what it measured.

- The service is enabled where systemd runs and knows the unit; else the agent may be started here, as a
  process that goes on after this one, with its log beside its journal.
- The first proof is asked for over the agent's socket: nobody waits for the usual window.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import control
from agent.errors import HardStop, TryAgain
from agent.settings import Settings
from provisioning import wholefile

UNIT = "fieldproof-agent.service"
_DROP_IN = Path(f"/etc/systemd/system/{UNIT}.d/key.conf")
_SYSTEMD_RUNS = Path("/run/systemd/system")
_LOOK_S = 0.25
_SILENCE_S = 5.0
_COMMAND_S = 60.0


@dataclass(frozen=True, slots=True)
class Started:
    """`watch` raises `HardStop` when the agent that was started has ended."""

    how: str
    watch: Callable[[], None] = lambda: None


def running(settings: Settings) -> dict[str, Any] | None:
    """What the running agent says of itself; None where none runs."""
    try:
        return control.ask_status(settings.control_socket)
    except TryAgain:
        return None


def unit_is_installed() -> bool:
    """Whether systemd runs and knows the agent's unit."""
    return (
        _SYSTEMD_RUNS.is_dir()
        and shutil.which("systemctl") is not None
        and _systemctl("cat", UNIT).returncode == 0
    )


def enable(settings: Settings) -> Started:
    """With what the unit needs for the key's place. Raises `TryAgain`."""
    if lines := for_key(settings.key):
        wholefile.replace(_DROP_IN, f"# Written by fieldproof-provision setup.\n[Service]\n{lines}".encode())
        _systemctl("daemon-reload")
    done = _systemctl("enable", "--now", UNIT)
    if done.returncode:
        said = (done.stderr.strip() or "it does not say why").splitlines()[-1]
        raise TryAgain(f"systemctl enable --now {UNIT} failed: {said.rstrip('.')}. See journalctl -u {UNIT}.")
    return Started(f"{UNIT} is enabled and started.")


def for_key(uri: str) -> str:
    """Lines of the unit for a key that lies in hardware, or is handed over by systemd."""
    scheme, _, rest = uri.partition(":")
    place = Path(rest.partition("?")[0])
    return {
        "tpm2": "SupplementaryGroups=tss\nDeviceAllow=/dev/tpmrm0 rw\n",
        "otp": "SupplementaryGroups=video\nDeviceAllow=/dev/vcio rw\n",
        "credential": f"LoadCredentialEncrypted={place.name}.cred:{place}.cred\n",
    }.get(scheme, "")


def command(config: Path) -> list[str]:
    """What runs the agent of this very installation."""
    script = Path(sys.executable).with_name("fieldproof-agent")
    words = [str(script)] if script.exists() else [sys.executable, "-m", "agent.cli"]
    return [*words, "run", "--config", str(config)]


def run_here(config: Path, settings: Settings) -> Started:
    log = settings.state_dir / "agent.log"
    words = command(config.absolute())
    try:
        with log.open("ab") as file:
            process = subprocess.Popen(  # noqa: S603 our own program
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
    except OSError as error:
        raise HardStop(f"The agent cannot be started with {words[0]} and its log {log}: {error}.") from None

    def watch() -> None:
        if process.poll() is not None:
            last = deque(log.read_text(errors="replace").splitlines(), maxlen=1)
            raise HardStop(f"The agent ended: {''.join(last)[:300]} See {log}.")

    return Started(f"The agent runs as process {process.pid}; its log is {log}.", watch)


def first_receipt(settings: Settings, started: Started, wait_s: float) -> dict[str, Any]:
    """The agent's report once a proof was receipted; raises `TryAgain` after `wait_s`."""
    end_s = time.monotonic() + wait_s
    why, asked, answered_s = "No agent answers.", False, time.monotonic()
    while time.monotonic() < end_s:
        try:
            report: dict[str, Any] = control.ask_status(settings.control_socket)
            if report["proofs"]["receipted_seq"]:
                return report
            why, answered_s = " ".join(report["why"]), time.monotonic()
            if not asked:
                b"".join(control.ask(settings.control_socket, "prove"))
                asked = True
        except TryAgain:
            if time.monotonic() - answered_s > _SILENCE_S:  # it may have been started by an earlier run
                started.watch()
        time.sleep(_LOOK_S)
    raise TryAgain(f"No receipt within {wait_s:g} s. {why} The agent goes on; run setup again to look.")


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            ["systemctl", *words],  # noqa: S607 wherever the system has it
            capture_output=True, text=True, timeout=_COMMAND_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TryAgain(f"systemctl does not answer: {error}.") from None
