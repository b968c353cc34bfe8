"""Claims at the command line: made, drawn so that a scanner reads them, listed, withdrawn."""

from __future__ import annotations

import io
import json
import re
import stat
import sys

import numpy
import pytest
import zxingcpp
from matplotlib.image import imread

from gateway import cli, folder, qr
from gateway.enrolment import Network
from gateway.ledger import Ledger
from gateway.register import Register
from gateway.service import Inbound, Service
from gateway.store import Store
from proof import joining, receipt, wire
from proof.keys import device_id
from tests.gateway_parts import NETWORK, NOW_S, Device, descriptor
from tests.tls_parts import Authority

COLOURS = re.compile(r"\033\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(*arguments)` -> (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fieldproof-gateway", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def made(run, tmp_path):
    directory = tmp_path / "gateway"
    arguments = ("--dir", directory, "--network", NETWORK, "--broker", "mqtts://broker.example.net")
    assert run("init", *arguments)[0] == 0
    return directory


def scanned(lines):
    """What a scanner reads on a terminal that shows `lines`, eight pixels a character wide, sixteen high."""
    halves = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    assert len({len(line) for line in lines}) == 1
    rows = [[halves[char][half] for char in line] for line in lines for half in (0, 1)]
    pixels = numpy.kron(numpy.array(rows, dtype=numpy.uint8) * 255, numpy.ones((8, 8), dtype=numpy.uint8))
    return [found.text for found in zxingcpp.read_barcodes(pixels)]


def admitted(directory, text, seed=1):
    """Enrols a device with the claim `text`; the refusal's verdict, None if it was let in."""
    signer = folder.load_key(directory)
    store = Store.open(directory / "ledger.db", NETWORK, "test", device_id(signer.public_key))
    ledger, register, network = Ledger(store, NETWORK, "test"), Register(store), Network(NETWORK, "test", {})
    service = Service(ledger, register, network, signer, lambda: NOW_S, lambda n: bytes(n))
    device = Device(seed)
    request = joining.sign_enrolment(joining.parse_claim(text), descriptor(), bytes(32), device.signer, NOW_S)
    (answer,) = service.take([Inbound(wire.topic(NETWORK, device.id, "enrol"), request)])
    store.close()
    if answer.topic.endswith("/membership"):
        return None
    (verdict,) = receipt.open_receipt(answer.payload, [signer.public_key], device.id).verdicts
    return verdict.detail


def test_a_pipe_gets_the_bare_claims_and_nothing_else(run, made):
    code, out, err = run("claim", "new", "--dir", made, "--owner", "Ada", "--count", 2)
    assert (code, err) == (0, "")
    assert [joining.parse_claim(line).broker_url for line in out.splitlines()] == 2 * [
        "mqtts://broker.example.net"
    ]


def test_the_code_on_a_terminal_scans_as_the_claim(run, made, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("claim", "new", "--dir", made, "--owner", "Ada")[0] == 0
    heading, text, *drawn = terminal.getvalue().splitlines()
    assert re.fullmatch(r"Claim [0-9a-f]{16} for Ada, good for one device until .* UTC:", heading)
    assert all(line.startswith("\033[38;5;231;48;5;16m") and line.endswith("\033[0m") for line in drawn)
    assert scanned([COLOURS.sub("", line) for line in drawn]) == [text]
    assert joining.parse_claim(text).claim_id.hex() in heading


def test_the_longest_claim_still_scans():
    text = "fp1." + "aB3_" * 511
    assert len(text) == joining.MAX_CLAIM_CHARS
    lines = [COLOURS.sub("", line) for line in qr.for_terminal(text)]
    assert scanned(lines) == [text]
    assert {len(line) for line in lines} == {qr.width(text)}


def test_a_terminal_too_narrow_for_the_code_is_told_so(run, made, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("claim", "new", "--dir", made)[0] == 0
    _heading, text, said = terminal.getvalue().splitlines()
    joining.parse_claim(text)
    assert "this terminal has 40: widen it, or use --png" in said


def test_the_code_can_be_asked_for_and_left_out(run, made, monkeypatch):
    text, *drawn = run("claim", "new", "--dir", made, "--qr")[1].splitlines()
    assert scanned([COLOURS.sub("", line) for line in drawn]) == [text]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("claim", "new", "--dir", made, "--no-qr")[0] == 0
    assert len(terminal.getvalue().splitlines()) == 2


def test_the_picture_scans_is_private_and_never_replaces_a_file(run, made, tmp_path):
    picture = tmp_path / "claim.png"
    code, out, _err = run("claim", "new", "--dir", made, "--png", picture)
    assert code == 0
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600
    pixels = (imread(picture) * 255).astype(numpy.uint8)
    assert [found.text for found in zxingcpp.read_barcodes(pixels)] == [out.strip()]
    before = picture.read_bytes()
    code, out, err = run("claim", "new", "--dir", made, "--png", picture)
    assert (code, out, picture.read_bytes()) == (2, "", before)
    assert "is there already" in err
    assert len(json.loads(run("claim", "list", "--dir", made, "--json")[1])) == 1


def test_a_picture_that_cannot_be_written_says_which_claim_to_withdraw(run, made, tmp_path):
    code, out, err = run("claim", "new", "--dir", made, "--png", tmp_path / "no" / "claim.png")
    ((line),) = json.loads(run("claim", "list", "--dir", made, "--json")[1])
    assert (code, out) == (2, "")
    assert f"`fieldproof-gateway claim revoke {line['id']}`" in err


def test_new_claims_as_json(run, made):
    code, out, _err = run("claim", "new", "--dir", made, "--owner", "Ada", "--count", 2, "--json")
    assert code == 0
    for facts in json.loads(out):
        claim = joining.parse_claim(facts["text"])
        assert facts == {
            "id": claim.claim_id.hex(),
            "owner": "Ada",
            "expires_s": claim.expires_s,
            "text": facts["text"],
        }


def test_the_authority_of_the_settings_travels_in_the_claim(run, tmp_path):
    authority, directory = Authority(tmp_path), tmp_path / "g"
    arguments = ("--network", "n", "--broker", "mqtts://b", "--ca-file", authority.file)
    assert run("init", "--dir", directory, *arguments)[0] == 0
    text, *drawn = run("claim", "new", "--dir", directory, "--qr")[1].splitlines()
    assert joining.parse_claim(text).broker_ca == authority.der
    assert scanned([COLOURS.sub("", line) for line in drawn]) == [text]
    assert joining.parse_claim(run("claim", "new", "--dir", directory, "--no-ca")[1]).broker_ca == b""


def test_a_claim_that_would_be_too_long_is_not_made(run, tmp_path):
    authority, directory = Authority(tmp_path), tmp_path / "g"
    authority.file.write_bytes(4 * authority.file.read_bytes())
    arguments = ("--network", "n", "--broker", "mqtts://b", "--ca-file", authority.file)
    assert run("init", "--dir", directory, *arguments)[0] == 0
    code, out, err = run("claim", "new", "--dir", directory)
    assert (code, out) == (2, "")
    assert "at most 2048 characters" in err
    assert "--no-ca" in err
    assert run("claim", "list", "--dir", directory)[1] == "No claim was made yet.\n"


@pytest.mark.parametrize("content", [None, b"", b"hello", b"-----BEGIN CERTIFICATE-----\n!!"])
def test_init_with_an_authority_that_is_none_makes_nothing(run, tmp_path, content):
    file, directory = tmp_path / "ca.pem", tmp_path / "g"
    if content is not None:
        file.write_bytes(content)
    arguments = ("--network", "n", "--broker", "mqtts://b", "--ca-file", file)
    code, _out, err = run("init", "--dir", directory, *arguments)
    assert code == 2
    assert f"ca_file: {file} cannot be used" in err
    assert not directory.exists()


def test_the_list_says_who_used_which_claim_and_shows_none(run, made):
    assert run("claim", "list", "--dir", made) == (0, "No claim was made yet.\n", "")
    texts = [
        run("claim", "new", "--dir", made, "--owner", owner, "--valid-for-h", hours)[1].strip()
        for owner, hours in (("Ada", 80_000), ("Bob", 80_000), ("Cy", 80_000))
    ]
    ids = [joining.parse_claim(text).claim_id.hex() for text in texts]
    assert admitted(made, texts[0]) is None
    assert run("claim", "revoke", ids[1], "--dir", made)[0] == 0
    code, out, _err = run("claim", "list", "--dir", made)
    assert code == 0
    used, withdrawn, still_open = out.splitlines()
    part = Device(1).id.removeprefix("did:key:")
    assert used == f"{ids[0]}  used by {part}  Ada"
    assert withdrawn == f"{ids[1]}  withdrawn  Bob"
    assert still_open.startswith(f"{ids[2]}  open, until 20")
    code, out, _err = run("claim", "list", "--dir", made, "--json")
    assert [(line["id"], line["state"], line["used_by"]) for line in json.loads(out)] == [
        (ids[0], "used", Device(1).id),
        (ids[1], "withdrawn", None),
        (ids[2], "open", None),
    ]
    assert not any(secret in out for secret in texts)


def test_nobody_joins_with_a_withdrawn_claim(run, made):
    text = run("claim", "new", "--dir", made, "--valid-for-h", 80_000)[1].strip()
    assert run("claim", "revoke", joining.parse_claim(text).claim_id.hex(), "--dir", made)[0] == 0
    assert admitted(made, text) == "the claim was withdrawn"


def test_an_expired_claim_is_listed_as_expired(run, made):
    signer = folder.load_key(made)
    store = Store.open(made / "ledger.db", NETWORK, "test", device_id(signer.public_key))
    text = run("claim", "new", "--dir", made)[1].strip()
    store.run("UPDATE claim SET expires_s = 1700000000")
    store.close()
    claim_id = joining.parse_claim(text).claim_id.hex()
    assert run("claim", "list", "--dir", made)[1] == f"{claim_id}  expired, on 2023-11-14 22:13:20 UTC\n"


@pytest.mark.parametrize("wrong", ["", "zz", "00" * 8, "00" * 400])
def test_a_claim_there_is_not_is_not_withdrawn(run, made, wrong):
    code, out, err = run("claim", "revoke", wrong, "--dir", made)
    assert (code, out) == (2, "")
    assert "claim list` lists them" in err


def test_a_used_claim_is_not_withdrawn_and_its_member_stays(run, made):
    text = run("claim", "new", "--dir", made, "--valid-for-h", 80_000)[1].strip()
    assert admitted(made, text) is None
    code, _out, err = run("claim", "revoke", joining.parse_claim(text).claim_id.hex(), "--dir", made)
    assert code == 2
    assert f"was used by {Device(1).id}" in err
    (line,) = json.loads(run("claim", "list", "--dir", made, "--json")[1])
    assert line["state"] == "used"
