"""The ledger's file: an older one is brought up to date whole or not at all, a reader cannot write."""

from __future__ import annotations

import sqlite3

import pytest

from gateway.errors import FixFolder, TryAgain
from gateway.schema import SCHEMA_2, SCHEMA_VERSION
from gateway.store import Store
from proof.keys import device_id
from tests.gateway_parts import GATEWAY, NETWORK, Gateway

OWNER = (NETWORK, "test", device_id(GATEWAY.public_key))


def as_schema_2(path):
    """The ledger at `path` as a program of schema 2 would have written it."""
    old = sqlite3.connect(path.with_name("old.db"), isolation_level=None)
    old.executescript(SCHEMA_2)
    tables = [name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    old.execute("ATTACH ? AS new", (str(path),))
    for table in tables:
        columns = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
        old.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    old.execute("UPDATE main.meta SET value = '2' WHERE key = 'schema'")
    rows = {table: old.execute(f"SELECT * FROM main.{table}").fetchall() for table in tables}
    old.execute("DETACH new")
    old.close()
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.with_name("old.db").rename(path)
    return rows


@pytest.fixture
def old_ledger(tmp_path):
    """(a closed gateway, its rows by table, its device): with accepted, held and refused proofs in it."""
    gateway = Gateway(tmp_path)
    device = gateway.member()
    first, _second, third = (device.seal() for _ in range(3))
    gateway.send(device, first, third, device.other(seq=1, prev=None))
    gateway.close()
    return gateway, as_schema_2(gateway.path), device


def test_a_ledger_of_schema_2_is_brought_up_and_keeps_every_row(old_ledger):
    gateway, rows, _ = old_ledger
    path = gateway.path
    store = Store.open(path, *OWNER)
    for table, before in rows.items():
        after = [row[: len(before[0])] for row in store.rows(f"SELECT * FROM {table}")] if before else []
        if table == "meta":
            before = [(key, str(SCHEMA_VERSION) if key == "schema" else value) for key, value in before]
        assert after == before, table
    assert store.rows("SELECT * FROM day") == []
    store.close()
    Store.open(path, *OWNER).close()


def test_a_new_ledger_and_one_that_was_brought_up_have_the_same_tables(old_ledger, tmp_path):
    path = old_ledger[0].path
    Store.open(path, *OWNER).close()
    Store.create(tmp_path / "new.db", *OWNER).close()
    sql = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    shapes = []
    for file in (path, tmp_path / "new.db"):
        connection = sqlite3.connect(file)
        shapes.append(connection.execute(sql).fetchall())
        connection.close()
    assert shapes[0] == shapes[1]


def test_a_device_goes_on_after_the_ledger_was_brought_up(old_ledger):
    gateway, _, device = old_ledger
    gateway.restart()
    gateway.register.restore(device.id)
    gateway.send(device, device.proofs[device.log, 2])
    assert gateway.receipt(device).head_seq == 3
    assert gateway.store.rows("SELECT proofs, readings FROM day") == [(2, 2)]
    gateway.close()


def test_an_upgrade_that_fails_half_way_leaves_schema_2(old_ledger, monkeypatch):
    gateway, rows, _ = old_ledger
    path = gateway.path
    broken = {3: ("CREATE TABLE day (x INTEGER)", "CREATE TABLE day (x INTEGER)")}
    monkeypatch.setattr("gateway.store.ADDED", broken)
    with pytest.raises(TryAgain, match="already exists"):
        Store.open(path, *OWNER)
    monkeypatch.undo()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("2",)
    assert connection.execute("SELECT count(*) FROM proof").fetchone() == (len(rows["proof"]),)
    connection.close()
    Store.open(path, *OWNER).close()


def test_another_gateways_old_ledger_is_refused_before_it_is_touched(old_ledger):
    path = old_ledger[0].path
    with pytest.raises(FixFolder, match="belongs to"):
        Store.open(path, NETWORK, "test", "did:key:z6Mkother")
    with pytest.raises(FixFolder, match="earlier version"):
        Store.read_only(path, NETWORK, "test")


def test_a_reader_does_not_bring_up_an_old_ledger(old_ledger):
    path = old_ledger[0].path
    before = path.read_bytes()
    with pytest.raises(FixFolder, match="fieldproof-gateway listen"):
        Store.read_only(path, NETWORK, "test")
    assert path.read_bytes() == before


@pytest.mark.parametrize("sql", ["DELETE FROM device", "CREATE TABLE x (y)", "PRAGMA user_version = 7"])
def test_a_reader_cannot_write(gateway, sql):
    gateway.member()
    before = gateway.contents()
    reader = Store.read_only(gateway.path, NETWORK, "test")
    with pytest.raises(TryAgain, match="readonly"):
        reader.run(sql)
    reader.close()
    assert gateway.contents() == before


def test_a_reader_leaves_to_the_writer_what_a_killed_one_left(gateway, tmp_path):
    """Whoever may write and leaves last moves the log into the ledger; a reader does not."""
    gateway.member()
    left = tmp_path / "left"
    left.mkdir()
    for end in ("", "-wal"):
        name = gateway.path.name + end
        (left / name).write_bytes(gateway.path.with_name(name).read_bytes())
    files = {file.name: file.read_bytes() for file in left.iterdir()}
    assert len(files["ledger.db-wal"]) > 0
    reader = Store.read_only(left / "ledger.db", NETWORK, "test")
    assert reader.row("SELECT count(*) FROM device") == (1,)
    reader.close()
    assert {name: (left / name).read_bytes() for name in files} == files


def test_a_reader_of_a_missing_ledger_makes_none(tmp_path):
    with pytest.raises(FixFolder, match="missing"):
        Store.read_only(tmp_path / "ledger.db", NETWORK, "test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"not a database, just some text" * 100])
def test_a_reader_of_what_is_no_ledger_says_so(tmp_path, data):
    path = tmp_path / "ledger.db"
    path.write_bytes(data)
    with pytest.raises(FixFolder, match=r"ledger\.db"):
        Store.read_only(path, NETWORK, "test")
    assert path.read_bytes() == data


def test_a_reader_sees_one_moment_and_the_writer_goes_on(gateway):
    device = gateway.member()
    reader = Store.read_only(gateway.path, NETWORK, "test")
    count = "SELECT count(*) FROM proof"
    with reader.snapshot():
        assert reader.row(count) == (0,)
        gateway.send(device, device.seal())
        assert reader.row(count) == (0,)
    assert reader.row(count) == (1,)
    reader.close()


def test_a_ledgers_name_with_signs_of_its_own_is_opened_as_it_is(tmp_path):
    path = tmp_path / "50% of?mode=rw&#.db"
    Store.create(path, *OWNER).close()
    reader = Store.read_only(path, NETWORK, "test")
    assert reader.row("SELECT count(*) FROM device") == (0,)
    reader.close()
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(path.name)] == []


def test_a_ledger_that_may_not_be_read_is_one_sentence(gateway, monkeypatch):
    """Root may read anything, so SQLite says here what it says to others."""

    def denied(*_given, **_named):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", denied)
    for opened, owner in ((Store.read_only, OWNER[:2]), (Store.open, OWNER)):
        with pytest.raises(FixFolder, match=r"Cannot open the ledger .*: may this user read and write it"):
            opened(gateway.path, *owner)


def test_a_ledger_whose_first_bytes_may_not_be_read_is_one_sentence(gateway, monkeypatch):
    opened = type(gateway.path).open

    def denied(path, *given, **named):
        if path == gateway.path:
            raise PermissionError(13, "Permission denied")
        return opened(path, *given, **named)

    monkeypatch.setattr(type(gateway.path), "open", denied)
    with pytest.raises(FixFolder, match="Permission denied"):
        Store.open(gateway.path, *OWNER)
