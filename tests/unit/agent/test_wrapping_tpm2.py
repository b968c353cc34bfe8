"""The TPM: what it opens, what it refuses and how that is said; secrets only in pipes."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from agent import tools
from agent.errors import FixConfig, FixKey, TryAgain
from agent.keystore import create_key, open_key
from agent.wrapping_tpm2 import _PRIMARY
from tests.key_parts import hold_pair


@pytest.fixture
def uri(tmp_path):
    return f"tpm2:{tmp_path}/keys/device.key"


def test_a_tpm_that_lost_power_opens_the_key(uri, tpms, monkeypatch):
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpms(0).tcti)
    made = create_key(uri, 0)
    tpms(0).restart()
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpms(0).tcti)
    assert open_key(uri).public_key == made.public_key


def test_with_pcrs_it_opens_only_while_they_hold_what_they_held(uri, tpm):
    made = create_key(f"{uri}?pcrs=0,7,16", 0)
    tpm.run("pcrextend", f"23:sha256={'11' * 32}")
    assert open_key(f"{uri}?pcrs=0,7,16").public_key == made.public_key
    tpm.run("pcrextend", f"16:sha256={'11' * 32}")
    for _ in range(5):  # what fails must not use up the TPM's few places
        with pytest.raises(FixKey, match=r"registers 0,7,16 are not what they were .* booted something else"):
            open_key(f"{uri}?pcrs=0,7,16")
    tpm.run("pcrreset", "16")
    assert open_key(f"{uri}?pcrs=0,7,16").public_key == made.public_key


def test_a_policy_cannot_be_left_out(uri, tpm, tmp_path):
    create_key(f"{uri}?pcrs=16", 0)
    record = json.loads((tmp_path / "keys/device.key.tpm").read_text())
    for name in ("public", "private"):
        (tmp_path / name).write_bytes(base64.b64decode(record[name]))
    tpm.run("createprimary", *_PRIMARY, "-c", f"{tmp_path}/primary")
    halves = ("-u", f"{tmp_path}/public", "-r", f"{tmp_path}/private")
    tpm.run("load", "-C", f"{tmp_path}/primary", *halves, "-c", f"{tmp_path}/sealed")
    assert tpm.run("unseal", "-c", f"{tmp_path}/sealed", check=False) == b""
    assert len(tpm.run("unseal", "-c", f"{tmp_path}/sealed", "-p", "pcr:sha256:16")) == 32


@pytest.mark.parametrize(("made", "asked"), [("", "?pcrs=7"), ("?pcrs=0,7", ""), ("?pcrs=0,7", "?pcrs=7")])
def test_other_pcrs_than_it_was_sealed_with_are_a_wrong_configuration(uri, tpm, made, asked):
    create_key(uri + made, 0)
    with pytest.raises(FixKey, match=r"was sealed with .* the configuration asks for .* Correct `key`"):
        open_key(uri + asked)


@pytest.mark.parametrize("pcrs", ["", "24", "-1", "7,0", "0,0", "0,,7", " 7", "07", "sha1:0", "a", "0+7"])
def test_pcrs_are_a_list_of_registers(uri, pcrs):
    with pytest.raises(FixConfig, match=r"pcrs"):
        open_key(f"{uri}?pcrs={pcrs}")


def test_a_key_of_another_tpm_is_refused(uri, tpm, tpms, monkeypatch):
    create_key(uri, 0)
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpms(1).tcti)
    with pytest.raises(FixKey, match="was sealed by another TPM"):
        open_key(uri)


def test_a_cleared_tpm_is_another(uri, tpms, monkeypatch):
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpms(1).tcti)
    create_key(uri, 0)
    tpms(1).run("clear")
    with pytest.raises(FixKey, match="this one was cleared since"):
        open_key(uri)


def _lock_out(tpm, folder):
    """Somebody else's object and somebody's wrong password; a power cut counts as a try, too."""
    tpm.run("dictionarylockout", "--clear-lockout")
    tpm.run("dictionarylockout", "-s", "-n", "1", "-t", "1000", "-l", "1000")
    tpm.run("createprimary", "-C", "o", "-c", f"{folder}/p")
    words = ("-C", f"{folder}/p", "-u", f"{folder}/u", "-r", f"{folder}/r")
    tpm.run("create", *words, "-i", "-", "-p", "right", data=b"s" * 32)
    tpm.run("load", *words, "-c", f"{folder}/c")
    tpm.run("unseal", "-c", f"{folder}/c", "-p", "wrong", check=False)


def test_a_tpm_that_somebody_locked_out_opens_ours_all_the_same(uri, tpm, tmp_path):
    made = create_key(uri, 0)
    _lock_out(tpm, tmp_path)
    try:
        assert open_key(uri).public_key == made.public_key
        sealed = tmp_path / "keys/device.key.tpm"  # an object that does count wrong passwords
        record = json.loads(sealed.read_text())
        tpm.run("createprimary", *_PRIMARY, "-c", f"{tmp_path}/ours")
        halves = {"public": f"{tmp_path}/u2", "private": f"{tmp_path}/r2"}
        words = ("-u", halves["public"], "-r", halves["private"], "-a", "fixedtpm|fixedparent|userwithauth")
        tpm.run("create", "-C", f"{tmp_path}/ours", "-i", "-", *words, data=b"s" * 32)
        found = {name: base64.b64encode(Path(file).read_bytes()).decode() for name, file in halves.items()}
        sealed.chmod(0o600)
        sealed.write_text(json.dumps(record | found))
        with pytest.raises(FixKey, match=r"locked out .*`tpm2_dictionarylockout --clear-lockout`"):
            open_key(uri)
    finally:
        tpm.run("dictionarylockout", "--clear-lockout")


def test_an_owner_hierarchy_with_a_password_is_named(uri, tpms, monkeypatch):
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpms(1).tcti)
    tpms(1).run("changeauth", "-c", "o", "secret")
    try:
        with pytest.raises(FixKey, match="owner hierarchy has a password"):
            create_key(uri, 0)
    finally:
        tpms(1).run("changeauth", "-c", "o", "-p", "secret")


@pytest.mark.parametrize("tcti", ["device:/nonexistent", "swtpm:host=127.0.0.1,port=1", "nonsense"])
def test_no_tpm_is_named_with_what_to_do(uri, monkeypatch, tmp_path, tcti, tpm):
    monkeypatch.setenv("TPM2TOOLS_TCTI", tcti)
    with pytest.raises(FixKey, match=rf"There is no TPM at {tcti}.*dtoverlay=tpm-slb9670.*group tss"):
        create_key(uri, 0)
    assert not (tmp_path / "keys").exists()


def test_the_kernel_s_tpm_is_the_one_where_none_is_named(uri, monkeypatch, tpm):
    monkeypatch.setenv("TPM2TOOLS_TCTI", "")
    seen = []

    def run(words, package, environment, data=b"", folder=None):
        seen.append(environment["TPM2TOOLS_TCTI"])
        raise tools.ToolFailed("")

    monkeypatch.setattr(tools, "run", run)
    with pytest.raises(FixKey, match=r"The TPM at device:/dev/tpmrm0 refused: no reason given"):
        create_key(uri, 0)
    assert set(seen) == {"device:/dev/tpmrm0"}
    assert len(seen) == 1, "the kernel's resource manager cleans up"


def test_no_room_for_temporary_files_is_a_sentence(uri, monkeypatch, tmp_path, tpm):
    monkeypatch.setattr("tempfile.tempdir", f"{tmp_path}/none")
    with pytest.raises(FixKey, match="no temporary folder to work in: No such file or directory"):
        create_key(uri, 0)


def test_no_tpm2_tools_are_named_with_the_package(uri, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FixKey, match=r"tpm2_createprimary is not installed.*apt install tpm2-tools"):
        create_key(uri, 0)


def test_a_tpm_that_does_not_answer_is_left_at_the_deadline(uri, monkeypatch, tpm):
    monkeypatch.setattr(tools, "DEADLINE_S", 0.3)
    first, second = hold_pair()
    with first, second:
        first.listen()
        second.listen()
        monkeypatch.setenv("TPM2TOOLS_TCTI", f"swtpm:host=127.0.0.1,port={first.getsockname()[1]}")
        with pytest.raises(TryAgain, match=r"tpm2_createprimary did not answer within 0\.3 s"):
            create_key(uri, 0)


def test_what_is_secret_stands_in_no_argument_no_environment_and_no_file(uri, tpm, monkeypatch, tmp_path):
    """Looked at before and after each program, in the folder it works in."""
    real, seen, secrets = tools.run, [], []

    def run(words, package, environment, data=b"", folder=None):
        given = [*words, *environment, *environment.values()]
        found = real(words, package, environment, data, folder)
        seen.append("\n".join(given).encode() + b"".join(file.read_bytes() for file in folder.iterdir()))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        if words[0] in ("tpm2_create", "tpm2_unseal"):
            secrets.append(data or found)
        return found

    monkeypatch.setattr(tools, "run", run)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    create_key(f"{uri}?pcrs=0", 0)
    assert len(secrets) == 2
    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 32
    for form in (secrets[0], secrets[0].hex().encode(), base64.b64encode(secrets[0])):
        assert not any(form in text for text in seen)
    assert not list(tmp_path.glob("fieldproof-tpm-*"))


def test_a_message_carries_only_the_reason_of_a_program():
    failed = tools.ToolFailed("WARNING: x\nERROR: Esys_Load(0x1DF) - bad\nERROR: Unable to run tpm2_load\n")
    assert failed.reason == "Esys_Load(0x1DF) - bad"
    assert tools.ToolFailed("").reason == "no reason given"
