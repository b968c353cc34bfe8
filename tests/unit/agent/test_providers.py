"""What every key provider promises, whatever wraps its seeds; each on its real program or real bytes."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import keystore, privatefile, tools
from agent.errors import FixKey
from agent.keystore import (
    Board,
    create_key,
    export_seeds,
    import_seeds,
    open_key,
    open_next_key,
    settle_key,
)
from proof.keys import signature_fits
from tests.key_parts import need

KINDS = [
    "file:",
    "credential:?with-key=host",
    "credential:?with-key=tpm2",
    "credential:?with-key=host+tpm2",
    "tpm2:",
    "tpm2:?pcrs=0,7",
    "otp:",
    "sim:",
]


@dataclass
class Place:
    """One board and a key's place on it; `move` brings the folder to another board of the kind."""

    uri: str
    path: Path
    board: Board
    beside: str  # the name of the file the wrapping key lies in, if any

    def names(self):
        return sorted(file.name for file in self.path.parent.iterdir())

    def bytes(self):
        return {file.name: file.read_bytes() for file in self.path.parent.iterdir()}

    @property
    def slots(self):
        names = [self.path.name, f"{self.path.name}.next"]
        return sorted([*names, self.beside] if self.beside else names)


@pytest.fixture
def place(request, tmp_path, firmware, monkeypatch):
    scheme, _, query = request.param.partition(":")
    if scheme == "credential":
        need("systemd-creds")
        monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
        monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", f"{tmp_path}/host-secret")
    if "tpm2" in request.param:
        tpm = request.getfixturevalue("tpm")
        if scheme == "credential":
            real = tools.run

            def run(*args, **kwargs):
                tpm.clean()  # systemd leaves its sessions to the resource manager, which a socket has not
                return real(*args, **kwargs)

            monkeypatch.setattr(tools, "run", run)
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "vcio").touch()
    board = Board(tmp_path / "machine-id", tmp_path / "serial", tmp_path / "vcio")
    path = tmp_path / "keys" / "device.key"
    beside = {"credential": "device.key.cred", "tpm2": "device.key.tpm"}.get(scheme, "")
    return Place(f"{scheme}:{path}{query}", path, board, beside)


@pytest.fixture
def move(place, tpms, firmware, monkeypatch, tmp_path):
    """Carry the card to another board."""

    def go():
        place.board.machine_id.write_text("fedcba9876543210fedcba9876543210\n")
        firmware.rows = firmware.rows[::-1]
        monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", f"{tmp_path}/another-secret")
        if "tpm2" in place.uri:
            monkeypatch.setenv("TPM2TOOLS_TCTI", tpms(1).tcti)
            monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", tpms(1).tcti)

    return go


every = pytest.mark.parametrize("place", KINDS, indirect=True, ids=str)
bound = pytest.mark.parametrize("place", [kind for kind in KINDS if kind != "sim:"], indirect=True, ids=str)
beside = pytest.mark.parametrize(
    "place", [kind for kind in KINDS if kind.startswith(("credential", "tpm2"))], indirect=True, ids=str
)


@every
def test_a_key_comes_back_signs_says_its_class_and_is_never_overwritten(place):
    made = create_key(place.uri, 1, place.board)
    assert made.key_class == place.uri.partition(":")[0]
    assert place.names() == place.slots
    before = place.bytes()
    opened = open_key(place.uri, place.board)
    assert (opened.public_key, opened.device, opened.key_class) == (
        made.public_key,
        made.device,
        made.key_class,
    )
    assert signature_fits(made.public_key, b"message", opened.sign(b"message"))
    with pytest.raises(FixKey, match=r"something at .* already"):
        create_key(place.uri, 2, place.board)
    assert place.bytes() == before
    assert {file.stat().st_mode & 0o777 for file in place.path.parent.iterdir()} == {0o400}


@every
def test_rotation_and_backup_work_as_they_do_for_a_file(place, tmp_path):
    first = create_key(place.uri, 1, place.board)
    settled = settle_key(place.uri, open_next_key(place.uri, place.board).public_key, 2, place.board)
    assert (settled.device, settled.key_class) == (first.device, first.key_class)
    assert place.names() == place.slots
    seeds = export_seeds(place.uri, place.board)
    on_disk = b"".join(place.bytes().values())
    for secret in (seeds.current, seeds.next):
        assert not any(form in on_disk for form in (secret, secret.hex().encode(), base64.b64encode(secret)))
    for name in place.names():
        (place.path.parent / name).unlink()
    assert import_seeds(place.uri, seeds, 3, place.board).device == first.device
    assert place.names() == place.slots


@bound
def test_on_another_board_it_is_refused_and_left_alone(place, move):
    create_key(place.uri, 1, place.board)
    before = place.bytes()
    move()
    with pytest.raises(FixKey, match=r"another board|does not open on this machine|sealed by another TPM"):
        open_key(place.uri, place.board)
    with pytest.raises(FixKey, match="already"):
        create_key(place.uri, 1, place.board)
    assert place.bytes() == before


@every
def test_a_creation_that_ended_after_any_file_is_taken_up_where_it_ended(place, monkeypatch):
    real = privatefile.write_new
    left: list[int] = []

    def write(path, data):
        if not left:
            raise FixKey("the power went")
        left.pop()
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(privatefile, "write_new", write)
        for written in range(len(place.slots)):
            left[:] = [1] * (written > 0)
            with pytest.raises(FixKey, match="the power went"):
                create_key(place.uri, 1, place.board)
            assert len(place.names() if place.path.parent.exists() else []) == written
    found = place.bytes()
    create_key(place.uri, 1, place.board)
    assert found.items() < place.bytes().items()
    assert open_key(place.uri, place.board)


@beside
def test_a_wrapping_key_that_is_gone_too_open_or_foreign_stops_with_a_sentence(place):
    create_key(place.uri, 1, place.board)
    file = place.path.with_name(place.beside)
    file.chmod(0o440)
    with pytest.raises(FixKey, match="is open to others"):
        open_key(place.uri, place.board)
    file.chmod(0o600)
    file.write_bytes(b'{"v": 1}')
    with pytest.raises(FixKey, match=r"is damaged|does not open"):
        open_key(place.uri, place.board)
    file.unlink()
    with pytest.raises(FixKey, match=r"device\.key\.(cred|tpm), which belongs to the key beside it, is gone"):
        open_key(place.uri, place.board)
    assert place.names() == [name for name in place.slots if name != place.beside]


def test_each_scheme_is_a_key_class_of_the_protocol():
    text = Path("docs/protocol.md").read_text()
    assert f"key class: {', '.join(f'`{scheme}`' for scheme in keystore.PROVIDERS)}" in text


def test_the_daemon_imports_no_provider_it_does_not_use():
    ask = "import sys, agent.daemon; print([name for name in sys.modules if 'wrapping_' in name])"
    assert subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout == "[]\n"
