"""The SQLite file under the ledger, and the one doorway for what can go wrong with it.

- WAL, `synchronous=FULL`, one connection: what a transaction committed survives a power cut.
- The file says which schema it has and whose it is (network, kind, gateway); any other is refused.
- A missing, damaged or newer file is a hard stop with a sentence, never replaced by a new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.errors import FixFolder, GatewayError, TryAgain

SCHEMA_VERSION = 2
_BUSY_TIMEOUT_S = 10.0
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE claim (
    id BLOB PRIMARY KEY, secret BLOB NOT NULL, expires_s INTEGER NOT NULL, owner TEXT NOT NULL,
    used_by TEXT
) STRICT;
CREATE TABLE device (
    id INTEGER PRIMARY KEY, did TEXT NOT NULL UNIQUE, key INTEGER NOT NULL, owner TEXT NOT NULL,
    enrolled_s INTEGER NOT NULL, enrolment BLOB NOT NULL, membership BLOB NOT NULL,
    log BLOB, head_seq INTEGER NOT NULL DEFAULT 0, head_hash BLOB, bootcount INTEGER NOT NULL DEFAULT 0,
    descriptor_hash BLOB, suspended INTEGER NOT NULL DEFAULT 0, good_log BLOB, good_seq INTEGER,
    proofs INTEGER NOT NULL DEFAULT 0, readings INTEGER NOT NULL DEFAULT 0, received_s REAL
) STRICT;
-- log: the logs a device has opened, and the key in force before their first proof.
CREATE TABLE log (
    device INTEGER NOT NULL REFERENCES device, log BLOB NOT NULL, key INTEGER NOT NULL REFERENCES key,
    PRIMARY KEY (device, log)
) STRICT, WITHOUT ROWID;
-- bypassed: signed and held, then a declared gap or a new log went past it. position: place among all
-- accepted proofs of the device, whatever their log. carries: others depend on its gaps or its rotation.
CREATE TABLE proof (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device,
    log BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'held', 'bypassed')),
    position INTEGER, carries INTEGER NOT NULL, received_s REAL NOT NULL, data BLOB NOT NULL,
    UNIQUE (device, log, seq)
) STRICT;
CREATE INDEX held ON proof (device, log, seq) WHERE state = 'held';
CREATE INDEX birth ON proof (device, position) WHERE seq = 1 AND state = 'accepted';
CREATE UNIQUE INDEX chain ON proof (device, position) WHERE state = 'accepted';
-- key: in force from (log, seq) on, where a proof carries the rotation to it, and gone when that proof is;
-- the first one from the enrolment on, without a log. device.key is in force at the head.
CREATE TABLE key (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device, log BLOB, seq INTEGER NOT NULL,
    public_key BLOB NOT NULL, next_hash BLOB NOT NULL, number INTEGER NOT NULL, before BLOB,
    UNIQUE (device, log, seq),
    FOREIGN KEY (device, log, seq) REFERENCES proof (device, log, seq) ON DELETE CASCADE
) STRICT;
CREATE TABLE gap (
    device INTEGER NOT NULL REFERENCES device, log BLOB NOT NULL, first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL, first_hash BLOB NOT NULL, last_hash BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (device, log, last_seq, first_seq, last_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE descriptor (
    device INTEGER NOT NULL REFERENCES device, hash BLOB NOT NULL, map BLOB NOT NULL,
    PRIMARY KEY (device, hash)
) STRICT;
CREATE TABLE verdict (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device, seq INTEGER NOT NULL,
    code TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX verdict_of ON verdict (device, id);
CREATE TABLE verdict_count (
    device INTEGER NOT NULL REFERENCES device, code TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (device, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (
    id INTEGER PRIMARY KEY, device INTEGER NOT NULL REFERENCES device,
    log BLOB NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL,
    code TEXT NOT NULL, weight INTEGER NOT NULL, received_s REAL NOT NULL, data BLOB NOT NULL,
    UNIQUE (device, hash)
) STRICT;
CREATE TABLE challenge (
    nonce BLOB PRIMARY KEY, device INTEGER NOT NULL REFERENCES device, deadline_s INTEGER NOT NULL,
    sent_s REAL, answered_s REAL
) STRICT;
CREATE TABLE beacon (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, issued_s INTEGER NOT NULL, nonce BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
"""
_MAGIC = b"SQLite format 3\0"
_META = ("network", "kind", "gateway")


class Store:
    """One open ledger file. Every error of SQLite leaves it as a `GatewayError`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def create(cls, path: Path, network: str, kind: str, gateway: str) -> Store:
        """A new file; raises FixFolder where there is one."""
        try:
            path.touch(mode=0o600, exist_ok=False)
        except OSError as error:
            raise FixFolder(f"Cannot create the ledger {path}: {error.strerror}.") from None
        store = cls(path, _connect(path))
        with store.doorway():
            store._connection.executescript(f"BEGIN;{_SCHEMA}")
            rows = zip(("schema", *_META), (str(SCHEMA_VERSION), network, kind, gateway), strict=True)
            store._connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            store._connection.execute("COMMIT")
        return store

    @classmethod
    def open(cls, path: Path, network: str, kind: str, gateway: str) -> Store:
        if not path.is_file():
            raise FixFolder(
                f"The ledger {path} is missing: restore it from your copy; a new one would forget."
            )
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:  # SQLite would turn an empty file into a new database
                raise FixFolder(f"{path} is not a ledger: restore it from your copy; nothing was changed.")
        store = cls(path, _connect(path))
        try:
            store._require(network, kind, gateway)
        except GatewayError:
            store.close()
            raise
        return store

    def _require(self, network: str, kind: str, gateway: str) -> None:
        known = self.row("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
        meta = dict(self.rows("SELECT key, value FROM meta")) if known else {}
        schema = meta.get("schema", "")
        if not schema.isdigit() or int(schema) > SCHEMA_VERSION:
            raise FixFolder(
                f"The ledger {self._path} has schema {schema or 'none'}, this program knows up to "
                f"{SCHEMA_VERSION}: update fieldproof; nothing was changed."
            )
        if int(schema) < SCHEMA_VERSION:
            raise FixFolder(
                f"The ledger {self._path} has schema {schema}, from before the first release. This program "
                f"needs {SCHEMA_VERSION}: make a new gateway with `fieldproof-gateway init`."
            )
        for name, ours in zip(_META, (network, kind, gateway), strict=True):
            if meta.get(name) != ours:
                raise FixFolder(
                    f"The ledger {self._path} belongs to {name} {meta.get(name)!r}, not to {ours!r}: "
                    "are key, settings and ledger of one gateway?"
                )

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; returns from the block only when the commit is durable."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:  # whatever it is: tidy up and raise it again
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    def run(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Rows changed."""
        with self.doorway():
            return self._connection.execute(sql, tuple(values)).rowcount

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        with self.doorway():
            return self._connection.execute(sql, tuple(values)).fetchall()

    def row(self, sql: str, values: Iterable[Any] = ()) -> Any:
        """The first row, None if there is none."""
        with self.doorway():
            return self._connection.execute(sql, tuple(values)).fetchone()

    def each(self, sql: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        """Rows one by one, for what does not fit into memory."""
        with self.doorway():
            yield from self._connection.execute(sql, tuple(values))

    def version(self) -> int:
        """Changes when another process has written."""
        return int(self.row("PRAGMA data_version")[0])

    @contextmanager
    def doorway(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TryAgain(f"The ledger {self._path} cannot be used now: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise FixFolder(
                f"The ledger {self._path} is damaged or not a ledger ({error}): restore it from your copy; "
                "nothing was changed."
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    store = Store(path, connection)
    try:
        store.run("PRAGMA journal_mode = WAL")
        store.run("PRAGMA synchronous = FULL")
        store.run("PRAGMA foreign_keys = ON")
    except GatewayError:
        connection.close()
        raise
    return connection
