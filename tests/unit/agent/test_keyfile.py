"""The slots of a key: rotation and restore leave the old or the new, whatever ends them, and converge."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agent.errors import FixKey
from agent.keyfile import Seeds
from agent.keystore import (
    Board,
    create_key,
    export_seeds,
    import_seeds,
    open_key,
    open_next_key,
    prepare_rotation,
    settle_key,
)
from proof.keys import SeedSigner, device_id
from proof.reasons import Refused


@pytest.fixture
def board(tmp_path):
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    return Board(tmp_path / "machine-id", tmp_path / "no-serial")


@pytest.fixture
def uri(tmp_path):
    return f"file:{tmp_path}/keys/device.key"


def _names(uri):
    return sorted(file.name for file in _path(uri).parent.iterdir())


SLOTS = ["device.key", "device.key.next"]


def test_the_key_after_the_next_is_made_once(uri, board):
    create_key(uri, 0, board)
    after = prepare_rotation(uri, 1, board)
    assert prepare_rotation(uri, 2, board).public_key == after.public_key
    assert len({after.public_key, open_key(uri, board).public_key, open_next_key(uri, board).public_key}) == 3
    assert after.device == open_key(uri, board).device == open_next_key(uri, board).device


def test_a_rotated_key_signs_for_the_same_device_and_the_old_seed_is_gone(uri, board):
    first = create_key(uri, 0, board)
    old = export_seeds(uri, board)
    after = prepare_rotation(uri, 1, board)
    settled = settle_key(uri, open_next_key(uri, board).public_key, 2, board)
    assert settled.public_key == SeedSigner(old.next, "file").public_key == open_key(uri, board).public_key
    assert settled.device == open_key(uri, board).device == first.device != device_id(settled.public_key)
    assert open_next_key(uri, board).public_key == after.public_key
    assert _names(uri) == SLOTS
    assert export_seeds(uri, board).device == first.device
    record = json.loads(_path(uri).read_text())
    assert (record["device"], record["created_s"]) == (first.device, 2)


def test_a_second_rotation_keeps_the_first_device_id(uri, board):
    first = create_key(uri, 0, board)
    for created_s in (1, 2):
        settle_key(uri, open_next_key(uri, board).public_key, created_s, board)
    assert open_key(uri, board).device == first.device
    assert _names(uri) == SLOTS


def test_settling_the_key_in_force_changes_nothing(uri, board):
    made = create_key(uri, 0, board)
    after = prepare_rotation(uri, 1, board).public_key
    before = _bytes(uri)
    assert settle_key(uri, made.public_key, 2, board).public_key == made.public_key
    assert _bytes(uri) == before
    assert prepare_rotation(uri, 3, board).public_key == after


def test_a_key_that_is_neither_is_refused_and_nothing_changes(uri, board):
    create_key(uri, 0, board)
    stranger = prepare_rotation(uri, 1, board).public_key  # not even the one after the next
    before = _bytes(uri)
    with pytest.raises(FixKey, match=r"another key of this device in force.*older copy"):
        settle_key(uri, stranger, 2, board)
    assert _bytes(uri) == before


@pytest.mark.parametrize("device", ["did:key:z6Mk", "", 5, None])
def test_a_device_that_is_none_is_damage(uri, board, device):
    create_key(uri, 0, board)
    path = _path(uri)
    record = json.loads(path.read_text())
    path.chmod(0o600)
    path.write_text(json.dumps(record | {"device": device}))
    path.chmod(0o400)
    with pytest.raises(FixKey, match="is damaged"):
        open_key(uri, board)


def test_a_backup_opens_on_another_board_with_the_same_device(uri, board, tmp_path):
    create_key(uri, 0, board)
    settled = settle_key(uri, open_next_key(uri, board).public_key, 1, board)
    other = f"sim:{tmp_path}/other/device.key"
    seeds = export_seeds(uri, board)
    restored = import_seeds(other, seeds, 2)
    assert (restored.public_key, restored.device) == (settled.public_key, settled.device)
    assert export_seeds(other) == seeds
    assert import_seeds(other, seeds, 3).device == settled.device


@pytest.mark.parametrize("there", ["both", "next"])
def test_a_restore_never_replaces_another_key(uri, board, tmp_path, there):
    create_key(uri, 0, board)
    create_key(f"sim:{tmp_path}/other/device.key", 0)
    if there == "next":
        _path(uri).unlink()
    before = _bytes(uri)
    with pytest.raises(FixKey, match=r"something at .*device\.key.* already"):
        import_seeds(uri, export_seeds(f"sim:{tmp_path}/other/device.key"), 1, board)
    assert _bytes(uri) == before


def test_seeds_show_nothing_and_are_two(uri, board):
    create_key(uri, 0, board)
    seeds = export_seeds(uri, board)
    assert repr(seeds) == f"Seeds(device={seeds.device!r})"
    with pytest.raises(ValueError, match="two seeds"):
        Seeds(seeds.device, seeds.current, seeds.current)
    with pytest.raises(ValueError, match="two seeds"):
        Seeds(seeds.device, seeds.current, seeds.next[:31])
    with pytest.raises(Refused):
        Seeds("did:key:zz", seeds.current, seeds.next)


# Every call that changes or settles the disk, by the name Python's library calls it.
CALLS = ("open", "fsync", "link", "unlink", "replace", "close")
NEVER_CALLED = {"prepare": {"replace"}, "restore": {"replace"}, "settle": {"link"}}
DEVICE = device_id(SeedSigner(b"d" * 32, "file").public_key)
SEEDS = Seeds(DEVICE, b"c" * 32, b"n" * 32)
_KILLED = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from agent.keyfile import Seeds
    from agent.keystore import *
    calls, job, folder, machine_id, device = sys.argv[1:]
    board = Board(Path(machine_id), Path("/none"))
    def attempt(call, failing):
        real, left = getattr(os, call), failing
        uri = f"file:{folder}/{call}-{failing}/device.key"
        keys = [] if job == "restore" else [create_key(uri, 0, board), open_next_key(uri, board)]
        if job == "settle":
            keys.append(prepare_rotation(uri, 0, board))
        print(f"{call}-{failing}", *(key.public_key.hex() for key in keys), flush=True)
        def die(*args, **kwargs):
            nonlocal left
            left -= 1
            return real(*args, **kwargs) if left >= 0 else os._exit(9)
        child = os.fork()
        if child == 0:
            setattr(os, call, die)
            if job == "prepare":
                prepare_rotation(uri, 1, board)
            elif job == "settle":
                settle_key(uri, keys[1].public_key, 1, board)
            else:
                import_seeds(uri, Seeds(device, b"c" * 32, b"n" * 32), 1, board)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    for call in calls.split():
        failing = 0
        while attempt(call, failing) and failing < 100:
            failing += 1
    """
)


def _killed(job, tmp_path, board):
    """(URI, public keys before) of each attempt: all but the last of each call were killed there."""
    script = [
        sys.executable,
        "-c",
        _KILLED,
        " ".join(CALLS),
        job,
        str(tmp_path),
        str(board.machine_id),
        DEVICE,
    ]
    ran = subprocess.run(script, stdout=subprocess.PIPE, text=True, check=True)
    attempts = [line.split() for line in ran.stdout.splitlines()]
    tried = {name for name, *_ in attempts}
    assert {call for call in CALLS if f"{call}-1" not in tried} == NEVER_CALLED[job]
    return [
        (f"file:{tmp_path}/{name}/device.key", list(map(bytes.fromhex, keys))) for name, *keys in attempts
    ]


def test_a_kill_at_any_step_of_a_rotation_leaves_the_old_or_the_new_and_it_converges(tmp_path, board):
    for uri, (old, new, after) in _killed("settle", tmp_path, board):
        found = open_key(uri, board)
        assert found.public_key in (old, new)
        assert found.device == device_id(old)
        assert settle_key(uri, new, 2, board).public_key == open_key(uri, board).public_key == new
        assert open_next_key(uri, board).public_key == after
        assert open_key(uri, board).device == open_next_key(uri, board).device == device_id(old)
        assert _names(uri) == SLOTS


def test_a_kill_while_a_rotation_is_prepared_changes_no_key_and_the_next_try_finds_or_makes_one(
    tmp_path, board
):
    for uri, (old, new) in _killed("prepare", tmp_path, board):
        assert open_key(uri, board).public_key == old
        assert open_next_key(uri, board).public_key == new
        after = prepare_rotation(uri, 2, board).public_key
        assert settle_key(uri, new, 2, board).public_key == new
        assert open_next_key(uri, board).public_key == after
        assert _names(uri) == SLOTS


def test_a_kill_at_any_step_of_a_restore_leaves_no_key_or_the_whole_one_and_it_converges(tmp_path, board):
    for uri, _ in _killed("restore", tmp_path, board):
        if _path(uri).exists():
            assert export_seeds(uri, board) == SEEDS
        assert import_seeds(uri, SEEDS, 2, board).device == DEVICE
        assert export_seeds(uri, board) == SEEDS


def _path(uri):
    return Path(uri.removeprefix("file:"))


def _bytes(uri):
    return {file.name: file.read_bytes() for file in _path(uri).parent.iterdir()}
