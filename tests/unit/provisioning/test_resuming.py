"""`fieldproof-provision resume` where no agent runs: the journal itself, under the agent's lock."""

from __future__ import annotations

import contextlib
import json

import pytest
from typer.testing import CliRunner

from agent import daemon, succession
from agent.journal import Journal
from agent.keystore import open_key
from agent.settings import load
from agent.store import open_journal
from proof.chain import SUPERSEDED
from proof.claims import Predecessor
from provisioning.cli import app
from tests.agent_parts import boot_bytes
from tests.sim_parts import joined_config

HEARD = Predecessor(b"other---", bytes(32), SUPERSEDED)


@pytest.fixture
def config(tmp_path):
    """Of a device whose store was superseded."""
    path, device = joined_config(tmp_path)
    with contextlib.closing(open_journal(load(path).journal_path, device, boot_bytes(1)).journal) as journal:
        journal.start_log(b"gives-wa", HEARD)
    return path


def resume(config, *options):
    ended = CliRunner().invoke(app, ["resume", "--config", str(config), *options])
    return ended.exit_code, ended.stdout + ended.stderr


def newest(config):
    settings = load(config)
    with contextlib.closing(Journal(settings.journal_path, open_key(settings.key).device)) as journal:
        return journal.open_log()


def test_resume_opens_a_log_that_names_what_the_gateway_held_and_does_it_once(config):
    code, said = resume(config)
    assert (code, "This board takes over" in said) == (0, True)
    log = newest(config)
    assert log.predecessor == Predecessor(HEARD.log, HEARD.head_hash, succession.RESUMED)
    code, said = resume(config)
    assert (code, "nothing was changed" in said) == (0, True)
    assert newest(config) == log


def test_resume_of_a_store_that_was_never_superseded_changes_nothing(tmp_path):
    path, device = joined_config(tmp_path)
    with contextlib.closing(open_journal(load(path).journal_path, device, boot_bytes(1)).journal) as journal:
        before = journal.open_log()
    code, said = resume(path, "--json")
    assert (code, json.loads(said)) == (0, {"device": device, "resumed": False})
    assert newest(path) == before


def test_resume_leaves_a_journal_alone_that_an_agent_holds_and_does_not_answer_for(config):
    before = newest(config)
    with daemon.alone(load(config).state_dir):
        code, said = resume(config)
    assert (code, said.count("\n")) == (1, 1)
    assert newest(config) == before


def test_resume_without_a_journal_makes_none(tmp_path):
    path, _ = joined_config(tmp_path)
    code, said = resume(path)
    assert (code, "There is no journal at" in said) == (2, True)
    assert not load(path).journal_path.exists()
