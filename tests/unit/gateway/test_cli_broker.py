"""`acl` and `broker-config`: printed, written whole, or refused. What they mean to a broker is tried on one
(tests/integration/test_access_rules.py)."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gateway import access
from gateway.access import Identity
from gateway.cli import app

RUN = CliRunner()


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "g"
    arguments = ["init", "--dir", str(made), "--network", "hills", "--broker", "mqtts://b:8884"]
    assert RUN.invoke(app, arguments).exit_code == 0
    return made


def run(command, directory, *options):
    return RUN.invoke(app, [command, "--dir", str(directory), *map(str, options)])


@pytest.mark.parametrize("identity", list(Identity))
def test_printed_and_in_json_it_is_the_same_text(directory, identity):
    for command, name, text in (
        ("acl", "acl", access.acl("hills", identity, access.GATEWAY_USER)),
        (
            "broker-config",
            "config",
            access.broker_config("hills", identity, 8884, "/etc/mosquitto/fieldproof"),
        ),
    ):
        assert run(command, directory, "--identity", identity).stdout == text
        said = json.loads(run(command, directory, "--identity", identity, "--json").stdout)
        assert said == {name: text}


def test_the_gateway_is_called_as_its_settings_say(directory):
    with (directory / "gateway.toml").open("a") as file:
        file.write('username = "ada"\n')
    assert "\nuser ada\n" in run("acl", directory).stdout
    assert "\nuser bob\n" in run("acl", directory, "--gateway-user", "bob").stdout


@pytest.mark.parametrize("name", ["+", "a/b", "#", "two\nlines", " ada", "ada\r"])
def test_a_name_that_would_change_the_rules_is_refused(directory, name):
    result = run("acl", directory, "--gateway-user", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot be a user's name" in result.stderr


def test_a_file_is_replaced_whole_or_stays(directory, tmp_path):
    file = tmp_path / "acl"
    file.write_text("old")
    assert run("acl", directory, "-o", file).stdout == f"Written to {file}.\n"
    assert file.read_text() == access.acl("hills", Identity.CERTIFICATE, access.GATEWAY_USER)
    result = run("acl", directory, "-o", tmp_path / "none" / "acl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Cannot write" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acl", "g"]


def test_a_broker_without_tls_gets_no_configuration(tmp_path):
    made = tmp_path / "g"
    RUN.invoke(app, ["init", "--dir", str(made), "--network", "n", "--broker", "mqtt://127.0.0.1"])
    result = run("broker-config", made)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "without TLS: set it to mqtts://HOST first" in result.stderr


@pytest.mark.parametrize("identity", list(Identity))
def test_a_broker_speaks_tls_only_whatever_it_knows_devices_by(identity):
    lines = access.broker_config("hills", identity, 8883, "/f").splitlines()
    assert [line for line in lines if line.startswith("listener")] == ["listener 8883"]
    assert {"certfile /f/broker.pem", "keyfile /f/broker.key", "acl_file /f/acl"} <= set(lines)
    assert ("allow_anonymous true" in lines) is (identity is Identity.CLIENT_ID)
