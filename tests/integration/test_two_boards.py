"""Cloned cards, restored cards, lost journals: whole nodes, a gateway process, a real broker.

Each is found out, its evidence is kept, its owner is told what to do, and no reading is lost.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator

import pytest

from agent import backoff
from agent.errors import FixStore
from agent.journal import Journal
from agent.keystore import create_key, open_key
from agent.succession import RESTORED, RESUMED, ROLLED_BACK, SENTENCES, STORE_LOST
from agent.verdicts import OUTDATED_KEY
from gateway.report import lines
from proof import sealing
from proof.chain import SUPERSEDED
from proof.claims import Predecessor
from proof.cose import object_hash
from proof.reasons import Reason
from tests.integration.daemon_parts import node_of
from tests.integration.network_parts import RunningBoard, SmallNetwork, provision

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(170)]
TWO_BOARDS = f"{Reason.TWO_BOARDS.sentence} {Reason.TWO_BOARDS.remedy}"


@pytest.fixture
def network(tmp_path, mosquitto, until, monkeypatch) -> Iterator[SmallNetwork]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
    monkeypatch.setattr(backoff, "_FIRST_S", 1.5)
    monkeypatch.setattr(backoff, "LONGEST_S", 3.0)
    made = SmallNetwork(tmp_path, mosquitto.url, until)
    yield made
    made.close()


def captured(board: RunningBoard) -> int:
    with contextlib.closing(Journal(board.settings.journal_path, open_key(board.settings.key).device)) as j:
        return int(j.execute("SELECT count(*) FROM samples").fetchone()[0]) + int(
            j.execute("SELECT coalesce(sum(sealed), 0) FROM instruments").fetchone()[0]
        )


def test_of_two_boards_with_one_key_one_goes_on_and_both_owners_are_told(network, until):
    first = network.board()
    first.start()
    first.receipted(2)
    first.stop()
    second = network.copy(first, "b")
    first.start()
    first.receipted(2)  # the gateway goes beyond what the copy knows
    second.start()
    second.told(SENTENCES[ROLLED_BACK])
    first.told(SENTENCES[SUPERSEDED])
    second.told(TWO_BOARDS)
    second.receipted(3)
    report = first.report()
    assert report["superseded"]
    assert report["why"][0] == SENTENCES[SUPERSEDED]
    assert not second.report()["superseded"]
    line = network.line()
    assert not line.suspended
    assert line.two_boards_s is not None
    assert [log.reason for log in line.logs] == [ROLLED_BACK]
    assert "TWO BOARDS sign with its key" in "\n".join(lines([line]))
    # It goes on sampling, stays stopped when it is started again, and loses nothing.
    until(lambda: first.report()["readings"]["captured"] > report["readings"]["captured"], 20, "samples")
    first.stop()
    first.start()
    first.told(SENTENCES[SUPERSEDED])
    second.stop()
    device = first.report()["device"]
    # Its owner changes his mind: it takes over with all it kept.
    assert provision("resume", "--config", first.config) == {"device": device, "resumed": True}
    assert provision("resume", "--config", first.config) == {"device": device, "resumed": False}
    first.told(SENTENCES[RESUMED])
    first.receipted(2)
    until(lambda: first.report()["readings"]["unreceipted"] == 0, 45, "everything receipted")
    first.stop()
    until(lambda: network.line().logs[-1].reason == RESUMED, 20, "the new log in the ledger")
    times = network.times(device)
    assert len(set(times)) >= captured(first)
    assert not network.line().suspended


@pytest.mark.slow  # about fifteen seconds of processes
def test_a_restored_card_opens_a_new_log_and_one_from_before_that_waits_for_its_owner(network, until):
    board = network.board()
    board.start()
    board.receipted(2)
    board.stop()
    image = board.settings.journal_path.read_bytes()
    board.start()
    board.receipted(2)
    board.stop()
    put_back(board, image)
    board.start()
    board.told(SENTENCES[ROLLED_BACK])
    board.receipted(2)
    board.stop()
    assert [log.reason for log in network.line().logs] == [ROLLED_BACK]

    put_back(board, image)  # once more the same card: its log is not the open one any longer
    board.start()
    board.told(SENTENCES[SUPERSEDED])
    until(lambda: network.line().two_boards_s is not None, 20, "the evidence")
    board.stop()
    assert provision("resume", "--config", board.config)["resumed"]
    board.start()
    board.receipted(2)
    until(lambda: board.report()["readings"]["unreceipted"] == 0, 45, "everything receipted")
    board.stop()
    line = network.line()
    assert [log.reason for log in line.logs] == [ROLLED_BACK, RESUMED]
    assert (line.suspended, line.two_boards_s) == (0, None)  # evidence from before the open log is settled


def put_back(board: RunningBoard, image: bytes) -> None:
    for path in board.settings.state_dir.glob("journal.db*"):
        path.unlink()
    board.settings.journal_path.write_bytes(image)


def test_a_deleted_journal_is_a_lost_store_and_says_so(network):
    board = network.board()
    board.start()
    board.receipted(2)
    board.stop()
    for path in board.settings.state_dir.glob("journal.db*"):
        path.unlink()
    board.start()
    board.told(SENTENCES[STORE_LOST])
    board.receipted(2)
    board.stop()
    line = network.line()
    assert ([log.reason for log in line.logs], line.suspended, line.two_boards_s) == ([STORE_LOST], 0, None)
    assert STORE_LOST in "\n".join(lines([line]))


@pytest.mark.slow  # about fifteen seconds of processes
def test_a_journal_of_another_device_stops_the_agent_and_stays_as_it_is(network, tmp_path):
    board = network.board()
    board.start()
    board.receipted(1)
    board.stop()
    path = board.settings.journal_path
    before = path.read_bytes()
    (tmp_path / "other").mkdir()
    other = create_key(f"sim:{tmp_path}/other/device.key", 0)
    for name in ("device.key", "device.key.next"):
        shutil.copy2(tmp_path / "other" / name, board.folder / name)
    said = provision("resume", "--config", board.config, code=2)
    assert "belongs to device" in said["error"]
    assert other.device in said["error"]
    (board.folder / "membership.json").unlink()
    provision("join", network.gateway.claim().to_text(), "--config", board.config)
    with pytest.raises(FixStore, match="belongs to device"):
        node_of(board.settings)
    assert path.read_bytes() == before


@pytest.mark.slow  # about fifteen seconds of processes
def test_an_old_board_that_comes_back_after_a_restore_is_superseded(network, tmp_path, until):
    old = network.board()
    old.start()
    old.receipted(2)
    words, file = tmp_path / "words", tmp_path / "identity.backup"
    words.write_text("correct horse battery\n")
    said = provision("backup", "-o", file, "-c", old.config, "--passphrase-file", words)
    old.receipted(2)  # the gateway goes beyond the backup
    old.stop()
    new = RunningBoard(tmp_path / "new", until)
    new.write_config()
    network.boards.append(new)
    restored = provision("restore", file, "-c", new.config, "--passphrase-file", words)
    assert (restored["device"], restored["restored_now"]) == (said["device"], True)
    held = network.line()
    new.start()
    new.told(SENTENCES[RESTORED])
    new.receipted(2)
    births = [sealing.parse(data).claims for data in network.gateway.accepted(str(said["device"]))]
    named = next(claims.prev for claims in births if claims.log != births[0].log)
    assert isinstance(named, Predecessor)
    assert (named.log.hex(), named.reason) == (said["log"], RESTORED)
    assert named.head_hash == hash_at(network, str(said["device"]), held.head_seq)

    old.start()  # it was only switched off
    old.told(SENTENCES[SUPERSEDED])
    new.told(TWO_BOARDS)
    new.receipted(2)
    assert old.report()["superseded"]
    line = network.line()
    assert [log.reason for log in line.logs] == [RESTORED]
    assert (line.suspended, line.two_boards_s is None) == (0, False)


def hash_at(network: SmallNetwork, device: str, seq: int) -> bytes:
    return object_hash(network.gateway.accepted(device)[seq - 1])


@pytest.mark.slow  # about ten seconds of processes
def test_a_backup_made_before_the_key_was_changed_is_said_to_be_of_no_use(network, tmp_path, until):
    old = network.board()
    words, file = tmp_path / "words", tmp_path / "identity.backup"
    words.write_text("correct horse battery\n")
    old.start()
    old.receipted(1)
    provision("backup", "-o", file, "-c", old.config, "--passphrase-file", words)
    provision("rotate", "-c", old.config)
    old.told("The network has this device's new key; the old one is gone from here.")
    old.stop()
    new = RunningBoard(tmp_path / "new", until)
    new.write_config()
    network.boards.append(new)
    provision("restore", file, "-c", new.config, "--passphrase-file", words)
    new.start()
    new.told(OUTDATED_KEY)
    assert not network.line().logs
