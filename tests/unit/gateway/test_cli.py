"""The command: one sentence per error, exit code 2 for what the caller must fix."""

from __future__ import annotations

import json
import sys

import pytest

from gateway import cli, evidence, folder
from gateway.enrolment import Network
from gateway.ledger import Ledger
from gateway.register import Register
from gateway.service import Inbound, Service
from gateway.store import Store
from proof import joining, wire
from proof.cose import object_hash
from proof.keys import device_id
from tests.gateway_parts import NETWORK, NOW_S, Device, descriptor


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
    code, _out, err = run("init", "--dir", directory, "--network", NETWORK, "--broker", "mqtt://127.0.0.1:1")
    assert (code, err) == (0, "")
    return directory


def filled(directory, count=3):
    """A device with `count` proofs in the ledger of `directory`, without a broker."""
    signer = folder.load_key(directory)
    store = Store.open(directory / "ledger.db", NETWORK, "test", device_id(signer.public_key))
    register = Register(store)
    network = Network(NETWORK, "test", {})
    service = Service(
        Ledger(store, NETWORK, "test"), register, network, signer, lambda: NOW_S, lambda n: bytes(n)
    )
    claim = joining.JoinClaim(NETWORK, "test", (signer.public_key,), "mqtt://x", bytes(8), bytes(32), NOW_S)
    register.add_claim(claim, "Ada")
    device = Device()
    request = joining.sign_enrolment(claim, descriptor(), bytes(32), device.signer, NOW_S)
    beacon = object_hash(service.beacon().payload)
    service.take([Inbound(wire.topic(NETWORK, device.id, "enrol"), request)])
    proofs = [device.seal(freshness=(beacon,)) for _ in range(count)]
    service.take([Inbound(wire.topic(NETWORK, device.id, "proof"), proof) for proof in proofs])
    store.close()
    return device


def refused(answer, *words):
    code, out, err = answer
    assert code == 2
    assert out == ""
    assert err.startswith("fieldproof-gateway: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_init_twice_is_refused_and_the_first_key_stays(run, made):
    before = (made / "gateway.key").read_bytes()
    refused(
        run("init", "--dir", made, "--network", "x", "--broker", "mqtts://x"), "already holds gateway.key"
    )
    assert (made / "gateway.key").read_bytes() == before


@pytest.mark.parametrize(
    ("network", "kind", "broker", "word"),
    [
        ("Big", "test", "mqtt://x", "a-z"),
        ("n", "production", "mqtt://x", "neither test nor live"),
        ("n", "test", "x:1883", "mqtt://HOST"),
        ("n", "test", "mqtt://10.0.0.5", "allow_plain = true"),
    ],
)
def test_init_refuses_wrong_arguments_and_writes_nothing(run, tmp_path, network, kind, broker, word):
    target = tmp_path / "g"
    refused(run("init", "--dir", target, "--network", network, "--kind", kind, "--broker", broker), word)
    assert not target.exists()


def test_claims_parse_differ_and_are_known_to_the_ledger(run, made):
    code, out, _err = run("claim", "new", "--dir", made, "--owner", "Ada", "--count", 3, "--valid-for-h", 1)
    assert code == 0
    claims = [joining.parse_claim(text) for text in out.splitlines()]
    assert len({claim.secret for claim in claims}) == len({claim.claim_id for claim in claims}) == 3
    assert {claim.gateway_keys for claim in claims} == {(folder.load_key(made).public_key,)}


def test_devices_as_json_and_as_lines_that_fit_a_terminal(run, made):
    device = filled(made)
    code, out, _err = run("devices", "--dir", made, "--json")
    (line,) = json.loads(out)
    assert code == 0
    assert (line["device"], line["owner"], line["head_seq"], line["readings"], line["suspended"]) == (
        device.id,
        "Ada",
        3,
        3,
        False,
    )
    code, out, _err = run("devices", "--dir", made)
    assert code == 0
    assert device.id.removeprefix("did:key:") in out
    assert "owner Ada" in out
    assert "head 3, 3 proofs with 3 readings" in out
    assert max(map(len, out.splitlines())) <= 100


def test_a_bundle_is_judged_in_plain_words_and_as_json(run, made, tmp_path):
    device, file = filled(made), tmp_path / "bundle"
    assert run("evidence", device.id, "--dir", made, "-o", file) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir() if path != made] == ["bundle"]
    code, out, _err = run("verify", file, "--gateway-key", made)
    assert code == 0
    for words in (
        device.id,
        "SIMULATED",
        "3 proofs (seq 1 to 3) with 3 readings",
        "Signed after:  2026-",
        "Signed before: 2026-",
        "standard uncertainty 0.5",
        "declared lost: none",
    ):
        assert words in out
    code, out, _err = run("verify", file, "--gateway-key", folder.load_key(made).public_key.hex(), "--json")
    assert code == 0
    assert json.loads(out)["receipted_seq"] == 3


def test_a_bundle_with_one_flipped_bit_is_refused_naming_the_object(run, made, tmp_path):
    device, file = filled(made), tmp_path / "bundle"
    run("evidence", device.id, "--dir", made, "-o", file)
    data = bytearray(file.read_bytes())
    data[-400] ^= 1
    file.write_bytes(data)
    refused(run("verify", file, "--gateway-key", made), str(file), "object ")


def test_the_service_takes_messages_while_a_bundle_is_written(run, made, tmp_path, monkeypatch):
    device, file, pieces = filled(made), tmp_path / "bundle", evidence.pieces
    later = device.seal()
    monkeypatch.setattr("gateway.store._BUSY_TIMEOUT_S", 0.2)

    def half_way(*given):
        whole = list(pieces(*given))
        yield from whole[:2]
        signer = folder.load_key(made)
        store = Store.open(made / "ledger.db", NETWORK, "test", device_id(signer.public_key))
        ledger = Ledger(store, NETWORK, "test")
        service = Service(
            ledger, Register(store), Network(NETWORK, "test", {}), signer, lambda: NOW_S, lambda n: bytes(n)
        )
        service.take([Inbound(wire.topic(NETWORK, device.id, "proof"), later)])
        receipt = ledger.receipt(device.id)
        assert receipt is not None
        assert receipt.head_seq == 4
        store.close()
        yield from whole[2:]

    monkeypatch.setattr(evidence, "pieces", half_way)
    assert run("evidence", device.id, "--dir", made, "-o", file) == (0, "", "")
    out = run("verify", file, "--gateway-key", made, "--json")[1]
    assert json.loads(out)["receipted_seq"] == 3


@pytest.mark.parametrize("data", [b"", b"hello", bytes(1000), b"\x5a\xff\xff\xff\xff"])
def test_a_file_that_is_no_bundle_is_refused(run, made, tmp_path, data):
    file = tmp_path / "junk"
    file.write_bytes(data)
    refused(run("verify", file, "--gateway-key", made), str(file))


def test_a_bundle_of_another_gateway_is_refused(run, made, tmp_path):
    device, file = filled(made), tmp_path / "bundle"
    run("evidence", device.id, "--dir", made, "-o", file)
    refused(run("verify", file, "--gateway-key", "00" * 32), "object 1", "bad_key")


def test_wrong_names_are_refused_with_what_would_be_right(run, made, tmp_path):
    refused(run("verify", tmp_path / "none", "--gateway-key", made), "No such file")
    refused(run("verify", tmp_path / "none", "--gateway-key", "xyz"), "64 hex digits")
    refused(run("verify", tmp_path / "none", "--gateway-key", "did:key:z6Mkxx"), "not a public key")
    refused(run("evidence", "z6Mkwrong", "--dir", made, "-o", tmp_path / "x"), "devices` lists them")
    refused(run("devices", "--dir", tmp_path / "nowhere"), "init")
    refused(run("listen", "--dir", tmp_path / "nowhere"), "init")


def test_the_embedded_broker_serves_only_this_machine(run, tmp_path):
    directory = tmp_path / "g"
    run("init", "--dir", directory, "--network", "n", "--broker", "mqtts://broker.example")
    refused(run("listen", "--dir", directory, "--embedded-broker"), "127.0.0.1 only")


def test_a_damaged_ledger_is_one_sentence_and_stays_as_it_is(run, made):
    path = made / "ledger.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    before = path.read_bytes()
    refused(run("devices", "--dir", made), "ledger.db", "restore it from your copy")
    assert path.read_bytes() == before


def test_revoke_and_restore_are_seen_in_the_list(run, made):
    device = filled(made)
    for command, revoked in (("revoke", True), ("restore", False)):
        code, out, err = run(command, device.id.removeprefix("did:key:"), "--dir", made)
        assert (code, err, device.id in out) == (0, "", True)
        (line,) = json.loads(run("devices", "--dir", made, "--json")[1])
        assert line["revoked"] is revoked
    refused(run("revoke", "z6Mkwrong", "--dir", made), "devices` lists them")


def test_a_revocation_in_the_past_says_what_it_leaves_out(run, made):
    device = filled(made)
    command = ("revoke", device.id, "--dir", made, "--last-good", 1)
    code, out, _err = run(*command)
    assert code == 0
    assert "nothing after proof 1 counts" in out
    assert "2 accepted proofs lie behind" in out
    said = json.loads(run(*command, "--json")[1])
    assert (said["revoked"], said["last_good_seq"], said["head_seq"], said["left_out"]) == (True, 1, 3, 2)
    refused(run("revoke", device.id, "--dir", made, "--last-good", 4), "4 cannot be its last good one")


def test_a_challenge_nobody_answers_ends_with_a_sentence(run, made):
    device = filled(made)
    code, out, err = run("challenge", device.id, "--dir", made, "--deadline-s", 1)
    assert (code, out) == (1, "")
    assert "No answer" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "--dir", "{made}", "--network", "n", "--broker", "mqtt://127.0.0.1"),
        ("claim", "new", "--dir", "{none}"),
        ("claim", "list", "--dir", "{none}"),
        ("claim", "revoke", "00", "--dir", "{made}"),
        ("listen", "--dir", "{none}"),
        ("devices", "--dir", "{none}"),
        ("revoke", "z6Mkwrong", "--dir", "{made}"),
        ("restore", "z6Mkwrong", "--dir", "{made}"),
        ("challenge", "z6Mkwrong", "--dir", "{made}"),
        ("evidence", "z6Mkwrong", "--dir", "{made}", "-o", "{none}"),
        ("verify", "{none}", "--gateway-key", "{made}"),
        ("acl", "--dir", "{none}"),
        ("acl", "--dir", "{made}", "-o", "{none}/acl"),
        ("broker-config", "--dir", "{none}"),
        ("broker-config", "--dir", "{made}"),
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_an_error_for_machines_is_one_object_on_stdout(run, made, tmp_path, arguments):
    words = [word.format(made=made, none=tmp_path / "none") for word in arguments]
    code, out, err = run(*words, "--json")
    assert (code, err) == (2, "")
    (name, sentence), *more = json.loads(out).items()
    assert (name, more) == ("error", [])
    assert sentence.endswith(".")


def test_every_command_speaks_json(run, made, tmp_path):
    device, file = filled(made), tmp_path / "bundle"
    fresh = run("init", "--dir", tmp_path / "g", "--network", "n", "--broker", "mqtt://127.0.0.1", "--json")
    assert json.loads(fresh[1])["public_key"] == folder.load_key(tmp_path / "g").public_key.hex()
    for command, revoked in (("revoke", True), ("restore", False)):
        said = json.loads(run(command, device.id, "--dir", made, "--json")[1])
        assert (said["device"], said["revoked"]) == (device.id, revoked)
    written = json.loads(run("evidence", device.id, "--dir", made, "-o", file, "--json")[1])
    assert written == {"device": device.id, "file": str(file)}
