"""Root acts as the service's user: in processes of their own, because users belong to a whole process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from provisioning import become

CODE = (
    "import os, sys; from pathlib import Path; from provisioning import become; "
    "became = become.owner_of(Path(sys.argv[1]), ['tty', 'no-such-group']); "
    "print(became, os.getuid(), os.geteuid(), *os.getgroups())"
)
ROOT = Path(__file__).parents[3]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def told(folder: Path) -> list[str]:
    command = [sys.executable, "-c", CODE, str(folder)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()


@root_only
def test_root_becomes_the_owner_with_the_groups_of_the_service(tmp_path):
    import grp

    os.chown(tmp_path, 12345, 23456)
    became, *ids, first, second = told(tmp_path)
    assert (became, ids) == ("True", ["0", "12345"])
    assert {int(first), int(second)} == {23456, grp.getgrnam("tty").gr_gid}


def test_who_owns_the_folder_or_finds_none_stays_who_he_is(tmp_path):
    me = [str(os.getuid()), str(os.geteuid())]
    assert told(tmp_path)[:3] == ["False", *me]
    assert told(tmp_path / "none")[:3] == ["False", *me]
    assert become.owner_of(tmp_path) is False


OWNER = 12345
COMMANDS = """
import json, os, sys
from pathlib import Path
from typer.testing import CliRunner
from agent.keystore import open_key
from provisioning import become
from provisioning.cli import app
os.chdir("/")
for command in ("init", "init", "show"):
    done = CliRunner().invoke(app, [command, "--config", sys.argv[1], "--json"])
    assert os.geteuid() == 0 and os.getgroups() == groups, "root again"
    print(json.dumps([done.exit_code, done.output]))
if sys.argv[2].startswith("sim:"):  # for good; of a credential the service is given the contents by systemd
    os.setuid(OWNER)
with become.owning(Path(sys.argv[1]).parent / "state"):
    print(json.dumps([0, open_key(sys.argv[2]).device]))
"""


@root_only
@pytest.mark.parametrize("form", ["sim:{}", "credential:{}?with-key=host"])
def test_what_root_makes_belongs_to_the_owner_of_the_state_folder_who_can_use_it(public_folder, form):
    if form.startswith("credential:") and shutil.which("systemd-creds") is None:
        pytest.skip("systemd-creds is not installed (Debian package `systemd`)")
    config, state = public_folder / "agent.toml", public_folder / "state"
    state.mkdir(mode=0o700)
    os.chown(state, OWNER, OWNER)
    key = form.format(state / "device.key")
    bme = 'name = "a"\ndriver = "bme280"\nbus = "i2c:1"\n'
    config.write_text(f'state_dir = "{state}"\nkey = "{key}"\n[[instrument]]\n{bme}')
    code = f"import os; OWNER = {OWNER}; groups = os.getgroups()\n{COMMANDS}"
    command = [sys.executable, "-c", code, str(config), key]
    environment = {**os.environ, "SYSTEMD_CREDENTIAL_SECRET": str(public_folder / "host.secret")}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stderr
    (first, made), (again, known), (_, shown), (_, device) = map(json.loads, ran.stdout.splitlines())
    assert (first, again) == (0, 0), made + known
    assert json.loads(made)["created"], made
    assert not json.loads(known)["created"], known
    assert json.loads(shown)["device"] == device, shown
    assert {path.stat().st_uid for path in state.iterdir()} == {OWNER}


@pytest.fixture
def public_folder():
    """pytest's own folders are open to the user who runs it only."""
    with tempfile.TemporaryDirectory(prefix="fieldproof-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
