"""The steps of `setup`: what is asked, what is never asked again, what is never replaced."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import control, keystore, settings
from agent.discover import Finding
from agent.errors import FixConfig, HardStop, TryAgain
from agent.keystore import Board, create_key, open_key
from agent.membership import Joined, save
from proof.joining import Membership, sign_membership
from provisioning import instruments, keychoice, starting
from provisioning.cli import app
from provisioning.person import Unattended
from provisioning.setup import Answers, Setup
from provisioning.starting import Started
from tests.joining_parts import GATEWAY, NOW_S, claim
from tests.setup_parts import Scripted

CLAIM = claim("mqtts://broker.example.net").to_text()
PLAIN = claim("mqtt://127.0.0.1:1").to_text()
REPORT = {
    "device": "did:key:z6Mk",
    "key_class": "file",
    "network": "meadow",
    "kind": "live",
    "proofs": {"receipted_seq": 3, "receipted_at_s": NOW_S},
    "instruments": [
        {"name": "dust", "latest": {"pm2.5": [5.1, "ug/m3"]}, "problem": ""},
        {"name": "co2", "latest": {}, "problem": "The MH-Z19B is starting."},
    ],
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder as a machine on which one SDS011 is found; no agent runs there."""
    found = [Finding("serial:/dev/serial/by-id/x", drivers=("sds011",))]
    monkeypatch.setattr(instruments, "find", lambda _where, _ask: found)
    monkeypatch.setattr(instruments, "read_each", lambda chosen, _person: (tuple(chosen), []))
    monkeypatch.setattr(starting, "unit_is_installed", lambda: False)
    monkeypatch.setattr(keychoice, "BEST_FIRST", keychoice.BEST_FIRST[-1:])  # the others: test_keychoice
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    return Machine(tmp_path)


class Machine:
    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.state = folder, folder / "agent.toml", folder / "state"
        self.board = Board(folder / "machine-id", folder / "none")
        self.answers = Answers(self.config, self.state, run_here=False)

    def setup(self, person, **changes):
        return Setup(replace(self.answers, **changes), person, self.board, lambda: NOW_S).run()

    def joined(self, network: str = "meadow") -> str:
        uri = f"file:{self.state}/device.key"
        device = create_key(uri, 0, self.board).device
        given = Membership(device, network, "test", (GATEWAY.public_key,), (), NOW_S, None)
        signed = sign_membership(given, GATEWAY, NOW_S)
        save(self.state / "membership.json", Joined("mqtts://b", (GATEWAY.public_key,), signed, given))
        return device

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


def test_a_member_is_not_asked_for_a_claim_and_is_told_the_command_to_run(machine):
    device = machine.joined()
    facts = machine.setup(person := Scripted())
    assert (facts["device"], facts["network"], facts["receipt_seq"]) == (device, "meadow", None)
    assert facts["to_do"][0].endswith(f"run --config {machine.config}")
    assert not any("claim" in question for question in person.asked)
    assert f"{device} is a member of meadow already." in person.told


def test_the_first_readings_and_their_receipt_are_shown(machine, monkeypatch):
    machine.joined()
    monkeypatch.setattr(starting, "run_here", lambda _config, _settings: Started("It runs."))
    monkeypatch.setattr(starting, "first_receipt", lambda _settings, _started, _wait_s: REPORT)
    facts = machine.setup(Scripted(), run_here=True)
    assert facts["readings"] == ["dust: pm2.5 5.1 ug/m3", "co2: The MH-Z19B is starting."]
    assert (facts["receipt_seq"], facts["receipt_time"], facts["to_do"]) == (3, "2023-11-14 22:13 UTC", [])


def test_a_running_agent_says_who_it_is_though_its_key_is_its_users_only(machine, monkeypatch):
    """As a service it has a user of its own; setup runs as root."""
    machine.joined()
    machine.setup(Scripted())
    (machine.state / "device.key").chmod(0)
    monkeypatch.setattr(keystore, "open_key", lambda *_: pytest.fail("the key was opened"))
    monkeypatch.setattr("provisioning.setup.open_key", keystore.open_key)
    monkeypatch.setattr(starting, "running", lambda _settings: REPORT)
    monkeypatch.setattr(starting, "first_receipt", lambda _settings, _started, _wait_s: REPORT)
    for claimed in ("", PLAIN):
        facts = machine.setup(Scripted(), claim=claimed)
        assert (facts["device"], facts["network"], facts["receipt_seq"]) == ("did:key:z6Mk", "meadow", 3)
    with pytest.raises(HardStop, match="is a member of meadow, and its journal belongs there"):
        machine.setup(Scripted(), claim=claim("mqtts://b", network="hills").to_text())


def test_without_a_claim_nothing_is_written(machine):
    before = machine.files()
    with pytest.raises(HardStop, match=r"give --claim TEXT\."):
        machine.setup(Unattended(quiet=True))
    assert machine.files() == before


def test_a_broker_without_tls_is_only_used_where_somebody_said_so(machine):
    before = machine.files()
    with pytest.raises(FixConfig, match="without TLS"):
        machine.setup(Unattended(quiet=True), claim=PLAIN)
    person = Scripted(("(paste it)", PLAIN), ("Allow that?", False))
    with pytest.raises(FixConfig, match="without TLS"):
        machine.setup(person)
    assert machine.files() == before


def test_a_claim_that_is_none_is_asked_again(machine):
    expired = claim("mqtts://b", expires_s=NOW_S).to_text()
    person = Scripted(
        ("(paste it)", "hello"), ("(paste it)", expired), ("(paste it)", PLAIN), ("Allow", False)
    )
    with pytest.raises(FixConfig):
        machine.setup(person)
    assert any("not a whole claim" in sentence for sentence in person.told)
    assert any("The claim expired on" in sentence for sentence in person.told)


def test_a_configuration_that_is_there_is_used_and_stays(machine):
    machine.joined()
    machine.setup(Scripted())
    before = machine.config.read_bytes(), machine.files()
    person = Scripted()
    machine.setup(person, interval_s=5.0)
    assert (machine.config.read_bytes(), machine.files()) == before
    assert f"{machine.config} is there and is used: sds011." in person.told


def test_a_configuration_is_replaced_when_a_person_says_so_and_the_old_one_is_kept(machine):
    device = machine.joined()
    machine.setup(Scripted())
    before = machine.config.read_bytes()
    facts = machine.setup(Scripted(("Use it?", False)), interval_s=5.0)
    assert settings.load(machine.config).instrument[0].interval_s == 5.0
    assert machine.config.with_name("agent.toml.old").read_bytes() == before
    assert facts["device"] == device


def test_a_configuration_is_not_replaced_while_its_agent_runs(machine, monkeypatch):
    machine.joined()
    machine.setup(Scripted())
    before = machine.config.read_bytes()
    monkeypatch.setattr(starting, "running", lambda _settings: REPORT)
    with pytest.raises(HardStop, match="stop it first"):
        machine.setup(Scripted(), replace_config=True)
    assert machine.config.read_bytes() == before


def test_a_configuration_of_somebody_is_never_touched_when_it_is_wrong(machine):
    machine.config.write_text("nonsense")
    with pytest.raises(FixConfig, match="is not TOML"):
        machine.setup(Scripted())
    assert machine.config.read_text() == "nonsense"


def test_ctrl_c_says_how_it_goes_on(machine):
    result = CliRunner().invoke(
        app,
        ["setup", "-c", str(machine.config), "--state-dir", str(machine.state)],
        obj=machine.board,
        input="",
    )
    assert result.exit_code == 1
    assert "Run setup again: it goes on from here" in result.stderr


# The agent


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("file:/k", ""),
        ("tpm2:/s/device.key?pcrs=0,7", "DeviceAllow=/dev/tpmrm0 rw"),
        ("otp:/s/device.key", "DeviceAllow=/dev/vcio rw"),
        (
            "credential:/s/device.key?with-key=host",
            "LoadCredentialEncrypted=device.key.cred:/s/device.key.cred",
        ),
    ],
)
def test_the_unit_is_given_what_the_key_s_place_needs(uri, line):
    lines = starting.for_key(uri)
    assert line in lines.splitlines() if line else lines == ""


def systemctl(folder: Path, monkeypatch, script: str) -> Path:
    """A `systemctl` first on the path that writes its arguments down and then does as `script` says."""
    log = folder / "systemctl.log"
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def loaded(machine, key: str = "file:/k"):
    part = '[[instrument]]\nname = "a"\ndriver = "sds011"\nbus = "w1:"\n'
    machine.config.write_text(f'state_dir = "{machine.state}"\nkey = "{key}"\n{part}')
    machine.state.mkdir()
    return settings.load(machine.config)


def test_the_service_is_enabled_with_the_drop_in_of_its_key(machine, monkeypatch):
    log = systemctl(machine.folder, monkeypatch, "")
    drop_in = machine.folder / "unit.d" / "key.conf"
    monkeypatch.setattr(starting, "_DROP_IN", drop_in)
    started = starting.enable(loaded(machine, "otp:/s/device.key"))
    assert started.how == "fieldproof-agent.service is enabled and started."
    assert log.read_text().splitlines() == ["daemon-reload", "enable --now fieldproof-agent.service"]
    assert "[Service]\nSupplementaryGroups=video\n" in drop_in.read_text()


def test_a_service_that_does_not_start_is_one_sentence(machine, monkeypatch):
    systemctl(machine.folder, monkeypatch, 'echo "Job failed." >&2; exit 1')
    with pytest.raises(TryAgain, match=r"Job failed\. See journalctl -u fieldproof-agent\.service\."):
        starting.enable(loaded(machine))


def test_an_agent_that_ends_at_once_says_why(machine):
    started = starting.run_here(machine.config, loaded(machine))
    with pytest.raises(HardStop, match=r"The agent ended: fieldproof-agent: .*agent\.log"):
        starting.first_receipt(settings.load(machine.config), started, 30.0)


def test_an_agent_that_cannot_be_started_is_one_sentence(machine):
    found = loaded(machine)
    (machine.state / "agent.log").mkdir()
    with pytest.raises(HardStop, match="cannot be started"):
        starting.run_here(machine.config, found)


def test_an_agent_that_another_run_started_is_waited_for_though_ours_ended(machine, monkeypatch):
    """A killed setup had started one; the second is refused by the first."""
    answers = iter([TryAgain("not yet"), REPORT])

    def ask_status(_path):
        answer = next(answers)
        if isinstance(answer, TryAgain):
            raise answer
        return answer

    def ended():
        raise HardStop("Another agent runs.")

    monkeypatch.setattr(control, "ask_status", ask_status)
    assert starting.first_receipt(loaded(machine), Started("", ended), 30.0) == REPORT


def test_waiting_for_a_receipt_ends_with_what_the_agent_says(machine):
    with pytest.raises(TryAgain, match=r"No receipt within 0\.1 s\. No agent answers\."):
        starting.first_receipt(loaded(machine), Started(""), 0.1)


def test_json_is_one_object_and_asks_nothing(machine):
    machine.joined()
    result = CliRunner().invoke(
        app,
        ["setup", "-c", str(machine.config), "--state-dir", str(machine.state), "--no-run", "--json"],
        obj=machine.board,
        input="",
    )
    said = json.loads(result.stdout)
    assert (result.exit_code, said["device"]) == (1, open_key(said["key"], machine.board).device)
    assert said["to_do"][0].startswith("Start the agent: ")
