"""The backup file: what goes in comes out; a stranger can neither read it nor make it ask for much work."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.secret import SecretBox

from agent.errors import HardStop
from agent.keyfile import Seeds
from proof import rotation
from provisioning import backup
from provisioning.backup import Backup, BadBackup, Head, seal, unseal
from tests.agent_parts import DEVICE_ID, GATEWAY, SIGNER

PASSPHRASE = "correct horse battery"
SEEDS = Seeds(DEVICE_ID, b"\1" * 32, b"\2" * 32)
WHOLE = Backup(SEEDS, b"{membership}", "state_dir = '/x'\n", Head(b"log-0001", 7, b"\3" * 32), 1_800_000_000)


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return seal(WHOLE, PASSPHRASE)


def changed(data: bytes, **fields: object) -> bytes:
    return json.dumps(json.loads(data) | fields).encode()


@pytest.mark.parametrize("head", [None, Head(b"log-0001", 0, None), WHOLE.head])
def test_what_goes_in_comes_out(head):
    made = Backup(SEEDS, WHOLE.membership, WHOLE.config, head, 5)
    assert unseal(seal(made, PASSPHRASE), PASSPHRASE, "x") == made


TURN = rotation.sign(b"log-0001", 7, SIGNER, GATEWAY, b"\4" * 32, 5)


def reboxed(sealed: bytes, change) -> bytes:
    """`sealed` with another content, as somebody who has the passphrase can make it."""
    outer = json.loads(sealed)
    salt = base64.b64decode(outer["salt"])
    box = SecretBox(
        backup._KDF.kdf(SecretBox.KEY_SIZE, PASSPHRASE.encode(), salt, outer["opslimit"], outer["memlimit"])
    )
    inner = change(json.loads(box.decrypt(base64.b64decode(outer["box"]))))
    return changed(sealed, box=base64.b64encode(box.encrypt(json.dumps(inner).encode())).decode())


def test_rotations_come_out_again_and_a_backup_of_before_them_has_none(sealed):
    made = replace(WHOLE, turns=(TURN,))
    assert unseal(seal(made, PASSPHRASE), PASSPHRASE, "x") == made
    older = reboxed(sealed, lambda inner: {name: inner[name] for name in inner if name != "turns"})
    assert unseal(older, PASSPHRASE, "x") == WHOLE


@pytest.mark.parametrize("turns", [["AAAA"], ["?"], [7], 7, [None], {"AAAA": 1}])
def test_what_is_no_rotation_makes_no_backup(sealed, turns):
    with pytest.raises(BadBackup, match="holds no whole backup"):
        unseal(reboxed(sealed, lambda inner: inner | {"turns": turns}), PASSPHRASE, "x")


def test_the_file_shows_no_seed_and_no_device(sealed):
    box = base64.b64decode(json.loads(sealed)["box"])
    for secret in (SEEDS.current, SEEDS.next, DEVICE_ID.encode(), b"membership"):
        assert secret not in sealed + box
        assert base64.b64encode(secret) not in sealed + box
    assert "seeds" not in repr(WHOLE)


def test_two_backups_of_one_identity_have_nothing_in_common(sealed):
    assert json.loads(sealed)["salt"] != json.loads(seal(WHOLE, PASSPHRASE))["salt"]


def test_another_passphrase_opens_nothing(sealed):
    with pytest.raises(BadBackup, match="does not open x"):
        unseal(sealed, PASSPHRASE + " ", "x")


def test_a_flipped_bit_opens_nothing(sealed):
    box = bytearray(base64.b64decode(json.loads(sealed)["box"]))
    box[len(box) // 2] ^= 1
    with pytest.raises(BadBackup, match="damaged"):
        unseal(changed(sealed, box=base64.b64encode(box).decode()), PASSPHRASE, "x")


@pytest.mark.parametrize(
    "fields",
    [
        {"opslimit": 11},
        {"opslimit": 0},
        {"memlimit": 256 * 1024 * 1024 + 1},
        {"memlimit": 1},
        {"salt": "AAAA"},
        {"box": "AAAA"},
        {"box": "not base64!"},
        {"kdf": "none"},
        {"opslimit": "2"},
        {"fieldproof_backup": 0},
    ],
)
def test_what_no_backup_would_say_is_refused_before_any_work_is_done(sealed, monkeypatch, fields):
    monkeypatch.setattr(backup._KDF, "kdf", lambda *_: pytest.fail("it was asked to work"))
    with pytest.raises(BadBackup, match="not a whole backup"):
        unseal(changed(sealed, **fields), PASSPHRASE, "x")


def test_a_backup_of_a_newer_version_says_so(sealed):
    with pytest.raises(BadBackup, match="newer version"):
        unseal(changed(sealed, fieldproof_backup=2), PASSPHRASE, "x")


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300) | st.lists(st.integers()).map(lambda found: json.dumps(found).encode()))
def test_other_bytes_are_no_backup(data):
    with pytest.raises(BadBackup, match="not a whole backup"):
        unseal(data, PASSPHRASE, "x")


def test_a_file_too_large_is_no_backup(sealed):
    with pytest.raises(BadBackup, match="not a whole backup"):
        unseal(sealed + b" " * backup.MAX_BYTES, PASSPHRASE, "x")


@pytest.mark.parametrize("passphrase", ["", "short", "elevenchars", "x" * 1025])
def test_a_weak_passphrase_is_refused_with_what_to_do(passphrase):
    with pytest.raises(HardStop, match="passphrase has"):
        backup.require_strong(passphrase)


def test_twelve_characters_are_taken():
    backup.require_strong("twelve chars")
