"""What stands in systemd/: read by systemd's own programs, and the scripts by shellcheck."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "fieldproof-agent.service"
MOST_EXPOSED = 1.3
DROP_INS = {
    "as it is": "",
    "key in a TPM": "SupplementaryGroups=tss\nDeviceAllow=/dev/tpmrm0 rw\n",
    "key in OTP memory": "SupplementaryGroups=video\nDeviceAllow=/dev/vcio rw\n",
    "key in a credential": "LoadCredentialEncrypted=device.key.cred:/var/lib/fieldproof/device.key.cred\n",
}


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)),
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


@needs("systemd-analyze")
@pytest.mark.parametrize("lines", DROP_INS.values(), ids=DROP_INS)
def test_the_agents_exposure_stays_low_with_every_kind_of_key(tmp_path, lines):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("[Install]", f"{lines}[Install]"))
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit).stdout
    found = re.search(r"Overall exposure level for \S+ ([0-9.]+) ", said)
    assert found, said
    assert float(found[1]) <= MOST_EXPOSED


@needs("systemd-analyze")
@pytest.mark.parametrize(
    "unit", sorted(SYSTEMD.glob("*.service")) + sorted(SYSTEMD.glob("*.timer")), ids=lambda p: p.name
)
def test_systemd_understands_every_line_of_a_unit(unit):
    said = run("systemd-analyze", "verify", "--recursive-errors=no", unit)
    ours = [line for line in said.stderr.splitlines() if unit.name in line]
    assert [line for line in ours if "is not executable: No such file" not in line] == []


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="making a folder somebody else's takes root")
def test_the_user_has_the_groups_of_the_unit_and_a_private_folder(tmp_path):
    (tmp_path / "etc").mkdir()
    assert run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "fieldproof.sysusers").returncode == 0
    groups = {
        line.split(":")[0]: line.rsplit(":", 1)[1].split(",")
        for line in (tmp_path / "etc/group").read_text().splitlines()
    }
    wanted = re.search("^SupplementaryGroups=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert wanted
    assert all("fieldproof" in groups[name] for name in wanted[1].split())
    made = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "fieldproof.tmpfiles")
    assert made.returncode == 0, made.stderr
    folder = (tmp_path / "var/lib/fieldproof").stat()
    entry = next(
        line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("fieldproof:")
    )
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert folder.st_uid == int(entry.split(":")[2]) != 0


@needs("shellcheck")
def test_shellcheck_has_nothing_to_say():
    scripts = [
        path for path in sorted(SYSTEMD.rglob("*")) if path.is_file() and path.read_bytes()[:2] == b"#!"
    ]
    assert {"install", "uninstall", "switch", "wheelhouse", "last-resort"} <= {path.name for path in scripts}
    said = run("shellcheck", *scripts)
    assert said.returncode == 0, said.stdout


class Board:
    """`last-resort` on a machine of ours: `systemctl` counts what we say and reboots by writing it down."""

    def __init__(self, folder: Path) -> None:
        self.state, self._folder = folder / "state", folder
        self.state.mkdir()
        script = folder / "systemctl"
        script.write_text(
            f'#!/bin/sh\n[ "$1" != reboot ] || echo >> {folder}/reboots\ncat {folder}/restarts\n'
        )
        script.chmod(0o755)

    def look(self, restarts: str, up_s: float, new_boot: bool = False) -> int:
        """How often it has rebooted by now."""
        (self._folder / "restarts").write_text(restarts)
        (self._folder / "uptime").write_text(f"{up_s:.2f} 1.0\n")
        if new_boot:
            (self.state / "boot").write_text("another")
        done = run(
            SYSTEMD / "last-resort",
            PATH=f"{self._folder}:{os.environ['PATH']}",
            STATE_DIRECTORY=str(self.state),
            UPTIME=str(self._folder / "uptime"),
        )
        assert done.returncode == 0, done.stderr
        path = self._folder / "reboots"
        return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_few_restarts_reboot_nothing_and_many_do(tmp_path):
    board = Board(tmp_path)
    assert board.look("4", 7000) == 0
    assert board.look("8", 8800) == 0, "four more since the last look"
    assert board.look("13", 10600) == 1
    assert (board.state / "reboots").read_text() == "1\n"


def test_no_reboot_within_an_hour_of_the_boot(tmp_path):
    board = Board(tmp_path)
    assert board.look("27", 1800) == 0
    assert board.look("54", 3599) == 0
    assert board.look("81", 3600) == 1


def test_three_reboots_in_a_row_that_did_not_help_are_the_last_until_it_was_well_once(tmp_path):
    board = Board(tmp_path)
    for expected in (1, 2, 3, 3, 3):
        assert board.look("30", 4000, new_boot=True) == expected
    assert board.look("30", 6000) == 3, "no restart since: well"
    assert board.look("60", 8000) == 4


@pytest.mark.parametrize("damage", ["", "x", "-1", "9" * 500])
def test_damaged_counts_begin_again(tmp_path, damage):
    board = Board(tmp_path)
    for name in ("seen", "in-a-row", "reboots"):
        (board.state / name).write_text(damage)
    assert board.look("30", 4000, new_boot=True) == 1
