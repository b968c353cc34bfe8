"""The membership on disk: verified every time, replaced whole, refused with a sentence."""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import replace

import pytest

from agent.errors import JoinFirst
from agent.membership import FixMembership, Joined, load, save
from proof.joining import Membership, sign_membership
from proof.keys import SeedSigner, device_id

GATEWAY, STRANGER = SeedSigner(bytes(32), "file"), SeedSigner(bytes([1]) * 32, "file")
DEVICE = device_id(SeedSigner(bytes([2]) * 32, "file").public_key)
OTHER = device_id(STRANGER.public_key)
MEMBERSHIP = Membership(DEVICE, "alps", "live", (GATEWAY.public_key,), (("jump_Pa", 50.0),), 1000, 2000)


def joined(signer=GATEWAY, **changes):
    membership = replace(MEMBERSHIP, **changes)
    signed = sign_membership(membership, signer, 1000)
    return Joined("mqtts://broker.example.net", (GATEWAY.public_key,), signed, membership)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "membership.json"


def test_what_was_saved_comes_back_private(path):
    save(path, joined())
    assert load(path, DEVICE, 1999) == joined()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["membership.json"]


def test_the_authority_of_the_broker_stays_with_the_membership(path):
    save(path, replace(joined(), broker_ca=b"\x30\x82"))
    assert load(path, DEVICE, 1500).broker_ca == b"\x30\x82"


def test_a_file_from_before_claims_held_an_authority_is_read(path):
    save(path, joined())
    record = json.loads(path.read_bytes())
    del record["broker_ca"]
    path.write_text(json.dumps(record))
    assert load(path, DEVICE, 1500) == joined()


def test_a_membership_without_an_end_does_not_end(path):
    save(path, joined(expires_s=None))
    assert load(path, DEVICE, 2**40).membership.expires_s is None


def test_no_membership_says_what_to_run(path):
    with pytest.raises(JoinFirst, match="fieldproof-provision join CLAIM"):
        load(path, DEVICE, 1500)


def test_an_expired_membership_is_for_joining_again(path):
    save(path, joined())
    with pytest.raises(JoinFirst, match="membership in alps has expired"):
        load(path, DEVICE, 2000)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (joined(signer=STRANGER), "bad_key"),
        (joined(device=OTHER), "unknown_device"),
        (replace(joined(), membership_bytes=joined().membership_bytes[:-1] + b"\0"), "bad_signature"),
        (replace(joined(), membership_bytes=b"\xd2"), "malformed"),
        (replace(joined(), gateway_keys=(STRANGER.public_key,)), "bad_key"),
    ],
)
def test_a_membership_that_does_not_verify_is_refused(path, made, expected):
    save(path, made)
    with pytest.raises(FixMembership, match=rf"{expected}: .*join CLAIM` again"):
        load(path, DEVICE, 1500)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-20],
        lambda data: b"\xff" + data,
        lambda data: b"[" * 100_000,
        lambda data: b" " * 200_000 + data,
        lambda data: data.replace(b'"gateway_keys": [', b'"gateway_keys": [7, '),
        lambda data: data.replace(base64.b64encode(GATEWAY.public_key), b"AAAA"),
        lambda data: json.dumps(json.loads(data) | {"gateway_keys": []}).encode(),
        lambda data: data.replace(b'"v": 1', b'"v": 9'),
        lambda data: json.dumps(json.loads(data) | {"broker_ca": 7}).encode(),
        lambda data: json.dumps(json.loads(data) | {"broker_ca": "é"}).encode(),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(path, damage):
    save(path, joined())
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(FixMembership, match="is damaged"):
        load(path, DEVICE, 1500)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_an_error_while_saving_leaves_the_old_one_whole(path, monkeypatch, call):
    save(path, joined())

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(FixMembership, match=r"cannot be written to .*: No space left"):
            save(path, joined(network="other"))
    assert load(path, DEVICE, 1500) == joined()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(path, mode):
    save(path, joined())
    path.chmod(mode)
    with pytest.raises(FixMembership, match=f"Others may write .*mode {mode:04o}.*chmod 0600"):
        load(path, DEVICE, 1500)


def test_a_temporary_file_that_somebody_keeps_open_does_not_become_the_membership(path):
    path.parent.mkdir()
    temporary = path.with_name(".membership.json.new")
    with temporary.open("wb") as kept_open:
        temporary.chmod(0o666)
        save(path, joined())
        kept_open.write(b"mine")
    assert load(path, DEVICE, 1500) == joined()
