"""The command line: whatever a person gets wrong is one sentence, an exit code, and nothing else."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent import cli, keystore, papers
from agent.control import END, ControlServer
from agent.diary import Diary
from agent.journal import Journal
from agent.keystore import Board, create_key
from agent.membership import Joined, save
from agent.settings import load
from proof import bundle
from proof.joining import Membership, sign_membership
from proof.keys import device_id
from proof.reasons import Reason
from proof.receipt import ProofVerdict
from tests.agent_parts import GATEWAY, FakeClock, captured, make_sealer, open_test_journal

ROOT = Path(__file__).parents[3]
CONFIG = """\
state_dir = "{folder}/state"
key = "sim:{folder}/device.key"
[[instrument]]
name = "bme280-76"
driver = "bme280"
bus = "i2c:9"
address = "0x76"
[mqtt]
allow_plain = true
"""


@pytest.fixture
def config(tmp_path):
    """config(text) -> its path; `{folder}` is where it lies."""

    def write(text=CONFIG):
        path = tmp_path / "agent.toml"
        path.write_text(text.replace("{folder}", str(tmp_path)))
        return path

    return write


@pytest.fixture
def fieldproof_agent(monkeypatch, capsys):
    """fieldproof_agent(*arguments) -> (exit code, stdout, stderr), in this process."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fieldproof-agent", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        written = capsys.readouterr()
        return caught.value.code or 0, written.out, written.err

    return call


def process(*arguments):
    """The same as a process of its own: `run` becomes the daemon."""
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def assert_one_sentence(error, *parts):
    assert error.startswith("fieldproof-agent: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    for part in parts:
        assert part in error


def everything(folder):
    return {
        path: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def join(path):
    """Make the key of a configuration and a membership for it."""
    settings = load(path)
    device = device_id(create_key(settings.key, 0).public_key)
    membership = Membership(device, "moor", "test", (GATEWAY.public_key,), (), 0, None)
    signed = sign_membership(membership, GATEWAY, 0)
    save(settings.membership_path, Joined("mqtt://127.0.0.1:1", (GATEWAY.public_key,), signed, membership))
    return device


# check-config


def test_a_configuration_in_order_names_its_instruments(config, fieldproof_agent):
    code, out, err = fieldproof_agent("check-config", "-c", config())
    assert (code, err) == (0, "")
    assert "in order. Instruments: bme280-76 (bme280 at i2c:9 0x76)." in out


def test_the_schema_is_json(fieldproof_agent):
    code, out, _ = fieldproof_agent("check-config", "--schema")
    assert code == 0
    assert "instrument" in json.loads(out)["properties"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("bme280\"", "bme281\""), "There is no driver 'bme281': use one of bme280, "),
        (('"0x76"', '"0x40"'), "A bme280 is never at address 0x40: use one of 0x76, 0x77."),
        (('"0x76"', '"left"'), "address 'left' of a bme280 is not like 0x76."),
        (("i2c:9", "spi:0"), "The bus 'spi:0' is not like i2c:1"),
        (("i2c:9", "i2c:" + "9" * 5000), "is not like i2c:1"),
        (("i2c:9", "i2c:१"), "is not like i2c:1"),
        (("[mqtt]", "[instrument.limits.pressure]\nunit = 'hPa'\n[mqtt]"), "limits.pressure.unit is 'hPa'"),
        (("[mqtt]", "[instrument.limits.co2]\nunit = 'ppm'\n[mqtt]"), "limits.co2: it measures"),
        (("allow_plain = true", "broker_url = 'mqtt://b'"), "allow_plain = true"),
        (("allow_plain = true", "broker_url = 'http://b'"), "is not like mqtts://host"),
        (("[mqtt]", "[mqtt"), "is not TOML"),
        (("state_dir", "stat_dir"), "state_dir"),
    ],
)  # fmt: skip
def test_what_the_schema_cannot_say_is_said_too(config, fieldproof_agent, change, expected):
    code, out, err = fieldproof_agent("check-config", "-c", config(CONFIG.replace(*change)))
    assert (code, out) == (2, "")
    assert_one_sentence(err, expected)
    assert len(err) < 1000


def test_a_wrong_configuration_is_one_sentence_from_a_process_too(config):
    code, out, err = process("check-config", "-c", config("color = 1\n" + CONFIG))
    assert (code, out) == (2, "")
    assert_one_sentence(err, "color: there is no such key")


# run


def test_run_without_a_configuration(tmp_path):
    code, _, err = process("run", "-c", tmp_path / "none.toml")
    assert code == 2
    assert_one_sentence(err, "none.toml cannot be read", "--config FILE")


def no_key(path):
    return ["There is no device key at", "fieldproof-provision init"]


def open_key(path):
    create_key(load(path).key, 0)
    (path.parent / "device.key").chmod(0o644)
    return ["is open to others (mode 0644)", "chmod 0400"]


def key_of_another_board(path):
    path.write_text(path.read_text().replace("sim:", "file:"))
    (path.parent / "machine-id").write_text("f" * 32 + "\n")
    create_key(load(path).key, 0, Board(machine_id=path.parent / "machine-id"))
    here = Path("/etc/machine-id")
    tied = here.exists() and len(here.read_text().strip()) == 32
    return ["made on another board" if tied else "holds no machine id"]


def key_of_another_scheme(path):
    create_key(load(path).key, 0)
    path.write_text(path.read_text().replace("sim:", "file:"))
    return ["was made for `sim:`, not for `file:`"]


def no_membership(path):
    create_key(load(path).key, 0)
    return ["has joined no network", "fieldproof-provision join CLAIM"]


def membership_of_another_device(path):
    join(path)
    for key in path.parent.glob("device.key*"):
        key.unlink()
    create_key(load(path).key, 0)
    return ["is not good for this device"]


def damaged_membership(path):
    join(path)
    load(path).membership_path.write_text("{")
    return ["is damaged", "join CLAIM"]


def no_such_bus(path):
    join(path)
    return ["bme280-76", "I2C bus 9 cannot be opened"]


@pytest.mark.parametrize(
    "prepare",
    [
        no_key, open_key, key_of_another_board, key_of_another_scheme, no_membership,
        membership_of_another_device, damaged_membership, no_such_bus,
    ],
)  # fmt: skip
def test_run_that_cannot_says_why_and_touches_nothing(config, tmp_path, prepare):
    path = config()
    expected = prepare(path)
    before = everything(tmp_path)
    code, out, err = process("run", "-c", path)
    assert (code, out) == (2, ""), err
    assert_one_sentence(err, *expected)
    assert everything(tmp_path) == before


def test_the_daemon_carries_neither_the_command_line_nor_the_schema():
    """What a machine that samples for years never needs stays out of its memory."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "agent.daemon", "-1"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")
    }
    assert {"agent.node", "structlog", "paho.mqtt.client"} <= imported
    heavy = re.compile(r"(pydantic|pydantic_core|typer|click|hardware_sim)(\..*)?|rich\..*")
    assert not list(filter(heavy.fullmatch, imported))


# test-read


def test_test_read_without_a_bus_says_so_in_words_and_in_json(config, fieldproof_agent):
    code, out, err = fieldproof_agent("test-read", "-c", config())
    assert (code, err) == (2, "")
    assert out.startswith("bme280-76: ")
    assert "I2C bus 9 cannot be opened" in out
    code, out, _ = fieldproof_agent("test-read", "--json", "-c", config())
    (result,) = json.loads(out)
    assert (code, result["exit_code"], result["name"]) == (2, 2, "bme280-76")


# status


@pytest.fixture
def agent(config, tmp_path):
    """agent(healthy, pieces): something that answers at the configuration's socket."""
    path = config()
    (tmp_path / "state").mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:

        def make(healthy=True, pieces=(), **more):
            report = {
                **more, "healthy": healthy, "why": [] if healthy else ["Offline: no route."],
                "device": "did:key:z6Mk", "key_class": "sim", "network": "moor", "kind": "test",
                "last_receipted_reading_age_s": 9.0,
                "readings": {"captured": 5, "unsealed": 1},
                "proofs": {"sealed": 4, "unreceipted": 1, "in_flight": 0},
                "link": {"protocol": "MQTT 5"},
                "instruments": [{"name": "one", "latest": {"t": [20.5, "Cel"]}, "samples": 5, "missed": 0}],
            }  # fmt: skip
            socket = load(path).control_socket
            server = ControlServer(
                socket,
                lambda: report,
                lambda _s, _u: iter(pieces),
                lambda: None,
                dict,
                log=lambda limit: [{"limit": limit}],
                explain=lambda seq: {"verdicts": [], "seq": seq},
            )
            stack.callback(server.close)
            return path

        yield make


def test_status_is_zero_only_for_a_healthy_agent(agent, fieldproof_agent):
    code, out, _ = fieldproof_agent("status", "-c", agent(healthy=True))
    assert code == 0
    assert out.startswith("healthy: newest receipted reading 9 s old")
    assert "one  5 samples, 0 missed; t 20.5 Cel" in out


@pytest.mark.parametrize(
    ("healthy", "severity", "begins"),
    [
        (True, "error", "healthy, but superseded: newest receipted reading 9 s old\n"),
        (False, "error", "NOT HEALTHY, superseded: newest receipted reading 9 s old\n"),
        (True, "warning", "healthy: newest"),
    ],
)
def test_status_names_what_a_person_must_see_to_in_its_first_line(
    agent, fieldproof_agent, healthy, severity, begins
):
    found = [{"code": "superseded", "severity": severity}, {"code": "clock_unsure", "severity": "warning"}]
    code, out, _ = fieldproof_agent("status", "-c", agent(healthy, conditions=found))
    assert out.startswith(begins)
    assert code == (0 if healthy else 1)


def test_status_of_an_unhealthy_agent_is_one_and_says_why(agent, fieldproof_agent):
    path = agent(healthy=False)
    code, out, _ = fieldproof_agent("status", "-c", path)
    assert code == 1
    assert "NOT HEALTHY" in out
    assert "  - Offline: no route." in out
    code, out, _ = fieldproof_agent("status", "--json", "-c", path)
    assert (code, json.loads(out)["healthy"]) == (1, False)


@pytest.mark.parametrize(
    ("at_s", "when"), [(1_800_000_000.7, "as it was at 2027-01-15 08:00:00 UTC"), (None, "not known yet")]
)
def test_status_tells_what_a_journal_said_last_as_old(agent, fieldproof_agent, at_s, when):
    _, out, _ = fieldproof_agent("status", "-c", agent(answered=False, answered_at_s=at_s))
    assert out.startswith("healthy: newest receipted reading 9 s old, as far as is known\n")
    assert out.count(f"(the journal does not answer: {when})") == 2
    _, out, _ = fieldproof_agent("status", "-c", agent(answered=True, answered_at_s=at_s))
    assert "does not answer" not in out


def test_status_where_no_agent_runs(config, fieldproof_agent):
    code, out, err = fieldproof_agent("status", "-c", config())
    assert (code, out) == (1, "")
    assert_one_sentence(err, "No agent answers at", "fieldproof-agent run")


# export


def stored(path, count=5):
    """A journal with `count` proofs beside the configuration; the device."""
    settings, clock = load(path), FakeClock()
    device = join(path)
    journal = open_test_journal(settings.state_dir, clock, device)
    sealer = make_sealer(clock)
    sealer._signer, sealer._device = keystore.open_key(settings.key), device
    journal.begin()
    for number in range(count):
        clock.advance(3600)
        journal.append(captured(clock, number))
        sealer.seal(journal)
    journal.commit()
    journal.close()
    return device


def test_an_export_from_the_journal_is_a_bundle_that_verifies(config, fieldproof_agent, tmp_path):
    path = config()
    device = stored(path)
    code, out, err = fieldproof_agent("export", "-c", path, "-o", tmp_path / "b")
    assert (code, err) == (0, "")
    assert f"{(tmp_path / 'b').stat().st_size} bytes" in out
    finding = bundle.examine((tmp_path / "b").read_bytes(), [GATEWAY.public_key])
    assert (finding.device, finding.proofs, finding.readings) == (device, 5, 5)


def test_an_export_of_a_time_span_holds_the_proofs_of_that_time(config, fieldproof_agent, tmp_path):
    path = config()
    stored(path)
    span = ("--since", "2027-01-15T09:30:00", "--until", "2027-01-15T11:30:00+00:00")  # starts at 8 h
    assert fieldproof_agent("export", "-c", path, "-o", tmp_path / "b", *span)[0] == 0
    finding = bundle.examine((tmp_path / "b").read_bytes(), [GATEWAY.public_key])
    assert (finding.first_seq, finding.last_seq) == (2, 3)


def test_an_export_never_replaces_a_file(config, fieldproof_agent, tmp_path):
    path = config()
    stored(path)
    (tmp_path / "b").write_text("precious")
    code, _, err = fieldproof_agent("export", "-c", path, "-o", tmp_path / "b")
    assert code == 2
    assert_one_sentence(err, "is already there and stays as it is")
    assert (tmp_path / "b").read_text() == "precious"


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", "12:00", "9" * 30])
def test_an_export_of_no_time_writes_nothing(config, fieldproof_agent, tmp_path, time):
    code, _, err = fieldproof_agent("export", "-c", config(), "-o", tmp_path / "b", "--since", time)
    assert code == 2
    assert_one_sentence(err, "is not a time like 2026-07-09")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("where", ["nowhere/b", "."])
def test_an_export_into_nowhere_is_one_sentence(config, fieldproof_agent, tmp_path, where):
    path = config()
    stored(path)
    code, _, err = fieldproof_agent("export", "-c", path, "-o", tmp_path / where)
    assert code == 2
    assert_one_sentence(err, str(tmp_path))


def test_an_export_where_nothing_was_sampled_makes_no_journal(config, fieldproof_agent, tmp_path):
    path = config()
    join(path)
    code, _, err = fieldproof_agent("export", "-c", path, "-o", tmp_path / "b")
    assert code == 2
    assert_one_sentence(err, "There is no journal at")
    assert not (tmp_path / "b").exists()
    assert not load(path).journal_path.exists()


def test_an_export_from_a_damaged_journal_is_one_sentence_and_leaves_it_alone(
    config, fieldproof_agent, tmp_path
):
    path = config()
    stored(path)
    journal = load(path).journal_path
    damaged = b"\xa5" * 8192 + journal.read_bytes()[8192:]
    journal.write_bytes(damaged)
    code, _, err = fieldproof_agent("export", "-c", path, "-o", tmp_path / "b")
    assert code == 2
    assert_one_sentence(err, "cannot be read")
    assert not (tmp_path / "b").exists()
    assert journal.read_bytes() == damaged


def test_an_export_from_the_running_agent_is_what_it_sent(agent, fieldproof_agent, tmp_path):
    pieces = (b"one", b"\xf7", b"two" * 100_000)  # its marker's byte may also be one of the data
    code, _, err = fieldproof_agent("export", "-c", agent(pieces=pieces), "-o", tmp_path / "b")
    assert (code, err) == (0, "")
    assert (tmp_path / "b").read_bytes() == b"".join(pieces)


def test_an_export_that_breaks_off_leaves_no_file(agent, fieldproof_agent, tmp_path):
    def broken():
        yield b"x" * 500_000
        raise ValueError("a bug")

    code, _, err = fieldproof_agent("export", "-c", agent(pieces=broken()), "-o", tmp_path / "b")
    assert code == 1
    assert_one_sentence(err)
    assert not (tmp_path / "b").exists()


def test_the_marker_is_no_item_of_a_bundle():
    assert END not in {bytes([0x40 | size]) for size in range(24)} | {b"\x58", b"\x59", b"\x5a", b"\x5b"}


# log, explain


def test_log_and_explain_where_nothing_was_ever_sampled(config, fieldproof_agent):
    path = config()
    code, out, err = fieldproof_agent("log", "-c", path)
    assert (code, out, err) == (0, "Nothing happened yet that is worth telling.\n", "")
    code, out, _ = fieldproof_agent("explain", "-c", path)
    assert (code, out) == (0, "No gateway has rejected or flagged anything that is still known here.\n")
    assert "no proof with this number" in fieldproof_agent("explain", "3", "-c", path)[1]


def test_log_and_explain_read_the_journal_of_an_agent_that_does_not_run(config, fieldproof_agent):
    path = config()
    device = stored(path)
    found = load(path)
    with contextlib.closing(Journal(found.journal_path, device)) as journal:
        journal.begin()
        papers.store_verdicts(journal, 1, [ProofVerdict(2, "stale_beacon", "4000 s old")])
        noted = Diary(FakeClock(wall_s=1_800_000_000))
        noted.note("evicted", "Proofs 1 to 3.")
        noted.note("evicted", "Proofs 1 to 4.")
        noted.write(journal)
        journal.commit()
    files = sorted(found.state_dir.iterdir())
    code, out, _ = fieldproof_agent("log", "-c", path)
    assert code == 0
    assert out.splitlines()[0] == "2027-01-15 08:00:00 UTC"
    assert "proofs without a receipt were given up, and that is said, signed. 2 times. Proofs 1 to 4." in out
    out = fieldproof_agent("explain", "2", "-c", path)[1]
    assert out.startswith("Proof 2: It waits for its receipt.")
    assert "captured  2027-01-15 10:00:00 UTC to 2027-01-15 10:00:00 UTC, 1 readings" in out
    remedy = f"{Reason.STALE_BEACON.sentence} {Reason.STALE_BEACON.remedy}"
    assert f"stale_beacon (4000 s old): {remedy}" in out
    out = fieldproof_agent("explain", "-c", path)[1]
    assert out == f"stale_beacon: 1 proof, the newest 2 (4000 s old)\n  {remedy}\n"
    assert sorted(found.state_dir.iterdir()) == files, "no file is left beside it"


def test_log_and_explain_ask_the_running_agent(agent, fieldproof_agent):
    path = agent()
    assert json.loads(fieldproof_agent("log", "--json", "-c", path)[1]) == [{"limit": 30}]
    assert json.loads(fieldproof_agent("explain", "7", "--json", "-c", path)[1]) == {"verdicts": [], "seq": 7}
    assert json.loads(fieldproof_agent("explain", "--json", "-c", path)[1]) == {"verdicts": [], "seq": None}


def test_a_journal_that_cannot_be_read_is_one_sentence(config, fieldproof_agent):
    path = config()
    stored(path)
    load(path).journal_path.write_bytes(b"no database" * 100)
    code, _, err = fieldproof_agent("log", "-c", path)
    assert code == 2
    assert_one_sentence(err, "cannot be read", "Start the agent")
