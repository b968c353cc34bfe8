"""Keys: made whole or not at all, opened only where they belong, refused with a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import textwrap

import pytest

from agent.errors import FixConfig, FixKey
from agent.keystore import Board, create_key, open_key, open_next_key
from proof.keys import device_id, key_id, signature_fits


@pytest.fixture
def board(tmp_path):
    """A board with a machine id and a serial number."""
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "serial").write_bytes(b"10000000deadbeef\0")
    return Board(tmp_path / "machine-id", tmp_path / "serial")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "device.key"


@pytest.mark.parametrize("scheme", ["file", "sim"])
def test_a_key_comes_back_with_the_same_identity_and_signs(path, board, scheme):
    made = create_key(f"{scheme}:{path}", 1_700_000_000, board)
    opened = open_key(f"{scheme}:{path}", board)
    assert opened.public_key == made.public_key
    assert opened.key_class == scheme
    assert signature_fits(made.public_key, b"message", opened.sign(b"message"))
    assert open_next_key(f"{scheme}:{path}", board).public_key != made.public_key


def test_what_lies_on_disk_is_private_and_shows_no_seed(path, board):
    signer = create_key(f"file:{path}", 1_700_000_000, board)
    assert _names(path.parent) == ["device.key", "device.key.next"]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()] == [0o400, 0o400]
    record = json.loads(path.read_text())
    assert set(record) == {"v", "scheme", "kid", "created_s", "wrapped"}
    assert record["kid"] == key_id(signer.public_key).hex()
    assert repr(signer) == f"<SeedSigner {device_id(signer.public_key)}>"


def test_a_key_is_never_overwritten(path, board):
    create_key(f"file:{path}", 0, board)
    before = path.read_bytes(), path.with_name("device.key.next").read_bytes()
    with pytest.raises(FixKey, match=r"something at .* already"):
        create_key(f"file:{path}", 0, board)
    assert (path.read_bytes(), path.with_name("device.key.next").read_bytes()) == before


@pytest.mark.parametrize("scheme", ["file", "sim"])
def test_a_dangling_link_in_the_key_s_place_is_something(path, board, scheme):
    path.parent.mkdir()
    path.symlink_to("nowhere")
    with pytest.raises(FixKey, match=r"something at .* already"):
        create_key(f"{scheme}:{path}", 0, board)
    with pytest.raises(FixKey, match="symbolic link"):
        open_key(f"{scheme}:{path}", board)


@pytest.mark.parametrize("uri", ["", "device.key", "pkcs11:/x", "File:/x", "file"])
def test_an_unknown_scheme_names_those_that_are(uri):
    known = (
        "there are file:/PATH, credential:/PATH?with-key=host|tpm2|host+tpm2, tpm2:/PATH or /PATH?pcrs=0,7"
    )
    with pytest.raises(FixConfig, match=re.escape(f"{known}, otp:/PATH, sim:/PATH.")):
        open_key(uri)


@pytest.mark.parametrize(
    "uri", ["file:/x?", "file:/x?pcrs=0", "sim:/x?with-key=host", "file:/x?a=1&a=1", "sim:/x?a"]
)
def test_a_parameter_that_means_nothing_is_refused(uri):
    with pytest.raises(FixConfig, match=r"is not of the form (file|sim):/PATH"):
        open_key(uri)


@pytest.mark.parametrize(
    "uri",
    ["file:", "file:device.key", "sim:../x", "file:/", "file:/a\0b", "file:/a\nUser=root", "tpm2:0x81000001"],
)
def test_a_key_has_an_absolute_path(uri):
    with pytest.raises(FixConfig, match="absolute path"):
        create_key(uri, 0)


def test_a_missing_key_says_what_to_run_and_makes_nothing(path, board):
    with pytest.raises(FixKey, match=r"There is no device key at .*fieldproof-provision init"):
        open_key(f"file:{path}", board)
    assert not path.parent.exists()


@pytest.mark.parametrize("mode", [0o644, 0o440, 0o404, 0o401, 0o410])
def test_a_key_that_others_can_touch_is_refused(path, board, mode):
    create_key(f"file:{path}", 0, board)
    path.chmod(mode)
    with pytest.raises(FixKey, match=rf"open to others \(mode {mode:04o}\).*chmod 0400"):
        open_key(f"file:{path}", board)


def test_a_key_of_another_user_is_refused(path, board, monkeypatch):
    create_key(f"file:{path}", 0, board)
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(FixKey, match="and this runs as user 54321"):
        open_key(f"file:{path}", board)


@pytest.mark.parametrize("place", ["folder", "fifo"])
def test_what_is_not_a_file_is_refused_without_hanging(path, board, place):
    path.parent.mkdir()
    if place == "folder":
        path.mkdir(mode=0o700)
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(FixKey, match="is not a file"):
        open_key(f"file:{path}", board)


def _good(board, tmp_path):
    create_key(f"file:{tmp_path}/good", 0, board)
    return (tmp_path / "good").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: os.urandom(200),
        lambda data: b"[" * 4000,
        lambda data: b" " * 5000 + data,
        lambda data: b"null",
        lambda data: data.replace(b'"v": 1', b'"v": "1"'),
        lambda data: data.replace(b'"wrapped": "', b'"wrapped": "!'),
        lambda data: data.replace(b'"kid": "', b'"kid": "00'),
    ],
)
def test_a_damaged_key_is_refused_and_left_alone(path, board, tmp_path, damage):
    path.parent.mkdir(mode=0o700)
    damaged = damage(_good(board, tmp_path))
    path.write_bytes(damaged)
    path.chmod(0o400)
    with pytest.raises(FixKey, match=r"is damaged.*new device"):
        open_key(f"file:{path}", board)
    assert path.read_bytes() == damaged


def test_a_newer_layout_asks_for_a_newer_agent(path, board, tmp_path):
    path.parent.mkdir(mode=0o700)
    path.write_bytes(_good(board, tmp_path).replace(b'"v": 1', b'"v": 2'))
    path.chmod(0o400)
    with pytest.raises(FixKey, match="newer version"):
        open_key(f"file:{path}", board)


def test_a_copied_card_does_not_open_on_another_board(path, board):
    create_key(f"file:{path}", 0, board)
    board.serial_number.write_bytes(b"10000000cafecafe\0")
    with pytest.raises(FixKey, match="another board"):
        open_key(f"file:{path}", board)


def test_a_simulated_key_opens_on_any_board(path, board, tmp_path):
    made = create_key(f"sim:{path}", 0, board)
    assert open_key(f"sim:{path}", Board(tmp_path / "none", tmp_path / "none")).public_key == made.public_key


@pytest.mark.parametrize(("made", "opened"), [("file", "sim"), ("sim", "file")])
def test_a_key_opens_only_under_the_scheme_it_was_made_for(path, board, made, opened):
    create_key(f"{made}:{path}", 0, board)
    with pytest.raises(FixKey, match=f"made for `{made}:`, not for `{opened}:`"):
        open_key(f"{opened}:{path}", board)


@pytest.mark.parametrize("machine_id", [None, "", "uninitialized\n"])
def test_a_board_without_a_machine_id_gets_no_key(path, board, machine_id):
    board.machine_id.unlink() if machine_id is None else board.machine_id.write_text(machine_id)
    with pytest.raises(FixKey, match="systemd-machine-id-setup"):
        create_key(f"file:{path}", 0, board)
    assert not path.parent.exists()


# Every call that changes or settles the disk; the test fails each in turn, by an error and by a kill.
CALLS = ("os.open", "os.fsync", "os.link", "os.unlink", "os.mkdir", "os.close")


@pytest.mark.parametrize("call", CALLS)
def test_an_error_at_any_step_leaves_no_key_or_a_whole_one_and_no_litter(path, board, monkeypatch, call):
    name = call.removeprefix("os.")
    real = getattr(os, name)
    for failing in range(100):
        left = [*range(failing), OSError(28, "No space left on device")]

        def fail(*args, left=left, **kwargs):
            if left and isinstance(error := left.pop(0), OSError):
                raise error
            return real(*args, **kwargs)

        place = path.parent / str(failing) / "device.key"
        with monkeypatch.context() as patch, contextlib.suppress(FixKey):
            patch.setattr(os, name, fail)
            create_key(f"file:{place}", 0, board)
        _no_key_or_a_whole_one(place, board, litter=name == "unlink")
        if left:
            assert failing > 0, f"{call} is not called at all"
            return
    pytest.fail("it never came through")


def test_a_disk_that_takes_no_key_is_named(path, board, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FixKey, match=r"cannot be written to .*device\.key\.next: No space left on device"):
        create_key(f"file:{path}", 0, board)
    assert _names(path.parent) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_any_step_leaves_no_key_or_a_whole_one(path, board, call):
    script = textwrap.dedent(
        f"""
        import os, sys
        from pathlib import Path
        from agent.keystore import Board, create_key
        for failing in range(100):
            left, real = failing, {call}
            def die(*args, **kwargs):
                global left
                if left == 0:
                    os._exit(9)
                left -= 1
                return real(*args, **kwargs)
            child = os.fork()
            if child == 0:
                {call} = die
                create_key(f"file:{path.parent}/{{failing}}/device.key", 0, Board(*map(Path, sys.argv[1:])))
                os._exit(0)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
                sys.exit(failing)
        """
    )
    ran = subprocess.run([sys.executable, "-c", script, board.machine_id, board.serial_number])
    assert 0 < ran.returncode < 100, "no step was killed, or none came through"
    for failing in range(ran.returncode):
        _no_key_or_a_whole_one(path.parent / str(failing) / "device.key", board, litter=True)


def _names(folder):
    return sorted(file.name for file in folder.iterdir())


def _no_key_or_a_whole_one(place, board, litter=False):
    """And a second attempt always ends with a key; what was there stays."""
    uri = f"file:{place}"
    there = open_key(uri, board).public_key if place.exists() else None
    following = place.with_name("device.key.next")
    waiting = following.read_bytes() if following.exists() else None
    if there is None:
        create_key(uri, 0, board)
    else:
        assert waiting is not None
    assert open_key(uri, board).public_key == there or there is None
    assert open_next_key(uri, board).public_key != open_key(uri, board).public_key
    assert following.read_bytes() == waiting or waiting is None
    if not litter:
        assert _names(place.parent) == ["device.key", "device.key.next"]
