"""`make install` and what follows it: upgrade, going back, uninstall, purge.

The scripts are real, the environments are real, and pip installs real wheels into another root (DESTDIR).
What is not here is systemd: a `systemctl` that writes down what it was asked, and starts every version but
broken ones.
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
BASE_PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
# Where Python, and Debian's, have the wheel of pip that they make environments with.
PIPS = [
    *Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"),
    *Path("/usr/share/python-wheels").glob("pip-*.whl"),
]
PIP = next(iter(PIPS), Path("none"))
pytestmark = pytest.mark.skipif(
    not PIP.exists(), reason="there is no wheel of pip here (Debian: python3-venv)"
)
SYSTEMCTL = """#!/bin/sh
echo "$@" >> {root}/asked
case $1 in
    is-enabled | is-active) [ -e {root}/enabled ] ;;
    restart) ! ls {root}/opt/fieldproof/current/lib/python3*/site-packages/broken.py 2>/dev/null ;;
esac
"""


pytestmark = pytest.mark.timeout(600)  # seconds each; real environments, on a machine with other work minutes


class Machine:
    """Another root, with its own `systemctl`."""

    def __init__(self, folder: Path, pip: Path) -> None:
        self._pip = pip
        self.root, self._bin, self._wheels = folder / "root", folder / "bin", folder / "wheels"
        self._folder = folder
        self.home = self.root / "opt/fieldproof"
        self.unit = self.root / "usr/local/lib/systemd/system/fieldproof-agent.service"
        for made in (self.root, self._bin):
            made.mkdir()
        self._script("systemctl", SYSTEMCTL.format(root=self.root))

    def _script(self, name: str, text: str) -> None:
        (self._bin / name).write_text(text)
        (self._bin / name).chmod(0o755)

    def wheel(self, version: str, *modules: str) -> Path:
        """A folder with a version of Fieldproof that holds nothing but `modules`."""
        folder = self._folder / f"wheels-{version}"
        folder.mkdir()
        (folder / "pip-0.whl").symlink_to(self._pip)
        info = f"fieldproof-{version}.dist-info"
        with zipfile.ZipFile(folder / f"fieldproof-{version}-py3-none-any.whl", "w") as wheel:
            for module in modules:
                wheel.writestr(f"{module}.py", "def main():\n    print('" + version + "')\n")
            wheel.writestr(
                f"{info}/METADATA",
                f"Metadata-Version: 2.1\nName: fieldproof\nVersion: {version}\nProvides-Extra: dsmr\n",
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(
                f"{info}/entry_points.txt", f"[console_scripts]\nfieldproof-agent={modules[0]}:main\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
        return folder

    def run(
        self, script: str, *words: str, said: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": f"{self._bin}:{os.environ['PATH']}",
            "DESTDIR": str(self.root),
            "SERVICE": "yes",
            "PYTHON": BASE_PYTHON,
            **variables,
        }
        return subprocess.run(
            [str(SYSTEMD / script), *words],
            env=environment, input=said, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip

    def install(self, wheels: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("install", WHEELS=str(wheels), **variables)

    def enable(self) -> None:
        (self.root / "enabled").touch()

    def asked(self) -> list[str]:
        path = self.root / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def current(self) -> str:
        """What the version that is current says of itself."""
        python = self.home / "current/bin/python"
        code = "from importlib.metadata import version; print(version('fieldproof'))"
        return subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    def versions(self) -> set[str]:
        return {path.name.split("-")[0] for path in (self.home / "versions").iterdir()}


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Python, or Debian's, makes environments with; unpacked, it is compiled only once."""
    folder = tmp_path_factory.mktemp("pip")
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    found = [*bundled.glob("pip-*.whl"), *Path("/usr/share/python-wheels").glob("pip-*.whl")]
    if not found:
        pytest.skip("there is no wheel of pip here (Debian package `python3-venv`)")
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(folder)
    return folder


@pytest.fixture
def machine(tmp_path: Path, pip: Path) -> Machine:
    return Machine(tmp_path, pip)


def test_a_first_installation_is_whole_starts_nothing_and_says_what_comes_next(machine):
    done = machine.install(machine.wheel("1.0", "good"))
    assert done.returncode == 0, done.stderr
    assert "Next: sudo fieldproof-provision setup" in done.stdout
    assert machine.current() == "1.0"
    assert not [line for line in machine.asked() if line.startswith(("restart", "start", "enable"))]
    lib = machine.root / "usr/local/lib"
    assert machine.unit.read_text() == (SYSTEMD / "fieldproof-agent.service").read_text()
    for place in (
        "sysusers.d/fieldproof.conf",
        "tmpfiles.d/fieldproof.conf",
        "udev/rules.d/70-fieldproof.rules",
    ):
        assert (lib / place).is_file()
    link = machine.root / "usr/local/bin/fieldproof-agent"
    assert str(link.readlink()) == "/opt/fieldproof/current/bin/fieldproof-agent"
    script = (machine.home / "current/bin/fieldproof-agent").read_text()
    assert "/opt/fieldproof/versions/" in script
    assert str(machine.root) not in script, "it names the interpreter where it will be"
    assert not (machine.root / "etc/fieldproof/agent.toml").exists(), (
        "setup asks; an example is no configuration"
    )


def test_again_with_the_same_is_the_same_and_builds_nothing(machine):
    wheels = machine.wheel("1.0", "good")
    machine.install(wheels)
    target = (machine.home / "current").readlink()
    complete = (machine.home / "current/complete").stat().st_ino
    again = machine.install(wheels)
    assert again.returncode == 0
    assert "installing version" not in again.stdout
    assert (machine.home / "current").readlink() == target
    assert (machine.home / "current/complete").stat().st_ino == complete


@pytest.mark.slow  # three environments; the quick suite upgrades to a version that is taken back
def test_an_upgrade_restarts_the_service_and_keeps_one_version_to_go_back_to(machine):
    machine.install(machine.wheel("1.0", "good"))
    machine.enable()
    machine.install(machine.wheel("2.0", "good"))
    machine.asked()
    done = machine.install(machine.wheel("3.0", "good"))
    assert done.returncode == 0, done.stderr
    assert machine.current() == "3.0"
    assert machine.asked()[-1] == "restart fieldproof-agent.service"
    assert machine.versions() == {"2.0", "3.0"}


def test_a_version_that_does_not_become_ready_is_taken_back_with_its_unit(machine, tmp_path):
    machine.install(machine.wheel("1.0", "good"))
    machine.enable()
    old_unit = machine.unit.read_text()
    new_unit = tmp_path / "new.service"
    new_unit.write_text("[Service]\n# another\n")
    machine.asked()
    done = machine.run(
        "switch", str(machine.wheel("2.0", "broken")), UNIT=str(new_unit), UNIT_FILE=str(machine.unit)
    )
    assert done.returncode == 1
    assert "version 2.0-" in done.stderr
    assert "1.0-" in done.stderr
    assert "runs again" in done.stderr
    assert "journalctl -u fieldproof-agent.service" in done.stderr
    assert machine.current() == "1.0"
    assert machine.versions() == {"1.0"}
    assert machine.unit.read_text() == old_unit
    asked = machine.asked()
    assert asked.count("restart fieldproof-agent.service") == 2
    assert asked[-2:] == ["daemon-reload", "restart fieldproof-agent.service"]


@pytest.mark.slow  # seconds; the quick suite sees a version taken back
def test_a_first_version_that_does_not_start_says_so(machine):
    machine.enable()
    done = machine.install(machine.wheel("1.0", "broken"))
    assert done.returncode == 1
    assert "there is none before it" in done.stderr


@pytest.mark.slow  # seconds; the quick suite sees a version taken back
def test_wheels_that_do_not_install_change_nothing(machine):
    machine.install(machine.wheel("1.0", "good"))
    machine.enable()
    machine.asked()
    wheels = machine.wheel("2.0", "good")
    next(wheels.glob("fieldproof-*")).write_bytes(b"no zip")
    done = machine.install(wheels)
    assert done.returncode == 1
    assert "Nothing was changed" in done.stderr
    assert machine.current() == "1.0"
    assert machine.versions() == {"1.0"}
    assert "restart fieldproof-agent.service" not in machine.asked()


@pytest.mark.slow  # seconds; the quick suite sees a whole version built
def test_a_version_that_was_half_built_is_built_again(machine):
    wheels = machine.wheel("1.0", "good")
    machine.install(wheels)
    made = (machine.home / "current").resolve()
    (made / "complete").unlink()
    (made / "bin/fieldproof-agent").unlink()
    assert machine.install(wheels).returncode == 0
    assert (made / "bin/fieldproof-agent").exists()


def test_wheels_without_pip_are_refused_before_anything_is_made(machine):
    wheels = machine.wheel("1.0", "good")
    (wheels / "pip-0.whl").unlink()
    done = machine.install(wheels)
    assert done.returncode == 1
    assert "there is no wheel of pip" in done.stderr
    assert not machine.home.exists()


def kept(machine: Machine) -> list[Path]:
    files = [machine.root / "etc/fieldproof/agent.toml", machine.root / "var/lib/fieldproof/device.key"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    return files


def test_uninstall_keeps_key_data_and_configuration_and_leaves_nothing_else(machine):
    machine.install(machine.wheel("1.0", "good"))
    files = kept(machine)
    machine.asked()
    done = machine.run("uninstall")
    assert done.returncode == 0, done.stderr
    assert "disable --now fieldproof-agent.service" in machine.asked()
    assert sorted(path for path in machine.root.rglob("*") if not path.is_dir()) == sorted(files)
    assert machine.run("uninstall").returncode == 0, "again is no error"


@pytest.mark.parametrize("answer", ["", "y\n", "yes\n"])
def test_purge_deletes_nothing_without_the_word(machine, answer):
    files = kept(machine)
    done = machine.run("uninstall", "--purge", said=answer)
    assert done.returncode == 1
    assert "nothing was deleted" in done.stderr
    assert all(file.exists() for file in files)


def test_purge_deletes_everything_after_the_word(machine):
    kept(machine)
    assert machine.run("uninstall", "--purge", said="delete\n").returncode == 0
    assert not list(machine.root.rglob("*fieldproof*"))


@pytest.mark.slow  # fetches every dependency, builds a real environment: a minute, and a package index
@pytest.mark.timeout(900)
def test_the_real_thing_installs_without_a_network_from_its_wheels(tmp_path, pip):
    machine = Machine(tmp_path, pip)
    wheels = tmp_path / "fetched"
    environment = {**os.environ, "PYTHON": BASE_PYTHON}
    subprocess.run([SYSTEMD / "wheelhouse", wheels], env=environment, check=True, timeout=600)
    offline = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": "", "PYTHON": BASE_PYTHON}
    environment = {**environment, **offline, "DESTDIR": str(machine.root), "WHEELS": str(wheels)}
    subprocess.run([SYSTEMD / "install"], env=environment, check=True, timeout=300)
    command = [str(machine.home / "current/bin/python"), "-P", "-m", "agent.cli", "check-config", "--schema"]
    assert (
        '"state_dir"'
        in subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    )
