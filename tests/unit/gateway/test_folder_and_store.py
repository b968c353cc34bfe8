"""A gateway on disk: never a second identity, never a new ledger over a lost one."""

from __future__ import annotations

import stat

import pytest

from gateway import folder as folders
from gateway.errors import FixFolder, FixInput, TryAgain
from gateway.folder import Settings
from gateway.store import Store

SETTINGS = Settings("test-net", "test", "mqtt://localhost:1884")


def test_a_new_gateway_has_a_private_key_of_32_bytes(tmp_path):
    signer = folders.create(tmp_path / "g", SETTINGS)
    key = tmp_path / "g" / "gateway.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert folders.load_key(tmp_path / "g").public_key == signer.public_key
    assert folders.load_settings(tmp_path / "g") == SETTINGS
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["gateway.key", "gateway.toml"]


@pytest.mark.parametrize("name", ["gateway.key", "gateway.toml", "ledger.db"])
def test_a_folder_that_holds_a_gateway_is_never_initialised_again(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(FixFolder, match=name):
        folders.create(tmp_path, SETTINGS)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"precious")]


def test_a_key_others_may_read_is_refused(tmp_path):
    folders.create(tmp_path, SETTINGS)
    (tmp_path / "gateway.key").chmod(0o440)
    with pytest.raises(FixFolder, match="chmod 0400"):
        folders.load_key(tmp_path)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(tmp_path, size):
    path = tmp_path / "gateway.key"
    path.write_bytes(bytes(size))
    path.chmod(0o400)
    with pytest.raises(FixFolder, match="32 bytes"):
        folders.load_key(tmp_path)


def test_a_missing_key_is_a_hard_stop(tmp_path):
    with pytest.raises(FixFolder, match="Restore it"):
        folders.load_key(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('netwrok = "x"', "unknown setting 'netwrok'"),
        ("beacon_period_s = true", "beacon_period_s must be a number"),
        ("beacon_period_s = 0", "from 1 to 3600"),
        ('quality = "x"', "table of numbers"),
        ("username = 1", "username must be a text"),
        ("x = ", "not TOML"),
        ('broker = "http://x"', "mqtt://HOST"),
        ('broker = "mqtt://u:p@x"', "credentials go into"),
        ('broker = "mqtt://x:99999"', "mqtt://HOST"),
        ('network = "Big"', "a-z"),
        ('kind = "prod"', "neither test nor live"),
        ('broker = "mqtt://10.0.0.5"', "allow_plain = true"),
        ('broker = "mqtt://127.0.0.1.example"', "allow_plain = true"),
        ("allow_plain = 1", "true or false"),
        ("ca_file = 1", "ca_file must be a text"),
        ('key_file = "k"', "key_file needs cert_file"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, change, sentence):
    values = {"network": '"n"', "kind": '"test"', "broker": '"mqtts://x"'}
    name, _, value = change.partition(" = ")
    values[name] = value
    (tmp_path / "gateway.toml").write_text("\n".join(f"{key} = {text}" for key, text in values.items()))
    with pytest.raises(FixInput, match=sentence) as caught:
        folders.load_settings(tmp_path)
    assert str(tmp_path) in caught.value.sentence


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_without_tls_only_on_this_machine(host):
    folders.check(Settings("n", "test", f"mqtt://{host}"))


def test_without_tls_elsewhere_where_the_operator_asked_for_it(tmp_path):
    settings = Settings("n", "test", "mqtt://10.0.0.5", allow_plain=True)
    folders.create(tmp_path, settings)
    assert folders.load_settings(tmp_path) == settings


def test_an_authority_for_a_broker_without_tls_is_a_mistake():
    with pytest.raises(FixInput, match="are for mqtts://"):
        folders.check(Settings("n", "test", "mqtt://127.0.0.1", ca_file="/ca.pem"))


def test_files_in_the_settings_are_relative_to_the_folder(tmp_path):
    text = (
        'network = "n"\nkind = "test"\nbroker = "mqtts://x"\nca_file = "ca.pem"\ncert_file = "/etc/gw.pem"\n'
    )
    (tmp_path / "gateway.toml").write_text(text)
    settings = folders.load_settings(tmp_path)
    assert (settings.ca_file, settings.cert_file, settings.key_file) == (
        str(tmp_path / "ca.pem"),
        "/etc/gw.pem",
        "",
    )


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "tab\tand é"])
def test_what_was_given_comes_back_from_the_file(tmp_path, name):
    settings = Settings("n", "test", "mqtts://x", username=name, ca_file=f"/{name}")
    folders.create(tmp_path, settings)
    assert folders.load_settings(tmp_path) == settings


def test_a_missing_setting_is_named(tmp_path):
    (tmp_path / "gateway.toml").write_text('network = "n"')
    with pytest.raises(FixInput, match="'kind' is missing"):
        folders.load_settings(tmp_path)


def make(path):
    Store.create(path, "net", "test", "did:key:g").close()


def test_a_missing_ledger_is_never_replaced(tmp_path):
    with pytest.raises(FixFolder, match="missing"):
        Store.open(tmp_path / "ledger.db", "net", "test", "did:key:g")
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_is_not_created_over_another(tmp_path):
    make(tmp_path / "ledger.db")
    with pytest.raises(FixFolder, match="exists"):
        make(tmp_path / "ledger.db")


@pytest.mark.parametrize("data", [b"", b"not a database, just some text" * 100, bytes(8192)])
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path, data):
    path = tmp_path / "ledger.db"
    path.write_bytes(data)
    with pytest.raises((FixFolder, TryAgain), match=r"ledger\.db"):
        Store.open(path, "net", "test", "did:key:g")
    assert path.read_bytes() == data


def test_a_newer_schema_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "ledger.db"
    store = Store.create(path, "net", "test", "did:key:g")
    store.run("UPDATE meta SET value = '99' WHERE key = 'schema'")
    store.close()
    with pytest.raises(FixFolder, match=r"schema 99.*update fieldproof"):
        Store.open(path, "net", "test", "did:key:g")


@pytest.mark.parametrize("owner", [("net2", "test", "g"), ("net", "live", "g"), ("net", "test", "h")])
def test_a_ledger_of_another_gateway_is_refused(tmp_path, owner):
    Store.create(tmp_path / "ledger.db", "net", "test", "g").close()
    with pytest.raises(FixFolder, match="belongs to"):
        Store.open(tmp_path / "ledger.db", *owner)


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    store = Store.create(tmp_path / "ledger.db", "net", "test", "g")

    def fail():
        with store.transaction():
            store.run("INSERT INTO meta VALUES ('a', 'b')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.row("SELECT * FROM meta WHERE key = 'a'") is None
    store.close()
