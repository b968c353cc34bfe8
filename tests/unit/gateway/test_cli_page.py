"""`page` refuses in one sentence: addresses beyond this machine above all."""

from __future__ import annotations

import socket
import sys

import pytest
import structlog

from gateway import cli, folder
from tests.gateway_parts import NETWORK, Gateway


@pytest.fixture
def directory(tmp_path):
    """A gateway's folder without its key, which the page never opens."""
    folder.create(tmp_path / "gw", folder.Settings(NETWORK, "test", "mqtt://127.0.0.1:1"))
    (tmp_path / "gw" / folder.KEY).unlink()
    Gateway(tmp_path / "gw").close()
    return tmp_path / "gw"


@pytest.fixture
def refused(monkeypatch, capsys):
    """`refused(*arguments)` -> what is said when `page` ends with exit code 2."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fieldproof-gateway", "page", "--dir", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "")
        return err

    yield run
    structlog.reset_defaults()


@pytest.mark.parametrize("listen", ["0.0.0.0:8734", "[::]:8734", "192.0.2.1:8734", "gw.example.net:8734"])
def test_a_page_beyond_this_machine_is_refused(refused, directory, listen):
    assert "put a reverse proxy with authentication before it" in refused(directory, "--listen", listen)


def test_unless_it_is_asked_for(refused, directory):
    # TEST-NET-1 is no address of this machine: what is refused now is the address.
    said = refused(directory, "--listen", "192.0.2.1:8734", "--allow-remote")
    assert "cannot listen at 192.0.2.1:8734" in said


@pytest.mark.parametrize("listen", ["8734", "127.0.0.1:", "127.0.0.1:99999", "localhost", ""])
def test_what_is_no_address_is_said(refused, directory, listen):
    assert "an address and a port" in refused(directory, "--listen", listen)


def test_a_port_that_is_taken_is_said(refused, directory):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"cannot listen at {listen}" in refused(directory, "--listen", listen)


def test_a_ledger_that_is_missing_is_said_at_once(refused, directory):
    (directory / folder.LEDGER).unlink()
    assert "is missing" in refused(directory)


def test_a_folder_that_is_no_gateways_is_said(refused, tmp_path):
    assert "Is" in refused(tmp_path)
    assert list(tmp_path.iterdir()) == []
