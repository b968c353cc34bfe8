"""Where a new device's key is kept: what really works here, best first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.errors import HardStop
from agent.keystore import Board, create_key
from provisioning import keychoice
from tests.key_parts import Firmware, Swtpm, need
from tests.setup_parts import Scripted


@pytest.fixture
def board(tmp_path, monkeypatch):
    """One with a machine id and nothing else: no program that keeps keys is on its path."""
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setenv("TPM2TOOLS_TCTI", "device:/none")
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "host-secret"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return Board(tmp_path / "machine-id", tmp_path / "serial", tmp_path / "vcio")


@pytest.fixture
def no_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def tpm(tmp_path, monkeypatch):
    made = Swtpm(tmp_path / "tpm")
    monkeypatch.setenv("TPM2TOOLS_TCTI", made.tcti)
    yield made
    made.stop()


def best(board, tmp_path) -> tuple[str, Scripted]:
    person = Scripted()
    return keychoice.best(tmp_path / "state", board, None, person), person


def test_a_file_is_the_last_resort_and_said_to_be_weak(board, no_programs, tmp_path):
    uri, person = best(board, tmp_path)
    assert uri == f"file:{tmp_path}/state/device.key"
    (said,) = person.told
    assert "file: (weak: wrapped under what this board says of itself)" in said
    assert not (tmp_path / "state").exists(), "it was only tried"


def test_a_credential_comes_before_a_file(board, tmp_path):
    need("systemd-creds")
    assert best(board, tmp_path)[0] == f"credential:{tmp_path}/state/device.key?with-key=host"


def test_the_board_s_otp_key_comes_before_a_credential(board, tmp_path, monkeypatch):
    (tmp_path / "vcio").touch()
    monkeypatch.setattr("agent.wrapping_otp.fcntl.ioctl", Firmware().ioctl)
    assert best(board, tmp_path)[0] == f"otp:{tmp_path}/state/device.key"


def test_a_tpm_comes_first_and_nothing_stays_in_it(board, tpm, tmp_path, monkeypatch):
    (tmp_path / "vcio").touch()
    monkeypatch.setattr("agent.wrapping_otp.fcntl.ioctl", Firmware().ioctl)
    assert best(board, tmp_path)[0] == f"tpm2:{tmp_path}/state/device.key"
    assert tpm.run("getcap", "handles-persistent") == b""
    assert tpm.run("getcap", "handles-transient") == b""


def test_why_a_better_one_is_not_usable_is_known(board, no_programs):
    problems = {scheme: problem for scheme, _, _, problem in keychoice.tried(board)}
    assert "tpm2-tools" in problems["tpm2"]
    assert "no Raspberry Pi" in problems["otp"]
    assert problems["credential"]
    assert problems["file"] == ""


def test_what_stands_in_for_hardware_says_so(board, tmp_path):
    assert keychoice.best(tmp_path, board, Path("x"), Scripted()) == f"sim:{tmp_path}/device.key"


@pytest.mark.parametrize("scheme", ["file", "credential"])
def test_a_key_that_is_there_stays(board, tmp_path, scheme):
    if scheme == "credential":
        need("systemd-creds")
    uri = f"{scheme}:{tmp_path}/state/device.key" + ("?with-key=host" if scheme == "credential" else "")
    create_key(uri, 0, board)
    assert best(board, tmp_path)[0] == uri


def test_a_key_of_another_board_is_a_hard_stop(board, tmp_path, no_programs):
    uri = f"file:{tmp_path}/state/device.key"
    create_key(uri, 0, board)
    before = json.loads((tmp_path / "state" / "device.key").read_bytes())
    board.machine_id.write_text("f" * 32)
    with pytest.raises(HardStop, match="is no key of this machine"):
        best(board, tmp_path)
    assert json.loads((tmp_path / "state" / "device.key").read_bytes()) == before


def test_a_machine_that_can_keep_no_key_says_why(board, tmp_path, no_programs):
    board.machine_id.write_text("")
    with pytest.raises(HardStop, match=r"No key can be kept on this machine\..*holds no machine id"):
        best(board, tmp_path)
