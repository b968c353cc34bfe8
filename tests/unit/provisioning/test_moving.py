"""`backup` and `restore`: an identity leaves one board and comes to another; nothing is ever replaced."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import stat
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import daemon, export, membership, rotation, succession
from agent.journal import Journal
from agent.keystore import create_key, export_seeds, open_key, prepare_rotation
from agent.rotation import KeptKeys
from agent.sealer import Sealer
from agent.settings import load
from agent.store import open_journal
from proof import bundle
from proof.claims import Predecessor
from provisioning.cli import app
from tests.agent_parts import FakeClock, captured, make_descriptor, make_sealer
from tests.sim_parts import joined_config

PASSPHRASE = "correct horse battery"


def run(*arguments: object, code: int = 0) -> dict[str, object]:
    ended = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert ended.exit_code == code, ended.output
    assert PASSPHRASE not in ended.output
    said: dict[str, object] = json.loads(ended.stdout)
    return said


@pytest.fixture
def words(tmp_path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return path


@pytest.fixture
def old(tmp_path) -> Path:
    """The configuration of a board with two proofs in its journal."""
    (tmp_path / "old").mkdir()
    config, device = joined_config(tmp_path / "old")
    clock = FakeClock()
    with contextlib.closing(
        open_journal(load(config).journal_path, device, clock.boot_id).journal
    ) as journal:
        sealer = make_sealer(clock)
        for number in range(2):
            journal.append(captured(clock, number))
            sealer.seal(journal)
    return config


@pytest.fixture
def saved(tmp_path, old, words) -> Path:
    path = tmp_path / "identity.backup"
    run("backup", "-o", path, "-c", old, "--passphrase-file", words)
    return path


@pytest.fixture
def new(tmp_path, old) -> Path:
    """The configuration of a new board, without a key."""
    (tmp_path / "new").mkdir()
    path = tmp_path / "new" / "agent.toml"
    path.write_text(old.read_text().replace(str(tmp_path / "old"), str(tmp_path / "new")))
    return path


def newest(config: Path):
    settings = load(config)
    with contextlib.closing(Journal(settings.journal_path, open_key(settings.key).device)) as journal:
        return journal.open_log()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-shm", "-wal"))
    }


def test_a_restored_board_is_that_device_and_its_log_names_the_old_head(old, saved, new, words):
    said = run("restore", saved, "-c", new, "--passphrase-file", words)
    head = newest(old)
    assert said["device"] == open_key(load(old).key).device == open_key(load(new).key).device
    assert (said["network"], said["head"], said["restored_now"], said["config_written"]) == (
        "simulated", 2, True, False
    )  # fmt: skip
    assert newest(new).predecessor == Predecessor(head.log, head.hash, succession.RESTORED)
    assert export_seeds(load(new).key) == export_seeds(load(old).key)
    assert load(new).membership_path.read_bytes() == load(old).membership_path.read_bytes()
    log = newest(new)
    again = run("restore", saved, "-c", new, "--passphrase-file", words)
    assert (again["restored_now"], newest(new)) == (False, log)


def test_the_backup_is_for_its_owner_alone_and_never_overwrites(old, saved, words):
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    before = saved.read_bytes()
    said = run("backup", "-o", saved, "-c", old, "--passphrase-file", words, code=2)
    assert "is already there" in str(said["error"])
    assert saved.read_bytes() == before


def test_a_new_board_without_a_configuration_gets_the_one_of_the_backup(tmp_path, old, saved, words):
    (tmp_path / "old").rename(tmp_path / "gone")  # the old board died; its paths are free
    said = run("restore", saved, "-c", old, "--passphrase-file", words)
    assert (said["config_written"], said["restored_now"]) == (True, True)
    assert old.read_bytes() == (tmp_path / "gone" / "agent.toml").read_bytes()
    assert newest(old).predecessor.reason == succession.RESTORED


def test_a_board_with_another_devices_key_is_left_as_it_is(saved, new, words):
    create_key(load(new).key, 0)
    before = contents(new.parent)
    said = run("restore", saved, "-c", new, "--passphrase-file", words, code=2)
    assert "has the key of another device" in str(said["error"])
    assert contents(new.parent) == before


def test_a_board_with_another_devices_membership_is_left_as_it_is(tmp_path, saved, new, words):
    (tmp_path / "other").mkdir()
    other, _ = joined_config(tmp_path / "other")
    load(new).membership_path.write_bytes(load(other).membership_path.read_bytes())
    before = contents(new.parent)
    said = run("restore", saved, "-c", new, "--passphrase-file", words, code=2)
    assert "is not good for this device" in str(said["error"])
    assert contents(new.parent) == before


def test_a_board_with_another_devices_journal_is_left_as_it_is(tmp_path, saved, new, words):
    (tmp_path / "other").mkdir()
    _, other = joined_config(tmp_path / "other")
    open_journal(load(new).journal_path, other, bytes(16)).journal.close()
    before = contents(new.parent)
    said = run("restore", saved, "-c", new, "--passphrase-file", words, code=2)
    assert f"belongs to device {other}" in str(said["error"])
    assert contents(new.parent) == before


def test_on_the_old_board_itself_restore_changes_nothing(old, saved, words):
    before = contents(old.parent)
    assert run("restore", saved, "-c", old, "--passphrase-file", words)["restored_now"] is False
    assert contents(old.parent) == before


def test_an_old_card_in_a_new_board_gets_its_key_back_and_keeps_its_journal(old, saved, words):
    log, key = newest(old), export_seeds(load(old).key)
    for name in ("device.key", "device.key.next"):  # they would not open on another board
        (old.parent / name).unlink()
    assert run("restore", saved, "-c", old, "--passphrase-file", words)["restored_now"] is True
    assert (newest(old), export_seeds(load(old).key)) == (log, key)


def board(folder, like=None):
    """The configuration of a board of its own, or of a new one beside `like`."""
    folder.mkdir()
    if like is None:
        return joined_config(folder)[0]
    path = folder / "agent.toml"
    path.write_text(like.read_text().replace(str(like.parent), str(folder)))
    return path


def seal_one(config, clock, *, rotate=False):
    """One more proof in a board's journal, with another key from it on."""
    settings, keys = load(config), KeptKeys(load(config).key, clock)
    opened = open_journal(settings.journal_path, keys.current().device, clock.boot_id)
    with contextlib.closing(opened.journal) as journal:
        turn = rotation.begin(None, keys, journal) if rotate else None
        sealer = Sealer(keys.current(), "simulated", settings.proof, clock, turn=turn)
        sealer.descriptor = make_descriptor()
        journal.append(captured(clock, 1))
        sealer.seal(journal)
    if turn:
        keys.settle(turn.new.public_key)


def shown(config):
    """What a stranger finds in the bundle that the board exports."""
    settings = load(config)
    device = open_key(settings.key).device
    joined = membership.load(settings.membership_path, device, 0)
    with contextlib.closing(Journal(settings.journal_path, device)) as journal:
        data = b"".join(export.pieces(lambda job: job(journal), joined, 0, 2**40))
    return bundle.examine(data, joined.gateway_keys)


def test_a_restored_boards_export_is_good_though_the_key_was_changed_before_the_backup(tmp_path, words):
    clock, first = FakeClock(), board(tmp_path / "first")
    boards = [first, board(tmp_path / "second", first), board(tmp_path / "third", first)]
    for number, config in enumerate(boards):
        seal_one(config, clock, rotate=True)
        seal_one(config, clock)
        assert (len(shown(config).turns), shown(config).proofs) == (number + 1, 2)
        if number < 2:
            saved = tmp_path / f"{number}.backup"
            run("backup", "-o", saved, "-c", config, "--passphrase-file", words)
            run("restore", saved, "-c", boards[number + 1], "--passphrase-file", words)


def test_a_running_agent_is_not_restored_over(saved, new, words):
    with daemon.alone(load(new).state_dir):
        said = run("restore", saved, "-c", new, "--passphrase-file", words, code=2)
    assert "Another agent runs in" in str(said["error"])


def test_a_wrong_passphrase_changes_nothing(tmp_path, saved, new):
    (tmp_path / "wrong").write_text("another horse battery")
    before = contents(new.parent)
    said = run("restore", saved, "-c", new, "--passphrase-file", tmp_path / "wrong", code=2)
    assert "does not open" in str(said["error"])
    assert contents(new.parent) == before


def test_a_weak_passphrase_makes_no_backup(tmp_path, old):
    (tmp_path / "weak").write_text("elevenchars")
    said = run("backup", "-o", tmp_path / "b", "-c", old, "--passphrase-file", tmp_path / "weak", code=2)
    assert "five random words" in str(said["error"])
    assert not (tmp_path / "b").exists()


def test_without_a_terminal_the_passphrase_must_come_from_a_file(tmp_path, old):
    said = run("backup", "-o", tmp_path / "b", "-c", old, code=2)
    assert "--passphrase-file" in str(said["error"])


def test_a_key_that_is_being_changed_is_not_backed_up(tmp_path, old, words):
    prepare_rotation(load(old).key, 0)
    said = run("backup", "-o", tmp_path / "b", "-c", old, "--passphrase-file", words, code=2)
    assert "is being changed" in str(said["error"])


def test_a_backup_beside_a_running_agent_sees_its_newest_proof(tmp_path, old, words):
    device = open_key(load(old).key).device
    clock = FakeClock(boot=2)
    with contextlib.closing(open_journal(load(old).journal_path, device, clock.boot_id).journal) as journal:
        journal.append(captured(clock, 9))
        make_sealer(clock).seal(journal)  # in the write-ahead log, the connection is open
        said = run("backup", "-o", tmp_path / "b", "-c", old, "--passphrase-file", words)
    assert said["head"] == 3


def test_a_device_that_never_sampled_is_restored_without_a_journal(tmp_path, new, words):
    (tmp_path / "fresh").mkdir()
    config, device = joined_config(tmp_path / "fresh")
    made = run("backup", "-o", tmp_path / "b", "-c", config, "--passphrase-file", words)
    assert (made["log"], made["head"]) == (None, 0)
    said = run("restore", tmp_path / "b", "-c", new, "--passphrase-file", words)
    assert said["device"] == device
    assert not load(new).journal_path.exists()


def at_a_terminal(answers: list[str], *arguments: object) -> tuple[int, str]:
    """(exit code, what the terminal showed): each answer is typed when it is asked for."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "provisioning.cli", *map(str, arguments)])
    shown = b""
    # Linux says EIO when the other side has closed.
    with os.fdopen(terminal, "r+b", buffering=0) as screen, contextlib.suppress(OSError):
        while piece := screen.read(4096):
            shown += piece
            if shown.endswith(b": ") and answers:  # the space comes when the echo is off
                screen.write(answers.pop(0).encode() + b"\n")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_at_a_terminal_the_passphrase_is_asked_for_twice_and_never_shown(tmp_path, old, new):
    file = tmp_path / "typed.backup"
    code, shown = at_a_terminal([PASSPHRASE, PASSPHRASE], "backup", "-o", file, "-c", old)
    assert (code, file.exists(), PASSPHRASE in shown) == (0, True, False), shown
    assert shown.count("assphrase:") + shown.count("confirmation:") == 2
    code, shown = at_a_terminal([PASSPHRASE], "restore", file, "-c", new)
    assert (code, PASSPHRASE in shown) == (0, False), shown
    assert "This board is that device now." in shown
