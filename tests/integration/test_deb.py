"""The Debian package: what is in it, and that its wheels fit the machines it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

SYSTEMD = Path(__file__).parents[2] / "systemd"
pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


def build(folder: Path, architecture: str, **variables: str) -> Path:
    environment = {**os.environ, "OUT": str(folder), "SOURCE_DATE_EPOCH": "1800000000", **variables}
    command = [str(SYSTEMD / "deb/build"), architecture]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=800)
    (made,) = folder.glob("*.deb")
    return made


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A package around an empty wheel."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "fieldproof-1.2.3-py3-none-any.whl").touch()
    made = build(tmp_path / "out", "arm64", WHEELS=str(wheels))
    assert made.name == "fieldproof_1.2.3_arm64.deb"
    subprocess.run(["dpkg-deb", "-R", made, tmp_path / "unpacked"], check=True, timeout=60)
    return tmp_path / "unpacked"


def test_the_package_brings_what_make_install_brings(unpacked):
    lib = unpacked / "usr/lib"
    for place, source in {
        "systemd/system/fieldproof-agent.service": "fieldproof-agent.service",
        "systemd/system/fieldproof-last-resort.timer": "fieldproof-last-resort.timer",
        "sysusers.d/fieldproof.conf": "fieldproof.sysusers",
        "tmpfiles.d/fieldproof.conf": "fieldproof.tmpfiles",
        "udev/rules.d/70-fieldproof.rules": "fieldproof.rules",
    }.items():
        assert (lib / place).read_bytes() == (SYSTEMD / source).read_bytes()
    assert not (unpacked / "opt").exists(), "made when it is installed, for the Python that is there"
    assert not list((unpacked / "etc/fieldproof").iterdir())
    links = {path.name: str(path.readlink()) for path in (unpacked / "usr/bin").iterdir()}
    assert links["fieldproof-agent"] == "/opt/fieldproof/current/bin/fieldproof-agent"
    control = (unpacked / "DEBIAN/control").read_text()
    assert "Version: 1.2.3\nArchitecture: arm64\n" in control
    assert "@" not in control.replace("maintainers@fieldproof.invalid", "")


def test_every_program_a_unit_starts_or_a_script_calls_is_in_it(unpacked):
    unit = (unpacked / "usr/lib/systemd/system/fieldproof-last-resort.service").read_text()
    (started,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
    programs = [started, *(f"/usr/lib/fieldproof/{name}" for name in ("switch", "apply"))]
    for program in programs:
        assert os.access(unpacked / program.lstrip("/"), os.X_OK), program
    for script in ("preinst", "postinst", "prerm", "postrm"):
        assert os.access(unpacked / "DEBIAN" / script, os.X_OK)


def test_the_same_wheels_make_the_same_package(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "fieldproof-1.2.3-py3-none-any.whl").touch()
    one, other = (build(tmp_path / name, "arm64", WHEELS=str(wheels)) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow  # fetches every wheel for another machine: a minute or two, and it needs a package index
@pytest.mark.timeout(900)
def test_the_package_for_a_pi_has_no_wheel_that_is_not_for_it_and_all_it_needs(tmp_path):
    made = build(tmp_path / "out", "arm64")
    subprocess.run(["dpkg-deb", "-R", made, tmp_path / "unpacked"], check=True, timeout=60)
    wheels = list((tmp_path / "unpacked/usr/lib/fieldproof/wheels").iterdir())
    platforms = {tag.platform for path in wheels for tag in parse_wheel_filename(path.name)[3]}
    assert {p for p in platforms if p != "any" and not p.endswith("_aarch64")} == set()
    for python in ("cp311", "cp313"):
        names = {path.name.split("-")[0] for path in wheels if f"-{python}-{python}-" in path.name}
        assert {"cbor2", "cffi", "pydantic_core"} <= names
    for name in ("pynacl-", "pip-"):
        assert any(path.name.startswith(name) for path in wheels)
