"""What holds of every command of `fieldproof-provision`; new ones are found by themselves."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from agent.keystore import Board
from provisioning.cli import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
# What each needs to be called at all. A command that is not here needs nothing.
ARGUMENTS = {
    "join": ["fp1.nonsense"],
    "setup": ["--claim", "fp1.nonsense"],
    "backup": ["-o", "/none/out", "--passphrase-file", "/none/passphrase"],
    "restore": ["/none/backup", "--passphrase-file", "/none/passphrase"],
    "calibrator-key": ["sim:not-absolute"],
    "calibrate": [
        "--instrument", "a", "--quantity", "b", "--reference", "none.csv", "--reference-name", "r",
        "--reference-uncertainty", "1", "--calibrator-key", "sim:/none/key", "-o", "/none/out",
    ],
}  # fmt: skip


def test_the_list_is_the_app_s():
    assert {"init", "join", "show", "setup", "calibrator-key", "calibrate"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_one_json_object_and_nothing_else(tmp_path, command):
    missing = tmp_path / "none" / "agent.toml"
    options = ["--config", str(missing)] if command != "calibrator-key" else []
    result = CliRunner().invoke(
        app, [command, *ARGUMENTS.get(command, []), *options, "--json"], obj=Board(tmp_path / "no"), input=""
    )
    said = json.loads(result.stdout)
    assert isinstance(said, dict)
    assert result.exit_code in (1, 2), "there is nothing here that could work"
    assert result.stderr == ""
    assert not missing.parent.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command):
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "--json" in result.stdout
