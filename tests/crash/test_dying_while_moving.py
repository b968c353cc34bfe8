"""`backup` and `restore`, killed before each thing they do: old state or new, one identity, one log."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from nacl import pwhash

from agent import membership
from agent.journal import Journal
from agent.keyfile import Seeds
from agent.keystore import export_seeds, key_exists
from agent.settings import load
from agent.succession import RESTORED
from proof import joining
from proof.claims import Predecessor
from proof.joining import Membership
from proof.keys import SeedSigner
from provisioning import backup
from provisioning.backup import Backup, Head, seal, unseal
from tests.crash.fault_points import Command, Ended, FaultPoints
from tests.sim_parts import GATEWAY, NETWORK, NOWHERE, joined_config, write_config

PASSPHRASE = "correct horse battery"
SEEDS = Seeds(SeedSigner(b"\1" * 32, "sim").device, b"\1" * 32, b"\2" * 32)
HEAD = Head(b"log-0001", 7, b"\3" * 32)


def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups made from here on say themselves that they are cheap to open."""
    kdf = pwhash.argon2id
    weak = SimpleNamespace(
        SALTBYTES=kdf.SALTBYTES, kdf=kdf.kdf, OPSLIMIT_INTERACTIVE=1, MEMLIMIT_INTERACTIVE=kdf.MEMLIMIT_MIN
    )
    monkeypatch.setattr(backup, "_KDF", weak)


class NewBoard:
    """An empty board with a backup beside it; without a configuration."""

    def __init__(self, folder: Path) -> None:
        self.file, self.words = folder / "identity.backup", folder / "words"
        self.words.write_text(PASSPHRASE)
        (folder / "state").mkdir()
        self.config = write_config(folder / "state")
        text = self.config.read_text()
        self.settings = load(self.config)
        self.config.unlink()
        given = Membership(SEEDS.device, NETWORK, "test", (GATEWAY.public_key,), (), 1_700_000_000, None)
        joined = membership.Joined(
            NOWHERE,
            (GATEWAY.public_key,),
            joining.sign_membership(given, GATEWAY, 1_700_000_000),
            given,
        )
        membership.save(folder / "membership.json", joined)
        whole = Backup(SEEDS, (folder / "membership.json").read_bytes(), text, HEAD, 5)
        self.file.write_bytes(seal(whole, PASSPHRASE))

    def command(self) -> Command:
        words = ("--passphrase-file", str(self.words))
        return Command(("restore", str(self.file), "-c", str(self.config), *words, "--json"))

    def look(self) -> None:
        """Not restored (an agent refuses to start without a membership), or whole."""
        if key_exists(self.settings.key):
            assert export_seeds(self.settings.key) == SEEDS
        if self.settings.membership_path.exists():
            self.require_new()

    def require_new(self) -> None:
        assert load(self.config) == self.settings
        assert export_seeds(self.settings.key) == SEEDS
        membership.load(self.settings.membership_path, SEEDS.device, 1_800_000_000)
        with contextlib.closing(Journal(self.settings.journal_path, SEEDS.device)) as journal:
            log = journal.open_log()
            assert log is not None
            assert (log.id, log.predecessor) == (1, Predecessor(HEAD.log, HEAD.hash, RESTORED))


@pytest.mark.slow  # some sixty deaths, twenty seconds
@pytest.mark.timeout(240)
def test_restore_dies_anywhere_and_repeating_it_gives_one_identity_and_one_log(
    tmp_path: Path, provision: FaultPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap(monkeypatch)

    def ended(board: NewBoard, ended: Ended) -> None:
        assert ended.code == 0, ended.stderr
        assert json.loads(ended.stdout)["device"] == SEEDS.device
        board.require_new()

    points = provision.for_each_fault_point(tmp_path, NewBoard, NewBoard.command, NewBoard.look, ended)
    kinds = [point.split()[0] for point in points]
    assert kinds.count("os.link") == 4, points  # configuration, two keys, membership
    assert len(points) > 20


class OldBoard:
    def __init__(self, folder: Path) -> None:
        self.file, self.words = folder / "identity.backup", folder / "words"
        self.words.write_text(PASSPHRASE)
        self.config, self.device = joined_config(folder)

    def command(self) -> Command:
        words = ("--passphrase-file", str(self.words))
        return Command(("backup", "-o", str(self.file), "-c", str(self.config), *words, "--json"))

    def look(self) -> None:
        """No backup, or a whole one."""
        if self.file.exists():
            assert unseal(self.file.read_bytes(), PASSPHRASE, "it").device == self.device


@pytest.mark.slow  # some ten deaths; each key derivation takes its time
@pytest.mark.timeout(240)
def test_backup_dies_anywhere_and_leaves_no_file_or_a_whole_one(
    tmp_path: Path, provision: FaultPoints
) -> None:
    def ended(board: OldBoard, ended: Ended) -> None:
        assert ended.code == 0 or "is already there" in ended.stdout, ended.stderr
        assert board.file.exists()
        board.look()

    points = provision.for_each_fault_point(tmp_path, OldBoard, OldBoard.command, OldBoard.look, ended)
    assert [point.split()[0] for point in points].count("os.link") == 1, points
