"""docs/operating-a-gateway.md, run from its first command to its last: what an operator reads there works.

- Run as it stands, in one shell, but for the installation. Only this is put in other words: names and places
  of this machine, a simulated device (so a test network) in place of the one with a sensor.
- `sudo` and `systemctl` are stand-ins that start what the page asks for: a real Mosquitto with the page's
  configuration and certificates, and the command that stands in the unit.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MOSQUITTO, hold_port

pytestmark = pytest.mark.mosquitto
PAGE = Path(__file__).parents[2] / "docs" / "operating-a-gateway.md"
RUN = "fieldproof-agent run --config ~/node/agent.toml"
SUDO = """\
#!/bin/bash
# Nobody here is root or mosquitto; `install` and `chown` do without owners.
case $1 in
    install) shift; exec install "${@:5}" ;;
    chown|loginctl) exit 0 ;;
    *) exec "$@" ;;
esac
"""
SYSTEMCTL = """\
#!/bin/bash
set -eu
start() { # name, command
    name=$1; shift
    if [ -e "$HOME/$name.pid" ]; then
        old=$(cat "$HOME/$name.pid"); kill "$old"; tail --pid="$old" -f /dev/null
    fi
    "$@" >> "$HOME/$name.log" 2>&1 < /dev/null &
    echo $! > "$HOME/$name.pid"
}
case "$*" in
    "restart mosquitto") start mosquitto MOSQUITTO -c ETC/mosquitto.conf ;;
    "--user enable --now fieldproof-gateway"|"--user restart fieldproof-gateway")
        unit=$(cat "$HOME/.config/systemd/user/fieldproof-gateway.service")
        command=$(sed -n 's/^ExecStart=//p' <<< "$unit")
        before=$(grep -c event=listening "$HOME/gateway.log" || true)
        start gateway ${command//%h/$HOME}
        until [ "$(grep -c event=listening "$HOME/gateway.log" || true)" != "$before" ]; do
            kill -0 "$(cat "$HOME/gateway.pid")"; sleep 0.05
        done ;;
    "--user enable --now fieldproof-gateway-page")
        unit=$(cat "$HOME/.config/systemd/user/fieldproof-gateway-page.service")
        command=$(sed -n 's/^ExecStart=//p' <<< "$unit")
        start page ${command//%h/$HOME}
        until grep -q event=serving "$HOME/page.log"; do
            kill -0 "$(cat "$HOME/page.pid")"; sleep 0.05
        done ;;
    *) echo "systemctl $*: not on the page" >&2; exit 1 ;;
esac
"""


def script(until: str = "") -> str:
    """The page's commands up to the heading `until`, and what its hidden notes do between two machines."""
    page = PAGE.read_text().partition(f"\n## {until}\n")[0] if until else PAGE.read_text()
    parts = re.findall(r"```sh\n(.*?)```|<!-- test\n(.*?)-->", page, re.DOTALL)
    return "set -eu\nROUND=0\n" + "\n".join(shown or hidden for shown, hidden in parts)


def test_every_block_of_the_page_is_run_but_the_installation():
    languages = re.findall(r"^```(.+)$", PAGE.read_text(), re.MULTILINE)
    assert set(languages) == {"sh", "sh elsewhere"}
    assert languages.count("sh elsewhere") == 1
    assert (script().count(RUN), script("Day to day").count(RUN)) == (3, 1)


@pytest.fixture
def home(tmp_path):
    """An operator's home on a machine with Mosquitto, and the device's in the same place."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (Debian package `mosquitto`)")
    etc, programs = tmp_path / "etc", tmp_path / "fieldproof" / ".venv" / "bin"
    for folder in (etc / "conf.d", programs):
        folder.mkdir(parents=True)
    (etc / "mosquitto.conf").write_text(
        f"user {getpass.getuser()}\nlog_dest stderr\nlog_type all\ninclude_dir {etc}/conf.d\n"
    )
    stand_ins = {
        "sudo": SUDO,
        "systemctl": SYSTEMCTL.replace("MOSQUITTO", MOSQUITTO).replace("ETC", str(etc)),
    }
    for package, name in (("gateway", "gateway"), ("provisioning", "provision"), ("hardware_sim", "sim")):
        stand_ins[f"fieldproof-{name}"] = f'#!/bin/sh\nexec {sys.executable} -W error -m {package}.cli "$@"\n'
    node = tmp_path / "node"  # `init --write-config` leaves a configuration that is there alone
    node.mkdir()
    example = (PAGE.parents[1] / "provisioning" / "example.toml").read_text()
    example = re.sub("^state_dir = .*", f'state_dir = "{node}/state"', example, flags=re.MULTILINE)
    (node / "agent.toml").write_text(
        re.sub("^key = .*", f'key = "sim:{node}/device.key"', example, flags=re.MULTILINE)
    )
    for name, text in stand_ins.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    yield tmp_path
    for pid in tmp_path.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def follow(home: Path, port: int, text: str, deadline_s: float) -> list[dict[str, Any]]:
    with hold_port() as held:
        return run(home, port, int(held.getsockname()[1]), text, deadline_s)


def run(home: Path, port: int, page_port: int, text: str, deadline_s: float) -> list[dict[str, Any]]:
    """Runs `text`; the gateway's line of the one device after each time it delivered."""
    shown_id = "fieldproof-provision show --config ~/node/agent.toml --json"
    simulated = "fieldproof-sim run --config ~/node/agent.toml --climate 1 --speed inf --until-done"
    for said, put in (
        ("ID=z6Mk...", rf"""ID=$({shown_id} | sed -n 's/.*"device": "did:key:\(.*\)".*/\1/p')"""),
        (
            RUN,
            f"{simulated} --readings $((120 * ++ROUND))\n"
            "fieldproof-gateway devices --dir ~/hills --json > ~/devices.$ROUND.json",
        ),
        ("--kind live", "--kind test"),
        ("mqtts://broker.example.net", f"mqtts://localhost:{port}"),
        ("broker.example.net", "localhost"),
        ("broker-config ", f"broker-config --folder {home}/etc/fieldproof "),
        ("/etc/mosquitto", f"{home}/etc"),
        ("127.0.0.1:8734", f"127.0.0.1:{page_port}"),
    ):
        assert said in text, said
        text = text.replace(said, put)
    with (home / "said").open("wb") as said_here:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=home,
            env=environment(home),
            stdout=said_here,
            stderr=subprocess.STDOUT,
            timeout=deadline_s,
        )
    assert done.returncode == 0, (home / "said").read_text()[-4000:]
    return [json.loads(file.read_text())[0] for file in sorted(home.glob("devices.*.json"))]


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "USER": getpass.getuser(),
        "PATH": f"{home}/fieldproof/.venv/bin:{os.environ['PATH']}:/usr/sbin",
        "PYTHONPATH": str(PAGE.parents[1]),
    }


@pytest.mark.timeout(150)  # a dozen programs one after the other, on a machine others may load
def test_who_follows_the_page_has_receipts_over_tls_with_certificates(home, free_port):
    (line,) = follow(home, free_port, script("Day to day"), 140)
    assert (line["owner"], line["readings"], line["verdicts"]) == ("Ada", 120, {})
    assert 'fieldproof_gateway_devices{state="delivering"} 1.0' in (home / "said").read_text()


@pytest.mark.slow  # the same, then claims, evidence, revocation, passwords, client ids
@pytest.mark.timeout(300)
def test_who_follows_the_page_to_its_end_has_receipts_in_each_of_the_three_ways(home, free_port):
    lines = follow(home, free_port, script(), 280)
    assert [line["readings"] for line in lines] == [120, 240, 360]
    assert not lines[-1]["revoked"]
    command = [f"{home}/fieldproof/.venv/bin/fieldproof-gateway", "claim", "list", "--dir", f"{home}/hills"]
    listed = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=30).stdout
    assert re.fullmatch(r"\S+  used by z6Mk\w+  Ada\n\S+  withdrawn  not Ada\n", listed)
