"""`fieldproof-provision` as a person meets it: one sentence for each mistake, and nothing changed by it."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import settings
from agent.keystore import Board, create_key
from agent.membership import Joined, save
from proof.joining import JoinClaim, Membership, sign_membership
from proof.keys import SeedSigner, device_id
from provisioning.cli import app

GATEWAY = SeedSigner(bytes(32), "file")
CONFIG = """\
state_dir = "{state}"
key = "{scheme}:{state}/device.key"
[mqtt]
allow_plain = true
[[instrument]]
name = "bme280-76"
driver = "bme280"
bus = "i2c:1"
"""


def claim(**changes):
    fields = {
        "network": "meadow",
        "kind": "test",
        "gateway_keys": (GATEWAY.public_key,),
        "broker_url": "mqtt://127.0.0.1:1",
        "claim_id": bytes(8),
        "secret": bytes(32),
        "expires_s": 4_000_000_000,
    }
    return JoinClaim(**{**fields, **changes}).to_text()


class Device:
    """A folder with a configuration, on a board of its own."""

    def __init__(self, folder: Path, scheme: str = "sim") -> None:
        self.config, self.state = folder / "agent.toml", folder / "state"
        self.config.write_text(CONFIG.format(state=self.state, scheme=scheme))
        self.uri = f"{scheme}:{self.state}/device.key"
        (folder / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        self.board = Board(folder / "machine-id", folder / "no-serial")

    def run(self, *arguments, stdin=None):
        return CliRunner().invoke(
            app, [*arguments, "--config", str(self.config)], obj=self.board, input=stdin
        )

    def files(self):
        return {path.name: path.read_bytes() for path in sorted(self.state.glob("*"))}


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path)


def one_sentence(result, code):
    """The complaint of a command that must have failed with `code`: nothing else was printed."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert result.stderr.startswith("fieldproof-provision: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("scheme", ["file", "sim"])
def test_init_makes_the_key_once_and_says_the_same_ever_after(tmp_path, scheme):
    device = Device(tmp_path, scheme)
    first = device.run("init")
    assert first.exit_code == 0, first.output
    assert stat.S_IMODE(device.state.stat().st_mode) == 0o700
    made = device.files()
    assert list(made) == ["device.key", "device.key.next"]
    again = device.run("init")
    assert again.exit_code == 0
    assert device.files() == made
    facts = [line for line in first.stdout.splitlines() if line != "The key was made."]
    assert again.stdout.splitlines() == [*facts, "The key was there already; nothing was changed."]
    assert re.search(r"did:key:z6Mk\w{44}\n", first.stdout)


def test_init_in_json(device):
    first, again = (
        json.loads(device.run("init", "--json").stdout),
        json.loads(device.run("init", "--json").stdout),
    )
    assert first.pop("created") is True
    assert again.pop("created") is False
    assert first == again
    assert first["key_class"] == "sim"


def test_init_writes_an_example_that_is_a_valid_configuration(tmp_path):
    config = tmp_path / "etc" / "agent.toml"
    result = CliRunner().invoke(
        app, ["init", "--write-config", "--config", str(config)], obj=Board(tmp_path / "none")
    )
    assert result.exit_code == 2, "there is no board here"
    example = settings.load(config)
    assert example.instrument[0].driver == "bme280"
    commented = re.sub(r"(?m)^# (?=\[|[a-z_]+ = )", "", config.read_text())
    config.write_text(commented)
    assert settings.load(config).location is not None, "what is commented out is valid too"


def test_init_never_replaces_a_configuration(device):
    before = device.config.read_text()
    assert device.run("init", "--write-config").exit_code == 0
    assert device.config.read_text() == before


@pytest.mark.parametrize("command", [["init"], ["join", claim()], ["show"]])
def test_without_a_configuration_each_command_says_so(device, command):
    device.config.unlink()
    assert "agent.toml cannot be read: No such file" in one_sentence(device.run(*command), 2)


def damage_missing(device):
    return "There is no device key"


def damage_mode(device):
    create_key(device.uri, 0, device.board)
    (device.state / "device.key").chmod(0o644)
    return "open to others (mode 0644)"


def damage_garbage(device):
    device.state.mkdir()
    (device.state / "device.key").write_bytes(b"\x00garbage")
    (device.state / "device.key").chmod(0o400)
    return "is damaged"


def damage_board(device):
    create_key(device.uri, 0, device.board)
    device.board.machine_id.write_text("f" * 32)
    return "another board"


@pytest.mark.parametrize("damage", [damage_missing, damage_mode, damage_garbage, damage_board])
def test_a_bad_key_stops_join_and_show_with_one_sentence_and_stays_as_it_is(tmp_path, damage):
    device = Device(tmp_path, "file")
    expected = damage(device)
    before = device.files()
    if before:
        assert expected in one_sentence(device.run("join", claim()), 2)
    shown = device.run("show")
    assert shown.exit_code == 1
    assert expected in shown.stdout
    if before:
        assert expected in one_sentence(device.run("init"), 2)
    assert device.files() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (claim()[:60], "not a whole claim"),
        ("hello", "not a whole claim"),
        (claim(expires_s=1_000_000_000), "expired on 2001-09-09"),
        (claim(kind="live"), "A simulated device cannot join a live network"),
        (claim(broker_url="http://broker"), "is not like mqtts://host"),
    ],
)
def test_a_bad_claim_stops_join_with_one_sentence_and_changes_nothing(device, text, expected):
    device.run("init")
    before = device.files()
    assert expected in one_sentence(device.run("join", text), 2)
    assert device.files() == before


@pytest.mark.parametrize("stdin", [b"", b"\xff\xfe\x00", b"x" * 100_000, claim()[:50].encode()])
def test_a_bad_claim_from_stdin_is_refused_too(device, stdin):
    device.run("init")
    assert "not a whole claim" in one_sentence(device.run("join", "-", stdin=stdin), 2)


def test_a_failure_in_json_is_one_object(device):
    result = device.run("join", "hello", "--json")
    assert result.exit_code == 2
    assert "not a whole claim" in json.loads(result.stdout)["error"]


def test_a_broker_that_is_not_there_is_for_later(device):
    device.run("init")
    sentence = one_sentence(device.run("join", claim(), "--deadline-s", "1"), 1)
    assert (
        "No membership within 1 s. The broker 127.0.0.1:1 cannot be reached: nothing listens there"
        in sentence
    )


def joined(device, network="meadow", expires_s=None):
    signer = create_key(device.uri, 0, device.board)
    name = device_id(signer.public_key)
    membership = Membership(name, network, "test", (GATEWAY.public_key,), (), 1_700_000_000, expires_s)
    signed = sign_membership(membership, GATEWAY, 1_700_000_000)
    save(device.state / "membership.json", Joined("mqtts://b", (GATEWAY.public_key,), signed, membership))
    return name


def test_show_tells_who_and_where(device):
    name = joined(device)
    shown = json.loads(device.run("show", "--json").stdout)
    assert shown == {
        "device": name,
        "key_class": "sim",
        "key": device.uri,
        "state_dir": str(device.state),
        "network": "meadow",
        "kind": "test",
        "gateways": [device_id(GATEWAY.public_key)],
        "broker": "mqtts://b",
        "issued": "2023-11-14 22:13 UTC",
        "expires": None,
        "to_do": [],
    }
    text = device.run("show")
    assert text.exit_code == 0
    assert name in text.stdout


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda device: None, "fieldproof-provision init"),
        (lambda device: create_key(device.uri, 0, device.board), "fieldproof-provision join CLAIM"),
        (lambda device: joined(device, expires_s=1_700_000_001), "has expired"),
    ],
)
def test_show_says_what_is_missing_and_which_command_comes_next(device, prepare, expected):
    prepare(device)
    shown = device.run("show", "--json")
    assert shown.exit_code == 1
    assert expected in json.loads(shown.stdout)["to_do"][0]


def test_join_makes_the_key_where_there_is_none_and_keeps_it_when_nobody_answers(device):
    assert "No membership within 1 s" in one_sentence(device.run("join", claim(), "--deadline-s", "1"), 1)
    made = device.files()
    assert list(made) == ["device.key", "device.key.next"]
    device.run("join", claim(), "--deadline-s", "1")
    assert device.files() == made


@pytest.mark.parametrize("text", ["hello", claim(expires_s=1), claim(broker_url="http://broker")])
def test_a_claim_that_cannot_be_used_makes_no_key(device, text):
    one_sentence(device.run("join", text), 2)
    assert device.files() == {}


@pytest.mark.parametrize("host", ["127.0.0.1:1", "broker.example.net"])
def test_a_claim_for_a_broker_without_tls_is_refused_unless_the_owner_allowed_it(device, host):
    """Downgrade: neither who makes claims nor who alters one brings a device to speak in the open."""
    device.config.write_text(device.config.read_text().replace("allow_plain = true", ""))
    said = one_sentence(device.run("join", claim(broker_url=f"mqtt://{host}")), 2)
    assert f"mqtt://{host} is without TLS" in said
    assert "mqtt.allow_plain = true" in said
    assert device.files() == {}


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file", "password_file"])
def test_a_tls_file_that_is_not_there_stops_join_before_anything_is_made(device, key):
    device.config.write_text(device.config.read_text().replace("allow_plain = true", f'{key} = "/none.pem"'))
    said = one_sentence(device.run("join", claim(broker_url="mqtts://127.0.0.1:1")), 2)
    assert f"mqtt.{key}" in said
    assert device.files() == {}


def test_an_authority_that_is_none_stops_join_before_anything_is_made(device):
    text = claim(broker_url="mqtts://127.0.0.1:1", broker_ca=bytes(10))
    assert "authority in the claim is no certificate" in one_sentence(device.run("join", text), 2)
    assert device.files() == {}


def test_a_member_of_one_network_is_not_moved_to_another_by_a_claim(device):
    joined(device, "elsewhere")
    before = device.files()
    assert "is a member of elsewhere" in one_sentence(device.run("join", claim()), 2)
    assert device.files() == before
