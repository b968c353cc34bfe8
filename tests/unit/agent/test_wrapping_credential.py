"""The systemd credential: made with the key that was asked for, handed to a service or opened by root."""

from __future__ import annotations

import base64
import subprocess

import pytest

from agent import tools
from agent.errors import FixConfig, FixKey
from agent.keystore import create_key, open_key
from tests.key_parts import need


@pytest.fixture
def uri(tmp_path, monkeypatch):
    need("systemd-creds")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", f"{tmp_path}/host-secret")
    return f"credential:{tmp_path}/keys/device.key?with-key=host"


@pytest.mark.parametrize("query", ["", "?with-key=auto", "?with-key=tpm2-absent", "?with-key=host&pcrs=7"])
def test_the_key_of_a_credential_is_always_named(query):
    with pytest.raises(FixConfig, match=r"with-key="):
        open_key(f"credential:/etc/device.key{query}")


def test_a_service_reads_what_it_was_given_and_asks_nobody(uri, tmp_path, monkeypatch):
    made = create_key(uri, 0)
    sealed = tmp_path / "keys/device.key.cred"
    given = tmp_path / "given"
    given.mkdir()
    words = ["systemd-creds", "decrypt", f"--name={sealed.name}", str(sealed), str(given / sealed.name)]
    subprocess.run(words, check=True, capture_output=True)
    sealed.unlink()  # the service may not even see it
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    monkeypatch.setenv("PATH", str(given))
    assert open_key(uri).public_key == made.public_key


def test_a_service_that_was_given_other_credentials_asks_systemd(uri, tmp_path, monkeypatch):
    made = create_key(uri, 0)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "others"))
    assert open_key(uri).public_key == made.public_key


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
def test_a_credential_of_another_program_is_refused(uri, tmp_path, monkeypatch, size):
    create_key(uri, 0)
    (tmp_path / "device.key.cred").write_bytes(b"x" * size)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(FixKey, match="holds no wrapping key"):
        open_key(uri)


def test_a_credential_that_does_not_open_names_the_unit_s_line(uri, tmp_path, monkeypatch):
    create_key(uri, 0)
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", f"{tmp_path}/none")
    line = rf"LoadCredentialEncrypted=device\.key\.cred:{tmp_path}/keys/device\.key\.cred"
    with pytest.raises(FixKey, match=line):
        open_key(uri)


def test_a_credential_moved_to_another_name_is_refused(uri, tmp_path):
    create_key(uri, 0)
    for name in ("device.key", "device.key.next", "device.key.cred"):
        (tmp_path / "keys" / name).rename(tmp_path / "keys" / name.replace("device", "other"))
    with pytest.raises(FixKey, match="does not match"):
        open_key(uri.replace("device.key", "other.key"))


def test_a_machine_without_the_key_asked_for_gets_no_credential(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", "device:/nonexistent")
    with pytest.raises(FixKey, match="cannot make a credential with the key of tpm2"):
        create_key(uri.replace("=host", "=tpm2"), 0)
    assert not (tmp_path / "keys").exists()


def test_no_systemd_is_named_with_the_package(uri, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FixKey, match=r"systemd-creds is not installed.*apt install systemd"):
        create_key(uri, 0)


def test_what_is_secret_goes_through_pipes_alone(uri, tmp_path, monkeypatch):
    real, said, secrets = tools.run, [], []

    def run(words, package, environment, data=b"", folder=None, as_root=False):
        found = real(words, package, environment, data, folder, as_root)
        said.extend([*words, *environment.values()])
        secrets.append(data if words[1] == "encrypt" else found)
        return found

    monkeypatch.setattr(tools, "run", run)
    create_key(uri, 0)
    assert secrets[0] == secrets[1]
    written = b"".join(file.read_bytes() for file in (tmp_path / "keys").iterdir())
    for form in (secrets[0].hex(), base64.b64encode(secrets[0]).decode()):
        assert form not in " ".join(said)
        assert form.encode() not in written
    assert secrets[0] not in written
